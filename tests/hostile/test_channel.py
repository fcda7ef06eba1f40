"""A controller that sends garbage in the open channel: chunks that never complete, broken TLS."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.hostile.dispatch import Dispatch
from tests.hostile.site import BAD, SESSIONS, Attack, Site, at_once, running_site
from tests.peers.raw_client import RawClient
from tests.peers.scripted_controller import (
    CAPABILITY,
    Script,
    ScriptedController,
    Stage,
    Visit,
    accepting,
    close,
    reset,
    saying,
    stopping_at,
    string,
)
from tests.peers.ws_agent import AgentFrames, CloseConnection, payload_of

pytestmark = pytest.mark.e2e

HEADERS: Final = '{"JnlpAgentProtocol.cookie":"c0"}'
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

        await site.endure(one_round, rounds=3, tolerance=SESSIONS)


async def test_what_comes_with_the_capability_is_the_beginning_of_the_channel(
    tmp_path: Path,
) -> None:
    """Extra bytes after any earlier step belong to the next one; after the last, to the agent."""
    extra = b"\x00\x05hello" * 1000
    coalesced = string(HEADERS) + string("OK") + string(CAPABILITY) + extra
    controller = ScriptedController(
        stopping_at(Stage.HEADERS, saying(coalesced, then=_read_some_and_close))
    )
    async with running_site(tmp_path, controller) as site:
        async with site.hostile_session(prefix=BAD) as (_, client):
            payload, code = await _read_session(client)
        assert payload == extra
        assert code == 1000
        await site.gateway.watch.wait_for_descriptors(site.descriptors)
