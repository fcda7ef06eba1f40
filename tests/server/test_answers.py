"""A worker's answers to operators; with real sessions in ``test_admin_processes``."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.agents.blocks import Block
from gateway.agents.discovery import AgentPort
from gateway.agents.registry import Entry, NodeSession, Registry
from gateway.agents.transport import Choice, Transport
from gateway.config.values import Address
from gateway.errors import Blocked, ControllerTimeout
from gateway.runtime.session_end import SessionEnd, Side
from gateway.server.answers import Answers
from gateway.server.generation import Generation, Lasting
from tests.server.workers import make_config


class PlayedSession:
    """A session that remembers how it was ended."""

    def __init__(self) -> None:
        self.ended: SessionEnd | None = None

    @property
    def is_running(self) -> bool:
        return self.ended is None

    def end(self, end: SessionEnd) -> None:
        self.ended = end


class Rig:
    def __init__(self, folder: Path) -> None:
        config = make_config(folder)
        self.lasting = Lasting(config, fetch=cast("Any", None), workers=1)
        generation = Generation(config, self.lasting)
        self.answers = Answers(self.lasting, lambda: generation)
        self.given_up: list[tuple[str, str]] = []

    def session(self, node: str, controller: str = "main") -> PlayedSession:
        made = PlayedSession()
        entry = Entry(cast("NodeSession", made), f"s-{node}", controller, node, "192.0.2.1")
        self.lasting.registry._sessions[cast("NodeSession", made)] = entry
        return made


def test_ending(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    a, b, other = rig.session("a"), rig.session("b"), rig.session("a", "other")
    more = {"reason": "why", "close_code": 4000}
    answer = rig.answers.answer("end", {"node": "a", "controller": "main", **more})
    assert answer is not None
    assert [each["session"] for each in answer["ended"]] == ["s-a"]
    assert a.ended is not None
    assert (a.ended.side, a.ended.close_code) == (Side.GATEWAY, 4000)
    assert a.ended.reason == "ended by an operator: why"
    assert b.ended is other.ended is None
    assert rig.answers.answer("end", {"node": "a", "controller": "main", **more}) == {"ended": []}
    rig.answers.answer("end", {"session": "s-b", "takeover": True, "reason": "wanted"})
    assert b.ended is not None
    assert b.ended.reason == "taken over by an operator"


@pytest.mark.parametrize("message", [{}, {"controller": "main"}, {"node": None}])
def test_a_question_that_means_everybody_means_nobody(
    tmp_path: Path, message: dict[str, Any]
) -> None:
    rig = Rig(tmp_path)
    session = rig.session("a")
    assert rig.answers.answer("end", {"reason": "", "close_code": 1008, **message}) == {"ended": []}
    assert session.ended is None


def test_settings(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    settings = {"blocks": [Block("a").in_words()], "log_level": None}
    assert rig.answers.answer("settings", {"settings": settings}) == {"taken": True}
    with pytest.raises(Blocked):
        rig.lasting.blocks.check("main", "a")


@pytest.mark.parametrize("message", [{}, {"settings": {"blocks": [{}]}}, {"settings": 1}])
def test_what_is_not_understood(tmp_path: Path, message: dict[str, Any]) -> None:
    answer = Rig(tmp_path).answers.answer("settings", message)
    assert answer is not None
    assert set(answer) == {"error"} or "not understood" in answer["error"]


async def test_controllers(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.session("a")
    answer = rig.answers.answer("controllers", {})
    assert answer is not None
    main = answer["controllers"]["main"]
    assert main["sessions"] == 1
    assert main["addresses"] == [
        {"address": "127.0.0.1:9", "up": True, "ejected": False, "failures": 0}
    ]
    assert main["transport"] is main["agent_port"] is None
    lasting = cast("Any", rig.lasting)
    choice = Choice(Transport.JNLP4, "it is offered")
    lasting.transports = SimpleNamespace(known=lambda name: choice)
    port = AgentPort(Address("127.0.0.1", 50000), None, False, "3.0")
    lasting.discovery = SimpleNamespace(known=lambda name: port)
    main = (rig.answers.answer("controllers", {}) or {})["controllers"]["main"]
    assert main["transport"] == {"transport": "jnlp4", "reason": "it is offered"}
    assert main["agent_port"]["address"] == "127.0.0.1:50000"
    failure = ControllerTimeout(detail="nothing for 5 s")
    lasting.transports = lasting.discovery = SimpleNamespace(known=lambda name: failure)
    main = (rig.answers.answer("controllers", {}) or {})["controllers"]["main"]
    assert main["agent_port"] == {"address": None, "reason": "nothing for 5 s"}


def test_the_rest(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    assert rig.answers.answer("fingerprints", {}) == {"findings": []}
    assert rig.answers.answer("nonsense", {}) is None
    assert isinstance(rig.lasting.registry, Registry)
