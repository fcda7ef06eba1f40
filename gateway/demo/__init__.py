"""Stand-ins for both peers of the gateway, and the demonstration that uses them.

Owns: everything that plays a peer, for ``remoting-gateway demo``, tests and benchmarks.

Must not know: ``gateway.protocol``, ``gateway.agents``, ``gateway.http``, ``gateway.transport``.
The codecs here are written a second time, from the protocol notes and the recordings of real peers,
with the standard library's ``ssl``, h11 and wsproto: one misunderstanding must not hide on both
sides. Only ``story`` starts the gateway, through the process seam ``gateway.server.worker.serve``
with the bound sockets that it takes.

    controller, controller_http, jnlp4_server, identity, faults    the controller
    agent, agent_http, agent_channel                               the agent
    wire, stream, channel                                          codecs and channels of both
    story, report                                                  the demonstration
"""
