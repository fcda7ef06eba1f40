"""The keys of ``controllers.NAME.cli``."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config.cli import CliConfig, PortRewrite


def test_defaults_change_nothing() -> None:
    config = CliConfig()
    assert (config.transport, config.ssh_endpoint, config.tcp_ports) == ("auto", "pass", "pass")
    assert not config.inspects


@pytest.mark.parametrize("keys", [{"policy": {}}, {"audit": "commands"}, {"audit": "arguments"}])
def test_what_needs_commands_to_be_read(keys: dict[str, Any]) -> None:
    assert CliConfig.model_validate(keys).inspects


def test_a_rewrite() -> None:
    there = {"host": "gw.example.com", "port": 22}
    config = CliConfig.model_validate({"ssh_endpoint": there})
    assert config.ssh_endpoint == PortRewrite(host="gw.example.com", port=22)
    assert CliConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"transport": "ssh"}, "'auto', 'websocket' or 'http'"),
        ({"ssh_endpoint": {"host": "::1", "port": 22}}, "IPv6"),
        ({"ssh_endpoint": {"host": "a", "port": 0}}, "greater than or equal to 1"),
        ({"tcp_ports": "hide"}, "'pass' or 'drop'"),
        ({"origins": ["https://ci.example.com/jenkins"]}, "without path"),
        ({"origins": ["*"]}, "http or https URL"),
        ({"policy": {"deny": [""]}}, "name of a command"),
        ({"policy": {"allow": ["a b"]}}, "name of a command"),
        ({"policy": {"users": {" ": {}}}}, "name of a user"),
        ({"policy": {"users": {"a:b": {}}}}, "name of a user"),
        ({"policy": {"file_arguments": "deny"}}, "'pass' or 'refuse'"),
        ({"audit": "all"}, "'off', 'commands' or 'arguments'"),
        ({"polcy": {}}, "Extra inputs"),
    ],
)
def test_what_is_refused(keys: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        CliConfig.model_validate(keys)
