"""The spelling of hosts, exposed parts, networks and redirects."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config.models import GatewayConfig, ListenerConfig, RouteConfig
from gateway.config.routing import ExposeConfig, parse_route_host


def route(**more: Any) -> RouteConfig:
    return RouteConfig.model_validate({"id": "r", "controller": "main", **more})


def fails(text: str, **more: Any) -> None:
    with pytest.raises(ValidationError, match=text):
        route(**more)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("*", "*"),
        ("*.Example.com", "*.example.com"),
        ("*.lan", "*.lan"),
        ("CI.example.com", "ci.example.com"),
        ("::1", "::1"),
    ],
)
def test_hosts(text: str, host: str) -> None:
    assert parse_route_host(text) == host


@pytest.mark.parametrize(
    "text",
    ["", "*.", "**", "*example.com", "a.*", "a.*.b", "*.*.b", "*.1.2.3.4", "*.::1", "a:1", "http:"],
)
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(ValueError, match=r'allowed: "\*" for any host'):
        parse_route_host(text)


def test_everything_is_exposed_to_everybody_by_default() -> None:
    made = route()
    assert (made.expose, made.allow_from) == (("all",), None)
    assert made.parts == (ExposeConfig(set="all"),)
    assert made.restricted is False
    assert made.edge is False


@pytest.mark.parametrize(
    ("more", "restricted", "edge"),
    [
        ({"expose": ["all"]}, False, False),
        ({"expose": [{"set": "all"}]}, False, False),
        ({"allow_from": ["10.0.0.0/8"]}, True, False),
        ({"expose": ["agents"]}, True, True),
        ({"expose": [{"set": "agents", "jnlp_files": True}]}, True, True),
        ({"expose": ["agents", "cli"]}, True, False),
        ({"expose": ["ui"]}, True, False),
        ({"expose": ["all", {"set": "cli", "allow_from": ["::1"]}]}, True, False),
        ({"expose": [{"paths": ["/"]}]}, True, False),
    ],
)
def test_what_restricts_and_what_is_an_edge(
    more: dict[str, Any], *, restricted: bool, edge: bool
) -> None:
    made = route(**more)
    assert (made.restricted, made.edge) == (restricted, edge)


def test_a_part_in_full() -> None:
    (part,) = route(
        expose=[{"paths": ["/github-webhook/", "/"], "allow_from": ["192.0.2.0/24"]}]
    ).parts
    assert part.paths == ("/github-webhook", "")
    assert part.allow_from == (ipaddress.ip_network("192.0.2.0/24"),)


@pytest.mark.parametrize(
    ("expose", "text"),
    [
        ([], "at least 1 item"),
        (["agnts"], "'all', 'ui', 'agents' or 'cli'"),
        ([{"set": "agnts"}], "'all', 'ui', 'agents' or 'cli'"),
        ([{}], "allowed: either set or paths"),
        ([{"set": "ui", "paths": ["/x"]}], "allowed: either set or paths"),
        ([{"path": ["/x"]}], "Extra inputs"),
        ([{"paths": []}], "at least 1 item"),
        ([{"paths": ["x"]}], 'allowed: "/" or a plain path'),
        ([{"paths": ["/a/../b"]}], 'allowed: "/" or a plain path'),
        ([{"paths": ["/static"]}], "allowed: anything but /static"),
        ([{"paths": ["/static/x"]}], "allowed: anything but /static"),
        ([{"set": "ui", "allow_from": []}], "at least 1 item"),
        ([{"set": "ui", "allow_from": ["10.0.0.1/8"]}], "without host bits"),
        ([{"set": "ui", "jnlp_files": True}], "jnlp_files only together with set: agents"),
        (["ui", "ui"], '"ui" is there twice'),
        (["ui", {"set": "ui"}], '"ui" is there twice'),
        ([{"paths": ["/x"]}, {"paths": ["/x/"]}], '"/x" is there twice'),
    ],
)
def test_mistakes_in_expose(expose: list[Any], text: str) -> None:
    fails(text, expose=expose)


def test_no_network_at_all_is_a_mistake() -> None:
    fails("at least 1 item", allow_from=[])


@pytest.mark.parametrize(
    ("value", "port"), [(None, None), (False, None), (True, 443), (443, 443), (8443, 8443)]
)
def test_redirects(value: object, port: int | None) -> None:
    listener = ListenerConfig.model_validate({"address": "h:1", "redirect_to_https": value})
    assert listener.redirect_to_https == port


@pytest.mark.parametrize("value", [0, 65536, "8443", "yes", 1.5, [443]])
def test_what_is_no_redirect(value: object) -> None:
    with pytest.raises(ValidationError, match="allowed: true, false, or the public port"):
        ListenerConfig.model_validate({"address": "h:1", "redirect_to_https": value})


def test_everything_reaches_a_worker_as_json() -> None:
    config = GatewayConfig.model_validate(
        {
            "state_dir": "/s",
            "listeners": [
                {"address": "h:1", "redirect_to_https": True},
                {"address": "h:2", "proxy_protocol": "required"},
            ],
            "trusted_proxies": ["10.0.0.1"],
            "controllers": {"main": {"url": "http://a/"}},
            "routes": [
                {
                    "id": "r",
                    "host": "*.example.com",
                    "controller": "main",
                    "allow_from": ["10.0.0.0/8", "fd00::/8"],
                    "expose": [
                        "all",
                        {"set": "agents", "jnlp_files": True, "allow_from": ["10.1.0.0/16"]},
                        {"paths": ["/x"]},
                    ],
                }
            ],
        }
    )
    snapshot = json.loads(json.dumps(config.model_dump(mode="json")))
    assert GatewayConfig.model_validate(snapshot) == config
