"""Tests of ``gateway.command.secret_files``: in from files and stdin, out with mode 0600."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import pytest

from gateway.command.secret_files import (
    prepared_secret_file,
    read_input,
    read_secret,
    write_secret_file,
)
from gateway.errors import ConfigError


def test_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"  hunter2\r\n")
    assert read_secret(tmp_path / "f") == "hunter2"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"hunter3\n")))
    assert read_secret(Path("-")) == "hunter3"


@pytest.mark.parametrize(
    ("content", "text"), [(b"\n", "it is empty"), (b"\xff", "allowed: text"), (None, "no such")]
)
def test_what_cannot_be_read(tmp_path: Path, content: bytes | None, text: str) -> None:
    if content is not None:
        (tmp_path / "f").write_bytes(content)
    with pytest.raises(ConfigError, match=text):
        read_secret(tmp_path / "f")


def test_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.command.secret_files._MAX_INPUT", 10)
    (tmp_path / "f").write_bytes(b"x" * 11)
    with pytest.raises(ConfigError, match="bigger than"):
        read_input(tmp_path / "f")


def test_writing(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("before")
    path.chmod(0o644)
    write_secret_file(path, b"hunter2")
    assert path.read_bytes() == b"hunter2"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_written_where_the_block_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with prepared_secret_file(tmp_path / "f", b"hunter2"):
            assert not (tmp_path / "f").exists()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_found_out_first(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="cannot be written"),
        prepared_secret_file(tmp_path / "none" / "f", b""),
    ):
        pytest.fail("too late")


@pytest.mark.parametrize("kind", ["link to a file", "link to nothing", "pipe"])
def test_what_is_no_file_is_not_replaced(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "stdout"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "redirected")
    if kind == "link to a file":
        (tmp_path / "redirected").write_bytes(b"")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="found a link, a device or a folder"):
        write_secret_file(path, b"hunter2")
    assert sorted(tmp_path.iterdir()) == before
    assert path.is_symlink() or path.is_fifo()
