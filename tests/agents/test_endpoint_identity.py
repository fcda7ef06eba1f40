"""``/wsagents/``: nothing secret is said to a controller that shows another key than the expected.

The whole way, from the configuration to the bytes that a recording TLS server decrypts. The store
of pins by itself has tests of its own.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import trio
import trustme
from structlog.testing import LogCapture

from gateway.agents.discovery import FAILURE_TTL
from gateway.agents.identity import Pin, PinStore
from gateway.demo.identity import InstanceIdentity
from gateway.transport import client_tls
from tests.agents.bridge import (
    COOKIE,
    SECRET,
    agent_request,
    ask,
    bridged,
    check_refusal,
    everything_logged,
    fingerprint,
)
from tests.certificates import authority, issue
from tests.peers.scripted_controller import (
    ScriptedController,
    Stage,
    Visit,
    other_identity,
    own_identity,
    stay_silent,
    stopping_at,
    third_identity,
)

MISMATCH: Final = "the controller's identity is not the expected one"
ALARM: Final = "controller shows another key than the expected one; no secret was sent"
REQUEST: Final = agent_request({"Connection-Cookie": COOKIE})


def showing(identity: InstanceIdentity) -> ScriptedController:
    """Return a controller whose document names its own key and whose port shows ``identity``.

    Above TLS it only listens, and keeps what it hears.
    """
    return ScriptedController(stopping_at(Stage.HEADERS, stay_silent, identity=identity))


def alarms(log: LogCapture) -> list[str]:
    """Return the level of every alarm."""
    return [str(entry["log_level"]) for entry in log.entries if entry["event"] == ALARM]


async def check_nothing_was_said(controller: ScriptedController, count: int = 1) -> Visit:
    """Check that a controller got a TLS handshake and not one byte of application data."""
    visit = await controller.wait_for_agents(count)
    with trio.fail_after(5):
        await visit.ended.wait()
    assert visit.in_tls
    assert bytes(visit.inside) == b""
    assert SECRET.encode() not in bytes(visit.clear)
    return visit


# -- another key than the expected one ------------------------------------------------------------


@pytest.mark.parametrize("configured", [False, True])
async def test_the_secret_never_leaves(configured: bool, tmp_path: Path, log: LogCapture) -> None:
    controller = showing(other_identity())
    agents = {"identity": own_identity().header} if configured else {}
    async with bridged(tmp_path, controller, agents=agents) as port:
        check_refusal(await ask(port, REQUEST), log, 502, MISMATCH, cookie=COOKIE)
        visit = await check_nothing_was_said(controller)
        assert not visit.reset, "it ends in order"
    assert alarms(log) == ["error"]
    alarm = next(entry for entry in log.entries if entry["event"] == ALARM)
    assert alarm["controller"] == "main"
    assert alarm["expected"] == fingerprint(own_identity().public_key)
    assert fingerprint(other_identity().public_key) in alarm["reason"]
    assert "identity accept main" in alarm["remedy"]
    assert SECRET not in everything_logged(log)
    assert COOKIE not in everything_logged(log)


async def test_accepting_another_key(tmp_path: Path, log: LogCapture) -> None:
    """First the pinned key, then another: refused again and again, until an operator accepts it."""
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port:
        assert (await ask(port, REQUEST)).status == 101
        controller.script = stopping_at(Stage.HEADERS, stay_silent, identity=other_identity())
        controller.advertised = other_identity().header  # the document is no excuse
        for count in (2, 3):
            assert (await ask(port, REQUEST)).status == 502
            await check_nothing_was_said(controller, count)
        assert alarms(log) == ["error", "error"]
        PinStore(tmp_path).accept("main", Pin(other_identity().public_key, "a test"))
        controller.script = stopping_at(Stage.CHANNEL, stay_silent, identity=other_identity())
        assert (await ask(port, REQUEST)).status == 101
        controller.script = stopping_at(Stage.HEADERS, stay_silent)
        assert (await ask(port, REQUEST)).status == 502, "the first key is another one now"
        await check_nothing_was_said(controller, 5)


async def test_an_explicit_identity_needs_no_document(tmp_path: Path, log: LogCapture) -> None:
    """What a document over http says of the key counts for nothing beside the configuration."""
    controller = ScriptedController()
    controller.advertised = other_identity().header
    agents = {"identity": own_identity().header}
    async with bridged(tmp_path, controller, agents=agents) as port:
        assert (await ask(port, REQUEST)).status == 101
    assert PinStore(tmp_path).get("main") is None
    assert alarms(log) == []


# -- discover, over http --------------------------------------------------------------------------


async def test_the_first_key_over_http_is_pinned(tmp_path: Path, log: LogCapture) -> None:
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port:
        assert (await ask(port, REQUEST)).status == 101
        assert (await ask(port, REQUEST)).status == 101
    pin = PinStore(tmp_path).get("main")
    assert pin is not None
    assert pin.key == own_identity().public_key
    warnings = [entry for entry in log.entries if "pinned" in entry["event"]]
    assert len(warnings) == 1
    assert warnings[0]["log_level"] == "warning"
    assert warnings[0]["fingerprint"] == fingerprint(own_identity().public_key)


async def test_a_document_that_changes_does_not_replace_the_pin(
    tmp_path: Path, log: LogCapture
) -> None:
    """The port still shows the pinned key, so agents go on; the difference is worth a warning."""
    PinStore(tmp_path).pin_first("main", Pin(own_identity().public_key, "a test"))
    controller = ScriptedController()
    controller.advertised = other_identity().header
    async with bridged(tmp_path, controller) as port:
        assert (await ask(port, REQUEST)).status == 101
    pin = PinStore(tmp_path).get("main")
    assert pin is not None
    assert pin.key == own_identity().public_key
    warning = next(entry for entry in log.entries if "the pin holds" in entry["event"])
    assert warning["discovered"] == fingerprint(other_identity().public_key)


async def test_a_document_without_a_key_does_not_open_a_pin(tmp_path: Path) -> None:
    PinStore(tmp_path).pin_first("main", Pin(own_identity().public_key, "a test"))
    controller = ScriptedController()
    controller.advertised = None
    async with bridged(tmp_path, controller) as port:
        assert (await ask(port, REQUEST)).status == 101
        controller.script = stopping_at(Stage.HEADERS, stay_silent, identity=other_identity())
        assert (await ask(port, REQUEST)).status == 502
        await check_nothing_was_said(controller, 2)


@pytest.mark.parametrize(
    "advertised",
    [
        pytest.param(lambda: None, id="absent"),
        pytest.param(lambda: "", id="empty"),
        pytest.param(lambda: "not base64!", id="no base64"),
        pytest.param(lambda: base64.b64encode(b"nobody's key").decode(), id="no key"),
        pytest.param(lambda: own_identity().header[:-8], id="cut short"),
    ],
)
async def test_what_is_no_key_is_never_pinned(
    advertised: object, tmp_path: Path, log: LogCapture
) -> None:
    assert callable(advertised)
    controller = ScriptedController()
    controller.advertised = advertised()
    async with bridged(tmp_path, controller) as port:
        check_refusal(await ask(port, REQUEST), log, 502, MISMATCH, cookie=COOKIE)
        assert "names no identity" in log.entries[-1]["reason"]
    assert PinStore(tmp_path).get("main") is None
    assert controller.connections == 0


async def test_a_damaged_pin_does_not_open_the_door(tmp_path: Path, log: LogCapture) -> None:
    """Not even for the key that it held, until an operator says so."""
    store = PinStore(tmp_path)
    store.accept("main", Pin(own_identity().public_key, "a test"))
    (tmp_path / "identities" / "main.json").write_bytes(b"{}")
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port:
        check_refusal(await ask(port, REQUEST), log, 502, MISMATCH, cookie=COOKIE)
        assert controller.connections == 0
        assert "identity accept main" in log.entries[-1]["reason"]
        store.accept("main", Pin(own_identity().public_key, "a test"))
        assert (await ask(port, REQUEST)).status == 101


async def test_a_pin_that_cannot_be_kept(tmp_path: Path, log: LogCapture) -> None:
    """Trusting the first key without keeping it would be to trust every key."""
    (tmp_path / "identities").write_text("a file where the folder should be")
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port:
        check_refusal(await ask(port, REQUEST), log, 502, MISMATCH, cookie=COOKIE)
    assert "cannot be" in log.entries[-1]["reason"]
    assert controller.connections == 0


# -- discover, over https -------------------------------------------------------------------------


def https(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Return a server context with ``certificate``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have this process trust the tests' authority as an operator would: by SSL_CERT_FILE."""
    file = tmp_path / "authority.pem"
    authority().cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    client_tls._context.cache_clear()
    yield
    client_tls._context.cache_clear()


@pytest.mark.usefixtures("trust")
async def test_a_verified_document_is_believed_and_nothing_is_pinned(tmp_path: Path) -> None:
    """A controller that changes its key needs no operator then: its certificate vouches for it."""
    controller = ScriptedController(https=https(issue("127.0.0.1")))
    async with bridged(tmp_path, controller) as port:
        assert (await ask(port, REQUEST)).status == 101
        controller.identity = third_identity()
        controller.advertised = third_identity().header
        # The old document is remembered; the mismatch throws it away.
        assert (await ask(port, REQUEST)).status == 502
        await trio.sleep(FAILURE_TTL)
        assert (await ask(port, REQUEST)).status == 101
    assert PinStore(tmp_path).get("main") is None
    assert not (tmp_path / "identities").exists()


@pytest.mark.usefixtures("trust")
async def test_a_verified_document_does_not_cover_another_key(
    tmp_path: Path, log: LogCapture
) -> None:
    controller = ScriptedController(
        stopping_at(Stage.HEADERS, stay_silent, identity=other_identity()),
        https=https(issue("127.0.0.1")),
    )
    async with bridged(tmp_path, controller) as port:
        check_refusal(await ask(port, REQUEST), log, 502, MISMATCH, cookie=COOKIE)
        await check_nothing_was_said(controller)


@pytest.mark.parametrize("stranger", [False, True])
@pytest.mark.usefixtures("trust")
async def test_an_unverified_document_is_no_document(
    stranger: bool, tmp_path: Path, log: LogCapture
) -> None:
    """A certificate for another name, or of another authority: nothing is asked, nothing sent."""
    certificate = trustme.CA().issue_cert("127.0.0.1") if stranger else issue("localhost")
    controller = ScriptedController(https=https(certificate))
    async with bridged(tmp_path, controller) as port:
        text = "the controller is not ready for agents"
        check_refusal(await ask(port, REQUEST), log, 503, text, cookie=COOKIE)
    assert "certificate" in log.entries[-1]["reason"]
    assert controller.connections == 0
    assert controller.requests == []
    assert PinStore(tmp_path).get("main") is None
