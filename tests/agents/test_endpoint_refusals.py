"""``/wsagents/``: how controllers refuse and fail, and what the agent is told (K.1, C.3)."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path
from typing import Final

import pytest
import trio
import trio.testing
from structlog.testing import LogCapture

from gateway.runtime.drain import Drain
from tests.agents.bridge import (
    COOKIE,
    SECRET,
    agent_request,
    ask,
    bridged,
    check_refusal,
    connected,
    everything_logged,
    make_config,
    running_gateway,
)
from tests.peers import scripted_controller as scripted
from tests.peers.scripted_controller import (
    ScriptedController,
    Stage,
    Visit,
    accepting,
    refusing,
    saying,
    stopping_at,
    string,
)

UNUSABLE: Final = "the controller's agent port cannot be used"
NOT_READY: Final = "the controller is not ready for agents"
REQUEST: Final = agent_request({"Connection-Cookie": COOKIE})


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ERROR", "FATAL"])
@pytest.mark.parametrize(
    ("reason", "status", "text"),
    [
        ("Unknown client name: my-agent", 400, "no such agent"),
        ("Unknown client name: null", 400, "no such agent"),
        ("Authorization failure", 403, None),
        ("Authentication failure", 400, "Authentication failure"),
        ("my-agent is not an inbound agent", 400, "my-agent is not an inbound agent"),
        ("my-agent is not a JNLP agent", 400, "my-agent is not a JNLP agent"),
        (
            "my-agent is already connected to this controller. Rejecting this connection.",
            400,
            "my-agent is already connected to this controller. Rejecting this connection.",
        ),
        (
            "my-agent is already connected to this master. Rejecting this connection.",
            400,
            "my-agent is already connected to this master. Rejecting this connection.",
        ),
        (
            "Failed to disconnect the current client",
            400,
            "Failed to disconnect the current client",
        ),
        ("No listeners interested in connection", 400, "No listeners interested in connection"),
        ("Malformed connection header", 400, "Malformed connection header"),
        ("something new in 2030", 400, "something new in 2030"),
        ("", 400, "the controller refused the connection"),
    ],
)
async def test_refusals(
    kind: str, reason: str, status: int, text: str | None, tmp_path: Path, log: LogCapture
) -> None:
    controller = ScriptedController(refusing(f"{kind}: {reason}"))
    async with bridged(tmp_path, controller) as port:
        answer = await ask(port, REQUEST)
        check_refusal(answer, log, status, text, cookie=COOKIE)
        visit = await controller.wait_for_agents()
        with trio.fail_after(5):
            await visit.ended.wait()
    assert bytes(visit.inside) == string(visit.header_bytes) + string("OK") + string("BYE")
    assert not visit.reset
    assert SECRET not in everything_logged(log)
    assert COOKIE not in everything_logged(log)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("tschüß", "tschüß"),
        ("two\r\nlines: X-Evil: 1", "two lines: X-Evil: 1"),
        ("\x1b[2J\0 and \u2603", "?[2J? and ?"),
        ("x" * 1000, "x" * 400),
    ],
)
async def test_a_reason_is_one_harmless_header_line(
    reason: str, text: str, tmp_path: Path, log: LogCapture
) -> None:
    controller = ScriptedController(refusing(f"ERROR: {reason}"))
    async with bridged(tmp_path, controller) as port:
        answer = await ask(port, REQUEST)
    assert answer.status == 400
    assert answer.get(b"x-gateway-error") == text.encode("latin-1")
    assert answer.get(b"x-evil") is None
    assert answer.body.decode() == reason[:400] + "\n"


@pytest.mark.parametrize(
    ("secret", "reason", "status"),
    [
        ("e", "Authorization failure", 403),
        ("Authorization failure", "Authorization failure", 403),
        ("client", "Unknown client name: my-agent", 400),
        ("", "Authorization failure", 403),
        (".*", "Authorization failure", 403),
    ],
)
async def test_a_guess_does_not_change_what_a_refusal_means(
    secret: str, reason: str, status: int, tmp_path: Path, log: LogCapture
) -> None:
    """The secret is struck out of texts, and a guess may be a part of one."""
    controller = ScriptedController(refusing(f"ERROR: {reason}"))
    async with bridged(tmp_path, controller) as port:
        answer = await ask(port, agent_request({"Secret-Key": secret}))
        check_refusal(answer, log, status, None if status == 403 else "no such agent")


def _echo_both(visit: Visit) -> str:
    values = visit.headers
    return f"ERROR: {values['Secret-Key']} and {values['Cookie']}: {visit.header_bytes.decode()}"


@pytest.mark.parametrize(
    "verdict",
    [
        _echo_both,
        lambda visit: f"FATAL: {visit.headers['Secret-Key']}",
        lambda visit: f"ERROR: {str(visit.headers['Secret-Key']).upper()}",
        lambda visit: f"ERROR: {'x' * 370}{visit.headers['Secret-Key']}",
        lambda visit: f"ERROR: Unknown client name: {visit.headers['Secret-Key']}",
        lambda visit: f"ERROR: already connected with {visit.headers['Cookie']}",
        lambda visit: str(visit.headers["Secret-Key"]),
        lambda visit: f"{'x' * 20}{visit.headers['Secret-Key']}",
        lambda visit: visit.header_bytes.decode(),
    ],
)
async def test_a_controller_that_repeats_secrets(
    verdict: Callable[[Visit], str], tmp_path: Path, log: LogCapture
) -> None:
    """Half of one would be a find too; the agent's own cookie comes back in its own field only."""
    controller = ScriptedController(refusing(verdict))
    async with bridged(tmp_path, controller) as port:
        answer = await ask(port, REQUEST)
    assert answer.status in {400, 503}
    assert answer.get(b"connection-cookie") == COOKIE.encode()
    told = answer.head.decode("latin-1").replace(f"Connection-Cookie: {COOKIE}", "")
    for text in (told, answer.body.decode(), everything_logged(log)):
        assert SECRET[:20].lower() not in text.lower()
        assert COOKIE[:20].lower() not in text.lower()


async def test_a_peer_that_repeats_everything(tmp_path: Path, log: LogCapture) -> None:
    """Headers, OK and capability of ours are what it says; it becomes a session without harm."""

    async def repeat(visit: Visit) -> None:
        while data := await visit.receive():
            await visit.send(data)

    controller = ScriptedController(stopping_at(Stage.HEADERS, repeat))
    async with bridged(tmp_path, controller) as port, trio.open_nursery() as nursery:
        nursery.start_soon(ask, port, REQUEST)
        await controller.wait_for_agents()
        await trio.testing.wait_all_tasks_blocked(0.05)
        nursery.cancel_scope.cancel()
    assert SECRET not in everything_logged(log)


# -- failures -------------------------------------------------------------------------------------

GARBAGE: Final = b"\xff" * 200
BEFORE_TLS: Final = "the agent port does not speak this protocol"


@pytest.mark.parametrize(
    ("stage", "then", "reason"),
    [
        # how it ends
        (Stage.ACK, scripted.close, "closed the connection before its ACK"),
        (Stage.ACK, scripted.reset, "while waiting for its ACK"),
        (Stage.ACK, saying(b"\x00\x03AC", then=scripted.close), "before its ACK"),
        (Stage.TLS, scripted.close, "during the TLS handshake"),
        (Stage.TLS, scripted.reset, "while waiting for its TLS handshake"),
        (Stage.HEADERS, scripted.close, "without giving a reason"),
        (Stage.HEADERS, scripted.reset, "while waiting for the controller's headers"),
        (Stage.VERDICT, scripted.close, "without giving a reason"),
        (Stage.VERDICT, scripted.reset, "while waiting for the controller's verdict"),
        (Stage.CAPABILITY, scripted.close, "without giving a reason"),
        (Stage.CAPABILITY, scripted.reset, "while waiting for the controller's capability"),
        # what it says
        (Stage.ACK, saying(b"Unknown protocol:\n"), "got 'Unknown protocol:'"),
        (Stage.ACK, saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), BEFORE_TLS),
        (Stage.ACK, saying(GARBAGE), BEFORE_TLS),
        (Stage.ACK, saying(scripted.ACK + GARBAGE), "spoke before the TLS handshake"),
        (Stage.TLS, saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "TLS: "),
        (Stage.TLS, saying(GARBAGE), "TLS: "),
        (Stage.TLS, saying(b"\x15\x03\x03\x00\x02\x02\x28"), "TLS: "),  # handshake_failure
        (Stage.HEADERS, saying(GARBAGE), "headers has 65535 bytes"),
        (Stage.HEADERS, saying(string("[]")), "headers are not a JSON object"),
        (Stage.HEADERS, saying(string('{"a":1}')), "something else than strings"),
        (Stage.HEADERS, saying(string("{")), "headers are not JSON"),
        (Stage.HEADERS, saying(string("[" * 5000)), "headers are not JSON"),
        (Stage.HEADERS, saying(string(b"\xff\xfe")), "headers is not UTF-8"),
        (Stage.VERDICT, saying(GARBAGE), "verdict has 65535 bytes"),
        (Stage.VERDICT, saying(string("")), "neither OK nor a refusal"),
        (Stage.VERDICT, saying(string("OK ")), "neither OK nor a refusal"),
        (Stage.VERDICT, saying(string("ERROR:no space")), "neither OK nor a refusal"),
        (Stage.VERDICT, saying(string(b"OK\xff")), "verdict is not UTF-8"),
        (Stage.CAPABILITY, saying(GARBAGE), "capability has 65535 bytes"),
        (Stage.CAPABILITY, saying(string("")), "capability is empty or not printable"),
        (Stage.CAPABILITY, saying(string("AAAA\r\nX-Evil: 1")), "not printable"),
        (Stage.CAPABILITY, saying(string("AAAA\u00fc")), "not printable"),
    ],
)
async def test_failures_of_the_agent_port(
    stage: Stage, then: scripted.Script, reason: str, tmp_path: Path, log: LogCapture
) -> None:
    """The agent is told to wait, the log says why, and the next agent finds a working gateway."""
    controller = ScriptedController(stopping_at(stage, then))
    async with bridged(tmp_path, controller) as port:
        answer = await ask(port, REQUEST)
        check_refusal(answer, log, 503, UNUSABLE, cookie=COOKIE)
        told = next(entry for entry in log.entries if "error_id" in entry)
        assert reason in told["reason"]
        assert f"127.0.0.1:{controller.agent_port}" in told["reason"]
        with trio.fail_after(5):
            await (await controller.wait_for_agents()).ended.wait()
        controller.script = accepting()
        assert (await ask(port, REQUEST)).status == 101
    assert SECRET not in everything_logged(log)
    assert not any("exc_info" in entry and entry["exc_info"] for entry in log.entries)


async def test_a_corrupted_record_in_tls(tmp_path: Path, log: LogCapture) -> None:
    async def corrupt(visit: Visit) -> None:
        await visit.send_in_clear(b"\x17\x03\x03\x00\x20" + bytes(32))
        await visit.read_to_end()

    controller = ScriptedController(stopping_at(Stage.HEADERS, corrupt))
    async with bridged(tmp_path, controller) as port:
        check_refusal(await ask(port, REQUEST), log, 503, UNUSABLE, cookie=COOKIE)


@pytest.mark.parametrize(
    "port_of",
    [
        pytest.param(None, id="nobody listens"),
        pytest.param("127.0.0.1:9", id="configured, nobody listens"),
    ],
)
async def test_an_agent_port_where_nobody_listens(
    port_of: str | None, tmp_path: Path, log: LogCapture
) -> None:
    controller = ScriptedController()
    with socket.create_server(("127.0.0.1", 0)) as server:
        controller.advertised_port = str(server.getsockname()[1])
    agents = {} if port_of is None else {"address": port_of}
    async with bridged(tmp_path, controller, agents=agents) as port:
        check_refusal(await ask(port, REQUEST), log, 503, UNUSABLE, cookie=COOKIE)
    assert "connection refused" in str(log.entries[-1]["reason"])


async def test_a_controller_that_is_not_there_at_all(tmp_path: Path, log: LogCapture) -> None:
    async with running_gateway(make_config(tmp_path, "http://127.0.0.1:9/")) as port:
        check_refusal(await ask(port, REQUEST), log, 503, NOT_READY, cookie=COOKIE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": 404}, "TCP agent port is disabled"),
        ({"status": 503}, "discovery answered 503"),
        ({"status": 302}, "discovery answered 302"),
        ({"advertised_port": ""}, "names no agent port"),
        ({"protocols": "JNLP-connect, Ping"}, "does not offer JNLP4-connect"),
        ({"advertised_host": "no such host"}, "names no usable host"),
    ],
)
async def test_discovery_documents_that_cannot_be_used(
    change: dict[str, object], reason: str, tmp_path: Path, log: LogCapture
) -> None:
    controller = ScriptedController()
    for name, value in change.items():
        setattr(controller, name, value)
    async with bridged(tmp_path, controller) as port:
        check_refusal(await ask(port, REQUEST), log, 503, NOT_READY, cookie=COOKIE)
        assert reason in log.entries[-1]["reason"]
        assert controller.connections == 0


async def test_a_document_without_a_key_is_no_reason_to_trust(
    tmp_path: Path, log: LogCapture
) -> None:
    controller = ScriptedController()
    controller.advertised = None
    async with bridged(tmp_path, controller) as port:
        text = "the controller's identity is not the expected one"
        check_refusal(await ask(port, REQUEST), log, 502, text, cookie=COOKIE)
        assert "names no identity" in log.entries[-1]["reason"]
        assert controller.connections == 0


async def test_one_agents_failure_is_not_anothers(tmp_path: Path) -> None:
    """A refused node beside a live session of another."""

    async def judge(visit: Visit) -> None:
        bad = visit.headers["Node-Name"] == "bad"
        await visit.send(string("ERROR: Unknown client name: bad" if bad else "OK"))
        if not bad:
            assert await visit.read_string() == b"OK"
            await visit.send(string(scripted.CAPABILITY))
        while data := await visit.receive():
            if data.endswith(b"\x00\x01?"):
                await visit.send(b"\x00\x01!")

    controller = ScriptedController(stopping_at(Stage.VERDICT, judge))
    async with bridged(tmp_path, controller) as port, connected(port, agent_request()) as (_, good):
        for _ in range(3):
            assert (await ask(port, agent_request({"Node-Name": "bad"}))).status == 400
            await good.send(b"\x00\x01?")
            assert await good.receive(3) == b"\x00\x01!"


@pytest.mark.parametrize("cookie", [None, COOKIE])
async def test_a_gateway_that_is_stopping(
    cookie: str | None, tmp_path: Path, log: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stopping begins while the request arrives: before that the connection would just be closed.
    begun = chain([False], repeat(True))
    monkeypatch.setattr(Drain, "begun", property(lambda _: next(begun)))
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port:
        answer = await ask(port, agent_request({"Connection-Cookie": cookie}))
        text = "the gateway is shutting down, try again"
        check_refusal(answer, log, 503, text, cookie=cookie)
        assert controller.connections == 0


async def test_plaintext_where_it_is_allowed(tmp_path: Path, log: LogCapture) -> None:
    """The same handshake without TLS; nothing has to be known about the controller's key."""
    controller = ScriptedController(
        stopping_at(
            Stage.CHANNEL,
            scripted.stay_silent,
            over_tls=False,
            headers=json.dumps({"Cookie": "00ff"}),
        )
    )
    controller.advertised = None
    agents = {"protocol": "JNLP4-plaintext", "allow_plaintext": True}
    async with bridged(tmp_path, controller, agents=agents) as port:
        answer = await ask(port, REQUEST)
        assert answer.status == 101
        assert answer.get(b"connection-cookie") == b"00ff"
        visit = await controller.wait_for_agents()
        assert visit.opening == "Protocol:JNLP4-plaintext"
        assert visit.headers["Secret-Key"] == SECRET
        controller.script = stopping_at(
            Stage.VERDICT, saying(string("ERROR: Authorization failure")), over_tls=False
        )
        check_refusal(await ask(port, REQUEST), log, 403, None, cookie=COOKIE)
    assert SECRET not in everything_logged(log)
