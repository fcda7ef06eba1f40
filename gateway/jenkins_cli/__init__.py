"""The Jenkins CLI: ``/cli/ws`` and ``POST /cli`` (PROTOCOLS E).

Owns: which origins may use it, which transport leads to a controller, translating WebSocket to
full-duplex HTTP, the two halves of a full-duplex pair, policy and audit.

Must not know: agents and their sessions (``agents``), how HTTP and WebSockets are parsed.
"""
