"""Which changes a running gateway takes over, and how the others are named."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.models import GatewayConfig
from gateway.config.reloadable import changes_that_need_a_restart

TLS = {"certificates": [{"certificate": "/a.crt", "key": "/a.key"}]}
OTHER_TLS = {"certificates": [{"certificate": "/b.crt", "key": "/b.key"}], "minimum_version": "1.3"}


def make(**changes: Any) -> GatewayConfig:
    return GatewayConfig.model_validate(
        {
            "state_dir": "/state",
            "listeners": [{"address": "127.0.0.1:1", "tls": TLS}, {"address": "127.0.0.1:2"}],
            "controllers": {"main": {"url": "http://jenkins.test/"}},
            **changes,
        }
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"controllers": {"other": {"url": "http://elsewhere.test/"}}},
        {"trusted_proxies": ["10.0.0.0/8"], "access_log": "off", "limits": {"connections": 1}},
        {"admin": {"token": "0123456789abcdef", "hosts": ["a.lan"], "connections": 5}},
        {
            "listeners": [
                {"address": "127.0.0.1:1", "tls": OTHER_TLS},
                {"address": "127.0.0.1:2", "plain_agents": True, "redirect_to_https": 1},
            ]
        },
    ],
)
def test_most_keys_may_change(changes: dict[str, Any]) -> None:
    assert changes_that_need_a_restart(make(), make(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"state_dir": "/elsewhere"}, ["state_dir: /elsewhere instead of /state"]),
        ({"workers": "auto"}, ["workers: auto instead of 1"]),
        (
            {"admin": {"listen": "127.0.0.1:3", "tls": TLS}},
            ["admin.listen: 127.0.0.1:3 instead of unix", "admin.tls: on instead of off"],
        ),
        (
            {"listeners": [{"address": "127.0.0.1:1", "tls": TLS}]},
            ["listeners: 1 instead of 2"],
        ),
        (
            {"listeners": [{"address": "127.0.0.1:2"}, {"address": "127.0.0.1:1", "tls": TLS}]},
            [
                "listeners[0].address: 127.0.0.1:2 instead of 127.0.0.1:1",
                "listeners[0].tls: off instead of on",
                "listeners[1].address: 127.0.0.1:1 instead of 127.0.0.1:2",
                "listeners[1].tls: on instead of off",
            ],
        ),
    ],
)
def test_what_needs_a_restart_is_named(changes: dict[str, Any], named: list[str]) -> None:
    assert changes_that_need_a_restart(make(), make(**changes)) == named
