"""Lines for readers that are slow, stand still or are gone: the writer neither waits nor fails."""

from __future__ import annotations

import os
import signal
import threading  # noqa: TID251 - readers and writers of a test without an event loop
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.observability.lines import LineWriter

LINE = "x" * 99 + "\n"
PIPE = 64 * 1024  # what Linux holds for a reader
PATIENCE = 10.0


@dataclass
class Pipe:
    """A pipe with a writer on one end."""

    reader: int
    fd: int
    writer: LineWriter
    dropped: list[int] = field(default_factory=list)
    gone: list[bool] = field(default_factory=list)

    def read(self, size: int = 1 << 20) -> bytes:
        """Return all that has been written, at the end: close the writing end first."""
        data = b""
        while piece := os.read(self.reader, size):
            data += piece
        return data

    def hang_up(self) -> None:
        """Close the writing end."""
        os.close(self.fd)
        self.fd = -1


@contextmanager
def piped(*, limit: int = 1_000_000) -> Iterator[Pipe]:
    """Yield a pipe; afterwards the writer's thread has ended, whatever the reader did."""
    reader, fd = os.pipe()
    dropped: list[int] = []
    gone: list[bool] = []
    writer = LineWriter(
        fd,
        limit=limit,
        gather=0.001,
        on_dropped=dropped.append,
        on_gone=lambda: gone.append(True),
    )
    pipe = Pipe(reader, fd, writer, dropped, gone)
    try:
        yield pipe
    finally:
        with suppress(OSError):
            os.close(reader)  # whoever still writes fails, and goes on
        writer.close(PATIENCE)
        if pipe.fd >= 0:
            os.close(fd)


def drain(pipe: Pipe) -> bytes:
    """Read in the background while the writer is closed; return everything."""
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(pipe.read()))
    thread.start()
    pipe.writer.close(PATIENCE)
    pipe.hang_up()
    thread.join(PATIENCE)
    return found[0]


def test_lines_arrive_whole_and_in_order() -> None:
    with piped() as pipe:
        lines = [f"{i} {'ä' * (i % 7)}\n" for i in range(10_000)]
        for line in lines:
            pipe.writer.write(line)
        assert drain(pipe).decode().splitlines(keepends=True) == lines
        assert pipe.dropped == []


def test_several_threads_may_write() -> None:
    def work(name: str) -> None:
        for i in range(500):
            pipe.writer.write(f"{name} {i}\n")

    with piped() as pipe:
        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lines = drain(pipe).decode().splitlines()
        for name in "abcd":
            of_one = [line for line in lines if line.startswith(name)]
            assert of_one == [f"{name} {i}" for i in range(500)]


def test_lines_of_several_processes_stay_whole_in_a_full_pipe() -> None:
    with piped() as pipe:
        other = LineWriter(pipe.fd, gather=0.001)  # another process has one of its own, too
        for i in range(3000):
            pipe.writer.write(f"{i:0150}\n")
            other.write(f"{i:0350}\n")
        time.sleep(0.05)  # both stand before a full pipe
        closing = threading.Thread(target=other.close, args=(PATIENCE,))
        closing.start()
        found: list[bytes] = []
        reading = threading.Thread(target=lambda: found.append(pipe.read(1000)))
        reading.start()
        closing.join()
        pipe.writer.close(PATIENCE)
        pipe.hang_up()
        reading.join()
        lines = found[0].splitlines()
        assert len(lines) == 6000
        assert {len(line) for line in lines} == {150, 350}


def test_nothing_waits_for_a_reader_that_stands_still() -> None:
    with piped(limit=2 * PIPE) as pipe:
        for i in range(5000):  # 500 kB; whoever waited would wait for ever
            pipe.writer.write(f"{i:99}\n")
        read = drain(pipe).decode().splitlines()
        assert [int(line) for line in read] == list(range(len(read)))
        assert len(read) * 100 >= 2 * PIPE - 100
        assert sum(pipe.dropped) == 5000 - len(read)
        assert len(pipe.dropped) == 1


def test_after_a_gap_lines_are_taken_again() -> None:
    with piped(limit=1000) as pipe:
        pipe.writer.write("y" * PIPE * 2 + "\n")  # more than it may hold: dropped, and said
        wait_until(lambda: pipe.dropped == [1])
        pipe.writer.write("later\n")
        assert drain(pipe) == b"later\n"


def test_the_report_of_a_gap_may_go_to_the_same_reader() -> None:
    with piped(limit=2 * PIPE) as pipe:
        pipe.writer._on_dropped = lambda count: pipe.writer.write(f"{count} were dropped\n")
        for _ in range(3000):
            pipe.writer.write(LINE)
        *kept, report = drain(pipe).decode().splitlines()
        assert report == f"{3000 - len(kept)} were dropped"


def test_a_reader_that_is_gone_ends_nothing() -> None:
    with piped() as pipe:
        os.close(pipe.reader)
        pipe.writer.write(LINE)
        wait_until(lambda: pipe.gone == [True])
        for _ in range(100):
            pipe.writer.write(LINE)
        pipe.writer.close(PATIENCE)
        assert pipe.gone == [True]
        assert os.readlink(f"/proc/self/fd/{pipe.fd}") == os.devnull


def test_a_reader_that_goes_while_it_stands_still() -> None:
    with piped(limit=10 * PIPE) as pipe:
        for _ in range(2000):
            pipe.writer.write(LINE)
        os.close(pipe.reader)
        pipe.writer.close(PATIENCE)
        assert pipe.gone == [True]


def test_a_full_disk_does_not_silence_what_comes_later() -> None:
    with piped() as pipe:
        try:
            full = os.open("/dev/full", os.O_WRONLY)
        except FileNotFoundError:
            pytest.skip("no /dev/full here")
        kept = os.dup(pipe.fd)
        os.dup2(full, pipe.fd)
        pipe.writer.write("lost\n")
        wait_until(lambda: not pipe.writer._awake)
        os.dup2(kept, pipe.fd)  # there is room again
        os.close(kept)
        os.close(full)
        pipe.writer.write("kept\n")
        assert drain(pipe) == b"kept\n"


def test_somebody_else_made_it_non_blocking() -> None:
    with piped() as pipe:
        os.set_blocking(pipe.fd, False)
        for _ in range(2000):  # more than the pipe holds
            pipe.writer.write(LINE)
        assert len(drain(pipe)) == 2000 * len(LINE)


def test_closing_does_not_wait_for_ever() -> None:
    with piped() as pipe:
        for _ in range(2000):
            pipe.writer.write(LINE)
        pipe.writer.close(0.05)  # returns: pytest-timeout would end it otherwise
        pipe.writer.write("lost, not waited for\n")


def test_what_is_written_after_closing_arrives() -> None:
    with piped() as pipe:
        pipe.writer.write("a\n")
        pipe.writer.close(PATIENCE)
        pipe.writer.write("b\n")
        pipe.hang_up()
        assert pipe.read() == b"a\nb\n"


def test_without_another_thread_it_writes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with piped() as pipe:
        pipe.writer.write("a\n")
        pipe.writer.write("b\n")
        pipe.hang_up()
        assert pipe.read() == b"a\nb\n"


def test_what_cannot_be_encoded_is_escaped() -> None:
    with piped() as pipe:
        writer = LineWriter(pipe.fd, encoding="ascii")
        writer.write("ä\udc80\n")
        writer.close(PATIENCE)
        pipe.hang_up()
        assert pipe.read() == b"\\xe4\\udc80\n"


def wait_until(condition: object) -> None:
    """Wait for what another thread does."""
    assert callable(condition)
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


def test_signals_never_find_the_thread() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with piped() as pipe:
        pipe.writer.write("a\n")
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
        thread = pipe.writer._thread
        assert thread is not None
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
        (mask,) = (line for line in status.splitlines() if line.startswith("SigBlk:"))
        held_back = int(mask.split()[1], 16)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            assert held_back & 1 << (number - 1)


def test_a_closed_writer_can_be_opened_again() -> None:
    with piped() as pipe:
        pipe.writer.write("a\n")
        pipe.writer.close(PATIENCE)
        pipe.writer.write("b\n")
        pipe.writer.reopen()
        pipe.writer.write("c\n")
        assert pipe.writer._thread is not None
        assert pipe.writer._thread.is_alive()
        assert drain(pipe) == b"a\nb\nc\n"


def test_and_also_where_its_reader_stood_still_meanwhile() -> None:
    with piped() as pipe:
        for _ in range(2000):
            pipe.writer.write(LINE)
        pipe.writer.close(0.05)
        pipe.writer.write("while closed\n")
        pipe.writer.reopen()
        pipe.writer.write("afterwards\n")
        read = drain(pipe)
        assert read == LINE.encode() * 2000 + b"while closed\nafterwards\n"
