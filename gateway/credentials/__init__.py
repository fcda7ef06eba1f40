"""Who may be which node.

Owns: the decision about a presented secret, before a controller sees anything where the gateway can
judge it.

Must not know: sessions, WebSocket, JNLP4.
"""
