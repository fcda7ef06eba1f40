"""A controller that sends garbage at every step of JNLP4.

Each row is a stage and what comes there in place of what is due, and what an agent is told. The
gateway never waits longer for it than ``agents.handshake_timeout``.
"""

from __future__ import annotations

import itertools
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

from tests.hostile.dispatch import Dispatch
from tests.hostile.site import BAD, Site, at_once, request_for, running_site
from tests.peers.raw_client import Answer, RawClient
from tests.peers.scripted_controller import (
    ACK,
    Script,
    ScriptedController,
    Stage,
    Visit,
    close,
    other_identity,
    reset,
    saying,
    stay_silent,
    stopping_at,
    string,
    tls_context,
)

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


_numbers = itertools.count()


async def _meet(site: Site, dispatch: Dispatch, row: Garbage) -> None:
    """Send a good agent to the bad controller; read what it is told."""
    script = stopping_at(row.stage, row.script)
    name = row.name.encode("ascii", "replace").decode()
    async with await RawClient.connect(site.plain_port) as client:
        async with dispatch.turn:
            dispatch.expect(script)
            # A name of its own: what a controller refused is not asked again for a minute.
            await client.send(request_for(f"any-node-{next(_numbers)}", SECRET, prefix=BAD))
            with trio.move_on_after(10) as scope:
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
