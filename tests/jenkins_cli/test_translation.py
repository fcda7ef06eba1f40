"""A WebSocket client at a controller that has full-duplex HTTP alone (PROTOCOLS E.5, K.4)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import LogCapture

from tests.jenkins_cli.site import site
from tests.peers.cli_client import (
    PIECE,
    Outcome,
    WebSocketClient,
    basic,
    by_hand,
    opening,
    read_all,
    run_websocket,
    utf,
    websocket,
)
from tests.peers.cli_controller import (
    ARG,
    ENCODING,
    END_STDIN,
    EXIT,
    START,
    STDERR,
    STDIN,
    STDOUT,
    Answer,
    CliController,
)

HTTP: dict[str, Any] = {"transport": "http"}
MIB = 1024 * 1024
BULK = 100 * MIB


async def begin(client: WebSocketClient, *args: bytes) -> None:
    for op, payload in opening(*args):
        await client.send(op, payload)


def resident() -> int:
    """Return this process' memory, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_a_command_from_argument_to_exit_code(tmp_path: Path) -> None:
    controller = CliController(websocket=False)
    async with site(tmp_path, controller, cli=HTTP) as gateway:
        text = "ä€\N{GRINNING FACE}".encode("utf-16-be")
        name = b"".join(
            chr(unit).encode("utf-8", "surrogatepass") for (unit,) in struct.iter_unpack("!H", text)
        )
        outcome = await run_websocket(gateway.plain, b"echo", b"a b", name)
        assert (outcome.stdout, outcome.code) == (b"a b " + name + b"\n", 0)
        assert outcome.closed == 1000
        alice = [basic("alice", "a-token")]
        outcome = await run_websocket(gateway.plain, b"who-am-i", headers=alice)
        assert outcome.stdout == b"Authenticated as: alice\n"
        outcome = await run_websocket(gateway.plain, b"exit", b"17")
        assert (outcome.stderr, outcome.code) == (b"bad\n", 17)
        run = controller.runs[-1]
        assert (run.encoding, run.locale, run.transport) == (b"UTF-8", b"en_US", "http")
        outcome = await run_websocket(gateway.plain, b"nonsense")
        assert (outcome.stderr, outcome.code) == (b"No such command nonsense\n", 2)


async def test_no_arguments(tmp_path: Path) -> None:
    async with site(tmp_path, CliController(websocket=False), cli=HTTP) as gateway:
        outcome = await run_websocket(gateway.plain)
        assert outcome.stderr == b"Connection closed before arguments received\n"
        assert outcome.code == 2


async def test_one_byte_a_message_as_old_clients_send(tmp_path: Path) -> None:
    async with site(tmp_path, CliController(), cli=HTTP) as gateway:
        async with websocket(gateway.plain) as client:
            await begin(client, b"cat")
            for byte in b"hello":
                await client.send(STDIN, bytes((byte,)))
            await client.send(END_STDIN)
            outcome = await client.finish(Outcome())
        assert outcome.stdout == b"hello"


# -- bulk ------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_100_mib_of_input(tmp_path: Path) -> None:
    controller = CliController()
    async with site(tmp_path, controller, cli=HTTP) as gateway:
        piece = b"x" * PIECE
        async with websocket(gateway.plain) as client:
            await begin(client, b"count")
            before = most = resident()
            sent = 0
            while sent < BULK:
                await client.send(STDIN, piece)
                sent += PIECE
                most = max(most, resident())
            await client.send(END_STDIN)
            outcome = await client.finish(Outcome())
    assert outcome.stdout == b"%d\n" % sent
    assert most - before < 32 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("frame", [8192, 1_000_000])
async def test_100_mib_of_output(tmp_path: Path, frame: int) -> None:
    controller = CliController()
    async with site(tmp_path, controller, cli=HTTP) as gateway, websocket(gateway.plain) as client:
        before = most = resident()
        await begin(client, b"yes", b"%d" % BULK, b"%d" % frame)
        outcome = Outcome(keep=False)
        longest = 0
        while True:
            op, payload = await client.receive()
            longest = max(longest, len(payload))
            most = max(most, resident())
            if outcome.take(op, payload):
                break
    assert (outcome.stdout_size, outcome.code) == (BULK, 0)
    assert longest <= PIECE
    assert most - before < 32 * MIB


async def test_a_client_that_does_not_read_holds_the_controller_up(tmp_path: Path) -> None:
    controller = CliController()
    async with site(tmp_path, controller, cli=HTTP) as gateway:
        async with await trio.open_tcp_stream("127.0.0.1", gateway.plain) as stream:
            await stream.send_all(by_hand(b"yes", b"%d" % BULK, b"60000"))
            run = await controller.wait_for_run()
            written = -1
            while written != run.output_bytes or not written:
                written = run.output_bytes
                await trio.sleep(0.5)
            assert written < 40 * MIB, "what kernels hold, and no more"
        await run.ended.wait()
        assert run.interrupted, "its client was killed"


async def test_a_command_that_does_not_read_holds_the_client_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: LogCapture
) -> None:
    monkeypatch.setattr("gateway.jenkins_cli.translation._LOOK", 0.1)
    controller = CliController()
    agents = {"keepalive": {"interval": 0.5, "suspect_after": 0.5, "dead_after": 5.0}}
    async with (
        site(tmp_path, controller, cli=HTTP, agents=agents) as gateway,
        websocket(gateway.plain) as client,
    ):
        await begin(client, b"sleep", b"60")
        sent = 0
        while sent < BULK:
            with trio.move_on_after(1) as stuck:
                await client.send(STDIN, b"x" * PIECE)
                sent += PIECE
            if stuck.cancelled_caught:
                break
        assert 0 < sent < 40 * MIB
        # Killed then, it cannot even say so behind what nobody receives; a ping finds it out.
        await client.kill()
        with trio.fail_after(20):
            while not (ended := _ended(log)):  # noqa: ASYNC110 - a log line is no event
                await trio.sleep(0.1)
        assert ended == ["client"]


def _ended(log: LogCapture) -> list[str]:
    """Return by whom sessions were ended."""
    return [each["by"] for each in log.entries if each["event"] == "session ended"]


# -- ends ------------------------------------------------------------------------------------------


async def test_a_killed_client_ends_the_upload(tmp_path: Path) -> None:
    controller = CliController()
    async with site(tmp_path, controller, cli=HTTP) as gateway:
        async with websocket(gateway.plain) as client:
            await begin(client, b"sleep", b"60")
            assert await client.receive() == (STDOUT, b"sleeping\n")
            await client.kill()
        run = await controller.wait_for_run()
        await run.ended.wait()
        assert run.interrupted


async def test_a_killed_controller_is_told(tmp_path: Path, log: LogCapture) -> None:
    controller = CliController()
    async with site(tmp_path, controller, cli=HTTP) as gateway, websocket(gateway.plain) as client:
        await begin(client, b"sleep", b"60")
        assert await client.receive() == (STDOUT, b"sleeping\n")
        controller.kill()
        outcome = await client.finish(Outcome())
    assert (outcome.code, outcome.closed) == (1, 1000)
    assert outcome.stderr == b"the connection to the controller was lost\n"
    (ended,) = [each for each in log.entries if each["event"] == "session ended"]
    assert (ended["by"], ended["exit_code"], ended["log_level"]) == ("controller", 1, "error")


async def test_a_download_that_just_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.peers.cli_controller.START_TIMEOUT", 0.2)
    controller = CliController()
    async with site(tmp_path, controller, cli=HTTP) as gateway, websocket(gateway.plain) as client:
        outcome = await client.finish(Outcome())
    assert outcome.code == 1
    assert outcome.stderr.startswith(b"the controller closed the connection before")


async def test_an_upload_that_is_refused(tmp_path: Path) -> None:
    controller = CliController()
    controller.answers["upload"] = Answer(500)
    async with site(tmp_path, controller, cli=HTTP) as gateway, websocket(gateway.plain) as client:
        outcome = await client.finish(Outcome())
    assert outcome.stderr == b"the controller answered 500 to the upload\n"
    assert (outcome.code, outcome.closed) == (1, 1000)


async def test_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.jenkins_cli.translation.START_TIMEOUT", 0.2)
    controller = CliController()
    async with site(tmp_path, controller, cli=HTTP) as gateway, websocket(gateway.plain) as client:
        await client.send(ARG, utf(b"who-am-i"))
        outcome = await client.finish(Outcome())
        run = await controller.wait_for_run()
        await run.ended.wait()
        assert run.args == [], "nothing of a command leaves before START"
    assert (outcome.code, outcome.closed) == (2, 1000)
    assert outcome.stderr == b"no command within 0.2 s\n"


@pytest.mark.parametrize("op", [EXIT, STDOUT, STDERR, 9, 127])
async def test_messages_that_are_skipped(tmp_path: Path, op: int) -> None:
    controller = CliController()
    async with site(tmp_path, controller, cli=HTTP) as gateway, websocket(gateway.plain) as client:
        await client.send(op, b"\0\0\0\0")
        await begin(client, b"echo", b"fine")
        assert (await client.finish(Outcome())).stdout == b"fine\n"
    assert op not in [each for each, _ in controller.runs[0].frames]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x80",
        b"\xff\0",
        bytes((STDIN,)) + b"x" * 65_536,
        bytes((ARG,)) + b"\0\7\xc1\xa7roovy",
        "text",
    ],
    ids=["empty", "0x80", "0xff", "too-long", "odd-encoding", "text"],
)
async def test_messages_that_end_it(tmp_path: Path, message: bytes | str) -> None:
    controller = CliController()
    async with site(tmp_path, controller, cli=HTTP) as gateway, websocket(gateway.plain) as client:
        await client.connection.send_message(message)
        outcome = await client.finish(Outcome())
        assert (outcome.code, outcome.closed) == (1, 1000)
        assert outcome.stderr.endswith(b"\n")
        run = await controller.wait_for_run()
        await run.ended.wait()
        assert run.args == []


@pytest.mark.parametrize("side", ["client", "controller"])
async def test_a_bug_is_an_exit_too(
    tmp_path: Path, side: str, monkeypatch: pytest.MonkeyPatch, log: LogCapture
) -> None:
    async def broken(*args: object) -> None:
        raise ZeroDivisionError("secret")

    where = {
        "client": "gateway.http.websocket_accept.AcceptedWebSocket.receive",
        "controller": "gateway.jenkins_cli.full_duplex.FullDuplex.receive",
    }
    monkeypatch.setattr(where[side], broken)
    controller = CliController()
    async with site(tmp_path, controller, cli=HTTP) as gateway, websocket(gateway.plain) as client:
        outcome = await client.finish(Outcome())
    assert (outcome.code, outcome.closed) == (1, 1000)
    assert outcome.stderr == b"internal error\n"
    (ended,) = (each for each in log.entries if each["event"] == "session ended")
    assert (ended["by"], ended["log_level"]) == ("gateway", "error")
    assert isinstance(ended["exc_info"], ZeroDivisionError)


async def test_a_gateway_that_stops_says_so(tmp_path: Path) -> None:
    async with site(tmp_path, CliController(), cli=HTTP) as gateway:
        async with websocket(gateway.plain) as client:
            await begin(client, b"sleep", b"60")
            assert await client.receive() == (STDOUT, b"sleeping\n")
            await gateway.stop()
            outcome = await client.finish(Outcome())
        assert (outcome.code, outcome.closed) == (1, 1000)
        assert b"shutting down" in outcome.stderr


# -- keeping alive ---------------------------------------------------------------------------------


async def test_the_upload_is_kept_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.jenkins_cli.translation.UPLOAD_KEEPALIVE", 0.05)
    controller = CliController()
    async with site(tmp_path, controller, cli=HTTP) as gateway, websocket(gateway.plain) as client:
        await client.send(ENCODING, utf(b"ISO-8859-1"))
        await client.send(ARG, utf(b"sleep"))
        await client.send(ARG, utf(b"0.5"))
        await client.send(START)
        outcome = await client.finish(Outcome())
    assert outcome.code == 0
    frames = controller.runs[0].frames
    started = frames.index((START, b""))
    assert frames[started + 1 :].count((ENCODING, utf(b"ISO-8859-1"))) >= 4
    assert {op for op, _ in frames[started + 1 :]} == {ENCODING}


KEEPALIVE = {"interval": 0.1, "suspect_after": 0.1, "dead_after": 0.3}


async def test_the_client_is_pinged(tmp_path: Path) -> None:
    """By the interval of the configuration, whatever becomes of the answers."""
    agents = {"keepalive": KEEPALIVE}
    async with (
        site(tmp_path, CliController(), cli=HTTP, agents=agents) as gateway,
        await trio.open_tcp_stream("127.0.0.1", gateway.plain) as stream,
    ):
        await stream.send_all(by_hand(b"sleep", b"0.7"))
        data = b""
        while b"\x82\x05\x04\0\0\0\0" not in data:  # EXIT
            data += await stream.receive_some()
    pings = data.partition(b"\r\n\r\n")[2].count(b"\x89")
    assert 3 <= pings <= 8


async def test_a_silent_client_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: LogCapture
) -> None:
    monkeypatch.setattr("gateway.jenkins_cli.translation._LOOK", 0.05)
    monkeypatch.setattr("gateway.jenkins_cli.translation._LAST_WORDS", 0.2)
    agents = {"keepalive": {**KEEPALIVE, "controller_dead_after": 0.3}}
    controller = CliController()
    async with site(tmp_path, controller, cli=HTTP, agents=agents) as gateway:
        async with await trio.open_tcp_stream("127.0.0.1", gateway.plain) as stream:
            await stream.send_all(by_hand(b"sleep", b"60"))
            received = await read_all(stream)
        run = await controller.wait_for_run()
        await run.ended.wait()
        assert run.interrupted
    assert received.endswith(b"\x82\x05\x04\0\0\0\1\x88\x02\x03\xe8"), "EXIT 1 and Close"
    ended = [each for each in log.entries if each["event"] == "session ended"]
    assert [(each["by"], each["log_level"]) for each in ended] == [("client", "warning")]
    assert ended[0]["reason"] == "nothing was heard of the client for 0.3 s"
