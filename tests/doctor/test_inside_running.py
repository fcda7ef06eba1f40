from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.doctor.causes import Cause
from gateway.doctor.findings import Severity
from gateway.doctor.inside_running import check_running, reason_of_refusal
from gateway.errors import ConfigError
from gateway.observability.idle_fingerprint import Cut, Fingerprints, Leg
from tests.doctor.test_inside import causes, loaded

SERVING = {"state": "serving", "ready": True}


def answering(monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, Any]) -> list[Any]:
    """Have a gateway answer; return where its questions are kept."""
    asked: list[Any] = []

    async def ask(_: Path, question: Mapping[str, Any], *, within: float) -> Any:
        asked.append(question)
        answer = answers.get(question["do"], {"ok": False, "reason": "not known"})
        if isinstance(answer, Exception):
            raise answer
        return {"ok": True, **answer}

    monkeypatch.setattr("gateway.doctor.inside_running.ask", ask)
    return asked


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({**SERVING, "last_reload": {"ok": False, "reason": "line 3"}}, "the last reload failed"),
        ({"state": "recovering", "ready": False}, "it is recovering"),
    ],
)
async def test_what_a_running_gateway_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: dict[str, Any], words: str
) -> None:
    answering(monkeypatch, {"status": {"status": status}})
    inside, _ = await loaded(tmp_path)
    (found,) = await check_running(inside)
    assert found.cause is Cause.GATEWAY_TROUBLE
    assert words in found.title


async def test_a_gateway_that_answers_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = ConfigError("did not answer")
    answers = {"status": {"status": SERVING}, "fingerprints": silent, "blocks": silent}
    answering(monkeypatch, answers)
    inside, _ = await loaded(tmp_path)
    inside.node = "a"
    assert await check_running(inside) == []
    assert await reason_of_refusal(inside) is None


async def test_idle_timers_that_the_gateway_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fed with what the gateway itself would claim: the words of the two must fit."""
    paths = Fingerprints()
    for number in range(20):
        at = number * 1000.0
        paths.record(Cut("main", Leg.AGENT, "192.0.2.7", at, 900.0 + at, 60.2, 60.3, 90.0, 0.01))
    items = [each.as_fields() for each in paths.findings(20000.0)]
    answering(monkeypatch, {"status": {"status": SERVING}, "fingerprints": {"items": items}})
    inside, _ = await loaded(tmp_path)
    (found,) = await check_running(inside)
    assert (found.cause, found.severity) == (Cause.IDLE_CUT, Severity.WARNING)
    assert "60 s cuts sessions" in found.title
    assert "192.0.2.7" in found.title
    assert "20 of 20 cut sessions" in found.seen[0]
    assert found.remedy == "Set agents.keepalive.interval to 20s, or raise it."


async def test_a_node_that_is_blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [
        {"node": "b", "controller": None},
        {"node": "a", "controller": "main", "until": None, "reason": "moved"},
    ]
    answering(monkeypatch, {"status": {"status": SERVING}, "blocks": {"items": blocks}})
    inside, _ = await loaded(tmp_path)
    assert await check_running(inside) == []
    inside.node = "a"
    (found,) = await check_running(inside)
    assert causes([found]) == [Cause.NODE_BLOCKED]
    assert found.remedy.endswith("remoting-gateway unblock a --controller main")
    assert "moved" in found.seen[0]


async def test_the_gateways_own_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [
        {"event": "refused", "reason": "not authorized: an old one"},
        {"event": "refused", "reason": "not authorized: not in allow_from of route main"},
        {"event": "opened"},
    ]
    asked = answering(monkeypatch, {"status": {"status": SERVING}, "timeline": {"items": events}})
    inside, _ = await loaded(tmp_path)
    inside.node = "a"
    assert await reason_of_refusal(inside) is None  # nobody runs, as far as is known
    await check_running(inside)
    assert "not in allow_from" in str(await reason_of_refusal(inside))
    assert {"do": "timeline", "node": "a"} in asked
