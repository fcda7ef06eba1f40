"""Keys that mean nothing with a transport, and secrets that nothing protects."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.config.checks import check
from gateway.config.document import format_location
from gateway.config.models import GatewayConfig
from tests.config.certificates import NOW, rsa_key, spki

_IDENTITY = base64.b64encode(spki(rsa_key().public_key())).decode()


def told(
    url: str | None = "https://jenkins.lan/", addresses: Sequence[str] = (), **agents: Any
) -> tuple[list[str], ...]:
    """Return errors and warnings about a controller's agents."""
    data = {
        "listeners": [{"address": "127.0.0.1:8080"}],
        "controllers": {"main": {"url": url, "addresses": addresses, "agents": agents}},
    }
    findings = check(GatewayConfig.model_validate(data), now=NOW)
    return tuple(
        [
            f"{format_location(each.location)}: {each.text}".removeprefix("controllers.main.")
            for each in problems
            if each.location[0] == "controllers" and "agents" in each.location
        ]
        for problems in (findings.errors, findings.warnings)
    )


@pytest.mark.parametrize("transport", ["auto", "jnlp4", "websocket"])
def test_all_is_well(transport: str) -> None:
    assert told(transport=transport) == ([], [])


@pytest.mark.parametrize("transport", ["auto", "jnlp4"])
def test_the_agent_port_may_be_described(transport: str) -> None:
    more = {"address": "h:50000", "chunks_per_message": "one", "protocol": "JNLP4-connect"}
    assert told(transport=transport, **more) == ([], [])


@pytest.mark.parametrize(
    "more",
    [
        {"address": "h:50000"},
        {"protocol": "JNLP4-connect"},
        {"allow_plaintext": True},
        {"identity": "discover"},
        {"chunks_per_message": "one"},
    ],
)
def test_a_websocket_has_no_agent_port(more: dict[str, Any]) -> None:
    (error,), _ = told(transport="websocket", **more)
    assert error == (
        f"agents.{next(iter(more))}: allowed: only with transport: jnlp4 or auto, since it is about"
        " the TCP agent port. Remove it."
    )


def test_a_websocket_needs_a_url() -> None:
    (error,), _ = told(None, transport="websocket")
    assert error.startswith('agents.transport: found "websocket"; allowed: only for a controller')


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://jenkins.lan/", True),
        ("http://127.0.0.1:8080/", False),
        ("http://127.3.2.1/", False),
        ("http://[::1]/", False),
        ("http://localhost/", False),
        ("https://a/", False),
    ],
)
@pytest.mark.parametrize("transport", ["auto", "websocket", "jnlp4"])
def test_secrets_over_plain_http(url: str, transport: str, *, warned: bool) -> None:
    errors, warnings = told(url, transport=transport)
    assert errors == []
    warned = warned and transport != "jnlp4"
    assert [each.partition(":")[0] for each in warnings] == ["agents.transport"] * warned


def test_auto_keeps_a_key_that_is_configured() -> None:
    assert told("http://jenkins.lan/", identity=_IDENTITY) == ([], [])


def test_addresses_are_where_it_goes() -> None:
    _, (warning,) = told("http://localhost/", addresses=["10.0.0.1:80"])
    assert warning.startswith("agents.transport: where the agent port cannot be used, auto goes on")
