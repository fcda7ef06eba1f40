"""No secret is in what is shown, and nothing else is hidden."""

from __future__ import annotations

import json

from gateway.config.masked import masked
from gateway.config.models import GatewayConfig

TOKEN = "a-token-nobody-may-see"


def test_secrets_are_masked_and_the_rest_is_as_in_the_file() -> None:
    config = GatewayConfig.model_validate(
        {
            "state_dir": "/state",
            "listeners": [{"address": "127.0.0.1:8080"}],
            "controllers": {"main": {"url": "http://127.0.0.1:9/"}},
            "admin": {"token": TOKEN},
        }
    )
    found = masked(config)
    assert TOKEN not in json.dumps(found)
    assert found["admin"]["token"] == "***"
    shown, written = {**found}, config.model_dump(mode="json")
    shown["admin"] = {**found["admin"], "token": TOKEN}
    assert shown == written
    assert found["agents"]["keepalive"]["interval"] == "20s"
