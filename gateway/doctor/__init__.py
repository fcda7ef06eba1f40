"""What is wrong between an agent and its controller, through any proxy.

Owns: playing an agent, a browser and the CLI through the real path; what each step saw, what that
means and what to do. One check per function; each is about one link of the path.

Must not know: how commands print or exit. Nothing imports this package but ``gateway.command``.

    findings, causes        what is found: severity, evidence, remedy; which finding explains which
    question, case          what was asked; what has been seen so far
    client, jnlp4, websocket    the three clients: HTTP, the TCP agent port, an agent's WebSocket
    runner, checkup         order, deadlines and needs of checks; the list of them
    check_*                 the checks, by concern; certificates, answers: what they read;
                            certificate_findings: what a chain gives rise to
    inside*                 what only a gateway's own configuration and machine can tell
    remedies                the settings of nginx, HAProxy, Apache, Jenkins and this gateway
    exchange_text, render   how an exchange, and a report, is shown

The clients are separate from ``gateway.protocol``, so that a mistake there is not repeated here;
the words of agents are those recorded in ``gateway.demo``.
"""
