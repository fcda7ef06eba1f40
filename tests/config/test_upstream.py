"""Defaults and single-key rules of the way to a controller."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config.models import ControllerConfig, RouteConfig
from gateway.config.upstream import (
    ConnectionsConfig,
    ControllerTlsConfig,
    EjectionConfig,
    HealthCheckConfig,
)
from gateway.config.values import Address


def test_defaults() -> None:
    controller = ControllerConfig.model_validate({"url": "https://jenkins.lan/"})
    assert controller.addresses == ()
    assert controller.tls is None
    assert controller.health_check is None
    assert controller.ejection == EjectionConfig(failures=5, duration=30)
    assert controller.connections == ConnectionsConfig(
        connect_timeout=5, idle_timeout=20, limit=256, per_client=None
    )
    assert controller.connections.most_per_client == 64
    assert ConnectionsConfig(limit=1).most_per_client == 8
    assert ConnectionsConfig(limit=1000, per_client=900).most_per_client == 900
    assert ControllerTlsConfig() == ControllerTlsConfig(
        ca_file=None, verify_name=True, server_name=None, client_certificate=None
    )
    assert HealthCheckConfig() == HealthCheckConfig(
        path=None, interval=10, timeout=5, rise=2, fall=3
    )
    route = RouteConfig(id="a", controller="main")
    assert (route.response_timeout, route.minimum_body_rate) == (90, 240)


def test_addresses_are_read() -> None:
    controller = ControllerConfig.model_validate(
        {"url": "http://a/", "addresses": ["10.0.0.1:8080", "[::1]:80"]}
    )
    assert controller.addresses == (Address("10.0.0.1", 8080), Address("::1", 80))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"connections": {"idle_timeout": "30s"}}, "less than 30s"),
        ({"connections": {"limit": 0}}, "greater than or equal to 1"),
        ({"connections": {"per_client": 0}}, "greater than or equal to 1"),
        ({"tls": {"server_name": "https://x"}}, "a host name"),
        ({"tls": {"verify_name": "no"}}, "boolean"),
        ({"health_check": {"path": "login"}}, "pattern"),
        ({"health_check": {"rise": 0}}, "greater than or equal to 1"),
        ({"ejection": {"failures": 0}}, "greater than or equal to 1"),
        ({"addresses": ["jenkins.lan"]}, "host:port"),
    ],
)
def test_what_is_refused(value: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        ControllerConfig.model_validate({"url": "https://a/", **value})
