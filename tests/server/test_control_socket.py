"""The control socket: who may use it, what is in its way, and that one gateway has a folder."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from gateway.errors import ConfigError
from gateway.server import control_socket, unix_socket
from gateway.server.control import ControlStream, Message
from gateway.server.control_socket import (
    ASK_TIMEOUT,
    LOCK,
    MOST_ASKED,
    MOST_CLIENTS,
    SOCKET,
    Answer,
    ask,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name is longer than a Unix address may be."""
    path = tmp_path / ("deep" * 20) / ("deeper" * 20)
    path.mkdir(parents=True)
    return path


@asynccontextmanager
async def serving(folder: Path, answer: control_socket.Answerer) -> AsyncIterator[None]:
    with control_socket.bind(folder) as sock:
        async with trio.open_nursery() as nursery:
            listening = trio.socket.from_stdlib_socket(sock)
            nursery.start_soon(control_socket.serve, listening, answer)
            yield
            nursery.cancel_scope.cancel()
        assert sock.fileno() != -1  # the next program will want it


async def echo(question: Message) -> Answer:
    return {"asked": question}, None


async def test_a_question_and_its_answer(folder: Path) -> None:
    async with serving(folder, echo):
        for i in range(3):
            assert await ask(folder, {"do": i}, within=5) == {"asked": {"do": i}}
    mode = (folder / SOCKET).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


async def test_what_follows_comes_after_the_answer(folder: Path) -> None:
    followed = trio.Event()

    async def answer(question: Message) -> Answer:
        return {}, followed.set

    async with serving(folder, answer):
        assert await ask(folder, {}, within=5) == {}
        with trio.fail_after(5):
            await followed.wait()


async def test_many_at_a_time(folder: Path) -> None:
    busy = 0
    most = 0
    found: list[Message] = []

    async def answer(question: Message) -> Answer:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await trio.sleep(0.02)
        busy -= 1
        return question, None

    async def one(i: int) -> None:
        found.append(await ask(folder, {"do": i}, within=20))

    async with serving(folder, answer), trio.open_nursery() as nursery:
        for i in range(3 * MOST_CLIENTS):
            nursery.start_soon(one, i)
    assert len(found) == 3 * MOST_CLIENTS
    assert most <= MOST_CLIENTS


async def test_those_who_say_nothing_or_nonsense_are_sent_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_socket, "ASK_TIMEOUT", 0.05)
    async with serving(folder, echo):
        for said in (b"", b"\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\2[]", b"\0\0\0\2{}"[:-1]):
            with unix_socket.address_of(folder / SOCKET) as address:
                stream = await trio.open_unix_socket(address)
            async with stream:
                await stream.send_all(said)
                with trio.fail_after(5):
                    assert await stream.receive_some() == b""
        assert await ask(folder, {}, within=5) == {"asked": {}}
    assert (ASK_TIMEOUT, MOST_ASKED) == (5, 65536)


async def test_a_long_answer_and_a_long_question(folder: Path) -> None:
    async def answer(question: Message) -> Answer:
        return {"a": "x" * (2 * MOST_ASKED)}, None

    async with serving(folder, answer):
        assert len((await ask(folder, {}, within=5))["a"]) == 2 * MOST_ASKED
        with pytest.raises(ConfigError, match="the gateway ended before it answered"):
            await ask(folder, {"a": "x" * (2 * MOST_ASKED)}, within=5)


async def test_a_gateway_that_does_not_answer(folder: Path) -> None:
    async def answer(question: Message) -> Answer:
        await trio.sleep_forever()
        raise AssertionError

    async with serving(folder, answer):
        with pytest.raises(ConfigError, match=r"did not answer within 0\.05 s"):
            await ask(folder, {}, within=0.05)


async def test_a_bug_in_an_answer_ends_nothing(folder: Path) -> None:
    async def answer(question: Message) -> Answer:
        raise LookupError("a bug")

    async with serving(folder, answer):
        with capture_logs() as logs:
            for _ in range(2):
                assert (await ask(folder, {}, within=5))["ok"] is False
    assert [line["event"] for line in logs] == ["internal error"] * 2


async def test_nobody_is_there(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no gateway runs here"):
        await ask(folder, {}, within=5)
    control_socket.bind(folder).close()  # it was killed
    with pytest.raises(ConfigError, match=r"no gateway runs here.*--state-dir"):
        await ask(folder, {}, within=5)
    with pytest.raises(ConfigError, match="no gateway runs here"):
        await ask(folder / "none", {}, within=5)


async def test_it_is_somebody_elses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(
        ConfigError, match=r"permission denied\. Only the user that the gateway runs"
    ):
        await ask(folder, {}, within=5)


async def test_a_gateway_that_dies_while_it_is_asked(folder: Path) -> None:
    with control_socket.bind(folder) as sock:
        async with trio.open_nursery() as nursery:

            async def accept_and_die() -> None:
                connection, _ = await trio.socket.from_stdlib_socket(sock).accept()
                stream = ControlStream(trio.SocketStream(connection))
                await stream.receive()
                await stream.aclose()

            nursery.start_soon(accept_and_die)
            with pytest.raises(ConfigError, match="ended before it answered"):
                await ask(folder, {}, within=5)


def test_a_stale_socket_is_replaced_and_anything_else_is_not(folder: Path) -> None:
    control_socket.bind(folder).close()
    control_socket.bind(folder).close()
    control_socket.remove(folder)
    control_socket.remove(folder)
    assert not (folder / SOCKET).exists()
    (folder / SOCKET).write_text("somebody's")
    with pytest.raises(ConfigError, match="is in the way and not a socket"):
        control_socket.bind(folder)
    assert (folder / SOCKET).read_text() == "somebody's"
    with pytest.raises(ConfigError, match="cannot be made: no such file"):
        control_socket.bind(folder / "none")


def test_one_gateway_has_a_folder(folder: Path) -> None:
    lock = control_socket.lock(folder)
    assert (folder / LOCK).read_text() == f"{os.getpid()}\n"
    with pytest.raises(ConfigError) as caught:
        control_socket.lock(folder)
    text = str(caught.value)
    assert f"{folder} belongs to a gateway that runs (process {os.getpid()})" in text
    assert "state_dir of its own" in text
    os.close(lock)
    os.close(control_socket.lock(folder))


def test_the_lock_ends_with_its_process_but_not_with_its_program(folder: Path) -> None:
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from gateway.server import control_socket\n"
        "lock = control_socket.lock(Path(sys.argv[1]))\n"
        "os.set_inheritable(lock, True)\n"
        "os.execv(sys.executable, [sys.executable, '-c', \"print('on', flush=True); input()\"])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(control_socket.__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        with pytest.raises(ConfigError, match=f"process {process.pid}"):
            control_socket.lock(folder)
        process.communicate(b"\n")
    os.close(control_socket.lock(folder))


def test_a_lock_that_cannot_be(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be used: no such file"):
        control_socket.lock(folder / "none")
    (folder / LOCK).symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="cannot be used: too many levels of symbolic links"):
        control_socket.lock(folder)


def test_the_socket_is_not_there_for_others_even_for_a_moment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mode is right from the first: by the mask, not by a later change."""
    monkeypatch.setattr(os, "chmod", None)
    before = os.umask(0)
    try:
        with control_socket.bind(folder) as sock:
            assert sock.family == socket.AF_UNIX
            assert stat.S_IMODE((folder / SOCKET).stat().st_mode) == 0o600
        assert os.umask(0) == 0
    finally:
        os.umask(before)
