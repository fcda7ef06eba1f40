"""From the configuration to what connections are held to."""

from __future__ import annotations

from gateway.config.limits import LimitsConfig
from gateway.http.client_limits import ClientLimits
from gateway.protocol.http_head import HeadLimits


def test_the_defaults_are_the_same_in_both_places() -> None:
    assert ClientLimits.of(LimitsConfig()) == ClientLimits()


def test_every_key_arrives() -> None:
    config = LimitsConfig(
        head=2000,
        request_line=1000,
        header_fields=20,
        head_warning=3000,
        head_timeout=1.0,
        body=5,
        body_timeout=2.0,
        idle_timeout=3.0,
        send_timeout=4.0,
        linger_timeout=5.5,
        linger_time=6.0,
    )
    assert ClientLimits.of(config) == ClientLimits(
        head=HeadLimits(total=2000, line=1000, fields=20),
        head_warning=3000,
        head_timeout=1.0,
        body=5,
        body_timeout=2.0,
        idle_timeout=3.0,
        send_timeout=4.0,
        linger_timeout=5.5,
        linger_time=6.0,
    )
