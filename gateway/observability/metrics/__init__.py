"""Numbers about the gateway, for Prometheus.

Owns: the one table of all metrics (``table``), counting (``meters``), adding processes up
(``samples``), the text that is scraped (``exposition``), and the reference made from the table.

Must not know: who counts, when, and which processes there are.

A worker counts in plain numbers, and reads what is only a state, such as live sessions, when it is
asked. Nothing is counted for a frame: a session's bytes are kept by its streams anyway.
"""
