"""The stand-in controller's TCP agent port, examined by an independent raw client."""

from __future__ import annotations

import json
import ssl
from functools import partial
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.demo.channel import echo
from gateway.demo.controller import INBOUND, NOT_INBOUND, StandInController
from gateway.demo.faults import Delay, Faults, Stage
from gateway.demo.identity import InstanceIdentity
from gateway.demo.jnlp4_server import Timings
from gateway.demo.stream import End
from gateway.demo.wire import JNLP4_CONNECT, JNLP4_PLAINTEXT
from tests.demo.raw_client import CAPABILITY, RawClient, dialog, framed

MISC = json.loads((Path(__file__).parents[1] / "vectors" / "tcp-port-misc.json").read_text())
QUICK = Timings(ack=0.2, bye=0.2, disconnect=0.2, linger=0.5)


@pytest.fixture
async def controller(nursery: trio.Nursery, identity: InstanceIdentity) -> StandInController:
    """A healthy controller with an inbound node ``m`` and one that is not inbound."""
    stand_in = StandInController({"m": INBOUND, "ssh-1": NOT_INBOUND}, identity=identity)
    await nursery.start(stand_in.run)
    return stand_in


@pytest.mark.parametrize("name", ["http-get-other", "ping", "unknown-protocol", "unrecognized"])
async def test_port_answers_as_recorded(controller: StandInController, name: str) -> None:
    def talk(client: RawClient) -> tuple[bytes, str]:
        client.send(bytes.fromhex(MISC[name]["sent_hex"]))
        return client.rest()

    answer = await dialog(controller.agent_address, talk)
    assert answer == (bytes.fromhex(MISC[name]["received_hex"]), MISC[name]["end"])


async def test_port_answers_get_root_as_recorded(controller: StandInController) -> None:
    def talk(client: RawClient) -> tuple[bytes, str]:
        client.send(bytes.fromhex(MISC["http-get-root"]["sent_hex"]))
        return client.rest()

    answer, end = await dialog(controller.agent_address, talk)
    recorded: str = MISC["http-get-root"]["received_text"]
    expected = recorded.replace("2.harness", "2.stand-in").replace(
        "0badcafe", controller.session_id
    )
    assert (answer.decode(), end) == (expected, "eof")


async def test_port_probe_leaves_no_trouble(controller: StandInController) -> None:
    await dialog(controller.agent_address, lambda client: None)
    await dialog(controller.agent_address, lambda client: client.send(b"\0\x16Proto"))

    def talk(client: RawClient) -> bytes:
        client.send(framed("Protocol:Ping"))
        return client.rest()[0]

    assert await dialog(controller.agent_address, talk) == b"Ping\n"
    assert [attempt.end for attempt in controller.attempts] == [End.BARE_EOF, End.BARE_EOF, None]


@pytest.mark.parametrize("cut", [1, 2, 9, 10, 11])
async def test_preamble_in_two_pieces(controller: StandInController, cut: int) -> None:
    def talk(client: RawClient) -> bytes:
        data = framed("Protocol:Ping")
        client.send(data[:cut])
        client.send(data[cut:])
        return client.rest()[0]

    assert await dialog(controller.agent_address, talk) == b"Ping\n"


@pytest.mark.parametrize("name", ["bad-ack-same-length", "bad-ack-first-byte"])
async def test_wrong_ack_ends_the_connection(controller: StandInController, name: str) -> None:
    def talk(client: RawClient) -> tuple[bytes, str]:
        client.send(bytes.fromhex(MISC[name]["sent_hex"]))
        return client.rest()

    answer, end = await dialog(controller.agent_address, talk)
    assert answer == b"\0\3ACK"
    assert end in ("eof", "reset")
    assert controller.attempts[-1].end is End.VIOLATION
    assert "acknowledgement" in controller.attempts[-1].detail


async def test_controller_speaks_in_javas_order(controller: StandInController) -> None:
    def talk(client: RawClient) -> None:
        client.send(framed("Protocol:JNLP4-connect"))
        assert client.read(5) == b"\0\3ACK"  # before ours
        client.send(framed("ACK"))
        client.tls()
        cookie = json.loads(client.frame())["JnlpAgentProtocol.cookie"]  # before our headers
        assert len(bytes.fromhex(cookie)) == 32
        client.send(framed(json.dumps({"Node-Name": "m", "Secret-Key": controller.secret("m")})))
        assert client.frame() == b"OK"  # before our verdict
        client.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.read(1)  # no capability before our verdict
        client.socket.settimeout(10)
        client.send(framed("OK"))
        assert client.frame() == CAPABILITY  # before ours
        client.send(framed(CAPABILITY))

    await dialog(controller.agent_address, talk)


async def test_everything_in_one_record_is_accepted(controller: StandInController) -> None:
    def talk(client: RawClient) -> bytes:
        client.preamble()
        client.tls()
        headers = json.dumps({"Node-Name": "m", "Secret-Key": controller.secret("m")})
        client.send(framed(headers) + framed("OK") + framed(CAPABILITY) + b"\0\5\xac\xed\0\5x")
        client.frame()
        return client.frame() + client.frame()

    assert await dialog(controller.agent_address, talk) == b"OK" + CAPABILITY
    assert controller.attempts[-1].pipelined == 4 + 86 + 7


async def test_certificate_carries_the_instance_identity(
    controller: StandInController, identity: InstanceIdentity
) -> None:
    def talk(client: RawClient) -> bytes:
        client.preamble()
        return client.tls()

    certificate = x509.load_der_x509_certificate(await dialog(controller.agent_address, talk))
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert spki == identity.public_key


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_tls_versions(controller: StandInController, version: ssl.TLSVersion) -> None:
    def talk(client: RawClient) -> bytes:
        client.preamble()
        client.tls(version=version)
        return client.frame()

    assert b"JnlpAgentProtocol.cookie" in await dialog(controller.agent_address, talk)
    assert controller.attempts[-1].tls_version == version.name.replace("_", ".")


async def test_maximum_tls_version(nursery: trio.Nursery, identity: InstanceIdentity) -> None:
    stand_in = StandInController({}, identity=identity, maximum_tls=ssl.TLSVersion.TLSv1_2)
    await nursery.start(stand_in.run)

    def talk(client: RawClient) -> str | None:
        client.preamble()
        client.tls()
        assert client.session is not None
        return client.session.version()

    assert await dialog(stand_in.agent_address, talk) == "TLSv1.2"


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({"Node-Name": "m", "Secret-Key": "f" * 64}, "ERROR: Authorization failure"),
        ({"Node-Name": "m", "Secret-Key": ""}, "ERROR: Authorization failure"),
        ({"Node-Name": "ghost", "Secret-Key": "f" * 64}, "ERROR: Unknown client name: ghost"),
        ({"Node-Name": "gh€st"}, "ERROR: Unknown client name: gh€st"),
        ({"Secret-Key": "f" * 64}, "ERROR: Unknown client name: null"),
        ({"Node-Name": None, "Secret-Key": "f"}, "ERROR: Unknown client name: null"),
        ({"Node-Name": "ssh-1", "Secret-Key": "f" * 64}, "ERROR: Authorization failure"),
        ({"Node-Name": "ssh-1", "Secret-Key": "right"}, "ERROR: ssh-1 is not an inbound agent"),
        ({"Node-Name": 1}, "ERROR: Malformed connection header"),
    ],
)
async def test_refusals(
    controller: StandInController, headers: dict[str, str], verdict: str
) -> None:
    if headers.get("Secret-Key") == "right":
        headers = {**headers, "Secret-Key": controller.secret(headers["Node-Name"])}

    def talk(client: RawClient) -> tuple[bytes, tuple[bytes, str]]:
        client.preamble()
        client.tls()
        client.send(framed(json.dumps(headers, ensure_ascii=False)))
        client.frame()
        return client.frame(), client.refused()

    assert await dialog(controller.agent_address, talk) == (verdict.encode(), (b"", "bare eof"))
    assert controller.attempts[-1].verdict == verdict
    assert not controller.channels


async def test_missing_secret_ends_without_a_verdict(controller: StandInController) -> None:
    def talk(client: RawClient) -> tuple[bytes, str]:
        client.preamble()
        client.tls()
        client.send(bytes.fromhex(MISC["no-secret-key"]["sent_hex"]))
        client.frame()
        return client.rest()

    assert await dialog(controller.agent_address, talk) == (b"", "bare eof")
    assert controller.attempts[-1].verdict is None


@pytest.mark.parametrize("confirmation", [b"\0\3BYE", b"\0\2OK\0", b"what?"])
async def test_any_five_bytes_confirm_a_refusal(
    controller: StandInController, confirmation: bytes
) -> None:
    def talk(client: RawClient) -> tuple[bytes, str]:
        client.hello("m", "wrong")
        client.send(confirmation)
        return client.rest()

    assert await dialog(controller.agent_address, talk) == (b"", "bare eof")


async def test_refusal_without_confirmation_ends_in_time(
    nursery: trio.Nursery, identity: InstanceIdentity
) -> None:
    stand_in = StandInController({"m": INBOUND}, identity=identity, timings=QUICK)
    await nursery.start(stand_in.run)

    def talk(client: RawClient) -> tuple[bytes, str]:
        client.hello("m", "wrong")
        client.send(b"\0\2OK")  # four are not enough
        return client.rest()

    assert await dialog(stand_in.agent_address, talk) == (b"", "bare eof")


async def test_client_that_refuses_gets_its_bye(
    nursery: trio.Nursery, identity: InstanceIdentity
) -> None:
    stand_in = StandInController({"m": INBOUND}, identity=identity, timings=QUICK)
    await nursery.start(stand_in.run)

    def talk(client: RawClient) -> tuple[bytes, str]:
        assert client.hello("m", stand_in.secret("m"))[1] == "OK"
        client.send(framed("ERROR: gateway refuses"))
        return client.rest()

    assert await dialog(stand_in.agent_address, talk) == (b"\0\3BYE", "bare eof")
    assert stand_in.attempts[-1].peer_verdict == "ERROR: gateway refuses"
    assert not stand_in.channels


async def test_every_connection_gets_a_new_cookie(controller: StandInController) -> None:
    cookies = {
        (await dialog(controller.agent_address, lambda client: client.hello("m", "wrong")))[0]
        for _ in range(3)
    }
    assert len(cookies) == 3


async def test_second_agent_is_already_connected(controller: StandInController) -> None:
    def talk(first: RawClient) -> tuple[bytes, str]:
        first.open("m", controller.secret("m"))
        first.send(b"\0\5\xac\xed\0\5x")  # the controller has read our capability, then
        trio.from_thread.run(controller.wait_for_channel, "m")
        for headers in ({}, {"JnlpAgentProtocol.cookie": "0" * 64}, {"Cookie": ""}):
            with RawClient(controller.agent_address) as second:
                verdict = second.hello("m", controller.secret("m"), **headers)[1]
                assert verdict == (
                    "ERROR: m is already connected to this controller. Rejecting this connection."
                )
        with RawClient(controller.agent_address) as third:
            assert third.hello("m", "wrong")[1] == "ERROR: Authorization failure"
        first.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            first.read(1)
        return b"", ""

    await dialog(controller.agent_address, talk)


@pytest.mark.parametrize("key", ["JnlpAgentProtocol.cookie", "Cookie"])
async def test_cookie_replaces_the_live_channel(controller: StandInController, key: str) -> None:
    def talk(first: RawClient) -> None:
        cookie = first.open("m", controller.secret("m"))
        trio.from_thread.run(controller.wait_for_channel, "m")
        with RawClient(controller.agent_address) as second:
            new_cookie = second.open("m", controller.secret("m"), **{key: cookie})
            assert new_cookie != cookie
            assert first.rest()[1] in ("bare eof", "reset")
            trio.from_thread.run(controller.wait_for_channel, "m")
            assert controller.channels["m"].cookie == new_cookie

    await dialog(controller.agent_address, talk)


async def test_live_channel_that_does_not_die_in_time(
    nursery: trio.Nursery, identity: InstanceIdentity
) -> None:
    stand_in = StandInController(
        {"m": INBOUND},
        identity=identity,
        timings=QUICK,
        faults=Faults({Stage.DISCONNECT: Delay(60)}),
    )
    await nursery.start(stand_in.run)

    def talk(first: RawClient) -> str:
        cookie = first.open("m", stand_in.secret("m"))
        trio.from_thread.run(stand_in.wait_for_channel, "m")
        more = {"JnlpAgentProtocol.cookie": cookie}
        with RawClient(stand_in.agent_address) as second:
            return second.hello("m", stand_in.secret("m"), **more)[1]

    verdict = await dialog(stand_in.agent_address, talk)
    assert verdict == "ERROR: Failed to disconnect the current client"


async def test_two_approved_handshakes_one_channel(controller: StandInController) -> None:
    def talk(first: RawClient) -> tuple[bytes, str]:
        with RawClient(controller.agent_address) as second:
            for client in (first, second):
                assert client.hello("m", controller.secret("m"))[1] == "OK"
            for client in (first, second):
                client.send(framed("OK") + framed(CAPABILITY))
                assert client.frame() == CAPABILITY
                trio.from_thread.run(controller.wait_for_channel, "m")
            return second.rest()

    assert (await dialog(controller.agent_address, talk))[1] == "bare eof"


async def test_old_controllers_name_the_cookie_differently(
    nursery: trio.Nursery, identity: InstanceIdentity
) -> None:
    stand_in = StandInController({}, identity=identity, cookie_key="Cookie")
    await nursery.start(stand_in.run)

    def talk(client: RawClient) -> bytes:
        client.preamble()
        client.tls()
        return client.frame()

    assert list(json.loads(await dialog(stand_in.agent_address, talk))) == ["Cookie"]


async def test_plaintext_only_where_it_is_enabled(
    nursery: trio.Nursery, identity: InstanceIdentity, controller: StandInController
) -> None:
    both = StandInController(
        {"m": INBOUND},
        identity=identity,
        protocols=(JNLP4_CONNECT, JNLP4_PLAINTEXT),
        on_channel=echo,
    )
    await nursery.start(both.run)

    def talk(client: RawClient) -> bytes:
        client.preamble("JNLP4-plaintext")
        client.send(framed(json.dumps({"Node-Name": "m", "Secret-Key": both.secret("m")})))
        assert b"cookie" in client.frame()
        assert client.frame() == b"OK"
        client.send(framed("OK") + framed(CAPABILITY) + b"\0\5\xac\xed\0\5x")
        assert client.frame() == CAPABILITY
        return client.read(7)

    assert await dialog(both.agent_address, talk) == b"\0\5\xac\xed\0\5x"

    def refused(client: RawClient) -> bytes:
        client.send(framed("Protocol:JNLP4-plaintext"))
        return client.rest()[0]

    assert await dialog(controller.agent_address, refused) == b"Unknown protocol:\n"


async def test_same_ports_again_after_a_restart(identity: InstanceIdentity) -> None:
    stand_in = StandInController({}, identity=identity)
    async with trio.open_nursery() as nursery:
        await nursery.start(stand_in.run)
        agent_port, http_port = stand_in.agent_address[1], stand_in.http_address[1]
        nursery.cancel_scope.cancel()
    with pytest.raises(OSError, match=r"all attempts|refused"):
        await trio.open_tcp_stream(*stand_in.agent_address)
    async with trio.open_nursery() as nursery:
        again = partial(stand_in.run, agent_port=agent_port, http_port=http_port)
        await nursery.start(again)
        assert stand_in.agent_address[1] == agent_port
        stream = await trio.open_tcp_stream(*stand_in.agent_address)
        await stream.aclose()
        nursery.cancel_scope.cancel()


def test_addresses_before_the_start() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        _ = StandInController({}, identity=InstanceIdentity()).url
