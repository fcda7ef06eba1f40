"""The rules across the keys of the CLI."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.checks import Findings
from gateway.config.cli_checks import check_cli
from gateway.config.models import GatewayConfig


def found(cli: dict[str, Any], **controller: Any) -> Findings:
    keys = {"url": "http://127.0.0.1:9/", "cli": cli, **controller}
    config = GatewayConfig.model_validate(
        {
            "state_dir": "/nowhere",
            "listeners": [{"address": "127.0.0.1:1"}],
            "controllers": {"main": keys},
        }
    )
    findings = Findings()
    check_cli(config, findings)
    return findings


@pytest.mark.parametrize("keys", [{}, {"transport": "websocket"}, {"policy": {"deny": ["groovy"]}}])
def test_nothing_to_say(keys: dict[str, Any]) -> None:
    findings = found(keys)
    assert (findings.errors, findings.warnings) == ([], [])


@pytest.mark.parametrize(
    ("keys", "why"), [({"policy": {"deny": ["x"]}}, "policy"), ({"audit": "commands"}, "audit")]
)
def test_a_websocket_cannot_be_judged(keys: dict[str, Any], why: str) -> None:
    (error,) = found({"transport": "websocket", **keys}).errors
    assert error.location == ("controllers", "main", "cli", "transport")
    assert f"together with {why}; allowed: auto or http" in error.text


def test_a_policy_that_refuses_nothing() -> None:
    (warning,) = found({"policy": {}}).warnings
    assert warning.text.startswith("it refuses nothing")
    assert not found({"policy": {"users": {"bob": {"deny": ["x"]}}}}).warnings


def test_a_user_twice() -> None:
    errors = found({"policy": {"deny": ["x"], "users": {"Bob": {}, "bob": {}}}}).errors
    assert [error.location[-1] for error in errors] == ["Bob", "bob"]


def test_without_url() -> None:
    (error,) = found({}, url=None).errors
    assert error.text == "allowed: only for a controller with url"
