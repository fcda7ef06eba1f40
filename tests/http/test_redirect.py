"""Where people are sent, and who is not. Over real listeners: ``tests/server``."""

from __future__ import annotations

from typing import cast

import pytest

from gateway.config.models import GatewayConfig
from gateway.errors import RemoteProtocolError
from gateway.http.exchange import Exchange
from gateway.http.forwarding import ProxyTrust
from gateway.http.redirect import https_location
from gateway.http.router import Router
from gateway.protocol.http_head import RequestHead
from gateway.protocol.http_headers import Field, Headers

JAVA: Field = (b"User-Agent", b"Java/17")
HOST: Field = (b"Host", b"ci.example.com:8080")


class _Exchange:
    """What redirecting looks at."""

    def __init__(self, redirect: object, target: bytes, fields: tuple[Field, ...]) -> None:
        config = GatewayConfig.model_validate(
            {
                "state_dir": "/nowhere",
                "listeners": [{"address": "127.0.0.1:8080", "redirect_to_https": redirect}],
                "controllers": {"main": {"url": "http://jenkins.test/"}},
                "trusted_proxies": ["10.0.0.1"],
            }
        )
        self.listener = config.listeners[0]
        self.request = RequestHead(b"GET", target, b"1.1", Headers(fields))
        self.match = Router(config).match(b"a", target)
        trust = ProxyTrust(config.trusted_proxies, "10.0.0.1", scheme="http", port=8080)
        self.provenance = trust.provenance(self.request)
        self.scheme = self.provenance.scheme


def location(redirect: object, target: bytes, *fields: Field) -> bytes | None:
    return https_location(cast("Exchange", _Exchange(redirect, target, fields or (HOST,))))


@pytest.mark.parametrize(
    ("redirect", "target", "fields", "expected"),
    [
        (None, b"/", (), None),
        (False, b"/", (), None),
        (True, b"/a?b", (), b"https://ci.example.com/a?b"),
        (443, b"/", (), b"https://ci.example.com/"),
        (8443, b"/", (), b"https://ci.example.com:8443/"),
        (True, b"*", (), b"https://ci.example.com/"),
        (8443, b"/", ((b"Host", b"[2001:db8::1]:8080"),), b"https://[2001:db8::1]:8443/"),
        (True, b"/", (HOST, (b"X-Forwarded-Host", b"public:81")), b"https://public/"),
        (True, b"/", (HOST, (b"X-Forwarded-Proto", b"https")), None),
        (True, b"/login", (), b"https://ci.example.com/login"),
        (True, b"/login", (HOST, JAVA), None),
        (True, b"/wsagents/", (), None),
        (True, b"/tcpSlaveAgentListener/", (), None),
        (True, b"/jnlpJars/agent.jar", (), None),
        (True, b"/computer/a/slave-agent.jnlp", (), None),
        (
            True,
            b"/jnlpJars/jenkins-cli.jar",
            (),
            b"https://ci.example.com/jnlpJars/jenkins-cli.jar",
        ),
    ],
)
def test_locations(
    redirect: object, target: bytes, fields: tuple[Field, ...], expected: bytes | None
) -> None:
    assert location(redirect, target, *fields) == expected


def test_without_a_host_nobody_knows_where() -> None:
    with pytest.raises(RemoteProtocolError, match="use https"):
        location(True, b"/", JAVA)
    assert location(True, b"/wsagents/", JAVA) is None
