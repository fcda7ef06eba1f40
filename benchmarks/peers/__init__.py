"""The ends that a proxy is measured between, and the proxies that it is measured beside.

Owns: a controller (JNLP4 over TLS), an origin (WebSocket over TLS) and an agent, all with blocking
sockets and stdlib ``ssl`` in processes of their own; and nginx and HAProxy with the configuration
they need.

Must not know: the gateway's code. The gateway is started by its command like the others.
"""
