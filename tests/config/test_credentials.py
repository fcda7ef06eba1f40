"""Tests of ``gateway.config.credentials``: defaults, and what each key allows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config.credentials import (
    ClientCertificateCondition,
    CredentialsConfig,
    JenkinsHomeConfig,
    LockoutConfig,
    NodeRule,
    NodesConfig,
)
from gateway.config.models import GatewayConfig
from gateway.config.values import FileContext

CONTEXT = FileContext(Path("/etc/gateway"))


def test_defaults() -> None:
    assert CredentialsConfig().modes == ("controller",)
    assert NodesConfig() == NodesConfig(rules=(), unlisted="allow")
    lockout = LockoutConfig()
    assert (lockout.per_node, lockout.per_address, lockout.per_address_total) == (5, 50, 500)
    assert (lockout.window, lockout.first, lockout.longest) == (60.0, 60.0, 900.0)


def test_the_source_of_jenkins_secrets() -> None:
    found = CredentialsConfig.model_validate({"jenkins_secrets": "main.secrets"}, context=CONTEXT)
    assert found.jenkins_secrets == Path("/etc/gateway/main.secrets")
    found = CredentialsConfig.model_validate(
        {"jenkins_secrets": {"jenkins_home": "/var/jenkins", "master_key": "mk"}}, context=CONTEXT
    )
    assert found.jenkins_secrets == JenkinsHomeConfig(
        jenkins_home=Path("/var/jenkins"), master_key=Path("/etc/gateway/mk")
    )


def test_certificates() -> None:
    condition = ClientCertificateCondition(by="san")
    assert condition.expected("a{b}") == "a{b}"
    condition = ClientCertificateCondition(by="san", name="{node}.x")
    assert condition.expected("a") == "a.x"


def test_times() -> None:
    rule = NodeRule.model_validate(
        {"match": "*", "valid_until": "2026-12-31T18:00:00+01:00"}, context=CONTEXT
    )
    assert rule.valid_until == datetime(2026, 12, 31, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"match": ""}, "allowed: a node name"),
        ({"match": "a**"}, "allowed: a node name"),
        ({"match": "a\n"}, "allowed: a node name"),
        ({"match": "*", "valid_until": "2026-12-31T18:00:00"}, "allowed: a time with its offset"),
        ({"match": "*", "valid_until": "tomorrow"}, "allowed: a time with its offset"),
        ({"match": "*", "valid_from": "0001-01-01T00:00:00+12:00"}, "allowed: a time with its"),
        ({"match": "*", "valid_until": "9999-12-31T23:59:59-12:00"}, "allowed: a time with its"),
        ({"match": "*", "valid_until": 5}, "allowed: a time with its offset"),
        (
            {
                "match": "*",
                "valid_from": "2026-01-02T00:00:00Z",
                "valid_until": "2026-01-01T00:00:00Z",
            },
            "valid_until after valid_from",
        ),
        ({"match": "*", "allow_from": ["10.0.0.1/8"]}, "without host bits"),
        ({"match": "*", "client_certificate": {"by": "issuer"}}, "subject"),
    ],
)
def test_what_is_wrong(value: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        NodeRule.model_validate(value, context=CONTEXT)


def test_it_survives_the_way_to_a_worker(tmp_path: Path) -> None:
    config = GatewayConfig.model_validate(
        {
            "state_dir": str(tmp_path),
            "listeners": [{"address": "127.0.0.1:0"}],
            "controllers": {
                "main": {
                    "url": "http://127.0.0.1/",
                    "credentials": {
                        "modes": ["nodes"],
                        "jenkins_secrets": {"jenkins_home": str(tmp_path)},
                    },
                }
            },
            "nodes": {
                "rules": [
                    {
                        "match": "*",
                        "allow_from": ["10.0.0.0/8"],
                        "valid_until": "2026-01-01T00:00:00Z",
                    }
                ]
            },
        }
    )
    assert GatewayConfig.model_validate(config.model_dump(mode="json")) == config
    assert config.store_key_file == tmp_path / "store.key"
