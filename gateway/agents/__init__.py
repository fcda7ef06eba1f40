"""The bridge: inbound agents over WebSocket on one side, JNLP4-connect to a controller on the
other.

Owns: the endpoint ``<prefix>/wsagents/`` with its checks, what is known about controllers' agent
ports (discovery, identity, readiness), the controller leg, the session between the two, who may
take a node over, and what is remembered of sessions.

Must not know: the Jenkins CLI, the supervisor, how HTTP is parsed.
"""
