"""What docs/troubleshooting.md calls log events, headers and causes are the program's own names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache

import pytest

import gateway
from gateway.doctor.causes import Cause
from gateway.observability.log_events import EVENTS
from tests.docs.pages import ROOT, anchors_of, code_spans, text_of

PAGE = ROOT / "docs/troubleshooting.md"
_LABEL = re.compile(
    r"\*\*(Log|Header|Doctor)\*\*(.*?)(?=\*\*(?:Log|Header|Doctor)\*\*|\n\n|\Z)", re.S
)


def _named(label: str) -> list[str]:
    symptoms = text_of(PAGE).partition("\n## ")[2]
    said = [text for found, text in _LABEL.findall(symptoms) if found == label]
    # Options, and what qualifies an event, are no names.
    return [
        span
        for text in said
        for span in code_spans(text)
        if not re.match(r"-|gateway\.|agents\.|remoting_|eof$|reset$|check$", span)
    ]


def _upgrade_rows() -> list[tuple[str, str]]:
    """Return header and cause of each row in the table of failed upgrades."""
    rows = re.findall(r"^\| \d.*?\| (.*?) \|.*\| (.*?) \|$", text_of(PAGE), re.M)
    return [row for row in rows if "`" in row[1]]


@lru_cache
def _texts() -> tuple[str, ...]:
    def constants() -> Iterator[str]:
        for path in sorted((ROOT / gateway.__name__).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value

    return tuple(constants())


def test_log_events_exist() -> None:
    named = _named("Log")
    assert len(named) > 25
    assert set(named) <= {each.event for each in EVENTS}


def test_causes_exist() -> None:
    causes = {cause.value for cause in Cause}
    named = [*_named("Doctor"), *(span for row in _upgrade_rows() for span in code_spans(row[1]))]
    assert len(named) > 40
    assert set(named) <= causes


def test_every_cause_has_a_symptom() -> None:
    named = {*_named("Doctor"), *(span for row in _upgrade_rows() for span in code_spans(row[1]))}
    # A check that got no answer is the doctor's own trouble.
    assert {cause.value for cause in Cause} - named == {"check-failed"}


@pytest.mark.parametrize(
    "text", sorted({*_named("Header"), *(s for row in _upgrade_rows() for s in code_spans(row[0]))})
)
def test_the_gateway_says_so(text: str) -> None:
    assert text in _texts()


def test_the_table_leads_to_every_symptom() -> None:
    links = re.findall(r"\]\(#([^)]+)\)", text_of(PAGE))
    assert links == anchors_of(PAGE)[1:]
