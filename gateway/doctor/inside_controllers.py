"""Controllers as the gateway's machine sees them: reachable, ready, and who they prove to be.

Owns: going through the configured controllers with the checks of a path, and comparing the key that
an agent port shows with the configured or pinned one.

Must not know: listeners, routes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import trio

from gateway.agents.discovery import Discovery
from gateway.agents.identity import PinStore, remedy
from gateway.agents.transport import Transports
from gateway.config.keys import PublicKey, fingerprint
from gateway.config.models import ControllerConfig
from gateway.demo.agent_http import Target
from gateway.doctor import answers, jnlp4
from gateway.doctor.case import Case
from gateway.doctor.causes import Cause
from gateway.doctor.checkup import CHECKS
from gateway.doctor.client import Unanswered
from gateway.doctor.findings import Finding, error, warning
from gateway.doctor.inside import Inside
from gateway.doctor.question import Question
from gateway.doctor.runner import Observer, run
from gateway.errors import ConfigError, GatewayError, IdentityMismatch
from gateway.http.upstream import fetch
from gateway.jenkins_cli.probe import ask_about_cli
from gateway.jenkins_cli.probe import remedy as cli_remedy

_AT_ONCE: Final = 16
_WITHIN: Final = 280.0  # seconds, for all of them; the check has 300
# What the gateway itself needs of a controller.
_NEEDED: Final = {"addresses", "tls", "login", "discovery", "agent port", "identity", "endpoint"}


async def check_controllers(inside: Inside) -> list[Finding]:
    """Go to every controller as the gateway does."""
    results: dict[str, list[Finding]] = {}
    places = trio.Semaphore(_AT_ONCE)

    async def look(name: str, controller: ControllerConfig) -> None:
        async with places:
            inside.tell(f"controller {name}")
            found = [*await _one(inside, name, controller), *await _cli(name, controller)]
            results[name] = [_named(name, each) for each in found]

    with trio.move_on_after(_WITHIN):  # those that were looked at by then are told
        async with trio.open_nursery() as nursery:
            for name, controller in inside.config.controllers.items():
                nursery.start_soon(look, name, controller)
    names = list(inside.config.controllers)
    inside.note("; ".join(f"{name}: {_said(results.get(name))}" for name in names))
    return [each for name in names for each in results.get(name, ())]


def _said(found: Sequence[Finding] | None) -> str:
    if found is None:
        return "not looked at in time"
    return found[0].title if found else "reachable"


def _named(name: str, finding: Finding) -> Finding:
    return replace(finding, seen=tuple(f"controller {name}: {line}" for line in finding.seen))


async def _one(inside: Inside, name: str, controller: ControllerConfig) -> Sequence[Finding]:
    agents = controller.agents
    fixed = None if agents.address is None else (agents.address.host, agents.address.port)
    if controller.url is None:
        assert fixed is not None  # the configuration demands it
        return await _key(inside, name, controller, fixed)
    if _is_special(controller):
        return await _by_the_gateway(inside, name, controller)
    case = Case(question=_question(controller))
    _, found = await run(case, [each for each in CHECKS if each.name in _NEEDED], Observer())
    serious = [each for each in found if each.cause is not Cause.NO_WEBSOCKET_ENDPOINT]
    if agents.transport == "websocket" or serious:
        return found
    port = case.agent_port
    if port is not None and case.port_trouble is None:
        return await _key(inside, name, controller, fixed or (port.host, port.port))
    if agents.transport == "jnlp4" or found:  # the agent port is the only way
        return await _without_port(case)
    return []


async def _cli(name: str, controller: ControllerConfig) -> list[Finding]:
    """Compare ``jenkins_url`` with the URL that is set in Jenkins, as CLI clients would."""
    if controller.jenkins_url is None:
        return []  # then clients' own address is sent, which is not known here
    try:
        answer = await ask_about_cli(name, controller)
    except ConfigError:  # of a file: that is found where the controller itself is asked
        return []
    if not answer.is_refused:
        return []
    return [
        warning(
            Cause.CLI_ORIGIN,
            f"controller {name} refuses the CLI's Origin: jenkins_url is not its own",
            seen=f"jenkins_url {controller.jenkins_url}: {answer.why}",
            meaning="jenkins-cli.jar fails with 403 (Unexpected request origin).",
            remedy=f"In the gateway's configuration, {cli_remedy(name)}"
            " (Manage Jenkins > System > Jenkins URL).",
        )
    ]


def _is_special(controller: ControllerConfig) -> bool:
    """Say whether only the gateway's own client can speak to the controller's url."""
    tls = controller.tls
    named = tls is not None and (tls.server_name is not None or not tls.verify_name)
    shown = tls is not None and tls.client_certificate is not None
    return named or shown or controller.proxy_protocol != "off"


async def _by_the_gateway(
    inside: Inside, name: str, controller: ControllerConfig
) -> Sequence[Finding]:
    """Ask as a worker does, with the certificate, name or PROXY header that is configured."""
    discovery, pins = Discovery(fetch), PinStore(inside.config.state_dir)
    # A log line of the choice would be in the way of the report.
    transports = Transports(fetch, discovery, pins, note=lambda *_: None)
    try:
        await transports.check_ready(name, controller)
    except (GatewayError, ConfigError) as problem:
        reason = str(problem)
    else:
        return []
    return [
        error(
            Cause.CONTROLLER_DOWN,
            f"controller {name} is not ready for agents",
            seen=reason,
            meaning="Agents wait at /login until it is.",
            remedy=f"See that {controller.url} answers from this machine, with the settings"
            f" under controllers.{name}.",
        )
    ]


def _question(controller: ControllerConfig) -> Question:
    assert controller.url is not None
    url = controller.url
    tls = controller.tls
    # With a list of addresses the first one is the active one.
    first = controller.addresses[0] if controller.addresses else None
    fixed = controller.agents.address
    return Question(
        Target(url.scheme, url.host, url.address.port, f"{url.prefix}/"),
        ca_file=None if tls is None else tls.ca_file,
        connect_to=None if first is None else (first.host, first.port),
        agent_port=None if fixed is None else (fixed.host, fixed.port),
        timeout=10.0,
    )


async def _without_port(case: Case) -> Sequence[Finding]:
    """Ask again for what is only noted where agents come over WebSocket: here it is the cause."""
    again = Case(question=replace(case.question, tcp=True))
    wanted = _NEEDED - {"endpoint", "identity"}
    _, found = await run(again, [each for each in CHECKS if each.name in wanted], Observer())
    return [
        replace(each, meaning="The gateway has no way to bring agents there.") for each in found
    ]


async def _key(
    inside: Inside, name: str, controller: ControllerConfig, where: tuple[str, int]
) -> Sequence[Finding]:
    """Compare the key shown with the one that the gateway insists on."""
    expected, source = _expected(inside, name, controller)
    try:
        if controller.agents.protocol != "JNLP4-connect":
            await jnlp4.ping(where)
            return []
        shown = await jnlp4.identity(where)
    except Unanswered as problem:
        return [
            error(
                Cause.PORT_BLOCKED,
                f"the TCP agent port {where[1]} of controller {name} cannot be used from here",
                seen=f"{where[0]}:{where[1]}: {problem}",
                meaning="The gateway has no way to bring agents there.",
                remedy=f"Open TCP port {where[1]} from this machine to {where[0]}, or mend"
                " agents.address.",
            )
        ]
    if expected is None or shown == expected:
        return []
    return [
        replace(
            answers.identity_mismatch(
                f"{source}: {fingerprint(expected) if expected else 'a pin that cannot be read'}",
                f"shown at {where[0]}:{where[1]}: {fingerprint(shown)}",
            ),
            remedy=f"If the new key is right (compare on Jenkins' own machine): {remedy(name)}",
        )
    ]


def _expected(inside: Inside, name: str, controller: ControllerConfig) -> tuple[bytes | None, str]:
    identity = controller.agents.identity
    if isinstance(identity, PublicKey):
        return identity.der, "configured"
    try:
        pin = PinStore(inside.config.state_dir).get(name)
    except IdentityMismatch:
        return b"", "pinned"
    return (None, "") if pin is None else (pin.key, "pinned")
