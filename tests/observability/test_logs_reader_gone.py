"""A log that nobody can read any more must not end anything else."""

from __future__ import annotations

import io
import os

import pytest

from gateway.observability import logs


def test_lines_to_a_pipe_without_a_reader_are_dropped() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        logs.configure(stream=stream, json=True)
        logs.get_logger("a").info("read")
        assert b'"event": "read"' in os.read(reader, 1000)
        os.close(reader)
        logs.get_logger("a").info("unread")
        logs.get_logger("a").info("unread as well")
    # Closing flushed what was buffered: it would have raised.


def test_a_closed_stream_is_no_error_either() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream, json=True)
    stream.close()
    logs.get_logger("a").info("unread")


def test_a_full_disk_does_not_silence_what_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        full = open("/dev/full", "w")  # noqa: SIM115 - closing it fails
    except FileNotFoundError:
        pytest.skip("no /dev/full here")
    reader, writer = os.pipe()
    logs.configure(stream=full, json=True)
    logs.get_logger("a").info("lost")
    os.dup2(writer, full.fileno())  # there is room again
    logs.get_logger("a").info("kept")
    assert b'"event": "kept"' in os.read(reader, 1000)
    full.close()
    os.close(reader)
    os.close(writer)
