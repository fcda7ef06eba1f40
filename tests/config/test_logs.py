"""The keys ``log`` and ``trace_context``, as they are written in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.config.models import GatewayConfig
from gateway.errors import ConfigError

BASE = """\
listeners: [{address: "127.0.0.1:8080"}]
controllers: {main: {url: "http://127.0.0.1:9"}}
"""


def read(folder: Path, text: str) -> GatewayConfig:
    path = folder / "gateway.yaml"
    path.write_text(BASE + text)
    return load(path).config


def test_the_defaults(tmp_path: Path) -> None:
    log = read(tmp_path, "").log
    assert [log.access.to, log.session.to, log.audit.to, log.system.to] == ["stdout"] + [
        "stderr"
    ] * 3
    assert (log.format, log.level) == ("auto", "info")


def test_destinations(tmp_path: Path) -> None:
    log = read(
        tmp_path,
        "log:\n  access: {to: access.log}\n  session: {to: /var/log/s}\n  audit: {to: stdout}\n"
        "  system: {to: off}\n",
    ).log
    assert log.access.to == tmp_path / "access.log"
    assert log.session.to == Path("/var/log/s")
    assert (log.audit.to, log.system.to) == ("stdout", "off")
    # Workers read them from a snapshot.
    assert type(log).model_validate(log.model_dump(mode="json")) == log


def test_log_files_are_not_watched(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(BASE + "log: {access: {to: access.log}}")
    named: set[Path] = set()
    load(path, named=named)
    assert tmp_path / "access.log" not in named


def test_levels(tmp_path: Path) -> None:
    log = read(tmp_path, "log: {level: error, session: {level: debug}}").log
    levels = {each: log.level_of(each) for each in ("session", "audit", "system")}
    assert levels == {"session": "debug", "audit": "info", "system": "error"}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("log: {level: loud}", "log.level"),
        ("log: {format: combined}", "log.format"),
        ("log: {access: {level: info}}", "log.access.level"),
        ("log: {audit: {format: combined}}", "log.audit.format"),
        ("log: {audit: {to: [1]}}", "log.audit.to"),
        ("trace_context: {accept: nobody}", "trace_context.accept"),
        ("trace_context: {start: never}", "trace_context.start"),
        ("access_log: json", "access_log"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"gateway\.yaml:3: {key}"):
        read(tmp_path, text)
