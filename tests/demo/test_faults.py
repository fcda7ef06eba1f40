"""Every fault does what it says, at every stage of the stand-in controller."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from contextlib import suppress

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.demo.controller import INBOUND, StandInController
from gateway.demo.faults import (
    Action,
    Close,
    Delay,
    Faults,
    Refuse,
    Reset,
    Say,
    Stage,
    UseIdentity,
)
from gateway.demo.identity import InstanceIdentity
from tests.demo.raw_client import CAPABILITY, RawClient, dialog, framed

HANDSHAKE = [
    Stage.ACCEPT,
    Stage.ACK,
    Stage.TLS,
    Stage.HEADERS,
    Stage.VERDICT,
    Stage.CAPABILITY,
    Stage.CHANNEL,
]


async def start(
    nursery: trio.Nursery,
    identity: InstanceIdentity,
    stage: Stage,
    action: Action | Sequence[Action],
) -> StandInController:
    """Start a controller with one fault."""
    faults = Faults({stage: action})
    controller = StandInController({"m": INBOUND}, identity=identity, faults=faults)
    await nursery.start(controller.run)
    return controller


def steps_done(client: RawClient, controller: StandInController) -> int:
    """Go through a handshake; return how many stages the controller let us pass."""
    passed = 0
    try:
        client.send(framed("Protocol:JNLP4-connect") + framed("ACK"))
        client.read(5)
        passed = HANDSHAKE.index(Stage.TLS)
        client.tls()
        passed = HANDSHAKE.index(Stage.HEADERS)
        client.frame()
        passed = HANDSHAKE.index(Stage.VERDICT)
        headers = {"Node-Name": "m", "Secret-Key": controller.secret("m")}
        client.send(framed(json.dumps(headers)))
        client.frame()
        passed = HANDSHAKE.index(Stage.CAPABILITY)
        client.send(framed("OK"))
        client.frame()
        passed = HANDSHAKE.index(Stage.CHANNEL)
        client.send(framed(CAPABILITY))
        client.socket.settimeout(0.2)
        client.read(1)
    except TimeoutError:
        passed = len(HANDSHAKE)
    except (EOFError, ConnectionError, ssl.SSLError):
        pass
    return passed


@pytest.mark.parametrize("stage", HANDSHAKE)
@pytest.mark.parametrize("action", [Close(), Reset()])
async def test_ends_at_every_stage(
    nursery: trio.Nursery, identity: InstanceIdentity, stage: Stage, action: Action
) -> None:
    controller = await start(nursery, identity, stage, action)
    passed = 0
    with suppress(ConnectionResetError):  # a reset at once is seen by connect() itself
        passed = await dialog(
            controller.agent_address, lambda client: steps_done(client, controller)
        )
    assert passed == max(HANDSHAKE.index(stage), 0) - (stage is Stage.ACK)
    await controller.attempts[-1].finished.wait()
    assert controller.attempts[-1].stage is stage
    assert controller.attempts[-1].detail.endswith(f"fault at {stage.name}")


async def test_without_faults_everything_is_passed(
    nursery: trio.Nursery, identity: InstanceIdentity
) -> None:
    controller = StandInController({"m": INBOUND}, identity=identity)
    await nursery.start(controller.run)
    passed = await dialog(controller.agent_address, lambda client: steps_done(client, controller))
    assert passed == len(HANDSHAKE)


@pytest.mark.parametrize(("action", "end"), [(Close(), "eof"), (Reset(), "reset")])
async def test_how_it_ends(
    nursery: trio.Nursery, identity: InstanceIdentity, action: Action, end: str
) -> None:
    controller = await start(nursery, identity, Stage.PING, action)

    def talk(client: RawClient) -> tuple[bytes, str]:
        client.send(framed("Protocol:Ping"))
        return client.rest()

    assert await dialog(controller.agent_address, talk) == (b"", end)


@pytest.mark.parametrize(
    ("stage", "request_bytes"),
    [
        (Stage.PING, framed("Protocol:Ping")),
        (Stage.ROOT, b"GET / HTTP/1.0\r\n\r\n"),
        (Stage.ROOT, b"GET /other HTTP/1.0\r\n\r\n"),
        (Stage.ACCEPT, framed("Protocol:NoSuch")),
    ],
)
async def test_say_replaces_what_is_due(
    nursery: trio.Nursery, identity: InstanceIdentity, stage: Stage, request_bytes: bytes
) -> None:
    controller = await start(nursery, identity, stage, Say(b"garbage"))

    def talk(client: RawClient) -> bytes:
        client.send(request_bytes)
        return client.rest()[0]

    answer = await dialog(controller.agent_address, talk)
    assert answer == b"garbage" + (b"Unknown protocol:\n" if stage is Stage.ACCEPT else b"")


async def test_say_inside_tls(nursery: trio.Nursery, identity: InstanceIdentity) -> None:
    controller = await start(nursery, identity, Stage.HEADERS, Say(framed("[1, 2]")))

    def talk(client: RawClient) -> bytes:
        client.preamble()
        client.tls()
        return client.frame()

    assert await dialog(controller.agent_address, talk) == b"[1, 2]"


async def test_say_in_place_of_the_verdict_leaves_the_rest_alone(
    nursery: trio.Nursery, identity: InstanceIdentity
) -> None:
    controller = await start(nursery, identity, Stage.VERDICT, Say(framed("CERTAINLY")))

    def talk(client: RawClient) -> bytes:
        assert client.hello("m", controller.secret("m"))[1] == "CERTAINLY"
        client.send(framed("OK"))
        return client.frame()

    assert await dialog(controller.agent_address, talk) == CAPABILITY


@pytest.mark.parametrize("verdict", ["ERROR: no thanks", "FATAL: never"])
async def test_refuse_whoever_comes(
    nursery: trio.Nursery, identity: InstanceIdentity, verdict: str
) -> None:
    controller = await start(nursery, identity, Stage.VERDICT, Refuse(verdict))

    def talk(client: RawClient) -> tuple[str, tuple[bytes, str]]:
        return client.hello("m", controller.secret("m"))[1], client.refused()

    found = await dialog(controller.agent_address, talk)
    assert found == (verdict, (b"", "bare eof"))


async def test_another_key(
    nursery: trio.Nursery, identity: InstanceIdentity, other_identity: InstanceIdentity
) -> None:
    controller = await start(nursery, identity, Stage.TLS, UseIdentity(other_identity))

    def talk(client: RawClient) -> bytes:
        client.preamble()
        return client.tls()

    for expected in (other_identity, identity):
        der = await dialog(controller.agent_address, talk)
        key = x509.load_der_x509_certificate(der).public_key()
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert spki == expected.public_key
        await controller.attempts[-1].finished.wait()
        assert controller.attempts[-1].received == 0
        controller.faults = Faults()


async def test_delay_then_close(nursery: trio.Nursery, identity: InstanceIdentity) -> None:
    controller = await start(nursery, identity, Stage.ACK, [Delay(0.3), Close()])

    def talk(client: RawClient) -> tuple[bytes, str]:
        client.send(framed("Protocol:JNLP4-connect"))
        client.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.read(1)
        client.socket.settimeout(10)
        return client.rest()

    assert await dialog(controller.agent_address, talk) == (b"", "eof")
