"""The CLI through a whole gateway: which way, and what is refused how (PROTOCOLS E.2, E.3, K.4)."""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import LogCapture

from gateway.jenkins_cli.endpoint import _leads_to_websocket
from tests.jenkins_cli.site import site
from tests.peers.cli_client import (
    FullDuplexClient,
    Outcome,
    Refused,
    basic,
    by_hand,
    opening,
    read_all,
    run_full_duplex,
    run_websocket,
    utf,
    websocket,
)
from tests.peers.cli_controller import (
    ARG,
    END_STDIN,
    START,
    STDIN,
    STDOUT,
    UNEXPECTED_ORIGIN,
    Answer,
    CliController,
)
from tests.server.workers import make_config, running_worker

ALICE = basic("alice", "a-token")
BOB = basic("bob", "b-token")


async def refused(port: int, **how: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await run_websocket(port, b"who-am-i", **how)
    return caught.value


# -- relay -----------------------------------------------------------------------------------------


async def test_a_controller_with_websocket_gets_one(tmp_path: Path) -> None:
    controller = CliController()
    async with site(tmp_path, controller) as gateway:
        outcome = await run_websocket(gateway.plain, b"who-am-i", headers=[ALICE])
    assert (outcome.stdout, outcome.code) == (b"Authenticated as: alice\n", 0)
    assert controller.runs[0].transport == "websocket"
    assert len(controller.requests) == 1


async def test_it_is_told_the_origin_that_it_compares_with(tmp_path: Path) -> None:
    controller = CliController(root_url="https://jenkins.example.com")
    keys = {"jenkins_url": "https://jenkins.example.com/"}
    async with site(tmp_path, controller, keys=keys) as gateway:
        assert (await run_websocket(gateway.plain, b"who-am-i")).code == 0
        # Neither what the client says nor the route decides about what is sent.
        host = "127.0.0.1"
        old = await run_websocket(gateway.plain, b"who-am-i", host=host, origin=f"https://{host}")
        assert old.code == 0
    assert {headers["origin"] for _, _, headers in controller.requests} == {
        "https://jenkins.example.com"
    }


async def test_a_controller_that_still_refuses_the_origin(tmp_path: Path, log: LogCapture) -> None:
    controller = CliController(root_url="https://elsewhere.example.com")
    async with site(tmp_path, controller) as gateway:
        error = await refused(gateway.plain)
    assert error.status == 403
    assert error.headers["x-cli-error"] == (
        f"{UNEXPECTED_ORIGIN}; gateway: set controllers.main.jenkins_url"
        " to the Jenkins URL that is set in Jenkins"
    )
    (line,) = [each for each in log.entries if "remedy" in each]
    assert (line["controller"], line["log_level"]) == ("main", "warning")
    assert "controllers.main.jenkins_url" in line["remedy"]


async def test_a_403_without_a_reason_names_the_key_too(tmp_path: Path) -> None:
    controller = CliController()
    controller.answers["websocket"] = Answer(403)
    async with site(tmp_path, controller) as gateway:
        error = await refused(gateway.plain)
    assert "controllers.main.jenkins_url" in error.headers["x-cli-error"]


@pytest.mark.parametrize("how", ["killed", "closed"])
async def test_a_relayed_client_gets_its_exit(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, or closed in order without EXIT, as controllers do when no START comes."""
    monkeypatch.setattr("tests.peers.cli_controller.START_TIMEOUT", 0.2)
    controller = CliController()
    async with site(tmp_path, controller) as gateway, websocket(gateway.plain) as client:
        if how == "killed":
            for op, payload in opening(b"sleep", b"60"):
                await client.send(op, payload)
            assert await client.receive() == (STDOUT, b"sleeping\n")
            controller.kill()
        outcome = await client.finish(Outcome())
    assert outcome.code == 1
    assert outcome.stderr.startswith(b"the con")
    assert outcome.closed in (1000, 1011)


async def test_a_relayed_client_is_told_that_the_gateway_stops(tmp_path: Path) -> None:
    controller = CliController()
    async with site(tmp_path, controller) as gateway, websocket(gateway.plain) as client:
        for op, payload in opening(b"sleep", b"60"):
            await client.send(op, payload)
        assert await client.receive() == (STDOUT, b"sleeping\n")
        await gateway.stop()
        outcome = await client.finish(Outcome())
    assert (outcome.code, outcome.closed) == (1, 1012)
    assert b"shutting down" in outcome.stderr


async def test_messages_are_not_compressed(tmp_path: Path) -> None:
    """An EXIT that cannot be read would be followed by another one."""
    controller = CliController()
    offer = [(b"Sec-WebSocket-Extensions", b"permessage-deflate")]
    async with site(tmp_path, controller) as gateway:
        assert (await run_websocket(gateway.plain, b"who-am-i", headers=offer)).code == 0
    (_, _, headers), *_ = controller.requests
    assert "sec-websocket-extensions" not in headers


@pytest.mark.parametrize("cli", [{}, {"transport": "http"}], ids=["relayed", "translated"])
async def test_a_client_that_was_paused_gets_all_of_it(
    tmp_path: Path, cli: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who pages through the output of a command that has ended must not lose its rest."""
    monkeypatch.setattr("gateway.jenkins_cli.translation._LAST_WORDS", 0.1)
    monkeypatch.setattr("gateway.http.websocket_accept.CLOSE_TIMEOUT", 0.1)
    monkeypatch.setattr("gateway.http.websocket_relay.CLOSE_TIMEOUT", 0.1)
    monkeypatch.setattr("tests.peers.cli_controller.AFTER_EXIT", 0.05)
    agents = {"keepalive": {"interval": 0.2, "suspect_after": 0.2, "dead_after": 0.4}}
    controller = CliController()
    size = 6_000  # what the kernels hold
    async with site(tmp_path, controller, cli=cli, agents=agents) as gateway:
        sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await sock.connect(("127.0.0.1", gateway.plain))
        async with trio.SocketStream(sock) as stream:
            await stream.send_all(by_hand(b"yes", b"%d" % size, b"2000"))
            run = await controller.wait_for_run()
            await run.ended.wait()
            await trio.sleep(1.5)
            received = await read_all(stream)
    assert received.count(b"y") >= size
    assert b"\x82\x05\x04\0\0\0\0" in received, "EXIT 0"


# -- choosing --------------------------------------------------------------------------------------


async def test_auto_finds_out_once(tmp_path: Path, log: LogCapture) -> None:
    controller = CliController(websocket=False)
    async with site(tmp_path, controller) as gateway:
        for _ in range(3):
            assert (await run_websocket(gateway.plain, b"who-am-i")).code == 0
    asked = [target for _, target, _ in controller.requests]
    assert asked.count("/cli/ws") == 1
    chosen = [each for each in log.entries if each["event"] == "cli transport chosen"]
    assert [each["transport"] for each in chosen] == ["http"]


async def test_without_translation_the_answer_is_the_controllers(tmp_path: Path) -> None:
    controller = CliController(websocket=False)
    async with site(tmp_path, controller, cli={"transport": "websocket"}) as gateway:
        error = await refused(gateway.plain)
    assert error.status == 404
    assert "controllers.main.cli.transport" in error.headers["x-cli-error"]


async def test_a_controller_with_neither(tmp_path: Path) -> None:
    controller = CliController(websocket=False, full_duplex=False)
    async with site(tmp_path, controller) as gateway:
        for _ in range(2):
            error = await refused(gateway.plain)
            assert error.status == 404
            assert error.headers["x-cli-error"] == "the controller has no CLI at this address"
    assert [target for _, target, _ in controller.requests].count("/cli/ws") == 2


# -- K.4 before 101 --------------------------------------------------------------------------------


@pytest.mark.parametrize("cli", [{}, {"transport": "http"}])
@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://127.0.0.1.evil"])
async def test_a_wrong_origin(tmp_path: Path, origin: str | None, cli: dict[str, Any]) -> None:
    controller = CliController()
    async with site(tmp_path, controller, cli=cli) as gateway:
        error = await refused(gateway.plain, origin=origin)
    assert error.status == 403
    assert error.headers["x-cli-error"] == UNEXPECTED_ORIGIN
    assert controller.requests == []


async def test_a_cookie_with_the_wrong_scheme(tmp_path: Path) -> None:
    controller = CliController()
    cookie = [(b"Cookie", b"JSESSIONID=x")]
    async with site(tmp_path, controller) as gateway:
        origin = f"https://127.0.0.1:{gateway.plain}"
        assert (await refused(gateway.plain, origin=origin, headers=cookie)).status == 403
        assert (await run_websocket(gateway.plain, b"who-am-i", origin=origin)).code == 0


@pytest.mark.parametrize("cli", [{}, {"transport": "http"}])
async def test_wrong_credentials(tmp_path: Path, cli: dict[str, Any]) -> None:
    async with site(tmp_path, CliController(), cli=cli) as gateway:
        error = await refused(gateway.plain, headers=[basic("alice", "wrong")])
    assert error.status == 401
    assert error.headers["www-authenticate"] == 'Basic realm="Jenkins user"'
    assert error.headers["x-cli-error"] == "the controller does not accept these credentials"
    assert error.headers["content-length"] == "0", "a body throws the client off"


@pytest.mark.parametrize("cli", [{}, {"transport": "http"}])
async def test_an_unreachable_controller(tmp_path: Path, cli: dict[str, Any]) -> None:
    keys = {"url": "http://127.0.0.1:1/", "cli": cli}
    config = make_config(tmp_path, controllers={"main": keys})
    async with running_worker(config) as gateway:
        error = await refused(gateway.plain)
    assert error.status == 503
    assert error.headers["x-cli-error"] == "the controller cannot be reached"


@pytest.mark.parametrize("cli", [{}, {"transport": "http"}])
async def test_a_controller_that_does_not_answer(tmp_path: Path, cli: dict[str, Any]) -> None:
    async with Silence() as port:
        keys = {"url": f"http://127.0.0.1:{port}/", "cli": cli}
        route = {"id": "main", "controller": "main", "response_timeout": "200ms"}
        config = make_config(tmp_path, controllers={"main": keys}, routes=[route])
        async with running_worker(config) as gateway:
            error = await refused(gateway.plain)
    assert error.status == 504
    assert error.headers["x-cli-error"] == "the controller did not answer in time"


class Silence:
    """A port that accepts and says nothing."""

    async def __aenter__(self) -> int:
        self._nursery = trio.open_nursery()
        nursery = await self._nursery.__aenter__()
        self._scope = nursery.cancel_scope

        async def serve(stream: trio.SocketStream) -> None:
            await trio.sleep_forever()

        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port: int = listeners[0].socket.getsockname()[1]
        return port

    async def __aexit__(self, *error: Any) -> None:
        self._scope.cancel()
        await self._nursery.__aexit__(*error)


async def test_a_route_without_websockets(tmp_path: Path) -> None:
    route = {"id": "main", "controller": "main", "websockets": False}
    async with site(tmp_path, CliController(), routes=[route]) as gateway:
        error = await refused(gateway.plain)
    assert (error.status, error.headers["x-cli-error"]) == (400, "this route has no WebSockets")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/cli", 403),
        ("/cli?remoting=true", 403),
        ("/cli?remoting=false&x", 403),
        ("/cli?x&remoting=false", 403),
    ],
)
async def test_post_without_the_query(tmp_path: Path, target: str, status: int) -> None:
    controller = CliController()
    async with site(tmp_path, controller) as gateway:
        client = FullDuplexClient(gateway.plain, target=target)
        with pytest.raises(Refused) as caught:
            await client.download()
        await client.aclose()
    assert caught.value.status == status
    assert controller.requests == []


async def test_a_bad_session(tmp_path: Path) -> None:
    controller = CliController()
    async with site(tmp_path, controller) as gateway:
        client = FullDuplexClient(gateway.plain, session="1-1-1-1-1")
        with pytest.raises(Refused) as caught:
            await client.download()
        await client.aclose()
    assert caught.value.status == 400
    assert controller.requests == []


@pytest.mark.parametrize(("cli", "status"), [({}, 500), ({"audit": "commands"}, 404)])
async def test_an_upload_for_an_unknown_session(
    tmp_path: Path, cli: dict[str, Any], status: int
) -> None:
    async with site(tmp_path, CliController(), cli=cli) as gateway:
        client = FullDuplexClient(gateway.plain)
        await client.upload()
        assert await client.upload_answer() == status
        await client.aclose()


async def test_no_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.peers.cli_controller.UPLOAD_TIMEOUT", 0.2)
    async with site(tmp_path, CliController()) as gateway:
        client = FullDuplexClient(gateway.plain)
        await client.download()
        with pytest.raises(Exception, match=r"peer|reset"):
            await client.receive()
        await client.aclose()


# -- full-duplex -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cli", [{}, {"policy": {"deny": ["groovy"]}, "audit": "commands"}])
async def test_full_duplex(tmp_path: Path, cli: dict[str, Any]) -> None:
    controller = CliController()
    async with site(tmp_path, controller, cli=cli) as gateway:
        outcome = await run_full_duplex(gateway.plain, b"cat", stdin=b"x" * 200_000)
        assert (outcome.stdout_size, outcome.code) == (200_000, 0)
        outcome = await run_full_duplex(gateway.plain, b"who-am-i", headers=[ALICE])
        assert outcome.stdout == b"Authenticated as: alice\n"
        outcome = await run_full_duplex(gateway.plain, b"exit", b"17")
        assert (outcome.stderr, outcome.code) == (b"bad\n", 17)
    assert {run.transport for run in controller.runs} == {"http"}


@pytest.mark.parametrize("cli", [{}, {"policy": {"deny": ["groovy"]}}])
async def test_output_leaves_as_it_comes_and_a_killed_client_interrupts(
    tmp_path: Path, cli: dict[str, Any]
) -> None:
    controller = CliController()
    async with site(tmp_path, controller, cli=cli) as gateway:
        client = FullDuplexClient(gateway.plain)
        await client.download()
        await client.upload()
        for op, payload in opening(b"sleep", b"60"):
            await client.send(op, payload)
        assert await client.receive() == (STDOUT, b"sleeping\n")
        await client.aclose()
        run = await controller.wait_for_run()
        await run.ended.wait()
        assert run.interrupted


async def test_both_halves_go_to_the_same_address(tmp_path: Path) -> None:
    first, second = CliController(), CliController()
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        await nursery.start(second.run)
        addresses = [f"127.0.0.1:{first.port}", f"127.0.0.1:{second.port}"]
        keys = {"url": "http://jenkins.test/", "addresses": addresses}
        config = make_config(tmp_path, controllers={"main": keys})
        async with running_worker(config) as gateway:
            # The active one fails as the download is asked for, and is back for the upload.
            client = FullDuplexClient(gateway.plain)
            await first.pause()
            await client.download()
            await first.resume()
            await client.upload()
            for op, payload in opening(b"who-am-i"):
                await client.send(op, payload)
            await client.send(END_STDIN)
            assert (await client.finish(Outcome())).code == 0
            await client.aclose()
        nursery.cancel_scope.cancel()
    assert second.runs[0].address == second.port
    assert not [1 for _, _, headers in first.requests if headers.get("side") == "upload"]


async def test_headers_about_other_ports(tmp_path: Path) -> None:
    controller = CliController()
    controller.page_headers = [("X-Jenkins", "2"), ("X-SSH-Endpoint", "inner:22")]
    cli = {"ssh_endpoint": {"host": "gw.example.com", "port": 2222}}
    async with (
        site(tmp_path, controller, cli=cli) as gateway,
        await trio.open_tcp_stream("127.0.0.1", gateway.plain) as stream,
    ):
        await stream.send_all(b"GET /login HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await stream.receive_some()
    assert b"X-SSH-Endpoint: gw.example.com:2222\r\n" in head or (
        b"x-ssh-endpoint: gw.example.com:2222\r\n" in head
    )
    assert b"inner" not in head


# -- policy ----------------------------------------------------------------------------------------

POLICY: dict[str, Any] = {
    "deny": ["groovy*"],
    "users": {"alice": {}},
    "file_arguments": "refuse",
}
RUNNERS = [run_websocket, run_full_duplex]


@pytest.mark.parametrize("run", RUNNERS)
async def test_a_refused_command(tmp_path: Path, run: Any, log: LogCapture) -> None:
    controller = CliController()
    async with site(tmp_path, controller, cli={"policy": POLICY}) as gateway:
        outcome = await run(gateway.plain, b"groovy", b"=", headers=[BOB])
        assert outcome.code == 2
        assert outcome.stderr.count(b"\n") == 1
        assert b"the gateway's policy does not allow this command" in outcome.stderr
        assert (await run(gateway.plain, b"echo", b"fine", headers=[BOB])).stdout == b"fine\n"
        assert (await run(gateway.plain, b"groovy", b"=", headers=[ALICE])).stdout == b"=\n"
        outcome = await run(gateway.plain, b"echo", b"x", b"@/etc/passwd", headers=[ALICE])
        assert outcome.code == 2
        assert b"begin with @" in outcome.stderr
    names = [run.args[0] for run in controller.runs if run.args]
    assert names.count(b"groovy") == 1, "alice's"
    assert names.count(b"echo") == 1
    lines = [each for each in log.entries if each["event"] == "cli command refused"]
    assert [(each["command"], each["user"]) for each in lines] == [
        ("groovy", "bob"),
        ("echo", "alice"),
    ]


@pytest.mark.parametrize("run", RUNNERS)
async def test_audit(tmp_path: Path, run: Any, log: LogCapture) -> None:
    async with site(tmp_path, CliController(), cli={"audit": "arguments"}) as gateway:
        await run(gateway.plain, b"exit", b"7", headers=[ALICE])
    started, ended = _audited(log)  # the gateway has ended, so all is said
    assert started["event"] == "cli command started"
    assert (started["command"], started["arguments"]) == ("exit", ["7"])
    assert (started["user"], started["client"]) == ("alice", "127.0.0.1")
    assert (ended["event"], ended["exit_code"]) == ("cli command ended", 7)
    assert ended["session"] == started["session"]
    assert ended["command"] == "exit"
    assert ended["duration_s"] >= 0
    assert "a-token" not in str(log.entries)


def _audited(log: LogCapture) -> list[Any]:
    return [each for each in log.entries if each["event"].startswith("cli command")]


@pytest.mark.parametrize(
    "frames",
    [
        [(START, b""), (ARG, utf(b"groovy")), (START, b"")],
        [(ARG, utf(b"who-am-i")), (START, b""), (ARG, utf(b"groovy")), (START, b"")],
        [(STDIN, b"x"), (ARG, utf(b"groovy")), (START, b"")],
        [(ARG, b"\0\7\xc1\xa7roovy"), (START, b"")],
        [(ARG, utf(b"groovy") + b"x"), (START, b"")],
        [(9, b""), (127, utf(b"x")), (ARG, utf(b"groovy")), (START, b"")],
    ],
    ids=["start-first", "two-commands", "input-first", "overlong", "longer-frame", "unknown-ops"],
)
async def test_ways_around_the_policy(tmp_path: Path, frames: list[tuple[int, bytes]]) -> None:
    controller = CliController()
    async with site(tmp_path, controller, cli={"policy": POLICY}) as gateway:
        async with websocket(gateway.plain) as client:
            for op, payload in frames:
                await client.send(op, payload)
            with trio.move_on_after(2):
                await client.finish(Outcome())
        down = FullDuplexClient(gateway.plain)
        await down.download()
        await down.upload()
        for op, payload in frames:
            data = len(payload).to_bytes(4, "big") + bytes((op,)) + payload
            for i in range(len(data)):  # split over chunks
                await down.send_raw(data[i : i + 1])
        with trio.move_on_after(2):
            with suppress(Exception):  # it may be cut, for what it sent
                await down.finish(Outcome())
        await down.aclose()
    for run in controller.runs:
        # Java's own reader would take the overlong spelling for the name.
        assert not {b"groovy", b"\xc1\xa7roovy"} & set(run.args)


async def test_the_upload_is_judged_as_the_downloads_user(tmp_path: Path) -> None:
    """The command runs as who asked for the download."""
    policy = {"allow": ["*"], "users": {"bob": {"allow": ["who-am-i"]}}}
    controller = CliController()
    async with site(tmp_path, controller, cli={"policy": policy}) as gateway:
        for upload in ([], [ALICE]):
            client = FullDuplexClient(gateway.plain, headers=[BOB], upload_headers=upload)
            await client.download()
            await client.upload()
            for op, payload in opening(b"groovy", b"x"):
                await client.send(op, payload)
            assert (await client.finish(Outcome())).code == 2
            await client.aclose()


async def test_a_name_beside_a_cookie_is_nobodys(tmp_path: Path) -> None:
    """Jenkins runs the command as who the cookie says, for some logins without a look at more."""
    policy = {"allow": ["who-am-i"], "users": {"alice": {"allow": ["*"]}}}
    controller = CliController()
    async with site(tmp_path, controller, cli={"policy": policy}) as gateway:
        plain = await run_full_duplex(gateway.plain, b"groovy", b"x", headers=[ALICE])
        assert plain.code == 0
        both = [ALICE, (b"Cookie", b"JSESSIONID=bobs")]
        outcome = await run_full_duplex(gateway.plain, b"groovy", b"x", headers=both)
        assert outcome.code == 2


async def test_where_commands_are_read_no_other_ws_passes(tmp_path: Path) -> None:
    """Stapler leads to the CLI's WebSocket by the name of its class, too."""
    path = "/extensionList/hudson.cli.CLIAction/hudson.cli.CLIAction/ws"
    controller = CliController()
    for cli, status, asked in (({"policy": POLICY}, 400, 0), ({}, 404, 1)):
        async with site(tmp_path, controller, cli=cli) as gateway:
            with pytest.raises(Refused) as caught:
                async with websocket(gateway.plain, path=path):
                    pass
        assert caught.value.status == status
        assert len(controller.requests) == asked


@pytest.mark.parametrize(
    "path",
    [
        "/cli//ws",
        "//cli/ws",
        "/x/../cli/ws",
        "/%63li/ws",
        "/%2563li/ws",
        "/cli%2fws",
        "/cli;x/ws",
        "/cli\\ws",
        "/manage/cli/ws",
        "/view/all/cli/ws",
        "/static/x/cli/ws",
        "/cli/ws;x",
        "/job/x/parent/cli/ws",
    ],
)
@pytest.mark.parametrize("cli", [{}, {"policy": POLICY}])
async def test_other_paths_to_the_websocket(tmp_path: Path, path: str, cli: dict[str, Any]) -> None:
    controller = CliController()
    async with site(tmp_path, controller, cli=cli) as gateway:
        with pytest.raises(Refused) as caught:
            async with websocket(gateway.plain, path=path):
                pass
    assert caught.value.status == 400
    assert controller.requests == []


@pytest.mark.parametrize(
    "target", ["/cli/?remoting=false", "/manage/cli?remoting=false", "/anything"]
)
async def test_other_paths_to_full_duplex(tmp_path: Path, target: str) -> None:
    controller = CliController()
    async with site(tmp_path, controller, cli={"policy": POLICY}) as gateway:
        client = FullDuplexClient(gateway.plain, target=target)
        with pytest.raises(Refused) as caught:
            await client.download()
        await client.aclose()
    assert caught.value.status == 403
    assert controller.requests == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [(b"/extensionList/x.Y/x.Y/ws", True), (b"/job/w%73/x", True), (b"/wsecho/", False)],
)
def test_what_may_lead_to_the_cli(path: bytes, expected: bool) -> None:
    assert _leads_to_websocket(path, whose=frozenset()) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/cli/ws", True),
        (b"/cli%252fws", True),
        (b"/wsecho/", False),
        (b"/cli", False),
        (b"/job/ws/x", False),
        (b"/job/cli-tools/ws", False),
    ],
)
def test_what_leads_to_the_cli(path: bytes, expected: bool) -> None:
    assert _leads_to_websocket(path, whose=frozenset({b"cli"})) is expected


# -- several workers, bulk -------------------------------------------------------------------------


async def test_an_upload_finds_the_download_of_another_worker(tmp_path: Path) -> None:
    """The supervisor is asked; what it says decides about the address, and whose rules count."""
    first, second = CliController(), CliController()
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        await nursery.start(second.run)
        keys = {
            "url": "http://jenkins.test/",
            "addresses": [f"127.0.0.1:{first.port}", f"127.0.0.1:{second.port}"],
            "cli": {"policy": {"users": {"bob": {"deny": ["*"]}}}},
        }
        config = make_config(tmp_path, controllers={"main": keys})
        async with running_worker(config) as gateway:
            # Another gateway in front of the second controller stands in for the other worker.
            direct = FullDuplexClient(second.port)
            await direct.download()
            client = FullDuplexClient(gateway.plain, session=direct.session)
            await client.upload()
            asked = await gateway.control.receive()
            assert asked is not None
            assert (asked["question"], asked["uuid"]) == ("cli_pair", direct.session)
            pair = {
                "controller": "main",
                "address": f"127.0.0.1:{second.port}",
                "user": "bob",
            }
            await gateway.control.send({"type": "answer", "id": asked["id"], "session": pair})
            for op, payload in opening(b"echo", b"x"):
                await client.send(op, payload)
            outcome = await direct.finish(Outcome())
            assert outcome.code == 2
            assert b"policy" in outcome.stderr
            await client.aclose()
            await direct.aclose()
        nursery.cancel_scope.cancel()


async def test_other_workers_may_ask_for_a_download(tmp_path: Path) -> None:
    controller = CliController()
    async with site(tmp_path, controller) as gateway:
        client = FullDuplexClient(gateway.plain, headers=[ALICE])
        await client.download()
        question = {"type": "ask", "question": "cli_pair", "controller": "main"}
        await gateway.control.send({**question, "id": 1, "uuid": client.session})
        answer = await gateway.control.receive()
        address = f"127.0.0.1:{controller.port}"
        expected = {"controller": "main", "address": address, "user": "alice"}
        assert answer == {"type": "answer", "id": 1, "session": expected}
        await client.aclose()


@pytest.mark.slow
@pytest.mark.parametrize("cli", [{}, {"policy": {"deny": ["groovy"]}, "audit": "commands"}])
async def test_100_mib_both_ways_by_full_duplex(tmp_path: Path, cli: dict[str, Any]) -> None:
    size = 100 * 1024 * 1024
    piece = b"x" * 60_000
    async with site(tmp_path, CliController(), cli=cli) as gateway:
        client = FullDuplexClient(gateway.plain)
        await client.download()
        await client.upload()
        for op, payload in opening(b"cat"):
            await client.send(op, payload)
        before = most = _resident()

        async def send() -> None:
            for _ in range(size // len(piece)):
                await client.send(STDIN, piece)
            await client.send(END_STDIN)

        outcome = Outcome(keep=False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            while (frame := await client.receive()) is not None:
                most = max(most, _resident())
                if outcome.take(*frame):
                    break
        await client.aclose()
    assert (outcome.stdout_size, outcome.code) == (size // len(piece) * len(piece), 0)
    assert most - before < 32 * 1024 * 1024


def _resident() -> int:
    """Return this process' memory, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
