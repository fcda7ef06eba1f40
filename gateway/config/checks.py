"""The rules across keys, and about the files that keys name.

Owns: what a single key cannot tell: names that must exist elsewhere, timers that must fit together,
certificates and their keys. Each check returns what it found; errors and warnings are decided here.

Must not know: YAML, lines, how problems are shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING

from gateway.config.admin_checks import check_admin
from gateway.config.credentials_checks import check_credentials
from gateway.config.document import Problem
from gateway.config.jenkins_url_checks import check_jenkins_urls
from gateway.config.listener_tls_checks import check_listener_tls, check_names
from gateway.config.routing_checks import check_routing
from gateway.config.transport_checks import check_transport
from gateway.config.upstream_checks import check_upstream
from gateway.config.values import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from gateway.config.document import Location
    from gateway.config.models import (
        ControllerAgentsConfig,
        GatewayConfig,
        ListenerConfig,
        RouteConfig,
    )


@dataclass(slots=True)
class Findings:
    """What the checks found: errors stop the gateway, warnings are shown."""

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def error(self, location: Location, text: str) -> None:
        """Note a reason not to start."""
        self.errors.append(Problem(location, text))

    def warn(self, location: Location, text: str) -> None:
        """Note something that works but may not be meant."""
        self.warnings.append(Problem(location, text))


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``Did you mean "..."?`` with the nearest known name, or nothing."""
    nearest = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f' Did you mean "{nearest[0]}"?' if nearest else ""


def check(config: GatewayConfig, *, now: datetime) -> Findings:
    """Check everything that concerns more than one key. Reads certificate files."""
    findings = Findings()
    _check_listeners(config, findings, now=now)
    for name, controller in config.controllers.items():
        here: Location = ("controllers", name, "agents")
        check_upstream(controller, ("controllers", name), findings, now=now)
        _check_agent_leg(controller.agents, here, findings)
        check_transport(controller, here, findings)
        if controller.url is None and controller.agents.transport != "websocket":
            _check_without_url(controller.agents, here, findings)
    _check_routes(config, findings)
    check_names(config, findings)
    check_routing(config, findings)
    check_jenkins_urls(config, findings)
    check_credentials(config, findings)
    _check_keepalive(config, findings)
    _check_limits(config, findings)
    _check_shutdown(config, findings)
    check_admin(config, findings, now)
    return findings


def _check_listeners(config: GatewayConfig, findings: Findings, *, now: datetime) -> None:
    seen: dict[str, int] = {}
    for i, listener in enumerate(config.listeners):
        address = str(listener.address)
        if address in seen and listener.address.port != 0:
            findings.error(
                ("listeners", i, "address"),
                f'found "{address}" a second time; allowed: each address once.'
                f" The first is listeners[{seen[address]}].",
            )
        seen.setdefault(address, i)
        if listener.tls is None:
            _check_plain_listener(listener, i, config, findings)
            continue
        if listener.plain_agents:
            findings.error(
                ("listeners", i, "plain_agents"),
                "found true; allowed: only on a listener without tls. Remove one of the two.",
            )
        check_listener_tls(listener.tls, ("listeners", i, "tls"), findings, now)


def _check_plain_listener(
    listener: ListenerConfig, index: int, config: GatewayConfig, findings: Findings
) -> None:
    if listener.address.is_loopback:
        return
    if listener.plain_agents:
        findings.warn(
            ("listeners", index, "plain_agents"),
            "agents send their secrets to this listener without encryption",
        )
    elif not config.trusted_proxies:
        findings.warn(
            ("listeners", index),
            "plain HTTP beyond this machine, and no trusted_proxies: agents are refused here with"
            ' "use https". Name the ingress in front of it in trusted_proxies, or add tls.',
        )


def _check_agent_leg(agents: ControllerAgentsConfig, here: Location, findings: Findings) -> None:
    if agents.protocol == "JNLP4-plaintext" and not agents.allow_plaintext:
        findings.error(
            (*here, "protocol"),
            'found "JNLP4-plaintext"; allowed: "JNLP4-connect". The former sends secrets'
            " unencrypted to whoever answers; if that is acceptable, add allow_plaintext: true.",
        )
    if agents.address is not None and agents.address.port == 0:
        findings.error(
            (*here, "address"), f'found "{agents.address}"; allowed: a port from 1 to 65535'
        )


def _check_without_url(agents: ControllerAgentsConfig, here: Location, findings: Findings) -> None:
    if agents.address is None:
        findings.error(
            (*here, "address"),
            "found nothing; allowed: host:port of the TCP agent port. It can only be left out when"
            " the controller has a url that tells it.",
        )
    if agents.identity == "discover":
        findings.error(
            (*here, "identity"),
            'found "discover"; allowed: a public key or {file: PATH}. A controller without url'
            " cannot be asked for its key; `curl -sI CONTROLLER/tcpSlaveAgentListener/` shows it as"
            " X-Instance-Identity.",
        )


def _check_routes(config: GatewayConfig, findings: Findings) -> None:
    if not config.routes:
        findings.error(
            ("routes",),
            "found nothing; allowed: at least one route. Only with a single controller, and without"
            " the key routes, everything goes to it.",
        )
    ids: dict[str, int] = {}
    targets: dict[tuple[str, str], int] = {}
    for i, route in enumerate(config.routes):
        if route.id in ids:
            findings.error(
                ("routes", i, "id"),
                f'found "{route.id}" a second time; allowed: each id once.'
                f" The first is routes[{ids[route.id]}].",
            )
        ids.setdefault(route.id, i)
        if route.controller not in config.controllers:
            known = ", ".join(f'"{name}"' for name in config.controllers)
            findings.error(
                ("routes", i, "controller"),
                f'found "{route.controller}"; allowed: {known}.'
                + suggest(route.controller, config.controllers),
            )
            continue
        _check_path(config, route, i, findings)
        target = (route.host, config.path_of(route))
        if target in targets:
            findings.error(
                ("routes", i),
                f'found host "{target[0]}" with path "{target[1] or "/"}" a second time; allowed:'
                f" each pair once. The first is routes[{targets[target]}].",
            )
        targets.setdefault(target, i)
    used = {route.controller for route in config.routes}
    for name in config.controllers:
        if name not in used:
            findings.warn(("controllers", name), "no route leads to this controller")


def _check_path(config: GatewayConfig, route: RouteConfig, index: int, findings: Findings) -> None:
    prefix = config.prefix_of(route)
    path = config.path_of(route)
    # "" is the parent of everything; "/jenkins" of itself and "/jenkins/...", not of "/jenkins2".
    if route.edge or f"{prefix}/".startswith(f"{path}/"):
        return
    parents = [prefix[:end] or "/" for end in range(len(prefix)) if prefix[end] == "/"]
    allowed = ", ".join(f'"{each}"' for each in (prefix or "/", *reversed(parents)))
    findings.error(
        ("routes", index, "path"),
        f'found "{path or "/"}"; allowed: {allowed}. Paths are not rewritten,'
        f' so a route must begin where the path of the url of "{route.controller}" does, or above;'
        " only with expose: [agents] it may begin anywhere.",
    )


def _check_keepalive(config: GatewayConfig, findings: Findings) -> None:
    keepalive = config.agents.keepalive
    least = keepalive.interval + keepalive.suspect_after
    for key in ("dead_after", "controller_dead_after"):
        found: float = getattr(keepalive, key)
        if found < least:
            findings.error(
                ("agents", "keepalive", key),
                f'found "{format_duration(found)}"; allowed: at least'
                f" {format_duration(least)} = interval + suspect_after. Otherwise a session would"
                " end before its ping had time to be answered.",
            )


def _check_limits(config: GatewayConfig, findings: Findings) -> None:
    limits = config.limits
    if limits.request_line > limits.head:
        findings.error(
            ("limits", "request_line"),
            f'found "{format_size(limits.request_line)}"; allowed: at most'
            f" {format_size(limits.head)} = head, of which it is the first line",
        )
    if limits.connections_per_address > limits.connections:
        findings.warn(
            ("limits", "connections_per_address"),
            f"it is {limits.connections_per_address} and more than connections, which is"
            f" {limits.connections}: a single address may take all of them; set it lower",
        )


def _check_shutdown(config: GatewayConfig, findings: Findings) -> None:
    shutdown = config.shutdown
    if shutdown.drain_spread >= shutdown.drain_timeout:
        findings.error(
            ("shutdown", "drain_spread"),
            f'found "{format_duration(shutdown.drain_spread)}"; allowed: less than'
            f" {format_duration(shutdown.drain_timeout)} = drain_timeout, when what is left is cut",
        )
