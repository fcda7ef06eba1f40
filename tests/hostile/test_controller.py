"""A controller that sends garbage: at every step of JNLP4, in discovery, and in the open channel.

Each row is a stage and what comes there in place of what is due, and what an agent is told. The
gateway never waits longer for it than ``agents.handshake_timeout``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import filterfalse
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.hostile.site import BAD, SESSIONS, Attack, Site, at_once, request_for, running_site
from tests.peers.raw_client import Answer, RawClient
from tests.peers.scripted_controller import (
    ACK,
    CAPABILITY,
    Script,
    ScriptedController,
    Stage,
    Visit,
    accepting,
    close,
    other_identity,
    reset,
    saying,
    stay_silent,
    stopping_at,
    string,
    tls_context,
)
from tests.peers.ws_agent import AgentFrames, CloseConnection, payload_of

pytestmark = pytest.mark.e2e

HANDSHAKE_TIMEOUT: Final = "3s"
SECRET: Final = "0ddba11" * 9
_HEADERS: Final = '{"JnlpAgentProtocol.cookie":"c0"}'
_UNUSABLE: Final = (503,)
_TOO_LATE: Final = (504,)


@dataclass(frozen=True)
class Garbage:
    """What a controller does at ``stage``; one of ``statuses`` follows, for ``reason``."""

    stage: Stage
    name: str
    script: Script = field(repr=False)
    statuses: tuple[int, ...] = _UNUSABLE
    reason: str = ""


def everywhere(stage: Stage) -> Iterator[Garbage]:
    """Yield what can go wrong at every stage."""
    rng = random.Random(stage)
    yield Garbage(stage, "EOF", close, reason="while waiting for")
    yield Garbage(stage, "reset", reset, reason="while waiting for")
    yield Garbage(stage, "silence", stay_silent, _TOO_LATE, "no session within 3 s")
    yield Garbage(stage, "one byte, then EOF", saying(b"\0", then=close))
    for number in range(3):
        noise = rng.randbytes(rng.choice((3, 100, 20_000)))
        yield Garbage(stage, f"noise {number}", saying(noise, then=close), (400, 502, 503))
    yield Garbage(stage, "a flood", _flooding(rng.randbytes(65536)), (400, 502, 503))


def strings(stage: Stage, what: str) -> Iterator[Garbage]:
    """Yield what can be wrong with any string above TLS."""
    yield Garbage(
        stage,
        "65,535 bytes",
        saying(string(b"x" * 0xFFFF)),
        reason=f"the controller's {what} has 65535 bytes",
    )
    yield Garbage(stage, "65,535 bytes that never come", saying(b"\xff\xff"))
    yield Garbage(
        stage, "shorter than its length", saying(b"\x00\x40{}"), _TOO_LATE, "no session within"
    )
    yield Garbage(stage, "cut off", saying(b"\x00\x40{}", then=close), reason="while waiting for")
    yield Garbage(stage, "not UTF-8", saying(string(b"\xff\xfe{}")), reason=f"{what} is not UTF-8")
    yield Garbage(stage, "empty", saying(string("")))


def rows() -> Iterator[Garbage]:
    """Yield every row."""
    for stage in (Stage.ACK, Stage.TLS, Stage.HEADERS, Stage.VERDICT, Stage.CAPABILITY):
        yield from everywhere(stage)
    yield from ack()
    yield from tls()
    yield from strings(Stage.HEADERS, "headers")
    yield from headers()
    yield from strings(Stage.VERDICT, "verdict")
    yield from verdicts()
    yield from strings(Stage.CAPABILITY, "capability")
    yield from capabilities()


def ack() -> Iterator[Garbage]:
    """Yield what is not quite an ACK."""
    stage = Stage.ACK
    for text in ("Unknown protocol:\n", "Unrecognized protocol: x\n", "HTTP/1.1 200 OK\r\n\r\n"):
        yield Garbage(stage, text, saying(text.encode()), reason="does not speak this protocol")
    yield Garbage(stage, "NAK", saying(string("NAK")), reason="expected ACK")
    yield Garbage(stage, "ack", saying(string("ack")), reason="expected ACK")
    yield Garbage(stage, "65,535 bytes", saying(string(b"A" * 0xFFFF)), reason="expected ACK")
    yield Garbage(stage, "cut off", saying(ACK[:4], then=close), reason="before its ACK")
    yield Garbage(stage, "half of it", saying(ACK[:3]), _TOO_LATE)
    yield Garbage(stage, "more than it", saying(ACK + b"?" * 100), reason="while waiting for")


def tls() -> Iterator[Garbage]:
    """Yield what is not quite a TLS server."""
    stage = Stage.TLS
    answers = {
        "an alert": b"\x15\x03\x03\x00\x02\x02\x28",
        "headers in clear": string(_HEADERS),
        "an absurd record": b"\x16\x03\x03\xff\xff" + bytes(9),
    }
    for name, answer in answers.items():
        yield Garbage(stage, name, _after_the_hello(saying(answer)), reason="TLS: ")
    half = _after_the_hello(saying(b"\x16\x03\x03\x00\x50\x02"))
    yield Garbage(stage, "half a record", half, _TOO_LATE, "no session within 3 s")
    yield Garbage(stage, "another key", _show_another_key, (502,), "is not the expected one")


def headers() -> Iterator[Garbage]:
    """Yield what is not one flat object of strings."""
    stage = Stage.HEADERS
    deep, wide = 4000, 1000
    texts = {
        "a word": "null",
        "an array": "[]",
        "deep arrays": "[" * deep + "]" * deep,
        "deep objects": '{"a":' * 1300 + "1" + "}" * 1300,
        "deep and never closed": "[" * 8000,
        "many keys of one name": "{" + '"a":"b",' * wide + '"a":1}',
        "a number": '{"a":1}',
        "a number of 8,000 digits": '{"a":' + "9" * 8000 + "}",
        "a huge exponent": '{"a":1e99999999}',
        "NaN": '{"a":NaN}',
        "nested": '{"a":{"b":"c"}}',
        "no end": '{"a":"b"',
        "two objects": "{}{}",
        "a control character": '{"a":"\x01"}',
    }
    for name, text in texts.items():
        yield Garbage(stage, name, saying(string(text)), reason="the controller's headers")
    yield Garbage(stage, "spaces only", saying(string(" " * 0xFFFF)), reason="65535 bytes")
    more = string(_HEADERS) + b"\x00\x02\xff\xfe"
    yield Garbage(stage, "headers, then noise", saying(more), reason="verdict is not UTF-8")


def verdicts() -> Iterator[Garbage]:
    """Yield verdicts that are none, and refusals that are traps."""
    stage = Stage.VERDICT
    for text in ("ok", "OK ", "OKOK", "ERROR", "ERROR:no", "error: no", "BYE", "{}"):
        yield Garbage(stage, text, saying(string(text)), reason="neither OK nor a refusal")
    more = string("OK") + b"\x00\x02\xff\xfe"
    yield Garbage(stage, "OK, then noise", saying(more), reason="capability is not UTF-8")
    refusals = (
        "ERROR: ",
        "FATAL: no",
        "ERROR: \x1b[2J\r\nX-Evil: 1\r\n\r\n",
        "ERROR: " + "e" * 8000,
    )
    for text in refusals:
        yield Garbage(stage, text[:20], saying(string(text)), (400,))
    yield Garbage(stage, "a quoted secret", _quoting_the_secret, (400,), "***")
    for text in ("Unknown client name: ", "Authorization failure", "x is already connected"):
        yield Garbage(stage, text, saying(string(f"ERROR: {text}")), (400, 403))
    yield Garbage(
        stage,
        "a refusal, then noise",
        saying(string("ERROR: no") + bytes(50_000)),
        (400,),
        "no",
    )


def capabilities() -> Iterator[Garbage]:
    """Yield what would not do in a header field of the 101."""
    stage = Stage.CAPABILITY
    for text in ("\r\nX-Evil: 1", "rO0A\n", "rO0A\0", "rO\u00e40", "\u202e"):
        yield Garbage(stage, ascii(text), saying(string(text)), reason="not printable ASCII")


def _flooding(data: bytes) -> Script:
    """Return a script that says ``data`` for as long as anybody listens."""

    async def script(visit: Visit) -> None:
        for _ in range(200):
            await visit.send(data)
        await close(visit)

    return script


def _after_the_hello(script: Script) -> Script:
    """Return ``script``, waiting for the ClientHello: what comes before it is told apart."""

    async def later(visit: Visit) -> None:
        await visit.receive()
        await script(visit)

    return later


async def _show_another_key(visit: Visit) -> None:
    await visit.start_tls(tls_context(other_identity()))
    await visit.read_to_end()
    assert visit.inside == b""


async def _quoting_the_secret(visit: Visit) -> None:
    await visit.send(string(f"ERROR: {visit.headers['Secret-Key']} is not what I wanted"))
    await visit.read_to_end()


# -- the handshake ---------------------------------------------------------------------------------


class Dispatch:
    """One script per node: a round's agents all come to the same controller, at once.

    Which node a visit is for shows in its headers only, so scripts are taken in the order of the
    agents' connections, which is one at a time.
    """

    def __init__(self) -> None:
        self.turn = trio.Lock()
        self.arrived = trio.Event()
        self._script: Script = stay_silent

    async def __call__(self, visit: Visit) -> None:
        script = self._script
        self.arrived.set()
        await script(visit)

    def expect(self, script: Script) -> None:
        """Use ``script`` for the next agent."""
        self._script = script
        self.arrived = trio.Event()


async def _meet(site: Site, dispatch: Dispatch, row: Garbage) -> None:
    """Send a good agent to the bad controller; read what it is told."""
    script = stopping_at(row.stage, row.script)
    name = row.name.encode("ascii", "replace").decode()
    async with await RawClient.connect(site.plain_port) as client:
        async with dispatch.turn:
            dispatch.expect(script)
            await client.send(request_for("any-node", SECRET, prefix=BAD))
            with trio.move_on_after(2) as scope:
                await dispatch.arrived.wait()
            assert not scope.cancelled_caught, site.gateway.log.tail()
        with trio.fail_after(15):
            answer = await client.read_answer()
    assert answer.status in row.statuses, f"{row.stage.name} {name}: {answer.head!r}"
    _check_answer(answer)
    error_id = (answer.get(b"x-gateway-error-id") or b"").decode()
    (line,) = await site.gateway.log.wait_for(
        "request failed", "request refused", error_id=error_id
    )
    assert row.reason in line["reason"], f"{row.stage.name} {name}: {line['reason']}"
    assert SECRET not in json.dumps(line)


def _check_answer(answer: Answer) -> None:
    """Nothing of the controller's may become a field of its own, or quote a secret."""
    assert answer.get(b"x-evil") is None
    assert SECRET.encode() not in answer.head + answer.body
    assert b"\x1b" not in answer.head


async def test_garbage_at_every_step_of_jnlp4(tmp_path: Path) -> None:
    """What ends a handshake at once, in rounds; what is only waited for once, all at a time."""
    dispatch = Dispatch()
    controller = ScriptedController(dispatch)
    async with running_site(tmp_path, controller, handshake_timeout=HANDSHAKE_TIMEOUT) as site:

        async def meet_all(found: list[Garbage]) -> None:
            await at_once([partial(_meet, site, dispatch, row) for row in found], limit=64)

        def is_quick(row: Garbage) -> bool:
            return row.statuses is not _TOO_LATE

        await meet_all(list(filterfalse(is_quick, rows())))
        await site.check_service()
        await site.endure(lambda: meet_all(list(filter(is_quick, rows()))), rounds=2, warm_up=1)
        assert SECRET not in json.dumps(site.gateway.log.lines)


# -- what may follow, and is no garbage ------------------------------------------------------------


async def test_what_comes_with_the_capability_is_the_beginning_of_the_channel(
    tmp_path: Path,
) -> None:
    """Extra bytes after any earlier step belong to the next one; after the last, to the agent."""
    extra = b"\x00\x05hello" * 1000
    coalesced = string(_HEADERS) + string("OK") + string(CAPABILITY) + extra
    controller = ScriptedController(
        stopping_at(Stage.HEADERS, saying(coalesced, then=_read_some_and_close))
    )
    async with running_site(tmp_path, controller) as site:
        async with site.hostile_session(prefix=BAD) as (_, client):
            payload, code = await _read_session(client)
        assert payload == extra
        assert code == 1000


# -- the channel -----------------------------------------------------------------------------------

_BIG: Final = b"\x7f\xff"  # a chunk of 32,767 bytes
CHANNELS: Final[dict[str, tuple[bytes, int, str]]] = {
    "half a header": (b"\x20", 0, "1 bytes of an incomplete chunk"),
    "a header alone": (_BIG, 0, "2 bytes of an incomplete chunk"),
    "most of a chunk": (_BIG + bytes(32_766), 0, "32768 bytes of an incomplete chunk"),
    "a chunk and a half": (b"\x00\x01x" + _BIG + bytes(9), 3, "11 bytes of an incomplete chunk"),
    "empty chunks": (bytes(100_000), 100_000, "the controller closed"),
    "a command without end": (b"\xff\xff" + bytes(32_767), 32_769, "the controller closed"),
}


async def _read_some_and_close(visit: Visit) -> None:
    """Leave as Java does, but read what is there, so that leaving is no reset."""
    await visit.receive()
    await close(visit)


async def _speak_badly(site: Site, dispatch: Dispatch, name: str) -> None:
    data, delivered, reason = CHANNELS[name]
    async with dispatch.turn:
        dispatch.expect(accepting(then=saying(data, then=close)))
        async with site.hostile_session(prefix=BAD) as (node, client):
            payload, code = await _read_session(client)
    assert len(payload) == delivered, name
    assert code == 1000, name
    (line,) = await site.gateway.log.wait_for("session ended", node=node)
    assert line["by"] == "controller"
    assert reason in line["reason"], name


async def _break_tls(visit: Visit) -> None:
    """Send something that is no record, past our own TLS."""
    assert visit.in_tls
    await visit._socket.send_all(random.Random(13).randbytes(1000))
    await visit.read_to_end()


async def _end_badly(site: Site, dispatch: Dispatch, script: Script, reason: str) -> None:
    async with dispatch.turn:
        dispatch.expect(accepting(then=script))
        async with site.hostile_session(prefix=BAD) as (node, client):
            _, code = await _read_session(client)
    assert code == 1011
    (line,) = await site.gateway.log.wait_for("session ended", node=node)
    assert line["by"] == "controller"
    assert reason in line["reason"]


async def _read_session(client: RawClient) -> tuple[bytes, int | None]:
    """Return the payload and the code of the Close frame, which is answered."""
    frames = AgentFrames()
    payload, data = b"", bytes(client.buffer)
    with trio.fail_after(15):
        while True:
            for event in frames.receive(data):
                payload += payload_of([event])
                if isinstance(event, CloseConnection):
                    await client.send(frames.send(event.response()))
                    return payload, int(event.code)
            data = bytes(await client.stream.receive_some())
            if not data:
                return payload, None


async def test_garbage_in_the_channel(tmp_path: Path) -> None:
    dispatch = Dispatch()
    controller = ScriptedController(dispatch)
    async with running_site(tmp_path, controller) as site:
        attacks: list[Attack] = [
            *(partial(_speak_badly, site, dispatch, name) for name in CHANNELS),
            partial(_end_badly, site, dispatch, _break_tls, "controller: TLS: "),
            partial(_end_badly, site, dispatch, reset, "controller: connection reset"),
        ]

        async def one_round() -> None:
            await at_once(attacks)

        await site.endure(one_round, rounds=5, tolerance=SESSIONS)


# -- discovery -------------------------------------------------------------------------------------

DOCUMENTS: Final[dict[str, bytes]] = {
    "nothing": b"",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "noise": random.Random(17).randbytes(50_000),
    "an endless line": b"HTTP/1.1 200 " + b"O" * 1_000_000,
    "an endless head": b"HTTP/1.1 200 OK\r\n" + b"X-Y: z\r\n" * 100_000,
    "a body that never ends": b"HTTP/1.1 200 OK\r\n\r\n" + b"<html>" * 300_000,
    "chunks that are none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no port": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "port 0": b"HTTP/1.1 200 OK\r\nX-Jenkins-JNLP-Port: 0\r\nContent-Length: 0\r\n\r\n",
    "port 2**40": b"HTTP/1.1 200 OK\r\nX-Jenkins-JNLP-Port: 1099511627776\r\n"
    b"Content-Length: 0\r\n\r\n",
    "1,000 early answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
}


PATHS: Final = {f"/bad-{number}": name for number, name in enumerate(DOCUMENTS)}


async def _answer_badly(visit: Visit) -> None:
    """Answer with the document that belongs to the path."""
    path = visit.opening.split(" ")[1].removesuffix("/tcpSlaveAgentListener/")
    await visit.send(DOCUMENTS[PATHS[path]])
    await close(visit)


async def _discover(site: Site, path: str) -> None:
    name = PATHS[path]
    async with await RawClient.connect(site.plain_port) as client:
        await client.send(request_for("any-node", SECRET, prefix=path))
        with trio.fail_after(15):
            answer = await client.read_answer()
    assert answer.status in (502, 503), f"{name}: {answer.head!r}"
    error_id = (answer.get(b"x-gateway-error-id") or b"").decode()
    (line,) = await site.gateway.log.wait_for("request failed", error_id=error_id)
    assert line["reason"], name


async def test_garbage_in_discovery(tmp_path: Path) -> None:
    controller = ScriptedController()
    controller.on_request = _answer_badly
    async with running_site(tmp_path, controller, bad_paths=tuple(PATHS)) as site:

        async def one_round() -> None:
            await at_once([partial(_discover, site, path) for path in PATHS])
            await trio.sleep(1.05)  # failures are remembered for a second

        await site.endure(one_round, rounds=1, warm_up=1)
    assert controller.connections == 0
