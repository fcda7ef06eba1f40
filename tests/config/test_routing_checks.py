"""Options that would do nothing, or not what is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config.checks import Findings, check
from gateway.config.document import format_location
from gateway.config.models import GatewayConfig
from tests.config.certificates import NOW, certificate_pem, ec_key, private_pem


def checked(**more: Any) -> Findings:
    data = {
        "listeners": [{"address": "127.0.0.1:8080"}],
        "controllers": {"main": {"url": "https://jenkins.lan/ci/"}},
        **more,
    }
    return check(GatewayConfig.model_validate(data), now=NOW)


def errors(**more: Any) -> list[str]:
    return [f"{format_location(p.location)}: {p.text}" for p in checked(**more).errors]


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "c.pem").write_bytes(certificate_pem(ec_key()))
    (tmp_path / "k.pem").write_bytes(private_pem(ec_key()))
    return {
        "certificates": [{"certificate": str(tmp_path / "c.pem"), "key": str(tmp_path / "k.pem")}]
    }


def test_only_a_plain_listener_can_redirect(tls: dict[str, Any]) -> None:
    (error,) = errors(listeners=[{"address": "h:1", "tls": tls, "redirect_to_https": True}])
    assert error.startswith("listeners[0].redirect_to_https: allowed: only on a listener without")
    assert not errors(listeners=[{"address": "127.0.0.1:1", "redirect_to_https": True}])


def test_headers_of_proxies_need_proxies() -> None:
    found = checked(trusted_proxy_headers=["X-Forwarded-User"])
    (warning,) = found.warnings
    assert warning.location == ("trusted_proxy_headers",)
    assert "they travel on from trusted_proxies only" in warning.text
    both = checked(trusted_proxy_headers=["X-Forwarded-User"], trusted_proxies=["10.0.0.1"])
    assert both == Findings()


def test_the_proxy_protocol_needs_somebody_to_believe(tls: dict[str, Any]) -> None:
    listeners = [{"address": "h:1", "tls": tls, "proxy_protocol": "required"}]
    (error,) = errors(listeners=listeners)
    assert 'proxy_protocol: found "required"; allowed: only together with trusted_proxies' in error
    assert checked(listeners=listeners, trusted_proxies=["10.0.0.1"]) == Findings()


@pytest.mark.parametrize("plain_agents", [False, True])
def test_agents_behind_a_balancer_that_ends_tls(*, plain_agents: bool) -> None:
    listener = {
        "address": "127.0.0.1:1",
        "proxy_protocol": "required",
        "plain_agents": plain_agents,
    }
    found = checked(listeners=[listener], trusted_proxies=["10.0.0.1"])
    assert not found.errors
    assert [p.location for p in found.warnings] == (
        [] if plain_agents else [("listeners", 0, "proxy_protocol")]
    )


@pytest.mark.parametrize(
    ("path", "expose", "allowed"),
    [
        ("/team", ["agents"], True),
        ("/team/a", [{"set": "agents", "jnlp_files": True}], True),
        ("/", ["agents"], True),
        ("/team", ["all"], False),
        ("/team", ["agents", "cli"], False),
        ("/team", [{"paths": ["/wsagents"]}], False),
        ("/", ["agents", "cli"], True),
    ],
)
def test_only_an_edge_route_may_have_another_path(
    path: str, expose: list[Any], *, allowed: bool
) -> None:
    route = {"id": "r", "controller": "main", "path": path, "expose": expose}
    found = errors(routes=[route])
    assert (not found) is allowed
    if not allowed:
        assert 'routes[0].path: found "/team"; allowed: "/ci", "/"' in found[0]
        assert "only with expose: [agents] it may begin anywhere" in found[0]


def test_several_controllers_share_a_host_under_edge_routes() -> None:
    controllers = {name: {"url": f"https://{name}/"} for name in ("a", "b")}
    routes = [
        {"id": n, "controller": n, "path": f"/{n}", "expose": ["agents"]} for n in controllers
    ]
    assert checked(controllers=controllers, routes=routes) == Findings()


@pytest.mark.parametrize(
    ("part", "location"),
    [
        ("ui", "expose[0]"),
        ("cli", "expose[0]"),
        ({"paths": ["/x"]}, "expose[0]"),
        ({"set": "agents", "jnlp_files": True}, "expose[0].jnlp_files"),
    ],
)
def test_a_controller_without_url_serves_agents_only(part: object, location: str) -> None:
    controllers = {
        "main": {"url": "http://a/"},
        "old": {"agents": {"address": "old:50000", "identity": "discover"}},
    }
    routes = [
        {"id": "main", "controller": "main"},
        {"id": "old", "path": "/old", "controller": "old", "expose": [part]},
    ]
    found = [error for error in errors(controllers=controllers, routes=routes) if "expose" in error]
    assert [error.partition(": ")[0] for error in found] == [f"routes[1].{location}"]


def warnings(**more: Any) -> list[str]:
    found = checked(**more)
    assert not found.errors
    return [f"{format_location(p.location)}: {p.text}" for p in found.warnings]


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_trusting_everybody(network: str) -> None:
    (warning,) = warnings(trusted_proxies=["10.0.0.0/8", network])
    assert warning.startswith(f"trusted_proxies[1]: {network} is everybody: ")
    assert not warnings(trusted_proxies=["10.0.0.0/8", "fd00::/8"])


def test_a_redirect_to_nowhere(tls: dict[str, Any]) -> None:
    plain = {"address": "127.0.0.1:1", "redirect_to_https": True}
    (warning,) = warnings(listeners=[plain])
    assert warning.startswith("listeners[0].redirect_to_https: people are sent to https, but no")
    assert not warnings(listeners=[plain], trusted_proxies=["10.0.0.1"])
    assert not warnings(listeners=[plain, {"address": "h:2", "tls": tls}])


def route(*expose: object) -> dict[str, Any]:
    return {"routes": [{"id": "r", "controller": "main", "expose": list(expose)}]}


@pytest.mark.parametrize("name", ["ui", "agents", "cli"])
def test_a_set_that_does_nothing_beside_all(name: str) -> None:
    (warning,) = warnings(**route("all", name))
    assert warning.startswith(f'routes[0].expose[1]: "{name}" does nothing beside "all"')
    networks = {"allow_from": ["10.0.0.0/8"]}
    assert not warnings(**route({"set": name, **networks}, "all"))
    assert not warnings(**route(name, {"set": "all", **networks}))
    assert not warnings(**route("ui", "agents", "cli"))


@pytest.mark.parametrize("path", ["/cli", "/cli/ws"])
def test_paths_that_are_a_part_of_the_cli(path: str) -> None:
    part = {"paths": ["/x", path], "allow_from": ["10.0.0.0/8"]}
    (warning,) = warnings(**route("all", part))
    assert warning.startswith("routes[0].expose[1].paths: this is only a part of the CLI")
    assert "{set: cli, allow_from: [...]}" in warning
    assert not warnings(**route("all", {"paths": ["/client"]}))


def test_an_edge_route_has_no_other_websockets() -> None:
    route = {"id": "r", "controller": "main", "expose": ["agents"], "websockets": True}
    (error,) = errors(routes=[route])
    assert error.startswith("routes[0].websockets: allowed: not together with expose: [agents]")
    assert not errors(routes=[{**route, "expose": ["agents", "ui"]}])
