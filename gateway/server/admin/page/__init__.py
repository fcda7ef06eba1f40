"""The status page: who is connected and what happened, for people.

Owns: what the page shows and how; the view that a query asks for; live updates; the form that
kicks, and the login of browsers. Everything is rendered here and complete without JavaScript; with
it, the page follows by server-sent events.

Must not know: workers, control streams, where its values come from (``Source`` hands them in), how
HTTP is read from a socket (``Request`` and ``Answer`` are plain values).
"""
