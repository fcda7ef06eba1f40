"""Answers and problems as they go out."""

from __future__ import annotations

import json

from gateway.server.admin.messages import PROBLEM, Answer, Problem


def test_json_is_ascii() -> None:
    body = Answer.json({"node": "‮\x1b<b>"}).body
    assert body.isascii()
    assert b"\x1b" not in body
    assert json.loads(body) == {"node": "‮\x1b<b>"}


def test_a_page_may_bring_a_policy_of_its_own() -> None:
    own = (b"Content-Security-Policy", b"default-src 'self'")
    fields = Answer(content_type="text/html", body=b"x", headers=(own,)).fields
    assert [each for each in fields if each[0] == own[0]] == [own]
    assert (b"Cache-Control", b"no-store") in fields


def test_a_problem() -> None:
    answer = Problem(409, "conflict", "not now", more={"since": 1}).answer("ab-cd")
    assert (answer.status, answer.content_type) == (409, PROBLEM)
    assert json.loads(answer.body) == {
        "type": "urn:remoting-gateway:problem:conflict",
        "title": "Conflict",
        "status": 409,
        "detail": "not now",
        "instance": "urn:remoting-gateway:request:ab-cd",
        "since": 1,
    }
