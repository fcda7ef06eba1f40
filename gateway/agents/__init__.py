"""The bridge: inbound agents over WebSocket on one side, JNLP4-connect to a controller on the
other.

Owns: the endpoint ``<prefix>/wsagents/`` with its checks, what is known about controllers' agent
ports (discovery, identity, readiness), the controller leg, and the session between the two.

Must not know: the Jenkins CLI, the supervisor, how HTTP is parsed.
"""
