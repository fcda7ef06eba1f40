"""The reference of the logs and the program say the same: nothing is missing on either side."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

import gateway
from gateway.observability.log_events import EVENTS
from gateway.observability.log_fields import ACCESS_FIELDS, BY_KEYWORD, FIELDS, all_fields
from gateway.observability.log_reference import logs_reference

SOURCES = Path(gateway.__file__).parent
TABLES = {"log_events.py", "log_fields.py"}
METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
# Made by structlog, or by what turns an exception into fields.
MADE = {"time", "level", "event", "channel", "exception", "exception_type", "exception_message"}


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(SOURCES.rglob("*.py")):
        if path.name not in TABLES and "demo" not in path.parts:
            yield path, ast.parse(path.read_text())


def is_log(node: ast.AST) -> bool:
    return (isinstance(node, ast.Name) and node.id == "_log") or (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "get_logger"
    )


def channel_of(call: ast.Call, tree: ast.Module) -> str:
    """Return the channel of the module's logger, or of the one that is made for the call."""
    made = [call.func.value] if isinstance(call.func, ast.Attribute) else []
    for node in (*made, *ast.walk(tree)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "get_logger"
            and isinstance(node.args[0], ast.Constant)
        ):
            return str(node.args[0].value)
    raise AssertionError(ast.unparse(call))


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield the channel and the call of everything that is logged."""
    for _, tree in trees():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in METHODS | {"log"}
                and is_log(node.func.value)
            ):
                yield channel_of(node, tree), node


@lru_cache
def literals() -> frozenset[str]:
    """Return every text in the program that is no docstring, and every keyword of a call."""
    found = set()
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.keyword) and node.arg is not None:
                found.add(node.arg)
    return frozenset(found)


def test_every_logged_event_is_documented_with_channel_and_level() -> None:
    known = {(each.channel, each.event): each.levels.split(", ") for each in EVENTS}
    assert len(known) == len(EVENTS)
    seen = 0
    missing = []
    for channel, call in calls():
        event = call.args[-1] if call.args else None
        if isinstance(event, ast.Constant):
            assert isinstance(call.func, ast.Attribute)
            key = (channel, str(event.value))
            levels = known.get(key, [])
            if not levels or (call.func.attr != "log" and call.func.attr not in levels):
                missing.append(f"{channel}: {ast.unparse(call)}")
            seen += 1
    assert not missing
    assert seen > 70


def test_every_documented_event_is_in_the_program() -> None:
    texts = literals()
    for each in EVENTS:
        # What operators do is logged as "credential issued" and the like.
        parts = {each.event, each.event.removeprefix("credential ")}
        assert parts & texts, each.event


def test_every_logged_field_is_documented() -> None:
    missing = [
        f"{keyword.arg}: {ast.unparse(call)}"
        for _, call in calls()
        for keyword in call.keywords
        if keyword.arg not in {None, "exc_info", *BY_KEYWORD}
    ]
    assert not missing


@pytest.mark.parametrize("keyword", sorted(BY_KEYWORD.keys() - MADE))
def test_every_documented_field_is_in_the_program(keyword: str) -> None:
    texts = literals()
    assert {keyword, keyword.replace("client", "agent")} & texts


def test_names_follow_opentelemetry_or_are_our_own() -> None:
    namespaces = "client exception error gateway http jenkins network server service tls url"
    for each in (*FIELDS, *ACCESS_FIELDS):
        if "." in each.name:
            assert each.name.split(".")[0] in {*namespaces.split(), "user_agent"}
        else:
            assert each.name in ("time", "level", "channel", "event", "trace_id")


def test_the_page_has_everything_once() -> None:
    page = logs_reference()
    for field in all_fields():
        assert page.count(f"\n| `{field.name}` |") == 1
    for event in EVENTS:
        assert f"| {event.channel} | `{event.event}` | {event.levels} |" in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.endswith(" |") for line in rows)
