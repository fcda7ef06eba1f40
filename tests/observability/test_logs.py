"""What a log line looks like, what never gets into one, and what a stranger cannot do with one."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.values import Secret
from gateway.observability.logs import configure, get_logger


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _json(**fields: Any) -> dict[str, Any]:
    stream = io.StringIO()
    configure(stream=stream)
    get_logger("system").info("something happened", **fields)
    (line,) = stream.getvalue().splitlines()
    return dict(json.loads(line))


def _console(event: str = "something happened", **fields: Any) -> str:
    stream = io.StringIO()
    configure(json=False, stream=stream)
    get_logger("system").info(event, **fields)
    return stream.getvalue()


def test_a_line_of_json() -> None:
    line = _json(client="192.0.2.1", bytes=5, node=None, raw=b"a\xff", many=[1, "x"])
    assert list(line)[:4] == ["time", "level", "channel", "event"]
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "channel": "system",
        "event": "something happened",
        "client.address": "192.0.2.1",
        "gateway.request.head.size": 5,
        "jenkins.node.name": None,
        "gateway.other.raw": "a\u00ff",
        "gateway.other.many": [1, "x"],
    }


def test_json_unless_it_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, is_json in ((io.StringIO(), True), (_Terminal(), False)):
        configure(stream=stream)
        get_logger("system").info("x")
        assert stream.getvalue().startswith("{") is is_json
    assert "\x1b[" in stream.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = _Terminal()
    configure(stream=plain)
    get_logger("system").info("x")
    assert "\x1b" not in plain.getvalue()
    forced = _Terminal()
    configure(json=True, stream=forced)
    get_logger("system").info("x")
    assert forced.getvalue().startswith("{")


def test_levels() -> None:
    stream = io.StringIO()
    configure(level="warning", stream=stream)
    log = get_logger("system")
    log.info("no")
    log.warning("yes")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["yes"]


def test_loggers_made_before_are_configured_too() -> None:
    log = get_logger("early")
    stream = io.StringIO()
    configure(stream=stream)
    log.info("x")
    line = json.loads(stream.getvalue())
    assert (line["channel"], line["gateway.logger"]) == ("system", "early")


def test_context_is_on_every_line() -> None:
    with structlog.contextvars.bound_contextvars(session="s1"):
        assert _json()["gateway.session.id"] == "s1"
    assert "gateway.session.id" not in _json()


def test_other_peoples_loggers_write_the_same_lines() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    logging.getLogger("trio.serve_listeners").error("accept failed: %s", "EMFILE")
    logging.getLogger("other").debug("not at this level")
    line = json.loads(stream.getvalue())
    assert (line["channel"], line["level"]) == ("system", "error")
    assert line["gateway.logger"] == "trio.serve_listeners"
    assert line["event"] == "accept failed: EMFILE"


@pytest.mark.parametrize(
    "fields",
    [
        {"secret": "hunter2"},
        {"Secret-Key": "hunter2"},
        {"secret_key": b"hunter2"},
        {"authorization": "Basic hunter2"},
        {"Proxy-Authorization": "hunter2"},
        {"cookie": "hunter2"},
        {"set-cookie": ["hunter2"]},
        {"connection_cookie": "hunter2"},
        {"JNLP_TOKEN": "hunter2"},
        {"password": {"nested": "hunter2"}},
        {"anything": Secret("hunter2")},
        {"anything": [Secret("hunter2")]},
        {"anything": {"deep": {"deeper": (Secret("hunter2"),)}}},
        {"anything": {"secret": "hunter2"}},
        {"headers": [(b"Secret-Key", b"hunter2"), (b"Node-Name", b"n")]},
        {"headers": (("Cookie", "hunter2"),)},
        {"header": (b"Authorization", b"hunter2")},
        {"deep": [[[[[[[["hunter2"]]]]]]]]},
    ],
)
def test_secrets_are_masked(fields: dict[str, Any]) -> None:
    line = _json(**fields)
    console = _console(**fields)
    assert "hunter2" not in json.dumps(line)
    assert "hunter2" not in console
    assert "deep" in fields or "***" in json.dumps(line)


def test_what_only_looks_like_a_secret_stays() -> None:
    line = _json(secretary="Ann", has_cookie=True, token=None, node="cookies")
    other = [line[f"gateway.other.{each}"] for each in ("secretary", "has_cookie", "token")]
    assert other == ["Ann", True, None]
    assert line["jenkins.node.name"] == "cookies"


def test_masking_leaves_the_callers_values_alone() -> None:
    fields = {"secret": "made-up", "list": ["x"]}
    _json(value=fields)
    assert fields == {"secret": "made-up", "list": ["x"]}


@given(st.text(), st.text())
def test_json_is_one_line_of_printable_ascii(event: str, value: str) -> None:
    stream = io.StringIO()
    configure(stream=stream)
    get_logger("system").info(event, node=value)
    text = stream.getvalue()
    assert text.endswith("\n")
    assert text.isascii()
    assert text[:-1].isprintable()
    assert json.loads(text)["jenkins.node.name"] == value


@given(st.text(), st.text(), st.binary())
def test_the_console_gets_nothing_to_obey(event: str, value: str, raw: bytes) -> None:
    text = _console(event, node=value, raw=raw, nested=[value, {"k": value}])
    assert text.endswith("\n")
    assert text[:-1].isprintable()


def test_a_forged_line_is_seen_as_what_it_is() -> None:
    forged = 'x\n{"event": "all is well"}\r\x1b[2K\u2028\x85'
    text = _console(node=forged)
    assert text.count("\n") == 1
    assert "\\n" in text
    assert "\\x1b" in text


@pytest.mark.parametrize("json_lines", [True, False])
def test_tracebacks(*, json_lines: bool) -> None:
    stream = io.StringIO()
    configure(json=json_lines, stream=stream)
    try:
        raise RuntimeError("made up\nfake: [error] x \x1b[31m")
    except RuntimeError:
        get_logger("system").exception("it broke", node="n")
    text = stream.getvalue()
    if json_lines:
        (line,) = text.splitlines()
        found = json.loads(line)
        assert "RuntimeError: made up" in found["exception.stacktrace"]
        assert found["exception.type"] == "RuntimeError"
        assert found["exception.message"].startswith("made up")
        return
    first, *rest = text.splitlines()
    assert "it broke" in first
    assert len(rest) > 3
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b" not in text
