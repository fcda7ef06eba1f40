"""Whether people can come to a controller by the URL that is set in Jenkins (PROTOCOLS I.1, I.2).

Owns: comparing ``jenkins_url`` with routes, listeners and the controller's ``url``. All of it is
warnings, since the gateway works either way: it is Jenkins that shows "It appears that your reverse
proxy set up is broken", and writes links that lead nowhere. Ports are not compared: what is 8443
here may be 443 outside.

Must not know: how requests are routed (``http.router``), beyond what its documentation says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config.checks import Findings
    from gateway.config.document import Location
    from gateway.config.models import GatewayConfig, RouteConfig
    from gateway.config.values import ControllerUrl


def check_jenkins_urls(config: GatewayConfig, findings: Findings) -> None:
    """Check each controller that has both URLs; routes to unknown ones are not looked at."""
    routes = [route for route in config.routes if route.controller in config.controllers]
    for name, controller in config.controllers.items():
        public, inner = controller.jenkins_url, controller.url
        if public is None or inner is None:
            continue
        here: Location = ("controllers", name, "jenkins_url")
        if public.prefix != inner.prefix:
            findings.warn(
                here,
                f'its path is "{public.prefix or "/"}", and that of url "{inner.prefix or "/"}";'
                " Jenkins has one context path, the same outside and inside, so one of the two is"
                " wrong",
            )
        # Without a route for pages people come another way, and these say nothing about it.
        elif any(route.controller == name and _has_pages(route) for route in routes):
            _check_way(config, routes, name, public, here, findings)
            _check_scheme(config, public, here, findings)


def _has_pages(route: RouteConfig) -> bool:
    return any(part.set in {"all", "ui"} for part in route.parts)


def _check_way(
    config: GatewayConfig,
    routes: list[RouteConfig],
    name: str,
    public: ControllerUrl,
    here: Location,
    findings: Findings,
) -> None:
    route = _route_of(config, routes, public)
    if route is None:
        findings.warn(
            here,
            f'no route leads from "{public}" to this controller: links of Jenkins lead away from'
            ' the gateway, and its test says "reverse proxy set up is broken". Correct it, or add a'
            " route with that host.",
        )
    elif route.controller != name:
        findings.warn(
            here,
            f'route "{route.id}" takes "{public}" to controller "{route.controller}", so links of'
            " Jenkins lead there",
        )


def _route_of(
    config: GatewayConfig, routes: list[RouteConfig], public: ControllerUrl
) -> RouteConfig | None:
    """Return the route of requests for ``public``: the best host decides, then the longest path."""
    hosts = sorted(
        {route.host for route in routes if _fits(route.host, public.host)}, key=len, reverse=True
    )
    best = public.host if public.host in hosts else next(iter(hosts), None)
    fitting = [
        route
        for route in routes
        if route.host == best and f"{public.prefix}/".startswith(f"{config.path_of(route)}/")
    ]
    return max(fitting, key=lambda route: len(config.path_of(route)), default=None)


def _fits(pattern: str, host: str) -> bool:
    return pattern in {"*", host} or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def _check_scheme(
    config: GatewayConfig, public: ControllerUrl, here: Location, findings: Findings
) -> None:
    if config.trusted_proxies:
        return  # who may say either
    if public.scheme == "https" and all(listener.tls is None for listener in config.listeners):
        findings.warn(
            here,
            "it is https, but no listener has tls, so Jenkins is told that people come by http."
            " Add tls, or name the proxy that ends TLS in trusted_proxies.",
        )
    if public.scheme == "http" and all(
        listener.tls is not None or listener.redirect_to_https is not None
        for listener in config.listeners
    ):
        findings.warn(
            here,
            "it is http, but every listener leads people to https, which is what Jenkins is told;"
            " set the https URL in Jenkins and here",
        )
