"""Remoting Gateway: a protocol-aware reverse proxy for Jenkins.

Inbound agents come in over WebSocket (``<prefix>/wsagents/``); the gateway translates each session
to the controller's TCP agent port (JNLP4-connect), or relays it to a controller that speaks
WebSocket itself. Everything else is proxied: HTTP, and other WebSockets.

The layers, each importing only from those before it (tests/test_architecture.py holds the table):

    errors         the error tree; error -> status, close code, log level, public text
    config         the configuration file: values, models, defaults, checks
    protocol       sans-I/O: bytes in, values out; no trio, sockets, clocks, randomness, logging
    observability  logs, nodes' timelines, idle timers found on the way
    transport      trio I/O without protocol opinions: Stream (TCP and TLS), dial, listeners
    runtime        what sessions and exchanges share: limits, the session loop, SessionEnd
    http           HTTP/1.1: connection, exchange, router, proxy; WebSockets that pass through
    credentials    who may be which node
    jenkins_cli    the CLI: origins, translation to full-duplex HTTP, policy, audit
    agents         the bridge: endpoint, transport, discovery, both kinds of legs, session, takeover
    server         supervisor, worker (the composition root)
    doctor         plays agent, browser and CLI on any path, and says what is wrong with it
    importing      other proxies' configurations, for `import`
    command        the command line; nothing imports it
    demo           stand-in controller and agent; imports nothing from protocol, http, agents

The words: *agent, node, controller, channel, capability, chunk, cookie, refusal* as Jenkins
remoting has them; *listener, route, connection, exchange* as gateways do; *frame, message, close
code* as RFC 6455; a *session* is one agent session through the gateway, with an *agent leg* and a
*controller leg*.

The life of one session: accept, TLS, request head, route, local checks, discovery of the
controller, then the whole handshake with it (preamble, TLS, the controller's key compared with the
pinned identity *before* the secret is sent, headers, verdict, capability); only then 101 to the
agent, because the 101 carries the controller's capability and cookie, and because a refusal can
still be an honest HTTP status. From there on both sides carry the same bytes: two pumps and a
watchdog, the first to finish decides the ``SessionEnd``; both legs are closed in order; one line
in the log says who ended it and why.
"""

__version__ = "0.1.0"
