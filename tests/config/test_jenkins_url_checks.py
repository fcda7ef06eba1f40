"""The URL set in Jenkins beside routes, listeners and url, with what an operator is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config.checks import check
from gateway.config.document import format_location
from gateway.config.models import GatewayConfig
from tests.config.certificates import NOW, certificate_pem, ec_key, private_pem

PLAIN = {"address": "127.0.0.1:8080"}
PUBLIC = "https://ci.example.com/"


def told(
    jenkins_url: str = PUBLIC,
    *,
    url: str = "http://jenkins.lan/",
    routes: list[dict[str, Any]] | None = None,
    others: dict[str, Any] | None = None,
    **more: Any,
) -> list[str]:
    """Return the warnings about ``jenkins_url``, behind a proxy that ends TLS unless told."""
    data = {
        "listeners": [PLAIN],
        "trusted_proxies": ["10.0.0.1"],
        "controllers": {"main": {"url": url, "jenkins_url": jenkins_url}, **(others or {})},
        **({} if routes is None else {"routes": routes}),
        **more,
    }
    findings = check(GatewayConfig.model_validate(data), now=NOW)
    assert not findings.errors
    prefix = "controllers.main.jenkins_url: "
    lines = [f"{format_location(each.location)}: {each.text}" for each in findings.warnings]
    return [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]


def route(host: str, controller: str = "main", **more: Any) -> dict[str, Any]:
    return {"id": f"r-{controller}", "host": host, "controller": controller, **more}


@pytest.fixture
def encrypted(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "c.pem").write_bytes(certificate_pem(ec_key()))
    (tmp_path / "k.pem").write_bytes(private_pem(ec_key()))
    pair = {"certificate": str(tmp_path / "c.pem"), "key": str(tmp_path / "k.pem")}
    return {"address": "127.0.0.1:8443", "tls": {"certificates": [pair]}}


@pytest.mark.parametrize("host", ["*", "ci.example.com", "*.example.com", "*.com"])
def test_a_route_for_its_host_is_right(host: str) -> None:
    assert told(routes=[route(host)]) == []


def test_the_only_controller_has_the_route_for_all() -> None:
    assert told() == []
    assert told("https://ci.example.com:8443/") == []  # a port may be another one outside


@pytest.mark.parametrize(
    "host", ["jenkins.example.com", "*.ci.example.com", "*.example.org", "example.com"]
)
def test_no_route_for_its_host(host: str) -> None:
    (warning,) = told(routes=[route(host)])
    assert warning.startswith(f'no route leads from "{PUBLIC}" to this controller')


def test_one_route_for_it_among_several_is_enough() -> None:
    assert told(routes=[route("old.example.com"), {**route("ci.example.com"), "id": "b"}]) == []


def test_another_controller_behind_its_host() -> None:
    others = {"other": {"url": "http://other/"}}
    routes = [route("*"), route("ci.example.com", "other")]
    (warning,) = told(routes=routes, others=others)
    assert warning.startswith(f'route "r-other" takes "{PUBLIC}" to controller "other"')
    # The longer wildcard wins, and so does the longer path.
    routes = [route("*.com"), route("*.example.com", "other")]
    assert told(routes=routes, others=others) != []
    routes = [route("*"), route("*", "other", path="/")]
    public, inner = "https://ci.example.com/ci/", "http://jenkins.lan/ci/"
    assert told(public, url=inner, routes=routes, others=others) == []


@pytest.mark.parametrize(
    ("public", "inner", "paths"),
    [
        ("https://h/ci", "http://jenkins.lan/", ("/ci", "/")),
        ("https://h/", "http://jenkins.lan/ci/", ("/", "/ci")),
    ],
)
def test_the_context_path_is_one(public: str, inner: str, paths: tuple[str, str]) -> None:
    (warning,) = told(public, url=inner)
    assert warning.startswith(f'its path is "{paths[0]}", and that of url "{paths[1]}";')
    assert told("https://h/ci/", url="http://jenkins.lan/ci/") == []


def test_https_that_nobody_speaks(encrypted: dict[str, Any]) -> None:
    (warning,) = told(trusted_proxies=[])
    assert warning.startswith("it is https, but no listener has tls")
    assert told(trusted_proxies=[], listeners=[PLAIN, encrypted]) == []


def test_http_that_nobody_speaks(encrypted: dict[str, Any]) -> None:
    public = PUBLIC.replace("https", "http")
    redirecting = {**PLAIN, "redirect_to_https": True}
    (warning,) = told(public, trusted_proxies=[], listeners=[encrypted, redirecting])
    assert warning.startswith("it is http, but every listener leads people to https")
    assert told(public, trusted_proxies=[], listeners=[encrypted, PLAIN]) == []
    assert told(public, listeners=[encrypted]) == []  # the proxy in front may speak http


@pytest.mark.parametrize("part", ["agents", "cli", {"paths": ["/github-webhook"]}])
def test_where_no_pages_are_served_people_come_another_way(part: Any) -> None:
    routes = [route("agents.example.com", expose=[part])]
    assert told(routes=routes, trusted_proxies=[]) == []
    assert told(routes=[{**routes[0], "expose": ["ui"]}]) != []


def test_without_url_there_are_no_pages() -> None:
    agents = {"address": "jenkins.lan:50000", "identity": "discover"}
    data = {
        "listeners": [PLAIN],
        "controllers": {"main": {"jenkins_url": PUBLIC, "agents": agents}},
    }
    found = check(GatewayConfig.model_validate(data), now=NOW)
    told = [each.text for each in found.errors if each.location[-1] == "jenkins_url"]
    assert told == ["allowed: only for a controller with url"]
