from __future__ import annotations

from pathlib import Path

from gateway.config.values import Secret
from gateway.demo.agent_http import Answer, Target
from gateway.doctor.exchange_text import answer_lines, curl_command, request_lines
from gateway.doctor.question import Question
from gateway.doctor.websocket import agent_request

SECRET = "5ec7e7" * 10
QUESTION = Question(Target("https", "ci", 443, "/x/"), "it's", Secret(SECRET), ca_file=Path("a b"))


def test_no_secret_is_shown() -> None:
    request = agent_request(
        QUESTION, "k", node="a", secret=SECRET, extra=[("Authorization", "Basic x")]
    )
    lines = request_lines(request)
    assert lines[0] == "GET /x/wsagents/ HTTP/1.1"
    assert "Secret-Key: ***" in lines
    assert "Authorization: ***" in lines
    assert SECRET not in "\n".join(lines)


def test_an_answer_is_shown_without_its_cookies() -> None:
    headers = (("Connection-Cookie", "c00c1e"), ("Set-Cookie", "a=c00c1e"), ("X", "a\x1bb"))
    lines = answer_lines(Answer(400, "Bad Request", headers, b"no such agent" + b"x" * 1000))
    assert lines[0] == "HTTP/1.1 400 Bad Request"
    assert "c00c1e" not in "\n".join(lines)
    assert "X: a?b" in lines
    assert lines[-1].startswith("no such agent")
    assert len(lines[-1]) < 500


def test_the_curl_command_reads_the_secret_from_its_file() -> None:
    command = curl_command(QUESTION, agent_request(QUESTION, "k", node="it's", secret=SECRET))
    assert SECRET not in command
    assert '"$(cat "$SECRET_FILE")"' in command
    assert "--cacert 'a b'" in command
    assert "'Node-Name: it'\"'\"'s'" in command
    assert command.endswith("https://ci/x/wsagents/")
