"""The rules across keys about what routes expose, whom to trust, redirects, the PROXY protocol.

Owns: options that would do nothing, or not what is meant, where they stand.

Must not know: certificates, agents' sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config.checks import Findings
    from gateway.config.document import Location
    from gateway.config.models import GatewayConfig, ListenerConfig, RouteConfig
    from gateway.config.routing import ExposeConfig


def check_routing(config: GatewayConfig, findings: Findings) -> None:
    """Check listeners and routes; routes to unknown controllers are somebody else's matter."""
    for i, network in enumerate(config.trusted_proxies):
        if network.prefixlen == 0:
            findings.warn(
                ("trusted_proxies", i),
                f"{network} is everybody: each client may say which address it has and whether it"
                " came over https, which decides allow_from, limits and whether agents may send"
                " their secrets; name the proxies' own networks",
            )
    if config.trusted_proxy_headers and not config.trusted_proxies:
        findings.warn(
            ("trusted_proxy_headers",),
            "they travel on from trusted_proxies only, and there are none: name the proxy's network"
            " there, or remove this",
        )
    for i, listener in enumerate(config.listeners):
        _check_listener(config, listener, i, findings)
    for i, route in enumerate(config.routes):
        _warn_of_parts(route, i, findings)
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
    elif listener.redirect_to_https is not None and not _speaks_https(config):
        findings.warn(
            (*here, "redirect_to_https"),
            "people are sent to https, but no listener has tls; if a proxy in front has, name its"
            " network in trusted_proxies, or what it passes on is sent back to it for ever",
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


def _speaks_https(config: GatewayConfig) -> bool:
    return bool(config.trusted_proxies) or any(each.tls is not None for each in config.listeners)


def _warn_of_parts(route: RouteConfig, index: int, findings: Findings) -> None:
    """Warn of parts that change nothing, and of paths that are less than what is meant."""
    open_to_all = any(part.set == "all" and part.allow_from is None for part in route.parts)
    for i, part in enumerate(route.parts):
        here: Location = ("routes", index, "expose", i)
        if part.set not in {None, "all"} and part.allow_from is None and open_to_all:
            findings.warn(
                here,
                f'"{part.set}" does nothing beside "all", which lets everybody through to'
                f' everything; remove one of the two, or give "{part.set}" an allow_from',
            )
        if any(_is_of_cli(path) for path in part.paths or ()):
            findings.warn((*here, "paths"), _explain_cli(part))


def _is_of_cli(path: str) -> bool:
    return f"{path}/".startswith("/cli/")


def _explain_cli(part: ExposeConfig) -> str:
    networks = "" if part.allow_from is None else ", allow_from: [...]"
    return (
        "this is only a part of the CLI, which has a set of its own: write"
        f" {{set: cli{networks}}}, for /cli, /cli/ws and /jnlpJars/jenkins-cli.jar"
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
