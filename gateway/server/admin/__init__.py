"""The admin listener: health, the API, and whatever else operators look at, from the supervisor.

Owns: who may ask (``authentication``, ``origins``), the one table of routes (``routes``) that the
answers and the OpenAPI document (``openapi``) are both made from, and the listener itself, which
outlives reloads and upgrades. HTTP is ``gateway.http``'s, as for everybody else.

Must not know: how an operation is carried out (``server.operations``: the same ones that the
control socket has). Nothing here waits for a controller, or for a worker without a limit.
"""
