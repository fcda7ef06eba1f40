"""Where clients of ``/cli/ws`` may come from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.config.models import GatewayConfig
from gateway.errors import OriginRefused
from gateway.http.exchange import Exchange
from gateway.http.forwarding import ProxyTrust
from gateway.http.router import Router
from gateway.jenkins_cli.origin import Origin, check_origin, outgoing_origin
from gateway.protocol.http_head import RequestHead
from gateway.protocol.http_headers import Field, Headers

COOKIE: Field = (b"Cookie", b"JSESSIONID=x")


def exchange(
    host: str,
    *fields: Field,
    route: str = "ci.example.com",
    scheme: str = "https",
    port: int = 443,
    trusted: tuple[str, ...] = (),
    **controller: Any,
) -> Exchange:
    config = GatewayConfig.model_validate(
        {
            "state_dir": "/nowhere",
            "listeners": [{"address": "127.0.0.1:1"}],
            "trusted_proxies": trusted,
            "controllers": {"main": {"url": "http://jenkins.test:8080/jenkins/", **controller}},
            "routes": [{"id": "main", "host": route, "controller": "main"}],
        }
    )
    headers = Headers([(b"Host", host.encode()), *fields])
    request = RequestHead(b"GET", b"/jenkins/cli/ws", b"1.1", headers)
    trust = ProxyTrust(config.trusted_proxies, "192.0.2.1", scheme=scheme, port=port)
    made = SimpleNamespace(
        request=request,
        provenance=trust.provenance(request),
        match=Router(config).match(host.encode(), request.target),
    )
    return cast("Exchange", made)


def accepts(made: Exchange) -> bool:
    try:
        check_origin(made)
    except OriginRefused:
        return False
    return True


def origin(value: str) -> Field:
    return (b"Origin", value.encode("latin-1"))


def test_the_own_one() -> None:
    assert accepts(exchange("ci.example.com", origin("https://ci.example.com")))
    assert accepts(exchange("ci.example.com:8443", origin("https://ci.example.com:8443")))
    assert accepts(exchange("CI.example.com", origin("https://ci.example.com:443")))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "null",
        "*",
        "https://",
        "ci.example.com",
        "https://ci.example.com/",
        "https://ci.example.com/jenkins",
        "https://ci.example.com?x",
        "https://ci.example.com#x",
        "https://ci.example.com.",
        "https://ci.example.com.evil.example",
        "https://evilci.example.com",
        "https://evil.example",
        "https://ci.example.com@evil.example",
        "https://x@ci.example.com",
        "https://ci.example.com:444",
        "https://ci.example.com:0443",
        "https://ci.example.com:",
        "https://ci.example.com:99999",
        "https://ci.example.com https://ci.example.com",
        "https://ci.example.com, https://evil.example",
        "https://ci%2eexample.com",
        "https://ci\xb7example.com",
        "https://[::1]",
        "wss://ci.example.com",
        "file://ci.example.com",
        "chrome-extension://ci.example.com",
        "http://ci.example.com:8080",
    ],
)
def test_wrong_ones(value: str) -> None:
    assert not accepts(exchange("ci.example.com", origin(value)))


def test_none_and_several() -> None:
    right = origin("https://ci.example.com")
    assert not accepts(exchange("ci.example.com"))
    assert not accepts(exchange("ci.example.com", right, right))


def test_old_clients_say_http_and_have_no_cookie() -> None:
    old = origin("http://ci.example.com")
    assert accepts(exchange("ci.example.com", old))
    assert not accepts(exchange("ci.example.com", old, COOKIE))
    assert accepts(exchange("ci.example.com:8443", origin("http://ci.example.com:8443")))
    assert accepts(exchange("ci.example.com:443", origin("http://ci.example.com:443")))
    # Behind an ingress that ends TLS and is not trusted to say so.
    assert accepts(exchange("ci.example.com", origin("https://ci.example.com"), scheme="http"))
    assert accepts(exchange("ci.example.com", origin("https://ci.example.com"), COOKIE))


@pytest.mark.parametrize(
    ("route", "host", "expected"),
    [
        ("*", "127.0.0.1:8080", True),
        ("*", "[::1]:8080", True),
        ("*", "localhost", True),
        ("*", "rebound.attacker.example", False),
        ("*.example.com", "ci.example.com", True),
        ("*.example.com", "a.b.example.com", True),
    ],
)
def test_an_address_counts_if_nobody_else_can_have_it(
    route: str, host: str, expected: bool
) -> None:
    made = exchange(host, origin(f"http://{host}"), route=route, scheme="http", port=80)
    assert accepts(made) is expected


def test_what_is_configured_counts_wherever_the_client_came_by() -> None:
    ours = origin("https://ci.example.com")
    assert not accepts(exchange("any.test", ours, route="*"))
    assert accepts(exchange("any.test", ours, route="*", jenkins_url="https://ci.example.com/j/"))
    cli = {"origins": ["https://ci.example.com"]}
    assert accepts(exchange("any.test", ours, route="*", cli=cli))


def test_a_trusted_proxy_says_what_the_client_used() -> None:
    fields = [
        (b"X-Forwarded-Host", b"ci.example.com"),
        (b"X-Forwarded-Proto", b"https"),
        origin("https://ci.example.com"),
        COOKIE,
    ]
    trusted = ("192.0.2.0/24",)
    assert accepts(exchange("ci.example.com", *fields, scheme="http", trusted=trusted))
    assert not accepts(exchange("ci.example.com", *fields, scheme="http"))
    # It also passes on whatever host a stranger claims.
    fields[0] = (b"X-Forwarded-Host", b"evil.example")
    fields[2] = origin("https://evil.example")
    assert not accepts(exchange("ci.example.com", *fields, scheme="http", trusted=trusted))


def sent(made: Exchange) -> bytes:
    return outgoing_origin(made, made.match.controller)


def test_the_controller_is_sent_the_origin_of_its_own_url() -> None:
    old = origin("http://ci.example.com")
    url = "https://jenkins.example.com:8443/jenkins/"
    assert sent(exchange("ci.example.com", old, jenkins_url=url)) == (
        b"https://jenkins.example.com:8443"
    )
    # Never that of ``url``, and in the scheme that was used.
    assert sent(exchange("ci.example.com", old)) == b"https://ci.example.com"
    assert sent(exchange("ci.example.com:8443", old)) == b"https://ci.example.com:8443"
    assert sent(exchange("[::1]:80", old, route="*", scheme="http")) == b"http://[::1]"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"https://a", Origin("https", "a", 443)),
        (b"HTTP://A.B:81", Origin("http", "a.b", 81)),
        (b"http://[::1]:80", Origin("http", "::1", 80)),
        (b"http://a:80x", None),
        (b"null", None),
    ],
)
def test_parsing(value: bytes, expected: Origin | None) -> None:
    assert Origin.parse(value) == expected
