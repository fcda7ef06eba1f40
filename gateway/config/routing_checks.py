"""The rules across keys about what routes expose, redirects and the PROXY protocol.

Owns: options that would do nothing, or not what is meant, where they stand.

Must not know: certificates, agents' sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config.checks import Findings
    from gateway.config.models import GatewayConfig, ListenerConfig, RouteConfig


def check_routing(config: GatewayConfig, findings: Findings) -> None:
    """Check listeners and routes; routes to unknown controllers are somebody else's matter."""
    for i, listener in enumerate(config.listeners):
        _check_listener(config, listener, i, findings)
    for i, route in enumerate(config.routes):
        if route.controller in config.controllers:
            _check_expose(config, route, i, findings)


def _check_listener(
    config: GatewayConfig, listener: ListenerConfig, index: int, findings: Findings
) -> None:
    here = ("listeners", index)
    if listener.redirect_to_https is not None and listener.tls is not None:
        findings.error(
            (*here, "redirect_to_https"),
            "allowed: only on a listener without tls. Remove one of the two.",
        )
    if listener.proxy_protocol == "off":
        return
    if not config.trusted_proxies:
        findings.error(
            (*here, "proxy_protocol"),
            'found "required"; allowed: only together with trusted_proxies, which say whose headers'
            " are believed; without, every connection would be closed",
        )
    if listener.tls is None and not listener.plain_agents:
        findings.warn(
            (*here, "proxy_protocol"),
            "the address in the header is the client's own, so agents are refused on this listener"
            ' with "use https"; let TLS through to the gateway and add tls, or, where the network'
            " from the balancer to here can be trusted with secrets, add plain_agents: true",
        )


def _check_expose(
    config: GatewayConfig, route: RouteConfig, index: int, findings: Findings
) -> None:
    if "websockets" in route.model_fields_set and route.edge:
        findings.error(
            ("routes", index, "websockets"),
            "allowed: not together with expose: [agents], where there are no WebSockets but agents'"
            " own. Remove it.",
        )
    if config.controllers[route.controller].url is not None:
        return
    here = ("routes", index, "expose")
    for i, part in enumerate(route.parts):
        if part.paths is not None or part.set in {"ui", "cli"}:
            findings.error(
                (*here, i),
                f'found a part that "{route.controller}" cannot answer; allowed: agents, since the'
                " controller has no url",
            )
        if part.jnlp_files:
            findings.error(
                (*here, i, "jnlp_files"),
                f'found true; allowed: false, since "{route.controller}" has no url to get them'
                " from",
            )
