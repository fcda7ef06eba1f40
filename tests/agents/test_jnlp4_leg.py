"""The controller leg by itself: TLS as Jenkins shows it, slicing, refusals, what it returns."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from gateway.agents.jnlp4_leg import ControllerLeg, LegOpener, LegRequest, refusal
from gateway.config.values import Address
from gateway.errors import (
    AlreadyConnected,
    ControllerRefused,
    ControllerUnreachable,
    GatewayError,
    IdentityMismatch,
    NotAuthorized,
    UnknownNode,
    outcome_of,
)
from gateway.transport.stream import Stream
from tests.peers import scripted_controller as scripted
from tests.peers.scripted_controller import (
    ACK,
    CAPABILITY,
    ScriptedController,
    Stage,
    Visit,
    own_identity,
    refusing,
    saying,
    stopping_at,
    string,
)

SECRET: Final = "5ec7e7" * 10 + "5ec7"
COOKIE: Final = "a6e27c" * 10 + "a6e2"
AGENTS_CAPABILITY: Final = "AAAA"


def make_request(controller: ScriptedController, **changes: object) -> LegRequest:
    """Return a request for ``controller`` that differs from an ordinary one in ``changes``."""
    fields: dict[str, object] = {
        "address": Address("127.0.0.1", controller.agent_port),
        "protocol": "JNLP4-connect",
        "identity": own_identity().public_key,
        "node": "my-agent",
        "secret": SECRET,
        "cookie": COOKIE,
    }
    return LegRequest(**(fields | changes))  # type: ignore[arg-type]


@asynccontextmanager
async def opened(controller: ScriptedController, **changes: object) -> AsyncIterator[ControllerLeg]:
    """Open a leg to ``controller`` inside the block."""
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        with trio.fail_after(10):
            leg = await LegOpener().open(make_request(controller, **changes))
            try:
                yield leg
            finally:
                leg.stream.abort()
        nursery.cancel_scope.cancel()


async def fail_to_open(controller: ScriptedController, **changes: object) -> GatewayError:
    """Return the error that opening a leg raises; the controller has then seen its end."""
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        with trio.fail_after(10):
            with pytest.raises(GatewayError) as caught:
                await LegOpener().open(make_request(controller, **changes))
            await (await controller.wait_for_agents()).ended.wait()
        nursery.cancel_scope.cancel()
    return caught.value


# -- what it returns ------------------------------------------------------------------------------


async def test_an_accepted_leg() -> None:
    controller = ScriptedController()
    async with opened(controller) as leg:
        assert leg.capability == CAPABILITY
        assert leg.cookie == scripted.COOKIE
        assert leg.leading == b""
        visit = controller.agents[0]
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert visit.capability == "", "that waits for the agent's 101"
        await leg.send_capability(AGENTS_CAPABILITY)
        await leg.stream.send_all(b"\x00\x01x")
        await leg.stream.aclose()
        await visit.ended.wait()
    assert visit.opening == "Protocol:JNLP4-connect"
    assert visit.headers == {
        "Node-Name": "my-agent",
        "Secret-Key": SECRET,
        "JnlpAgentProtocol.cookie": COOKIE,
        "Cookie": COOKIE,
    }
    assert bytes(visit.inside) == (
        string(visit.header_bytes) + string("OK") + string(AGENTS_CAPABILITY) + b"\x00\x01x"
    )


async def test_nothing_secret_is_shown() -> None:
    controller = ScriptedController()
    async with opened(controller) as leg:
        shown = repr(leg) + repr(make_request(controller)) + repr(leg.client)
    for secret in (SECRET, COOKIE, scripted.COOKIE):
        assert secret not in shown


async def test_chunks_that_follow_the_capability_are_kept() -> None:
    async def hasty(visit: Visit) -> None:
        await visit.send(string(CAPABILITY) + b"\x00\x02hi\x80")
        await visit.read_to_end()

    async with opened(ScriptedController(stopping_at(Stage.CAPABILITY, hasty))) as leg:
        assert leg.leading == b"\x00\x02hi\x80"


# -- slicing --------------------------------------------------------------------------------------


async def byte_by_byte(visit: Visit, data: bytes) -> None:
    for byte in data:
        await visit.send(bytes((byte,)))
        await trio.lowlevel.checkpoint()


async def test_everything_byte_by_byte() -> None:
    async def script(visit: Visit) -> None:
        await byte_by_byte(visit, ACK)
        assert await visit.read(5) == ACK
        await visit.start_tls(scripted.tls_context(own_identity()))
        await byte_by_byte(visit, string('{"JnlpAgentProtocol.cookie":"00"}'))
        await visit.read_string()
        await byte_by_byte(visit, string("OK"))
        assert await visit.read_string() == b"OK"
        await byte_by_byte(visit, string(CAPABILITY))
        await visit.read_to_end()

    async with opened(ScriptedController(script)) as leg:
        assert leg.capability == CAPABILITY
        assert leg.cookie == "00"


async def test_everything_in_one_record() -> None:
    """Nothing forbids a controller to say all it has to say at once (PROTOCOLS C.1)."""
    all_at_once = string('{"Cookie":"00"}') + string("OK") + string(CAPABILITY) + b"\x00\x01x"
    async with opened(ScriptedController(stopping_at(Stage.HEADERS, saying(all_at_once)))) as leg:
        assert (leg.cookie, leg.capability, leg.leading) == ("00", CAPABILITY, b"\x00\x01x")


async def test_one_record_and_gone() -> None:
    """A controller that says everything and closes: what it said is not lost."""
    everything = string("{}") + string("OK") + string(CAPABILITY) + b"\x00\x01x"
    script = stopping_at(Stage.HEADERS, saying(everything, then=scripted.close))
    async with opened(ScriptedController(script)) as leg:
        assert leg.leading == b"\x00\x01x"
        assert await leg.stream.receive_some() == b""


async def test_the_clients_hello_waits_for_the_ack() -> None:
    """TLS bytes in front of the controller's ACK would be taken for a bad one (C.1)."""
    before: list[bytes] = []

    async def late(visit: Visit) -> None:
        assert await visit.read(5) == ACK
        with trio.move_on_after(0.05):
            before.append(await visit.read(1))
        await visit.send(ACK)
        await visit.start_tls(scripted.tls_context(own_identity()))
        await saying(string("{}") + string("OK") + string(CAPABILITY))(visit)

    async with opened(ScriptedController(late)) as leg:
        assert leg.capability == CAPABILITY
    assert before == []


async def test_nothing_follows_the_headers_before_the_verdict() -> None:
    """A refusing controller takes any five bytes for our BYE: pipelined ones cost the reason."""
    heard: list[int] = []

    async def late(visit: Visit) -> None:
        await trio.testing.wait_all_tasks_blocked(0.05)
        with trio.move_on_after(0.05):
            await visit.receive()
        heard.append(len(visit.inside))
        await refuse(visit)

    refuse = saying(string("ERROR: no"))
    controller = ScriptedController(stopping_at(Stage.VERDICT, late))
    assert isinstance(await fail_to_open(controller), ControllerRefused)
    assert heard == [len(string(controller.agents[0].header_bytes))]


# -- TLS as controllers show it -------------------------------------------------------------------


def certificate_context(
    folder: Path,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    *,
    began: timedelta = timedelta(days=-1),
    ends: timedelta = timedelta(days=1),
    signed_by: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
) -> ssl.SSLContext:
    """Return a server context with a certificate of ``key``, right or wrong in other respects."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "0123abcd")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + began)
        .not_valid_after(now + ends)
        .sign(key if signed_by is None else signed_by, hashes.SHA256())
    )
    pem = folder / "certificate.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def talking(context: ssl.SSLContext) -> scripted.Script:
    """Return a script that accepts everybody behind ``context``."""

    async def script(visit: Visit) -> None:
        await visit.send(ACK)
        await visit.read(5)
        await visit.start_tls(context)
        await saying(string("{}") + string("OK") + string(CAPABILITY))(visit)

    return script


def spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("began", "ends"),
    [
        (timedelta(days=-400), timedelta(days=-35)),
        (timedelta(days=35), timedelta(days=400)),
    ],
)
async def test_only_the_key_counts(began: timedelta, ends: timedelta, tmp_path: Path) -> None:
    """Not dates, names or signatures (C.2 item 3): an expired one of the right key is fine."""
    context = certificate_context(
        tmp_path,
        own_identity().key,
        began=began,
        ends=ends,
        signed_by=scripted.other_identity().key,
    )
    async with opened(ScriptedController(talking(context))) as leg:
        assert leg.capability == CAPABILITY


async def test_keys_on_curves(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    context = certificate_context(tmp_path, key)
    async with opened(ScriptedController(talking(context)), identity=spki(key)) as leg:
        assert leg.capability == CAPABILITY


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_versions(version: ssl.TLSVersion) -> None:
    controller = ScriptedController(
        stopping_at(Stage.CHANNEL, scripted.stay_silent, maximum_tls=version)
    )
    async with opened(controller):
        assert controller.agents[0].tls_version == version.name.replace("_", ".")


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "AES256-SHA", "ECDHE-RSA-AES128-SHA"])
async def test_suites_of_java_8(cipher: str, tmp_path: Path) -> None:
    """RSA key exchange and CBC are out of fashion, but what an old controller may be left with."""
    context = certificate_context(tmp_path, own_identity().key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{cipher}:@SECLEVEL=1")
    async with opened(ScriptedController(talking(context))) as leg:
        assert leg.stream.tls is not None
        assert leg.stream.tls.cipher == cipher


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    "expected", [b"", scripted.other_identity().public_key, own_identity().public_key[:-1]]
)
async def test_another_key_is_told_nothing(expected: bytes, version: ssl.TLSVersion) -> None:
    controller = ScriptedController(
        stopping_at(Stage.HEADERS, scripted.stay_silent, maximum_tls=version)
    )
    assert isinstance(await fail_to_open(controller, identity=expected), IdentityMismatch)
    assert controller.agents[0].in_tls
    assert bytes(controller.agents[0].inside) == b""


async def test_another_kind_of_key_is_another_key(tmp_path: Path) -> None:
    context = certificate_context(tmp_path, ec.generate_private_key(ec.SECP384R1()))
    error = await fail_to_open(ScriptedController(talking(context)))
    assert isinstance(error, IdentityMismatch)


async def test_the_key_is_compared_before_anything_is_sent_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every write is watched: after our Finished nothing leaves but the end of the connection."""
    inside: list[bytes] = []
    send_all = Stream.send_all

    async def recording(stream: Stream, data: bytes) -> None:
        if stream.tls is not None:
            inside.append(data)
        await send_all(stream, data)

    monkeypatch.setattr(Stream, "send_all", recording)
    controller = ScriptedController()
    identity = scripted.other_identity().public_key
    assert isinstance(await fail_to_open(controller, identity=identity), IdentityMismatch)
    assert inside == []


# -- refusals and failures ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "public", "status"),
    [
        ("Unknown client name: x", UnknownNode, "no such agent", 400),
        ("Authorization failure", NotAuthorized, "not authorized", 403),
        ("authorization failure", ControllerRefused, "authorization failure", 400),
        ("x is already connected to this master.", AlreadyConnected, None, 400),
        ("x is not an inbound agent", ControllerRefused, None, 400),
        ("x is not a JNLP agent", ControllerRefused, None, 400),
        ("Failed to disconnect the current client", ControllerRefused, None, 400),
        ("No listeners interested in connection", ControllerRefused, None, 400),
        ("Malformed connection header", ControllerRefused, None, 400),
    ],
)
def test_what_a_refusal_means(
    text: str, kind: type[GatewayError], public: str | None, status: int
) -> None:
    error = refusal(text, secrets=())
    assert type(error) is kind
    assert error.public == (text if public is None else public)
    assert outcome_of(error).status == status


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no abc123 here", "no *** here"),
        ("no ABC123abc123 here", "no ****** here"),
        ("no cookie00 and abc123", "no *** and ***"),
        ("nothing", "nothing"),
        ("x" * 398 + "abc123", "x" * 398 + "**"),
    ],
)
def test_secrets_are_struck_out_of_refusals(text: str, shown: str) -> None:
    assert refusal(text, secrets=("abc123", "", "cookie00")).public == shown


@pytest.mark.parametrize("then", [scripted.close, scripted.reset])
async def test_a_refusal_counts_even_if_its_sender_leaves(then: scripted.Script) -> None:
    """Headers, verdict and end at once: our BYE has nobody to go to, the reason is known."""
    words = string("{}") + string("ERROR: Authorization failure")

    async def script(visit: Visit) -> None:
        await visit.send(words)
        await visit.read_string()
        if then is scripted.reset:
            # A reset overtakes what nobody has read yet.
            await visit.read_string()
        await then(visit)

    controller = ScriptedController(stopping_at(Stage.HEADERS, script))
    assert isinstance(await fail_to_open(controller), NotAuthorized)


@pytest.mark.parametrize("verdict", ["ERROR: no", "FATAL: no"])
async def test_a_refusal_is_answered_with_bye(verdict: str) -> None:
    controller = ScriptedController(refusing(verdict))
    error = await fail_to_open(controller)
    assert isinstance(error, ControllerRefused)
    assert error.public == "no"
    visit = controller.agents[0]
    assert bytes(visit.inside) == string(visit.header_bytes) + string("OK") + string("BYE")


async def test_nobody_listens() -> None:
    controller = ScriptedController()
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        nursery.cancel_scope.cancel()
    with pytest.raises(ControllerUnreachable) as caught:
        await LegOpener().open(make_request(controller))
    assert outcome_of(caught.value).status == 503
    assert str(controller.agent_port) in str(caught.value)


async def test_a_cancelled_leg_is_cut() -> None:
    controller = ScriptedController(stopping_at(Stage.VERDICT, scripted.stay_silent))
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as opening:
                opening.start_soon(LegOpener().open, make_request(controller))
                visit = await controller.wait_for_agents()
                await trio.testing.wait_all_tasks_blocked(0.01)
                scope.cancel()
        with trio.fail_after(5):
            await visit.ended.wait()
        nursery.cancel_scope.cancel()


async def test_plaintext_is_the_same_without_tls() -> None:
    script = stopping_at(Stage.CHANNEL, scripted.stay_silent, over_tls=False)
    controller = ScriptedController(script)
    async with opened(controller, protocol="JNLP4-plaintext", identity=b"") as leg:
        assert (leg.capability, leg.cookie) == (CAPABILITY, scripted.COOKIE)
        assert leg.stream.tls is None
        assert controller.agents[0].opening == "Protocol:JNLP4-plaintext"


async def test_plaintext_headers_may_come_with_the_ack() -> None:
    async def hasty(visit: Visit) -> None:
        await visit.send(ACK + string('{"Cookie":"00"}') + string("OK") + string(CAPABILITY))
        await visit.read(5)
        visit.headers = json.loads(await visit.read_string())
        await visit.read_to_end()

    controller = ScriptedController(hasty)
    async with opened(controller, protocol="JNLP4-plaintext", identity=b"") as leg:
        assert (leg.capability, leg.cookie) == (CAPABILITY, "00")


async def test_names_beyond_latin_1_are_utf_8() -> None:
    """The endpoint only ever has Latin-1, but nothing here depends on that."""
    controller = ScriptedController()
    async with opened(controller, node='"\\/ü€😀', cookie=None):
        await trio.testing.wait_all_tasks_blocked(0.01)
        visit = controller.agents[0]
    assert visit.headers == {"Node-Name": '"\\/ü€😀', "Secret-Key": SECRET}
