"""Where lines go: files, opened again after they were moved, and levels of channels."""

from __future__ import annotations

import gc
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.config.logs import AccessLogConfig, AuditConfig, ChannelConfig, LogConfig
from gateway.errors import ConfigError
from gateway.observability import logs
from gateway.observability.logs import apply, check, configure, get_logger, override_level

LINES = {"session": "session started", "audit": "unlocked", "system": "stopping"}


def lines_of(path: Path, count: int) -> list[dict[str, Any]]:
    """Return the lines of a file, once there are ``count``: a thread writes them."""
    until = time.monotonic() + 10
    while True:
        found = [json.loads(line) for line in path.read_text().splitlines()]
        if len(found) >= count or time.monotonic() > until:
            return found
        time.sleep(0.005)


def log_all(method: str = "info") -> None:
    for channel, event in LINES.items():
        getattr(get_logger(channel), method)(event)


def test_each_channel_has_a_file(tmp_path: Path) -> None:
    configure(stream=io.StringIO())
    names = ("session", "audit", "system")
    apply(
        LogConfig(
            session=ChannelConfig(to=tmp_path / "session"),
            audit=AuditConfig(to=tmp_path / "audit"),
            system=ChannelConfig(to=tmp_path / "system"),
        )
    )
    log_all()
    for name in names:
        (line,) = lines_of(tmp_path / name, 1)
        assert (line["channel"], line["event"]) == (name, LINES[name])
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o640 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_file_that_was_moved_away_is_opened_again(tmp_path: Path) -> None:
    configure(stream=io.StringIO())
    path = tmp_path / "log"
    apply(LogConfig(system=ChannelConfig(to=path)))
    get_logger("system").info("stopping")
    assert len(lines_of(path, 1)) == 1
    path.rename(tmp_path / "log.1")
    get_logger("system").info("stopping")
    assert len(lines_of(tmp_path / "log.1", 2)) == 2
    logs.reopen()
    get_logger("system").info("upgraded")
    (line,) = lines_of(path, 1)
    assert line["event"] == "upgraded"
    assert len(lines_of(tmp_path / "log.1", 2)) == 2


def test_one_that_cannot_be_opened_again_stays(tmp_path: Path) -> None:
    configure(stream=io.StringIO())
    folder = tmp_path / "folder"
    folder.mkdir()
    apply(LogConfig(system=ChannelConfig(to=folder / "log")))
    folder.rename(tmp_path / "moved")
    logs.reopen()
    (line,) = lines_of(tmp_path / "moved" / "log", 1)
    assert line["event"] == "a log cannot be opened"
    assert f"{folder / 'log'} cannot be opened: no such file" in line["gateway.reason"]


def test_what_cannot_be_opened_changes_nothing(tmp_path: Path) -> None:
    stream = io.StringIO()
    configure(stream=stream)
    bad = LogConfig(level="error", audit=AuditConfig(to=tmp_path / "no" / "log"))
    for action in (check, apply):
        with pytest.raises(ConfigError, match="no/log cannot be opened: no such file"):
            action(bad)
    os.mkfifo(tmp_path / "fifo")  # without a reader: opening it would wait for one
    with pytest.raises(ConfigError, match="fifo cannot be opened"):
        check(LogConfig(system=ChannelConfig(to=tmp_path / "fifo")))
    logs.apply_or_complain(bad)
    log_all()
    assert len(stream.getvalue().splitlines()) == 1 + len(LINES)


def test_files_that_are_not_used_any_more_are_closed(tmp_path: Path) -> None:
    configure(stream=io.StringIO())
    gc.collect()  # what earlier tests have left behind in cycles may hold descriptors
    before = len(os.listdir("/proc/self/fd"))
    for i in range(5):
        apply(LogConfig(system=ChannelConfig(to=tmp_path / f"{i}")))
        get_logger("system").info("stopping")
    apply(LogConfig(system=ChannelConfig(to="off")))
    until = time.monotonic() + 10
    while len(os.listdir("/proc/self/fd")) != before and time.monotonic() < until:
        time.sleep(0.005)
    assert len(os.listdir("/proc/self/fd")) == before
    assert [len(lines_of(tmp_path / f"{i}", 1)) for i in range(5)] == [1] * 5


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    apply(LogConfig(level="warning", session=ChannelConfig(level="error")))
    log_all("info")
    log_all("warning")
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    # The trail is written whatever the level of the rest.
    assert [(each["channel"], each["level"]) for each in found] == [
        ("audit", "info"),
        ("audit", "warning"),
        ("system", "warning"),
    ]


def test_levels_are_changed_while_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    apply(LogConfig())
    override_level("error")
    assert logs.levels() == {"session": "error", "audit": "info", "system": "error"}
    override_level("debug")
    log_all("debug")
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["channel"] for line in lines] == ["session", "system"]
    apply(LogConfig(level="warning"))  # what an operator wants now goes before what is configured
    assert logs.levels() == {"session": "debug", "audit": "info", "system": "debug"}
    with pytest.raises(ConfigError, match="allowed:"):
        override_level("loud")
    override_level(None)
    assert logs.levels() == {"session": "warning", "audit": "info", "system": "warning"}


def test_off_and_forms(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    apply(
        LogConfig(
            format="console",
            session=ChannelConfig(to="off"),
            audit=AuditConfig(format="json", to="stdout"),
            access=AccessLogConfig(to="off"),
        )
    )
    log_all()
    out, err = capsys.readouterr()
    assert json.loads(out)["channel"] == "audit"
    assert "stopping" in err
    assert "\x1b" not in err  # no terminal
    assert len(err.splitlines()) == 1
