"""Recorded real agents against the stand-in controller: their bytes in, the recorded answers out.

What a controller makes up itself (cookies) is replaced before comparing; everything else it said in
the handshake must be the same, in the same order.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.demo.controller import INBOUND, StandInController
from gateway.demo.faults import Faults, Refuse, Stage
from gateway.demo.identity import InstanceIdentity
from gateway.demo.jnlp4_server import Timings
from tests.demo.raw_client import RawClient, dialog, framed

VECTORS = Path(__file__).parents[1] / "vectors"
MISC: dict[str, Any] = json.loads((VECTORS / "tcp-port-misc.json").read_text())
SUMMARY: dict[str, Any] = json.loads((VECTORS / "wire-summary.json").read_text())
TCP = [name for name in SUMMARY if name.startswith("tcp-")]
REFUSED = ["tcp-wrong-secret", "tcp-unknown-node", "tcp-reject-error", "tcp-reject-fatal"]
# what the recorded controller was made to say although nothing was wrong with the agent
SAID_ANYWAY = {
    "tcp-reject-error": "ERROR: gold is not an inbound agent",
    "tcp-reject-fatal": "FATAL: go away for good",
}
QUICK = Timings(ack=0.2, bye=0.2, disconnect=0.2, linger=0.2)


class Recorded(StandInController):
    """A controller whose secrets are those of the recordings."""

    def secret(self, node: str) -> str:
        """Return the recorded secret."""
        return {
            "gold": "ee67af6811b52320564485f6848d4986068718fd30d31ea3c060c9ce7af6a82d",
            "m": "6956e0609ff8b82306eb7efe145ed5ea4b821f2f670058d2fac49a9db83bfa7c",
        }[node]


def same_but_cookie(data: bytes) -> bytes:
    """Blank the cookie in a controller's bytes."""
    return re.sub(rb'("JnlpAgentProtocol\.cookie":")[0-9a-f]{64}"', rb'\1..."', data)


async def start(
    nursery: trio.Nursery, identity: InstanceIdentity, faults: Faults | None = None
) -> Recorded:
    """Start a controller as the recorded one was."""
    controller = Recorded(
        {"gold": INBOUND, "m": INBOUND}, identity=identity, faults=faults, timings=QUICK
    )
    await nursery.start(controller.run)
    return controller


def replay(client: RawClient, session: dict[str, Any]) -> tuple[list[bytes], list[bytes]]:
    """Say what the recorded agent said, step by step; return the answers and the recorded ones."""
    ours = [bytes.fromhex(step["hex"]) for step in session["client"]["handshake"]]
    theirs = [bytes.fromhex(step["hex"]) for step in session["server"]["handshake"]]
    raw = session["raw"]["client"]
    client.send(bytes.fromhex(raw["protocol_line_hex"]))
    client.send(bytes.fromhex(raw["ack_hex"]))
    assert client.read(5) == bytes.fromhex(session["raw"]["server"]["ack_hex"])
    client.tls()
    answers = [framed(client.frame())]  # its headers, before it has ours
    client.send(ours[0])
    answers.append(framed(client.frame()))  # its verdict, before it has ours
    for step in ours[1:]:
        client.send(step)
    if len(theirs) == 3:
        answers.append(framed(client.frame()))
    return [same_but_cookie(data) for data in answers], [same_but_cookie(data) for data in theirs]


SESSIONS = [
    (name, index)
    for name in TCP
    for index, connection in enumerate(SUMMARY[name]["connections"])
    if len(connection["server"]["handshake"]) == 3
]


@pytest.mark.parametrize(("name", "index"), SESSIONS)
async def test_accepted_agents(
    nursery: trio.Nursery, identity: InstanceIdentity, name: str, index: int
) -> None:
    controller = await start(nursery, identity)
    session = SUMMARY[name]["connections"][index]

    def talk(client: RawClient) -> None:
        answers, recorded = replay(client, session)
        assert answers == recorded
        trio.from_thread.run(controller.wait_for_channel, "gold")

    await dialog(controller.agent_address, talk)


def test_there_are_recorded_sessions() -> None:
    assert len(SESSIONS) >= 9


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_agents(nursery: trio.Nursery, identity: InstanceIdentity, name: str) -> None:
    said = SAID_ANYWAY.get(name)
    faults = Faults() if said is None else Faults({Stage.VERDICT: Refuse(said)})
    controller = await start(nursery, identity, faults)
    connection = json.loads((VECTORS / f"{name}.json").read_text())["connections"][0]

    def talk(client: RawClient) -> tuple[bytes, str]:
        client.preamble()
        client.tls()
        for step in connection["plain_client"]["handshake"]:
            client.send(bytes.fromhex(step["hex"]))
        return client.rest()

    answer, end = await dialog(controller.agent_address, talk)
    recorded = bytes.fromhex(connection["plain_server"]["stream_hex"])
    assert (same_but_cookie(answer), end) == (same_but_cookie(recorded), "bare eof")


async def test_already_connected_agent(nursery: trio.Nursery, identity: InstanceIdentity) -> None:
    controller = await start(nursery, identity)
    accepted, refused = SUMMARY["tcp-already-connected"]["connections"]

    def talk(first: RawClient) -> tuple[list[bytes], list[bytes]]:
        replay(first, accepted)
        trio.from_thread.run(controller.wait_for_channel, "gold")
        with RawClient(controller.agent_address) as second:
            found = replay(second, refused)
            assert second.rest() == (b"", "bare eof")
            return found

    answers, recorded = await dialog(controller.agent_address, talk)
    assert answers == recorded


@pytest.mark.parametrize(
    "name",
    [
        "malformed-headers",
        "wrong-secret-no-bye",
        "wrong-secret-bye",
        "no-secret-key",
        "client-refuses",
    ],
)
async def test_odd_clients_that_are_cut_off(
    nursery: trio.Nursery, identity: InstanceIdentity, name: str
) -> None:
    controller = await start(nursery, identity)

    def talk(client: RawClient) -> tuple[bytes, str]:
        client.preamble()
        client.tls()
        client.send(bytes.fromhex(MISC[name]["sent_hex"]))
        return client.rest()

    answer, end = await dialog(controller.agent_address, talk)
    recorded = bytes.fromhex(MISC[name]["received_hex"])
    assert same_but_cookie(answer) == same_but_cookie(recorded)
    assert (end, MISC[name]["end"]) == ("bare eof", "eof WITHOUT close_notify")


@pytest.mark.parametrize(
    "name",
    ["tls-no-headers", "accepted-no-capability", "whitespace-and-unicode-escapes", "tls12"],
)
async def test_odd_clients_that_are_waited_for(
    nursery: trio.Nursery, identity: InstanceIdentity, name: str
) -> None:
    controller = await start(nursery, identity)
    recorded = bytes.fromhex(MISC[name]["received_hex"])
    assert MISC[name]["end"] == "timeout"

    def talk(client: RawClient) -> bytes:
        client.preamble()
        client.tls()
        client.send(bytes.fromhex(MISC[name]["sent_hex"]))
        answer = client.read(len(recorded))
        client.socket.settimeout(0.5)  # longer than every limit of QUICK
        with pytest.raises(TimeoutError):
            client.read(1)
        return answer

    answer = await dialog(controller.agent_address, talk)
    assert same_but_cookie(answer) == same_but_cookie(recorded)
