"""Tests of ``gateway.runtime.session_view``: the names that programs rely on."""

from __future__ import annotations

import dataclasses

from gateway.runtime.session_view import SessionView

VIEW = SessionView("jnlp4", "192.0.2.9:50000", 61.23456, 0.5, 1.0, 10, 20, 0.01234, 3)


def test_fields() -> None:
    assert VIEW.as_fields() == {
        "transport": "jnlp4",
        "controller_address": "192.0.2.9:50000",
        "age_s": 61.235,
        "agent_idle_s": 0.5,
        "controller_idle_s": 1.0,
        "bytes_from_agent": 10,
        "bytes_to_agent": 20,
        "round_trip_ms": 12.3,
        "config_generation": 3,
    }


def test_before_the_first_ping() -> None:
    assert dataclasses.replace(VIEW, round_trip=None).as_fields()["round_trip_ms"] is None
