"""The simulated agent against a scripted raw server: HTTP, cookie, versions, back-off, TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trustme
from trio.testing import MockClock

from gateway.demo.agent import (
    Failure,
    MustStop,
    SimulatedAgent,
    Step,
    StepKind,
    trusting,
    trusting_anybody,
)
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.agent_http import Answer
from gateway.demo.channel import CommandChannel
from gateway.demo.stream import End
from gateway.demo.wire import capability_ascii
from tests.demo.raw_server import (
    CAPABILITY,
    READY,
    Script,
    Visit,
    answer,
    frame,
    serve,
    upgrade_answer,
)

OLD, NEW = "ab" * 32, "cd" * 32


async def agent_for(
    nursery: trio.Nursery, script: Script, *, path: str = "", steps: list[Step] | None = None
) -> SimulatedAgent:
    """Start a server with a script and make an agent for it."""
    port: int = await nursery.start(serve, script)
    return SimulatedAgent(
        f"http://127.0.0.1:{port}{path}",
        "gold",
        "5e" * 32,
        observe=steps.append if steps is not None else None,
    )


def saying(data: bytes) -> Script:
    """Return a script that answers everything alike."""

    async def script(visit: Visit) -> None:
        await visit.send(data)

    return script


async def test_login_is_an_answer(nursery: trio.Nursery) -> None:
    agent = await agent_for(nursery, saying(answer(503, "X-Gateway-Error: wait", body=b"later")))
    found = await agent.login()
    assert isinstance(found, Answer)
    assert (found.status, found.header("x-gateway-error"), found.body) == (503, "wait", b"later")


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 200 \r\nContent-", b"SSH-2.0-x\r\n\r\n", answer(200)[:-4] + b"x"]
)
async def test_login_without_an_answer(nursery: trio.Nursery, data: bytes) -> None:
    agent = await agent_for(nursery, saying(data))
    assert isinstance(await agent.login(), Failure)


async def test_a_reset_instead_of_an_answer(nursery: trio.Nursery) -> None:
    async def script(visit: Visit) -> None:
        await visit.send(b"HTTP/1.1 200 \r\n")
        linger = b"\1\0\0\0\0\0\0\0"
        visit.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    agent = await agent_for(nursery, script)
    found = await agent.login()
    assert isinstance(found, Failure)
    assert "reset" in found.reason


async def test_interim_answers_are_skipped(nursery: trio.Nursery) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    agent = await agent_for(nursery, saying(interim + answer(404)))
    found = await agent.connect(nursery)
    assert isinstance(found, Answer)
    assert found.status == 404


async def test_nobody_listens() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    agent = SimulatedAgent(f"http://127.0.0.1:{port}", "gold", "s")
    assert isinstance(await agent.login(), Failure)
    async with trio.open_nursery() as nursery:
        assert isinstance(await agent.connect(nursery), Failure)


async def test_an_answer_that_never_comes(nursery: trio.Nursery, jumping_clock: MockClock) -> None:
    async def silent(_visit: Visit) -> None:
        await trio.sleep_forever()

    agent = await agent_for(nursery, silent)
    agent.cookie = OLD
    before = trio.current_time()
    assert isinstance(await agent.connect(nursery), Failure)
    assert trio.current_time() - before == 30
    assert agent.cookie == OLD


async def test_body_above_a_mebibyte(nursery: trio.Nursery) -> None:
    agent = await agent_for(nursery, saying(answer(400, body=bytes(1024 * 1024 + 1))))
    found = await agent.connect(nursery)
    assert found == Failure("the answer's body is above 1 MiB")


async def test_upgrade(nursery: trio.Nursery) -> None:
    seen: list[Visit] = []

    async def script(visit: Visit) -> None:
        seen.append(visit)
        await visit.upgrade(f"X-Remoting-Capability: {CAPABILITY}", f"Connection-Cookie: {NEW}")
        await visit.read_end()

    agent = await agent_for(nursery, script, path="/jenkins")
    channel = await agent.connect(nursery)
    assert isinstance(channel, AgentChannel)
    assert channel.peer_capability == CAPABILITY
    assert (channel.cookie, agent.cookie) == (NEW, NEW)
    assert seen[0].target == "/jenkins/wsagents/"
    assert seen[0].headers["X-Remoting-Capability"] == capability_ascii(0x1FE)
    assert "Connection-Cookie" not in seen[0].headers


async def test_first_bytes_together_with_the_101(nursery: trio.Nursery) -> None:
    async def script(visit: Visit) -> None:
        key = visit.headers["Sec-WebSocket-Key"]
        await visit.send(upgrade_answer(key) + frame(2, b"\x00\x02hi"))
        await visit.read_end()

    agent = await agent_for(nursery, script)
    channel = await agent.connect(nursery)
    assert isinstance(channel, AgentChannel)
    assert await channel.receive_command() == b"hi"
    assert channel.peer_capability == capability_ascii(0x1FE)  # assumed, since there was none


async def test_a_101_that_does_not_fit_the_key(nursery: trio.Nursery) -> None:
    async def script(visit: Visit) -> None:
        visit.headers["Sec-WebSocket-Key"] = "another"
        await visit.upgrade()

    agent = await agent_for(nursery, script)
    found = await agent.connect(nursery)
    assert found == Failure("the answer's Sec-WebSocket-Accept does not fit the key")


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        (answer(403), None),
        (answer(400, f"Connection-Cookie: {NEW}"), NEW),
        (answer(503, f"connection-cookie: {OLD}"), OLD),
        (answer(302, "Location: /elsewhere"), OLD),  # redirects are not looked at
        (b"", OLD),  # no answer at all
    ],
)
async def test_cookie_after_a_refusal(
    nursery: trio.Nursery, reply: bytes, kept: str | None
) -> None:
    cookies: list[str | None] = []

    async def script(visit: Visit) -> None:
        cookies.append(visit.headers.get("Connection-Cookie"))
        await visit.send(reply)

    agent = await agent_for(nursery, script)
    agent.cookie = OLD
    await agent.connect(nursery)
    await agent.connect(nursery)
    assert cookies == [OLD, kept]


@pytest.mark.parametrize("status", [400, 503])
async def test_minimum_version_stops_the_agent(nursery: trio.Nursery, status: int) -> None:
    reply = answer(status, "X-Remoting-Minimum-Version: 9999.v1")
    agent = await agent_for(nursery, saying(reply))
    found = await agent.connect(nursery)
    assert isinstance(found, MustStop)
    assert (found.minimum, found.answer.status) == ("9999.v1", status)


async def test_minimum_version_in_a_101_stops_the_agent(nursery: trio.Nursery) -> None:
    ends: list[str] = []

    async def script(visit: Visit) -> None:
        await visit.upgrade("X-Remoting-Minimum-Version: 9999.v1")
        ends.append(await visit.read_end())

    agent = await agent_for(nursery, script)
    assert isinstance(await agent.connect(nursery), MustStop)
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert ends == ["eof"]


async def test_minimum_version_that_is_met(nursery: trio.Nursery) -> None:
    reply = answer(400, "X-Remoting-Minimum-Version: 3355.v1")
    agent = await agent_for(nursery, saying(reply))
    assert isinstance(await agent.connect(nursery), Answer)


def script_of(statuses: Sequence[int], visits: list[tuple[float, str]]) -> Script:
    """Return a script that answers with one status after the other, then with 503 for ever."""
    left = list(statuses)

    async def script(visit: Visit) -> None:
        visits.append((trio.current_time(), visit.target))
        status = left.pop(0) if left else 503
        if status == 101:
            await visit.upgrade()
            await visit.send(frame(8, b"\x03\xe8"))
            await visit.read_frame()
        else:
            await visit.send(READY if status == 200 else answer(status))

    return script


async def test_back_off_of_both_steps(nursery: trio.Nursery, jumping_clock: MockClock) -> None:
    visits: list[tuple[float, str]] = []
    statuses = [503, 404, 503, 503, 503, 503, 200, *[403] * 5, 101, 503, 200, 101]
    agent = await agent_for(nursery, script_of(statuses, visits))
    with trio.move_on_after(120):
        await agent.run()
    start = visits[0][0]
    expected = [0, 1, 4, 11, 21, 31, 41, 41, 42, 45, 52, 62, 72, 72, 73, 73]
    assert [round(when - start) for when, _target in visits[: len(expected)]] == expected
    targets = [*["/login"] * 7, *["/wsagents/"] * 6, "/login", "/login", "/wsagents/"]
    assert [target for _when, target in visits[: len(expected)]] == targets


async def test_run_ends_only_when_told_to(nursery: trio.Nursery) -> None:
    async def script(visit: Visit) -> None:
        if visit.target == "/login":
            await visit.send(READY)
        else:
            await visit.send(answer(400, "X-Remoting-Minimum-Version: 9999"))

    agent = await agent_for(nursery, script)
    assert (await agent.run()).minimum == "9999"


async def test_run_uses_the_behaviour_and_comes_back(nursery: trio.Nursery) -> None:
    received: list[bytes] = []
    done = trio.Event()

    async def script(visit: Visit) -> None:
        if visit.target == "/login":
            await visit.send(READY)
            return
        await visit.upgrade()
        received.append((await visit.read_frame())[2])
        if len(received) == 2:
            done.set()

    async def hello(channel: CommandChannel) -> None:
        await channel.send_command(b"hello")
        await channel.ended.wait()

    agent = await agent_for(nursery, script)
    nursery.start_soon(agent.run, hello)
    await done.wait()
    assert received == [b"\x00\x05hello"] * 2


async def test_observer_sees_the_steps_and_no_secret(nursery: trio.Nursery) -> None:
    async def script(visit: Visit) -> None:
        if visit.target == "/login":
            await visit.send(READY)
            return
        await visit.upgrade(f"Connection-Cookie: {NEW}")
        await visit.send(frame(9, b"") + frame(8, b"\x03\xe9"))
        assert [(await visit.read_frame())[1] for _ in range(2)] == [10, 8]

    steps: list[Step] = []
    agent = await agent_for(nursery, script, steps=steps)
    await agent.login()
    channel = await agent.connect(nursery)
    assert isinstance(channel, AgentChannel)
    await channel.ended.wait()
    await trio.testing.wait_all_tasks_blocked()
    assert [step.kind for step in steps] == [
        StepKind.PROBE,
        StepKind.ANSWER,
        StepKind.UPGRADE,
        StepKind.ANSWER,
        StepKind.OPEN,
        StepKind.PING,
        StepKind.CLOSED,
    ]
    assert steps[1].answer is not None
    assert steps[1].answer.body == b"hello"
    assert steps[-1].text == "WebSocket Close 1001"
    assert not any("5e5e" in step.text or NEW in step.text for step in steps)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority for the tests of TLS."""
    return trustme.CA()


async def tls_agent(
    nursery: trio.Nursery, authority: trustme.CA, name: str, tls: ssl.SSLContext
) -> SimulatedAgent:
    """Start an https server with a certificate for ``name``, and an agent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)

    async def script(visit: Visit) -> None:
        if visit.target == "/login":
            await visit.send(READY)
        else:
            await visit.upgrade()
            with pytest.raises(EOFError):
                await visit.read(1)

    async def start(task_status: trio.TaskStatus[int]) -> None:
        await serve(script, tls=context, task_status=task_status)

    port: int = await nursery.start(start)
    return SimulatedAgent(f"https://127.0.0.1:{port}/", "gold", "s", tls=tls)


async def test_tls_with_a_ca_file(
    nursery: trio.Nursery, authority: trustme.CA, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    agent = await tls_agent(nursery, authority, "127.0.0.1", trusting(ca_file))
    found = await agent.login()
    assert isinstance(found, Answer)
    wrong_name = await tls_agent(nursery, authority, "elsewhere.example", trusting(ca_file))
    failed = await wrong_name.login()
    assert isinstance(failed, Failure)
    assert "TLS failure" in failed.reason


async def test_tls_without_checks(nursery: trio.Nursery, authority: trustme.CA) -> None:
    agent = await tls_agent(nursery, authority, "elsewhere.example", trusting_anybody())
    assert isinstance(await agent.login(), Answer)
    channel = await agent.connect(nursery)
    assert isinstance(channel, AgentChannel)
    await channel.drop()
    assert channel.end is End.HERE


async def test_tls_of_strangers_is_not_trusted(
    nursery: trio.Nursery, authority: trustme.CA
) -> None:
    agent = await tls_agent(nursery, authority, "127.0.0.1", ssl.create_default_context())
    assert isinstance(await agent.connect(nursery), Failure)
