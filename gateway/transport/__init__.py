"""Trio I/O without protocol opinions: sockets, TLS, dialling, listening.

Owns: the one ``Stream`` type, TLS contexts, dialling and listeners. The names of trio's and
OpenSSL's errors stop here: above, a broken connection is ``StreamBroken`` and an end is ``b""``.

Must not know: HTTP, WebSocket, JNLP4, sessions.
"""
