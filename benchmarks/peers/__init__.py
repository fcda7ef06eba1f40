"""The ends that a proxy is measured between, and the proxies that it is measured beside.

Owns: far ends (a controller with JNLP4 over TLS, an origin with WebSocket over TLS, a plain
stream), single agents that block and crowds of agents on an epoll loop, in processes of their own,
with stdlib ``ssl``; nginx, HAProxy and mitmproxy with the configuration they need, and the floor.

Must not know: the gateway's code. The gateway is started by its command like the others.
"""
