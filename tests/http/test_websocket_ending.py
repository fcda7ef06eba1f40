"""How sessions end, and what either side is told."""

from __future__ import annotations

import pytest

from gateway.errors import ControllerClosed, Draining, PeerLost, TakenOver
from gateway.http.websocket_ending import closed_by, explain, farewell
from gateway.runtime.session_end import SessionEnd, Side


@pytest.mark.parametrize(
    ("code", "shown", "said"),
    [
        (None, 1000, "the client closed the session without a code"),
        (4001, 4001, "the client closed the session with 4001"),
        (1006, 1000, "the client closed the session with 1006"),  # never on the wire
    ],
)
def test_a_close_frame(code: int | None, shown: int, said: str) -> None:
    end = closed_by(Side.CLIENT, code)
    assert (end.close_code, end.reason, end.level) == (shown, said, "info")


def test_a_server_leaves_where_a_client_would_be_told_more() -> None:
    end = SessionEnd.of(Side.GATEWAY, Draining())
    assert farewell(end, Side.AGENT)[2:4] == (1012).to_bytes(2, "big")
    assert farewell(end, Side.CONTROLLER)[2:4] == (1001).to_bytes(2, "big")
    taken = SessionEnd.of(Side.GATEWAY, TakenOver(detail="192.0.2.1"))
    assert farewell(taken, Side.AGENT)[2:4] == (1008).to_bytes(2, "big")
    assert farewell(taken, Side.CONTROLLER)[2:4] == (1001).to_bytes(2, "big")


def test_words_for_a_client_have_no_details() -> None:
    lost = SessionEnd.of(Side.CONTROLLER, PeerLost(detail="10.0.0.7: reset"))
    assert explain(lost) == "the connection to the controller was lost"
    closed = SessionEnd.of(Side.CONTROLLER, ControllerClosed("secret"))
    assert explain(closed) == "the connection to the controller was lost"
    assert explain(SessionEnd.of(Side.GATEWAY, Draining(detail="x"))) == Draining.default_public
