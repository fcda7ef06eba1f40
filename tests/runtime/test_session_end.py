"""Tests of ``gateway.runtime.session_end``."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.errors import (
    OUTCOMES,
    ControllerClosed,
    Draining,
    GatewayError,
    IdentityMismatch,
    PeerLost,
    RemoteProtocolError,
    Stalled,
    UnsupportedMessage,
)
from gateway.runtime.session_end import SessionEnd, Side


@pytest.mark.parametrize(
    ("error", "code", "level"),
    [
        (ControllerClosed(), 1000, "info"),
        (PeerLost(), 1011, "warning"),
        (Stalled(), 1011, "warning"),
        (Draining(), 1012, "info"),
        (RemoteProtocolError(close_hint=1007), 1007, "info"),
        (UnsupportedMessage(), 1003, "info"),
        (ValueError("bug"), 1011, "error"),
    ],
)
def test_an_error_becomes_an_end_by_the_table(error: Exception, code: int, level: str) -> None:
    end = SessionEnd.of(Side.CONTROLLER, error)
    assert (end.side, end.close_code, end.level) == (Side.CONTROLLER, code, level)
    assert end.error is error


@pytest.mark.parametrize("cls", OUTCOMES)
def test_every_error_can_end_a_session(cls: type[GatewayError]) -> None:
    """Some cannot happen after 101; if one does, the agent still gets a code that may be sent."""
    assert 1000 <= SessionEnd.of(Side.GATEWAY, cls()).close_code <= 1014


def test_the_reason_is_for_the_log() -> None:
    """A gateway's error with its detail; of anything else only that it was internal."""
    assert (
        SessionEnd.of(Side.AGENT, PeerLost(detail="reset")).reason
        == "the connection was lost: reset"
    )
    assert SessionEnd.of(Side.GATEWAY, KeyError("secret")).reason == "internal error"
    assert SessionEnd.of(Side.AGENT, IdentityMismatch("other key")).reason == "other key"


def test_an_end_is_a_value() -> None:
    end = SessionEnd(Side.AGENT, "the agent closed the session with 1000", 1000, "info")
    assert end.error is None
    assert end == SessionEnd(Side.AGENT, "the agent closed the session with 1000", 1000, "info")
    with pytest.raises(dataclasses.FrozenInstanceError):
        end.close_code = 1001  # type: ignore[misc]
