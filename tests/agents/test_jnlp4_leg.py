"""The controller leg by itself: what it returns, slicing, refusals and failures."""

from __future__ import annotations

import json
from typing import Final

import pytest
import trio
import trio.testing

from gateway.agents.jnlp4_leg import LegOpener, refusal
from gateway.errors import (
    AlreadyConnected,
    ControllerRefused,
    ControllerUnreachable,
    GatewayError,
    NotAuthorized,
    UnknownNode,
    outcome_of,
)
from tests.agents.legs import COOKIE, SECRET, fail_to_open, make_request, opened
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

AGENTS_CAPABILITY: Final = "AAAA"


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


# -- refusals and failures ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "public", "status"),
    [
        ("Unknown client name: x", UnknownNode, "no such agent", 400),
        ("Authorization failure", NotAuthorized, "not authorized", 403),
        ("authorization failure", ControllerRefused, "authorization failure", 400),
        (
            "x is already connected to this master. Rejecting this connection.",
            AlreadyConnected,
            None,
            400,
        ),
        ("x is not an inbound agent", ControllerRefused, None, 400),
        ("x is not a JNLP agent", ControllerRefused, None, 400),
        ("Failed to disconnect the current client", AlreadyConnected, None, 400),
        ("No listeners interested in connection", ControllerRefused, None, 400),
        ("Malformed connection header", ControllerRefused, None, 400),
    ],
)
def test_what_a_refusal_means(
    text: str, kind: type[GatewayError], public: str | None, status: int
) -> None:
    error = refusal(text, "x", secrets=())
    assert type(error) is kind
    assert error.public == (text if public is None else public)
    assert outcome_of(error).status == status


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ("already connected", "Unknown client name: already connected"),
        ("already connected", "already connected is not an inbound agent"),
        ("x", "y is already connected to this controller. Rejecting this connection."),
        ("x", "x is already connected to this controller. Rejecting this connection. Not."),
        ("x", "no: x is already connected to this master. Rejecting this connection."),
        ("Failed to disconnect the current client", "Authorization failure"),
        (
            "Failed to disconnect the current client",
            "Unknown client name: Failed to disconnect the current client",
        ),
    ],
)
def test_names_prove_no_secret(node: str, text: str) -> None:
    """A stranger chooses the name that he asks for."""
    assert not isinstance(refusal(text, node, secrets=()), AlreadyConnected)


def test_a_name_that_looks_like_a_refusal() -> None:
    said = "Unknown client name is already connected to this controller. Rejecting this connection."
    error = refusal(said, "Unknown client name", secrets=())
    assert isinstance(error, AlreadyConnected)


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
    assert refusal(text, "x", secrets=("abc123", "", "cookie00")).public == shown


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
