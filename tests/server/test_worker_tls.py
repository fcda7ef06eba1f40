"""A whole worker with a listener that wants client certificates: what reaches the controller."""

from __future__ import annotations

import io
import json
import ssl
from pathlib import Path

import pytest
import trio
import trustme

from gateway.config.models import GatewayConfig
from gateway.observability.log_outputs import lines_to
from gateway.observability.logs import sink_of
from tests.certificates import client_context, tls_config
from tests.peers.raw_client import RawClient
from tests.peers.raw_origin import RawOrigin, answering
from tests.server.workers import HOST, Worker, make_config, running_worker

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLIENTS = trustme.CA()
NAMES = ("first.test", "second.test")


def config_of(folder: Path, origin: RawOrigin, mode: str = "require") -> GatewayConfig:
    CLIENTS.cert_pem.write_to_path(str(folder / "clients.pem"))
    tls = tls_config(folder, *NAMES).model_dump()
    tls["client_certificates"] = {"mode": mode, "ca_file": folder / "clients.pem"}
    return make_config(
        folder,
        f"http://{HOST}:{origin.port}/",
        listeners=[{"address": f"{HOST}:0"}, {"address": f"{HOST}:0", "tls": tls}],
        routes=[
            {"id": name.partition(".")[0], "host": name, "controller": "main"} for name in NAMES
        ],
    )


async def ask(worker: Worker, *, sni: str, host: str, certificate: bool) -> bytes:
    """Return the answer to a request for ``host`` on a connection for ``sni``; b"" if refused."""
    context = client_context()
    if certificate:
        CLIENTS.issue_cert("a@b.test", common_name="agent 7").configure_cert(context)
    stream = trio.SSLStream(
        await trio.open_tcp_stream(HOST, worker.tls),
        context,
        server_hostname=sni,
        https_compatible=True,
    )
    try:
        request = f"GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        await stream.send_all(request.encode())
        answer = b""
        while piece := await stream.receive_some():
            answer += piece
        return answer
    except (trio.BrokenResourceError, ssl.SSLError):
        return b""
    finally:
        await trio.aclose_forcefully(stream)


@pytest.mark.parametrize("sni", NAMES)
@pytest.mark.parametrize("host", NAMES)
async def test_the_rule_is_the_listeners_whatever_sni_and_host_say(
    sni: str, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    sink = sink_of("access")
    monkeypatch.setattr(sink, "output", lines_to(written, name="access"))
    monkeypatch.setattr(sink, "form", "json")
    async with trio.open_nursery() as nursery:
        origin: RawOrigin = await nursery.start(RawOrigin(answering(OK)).run)
        async with running_worker(config_of(tmp_path, origin)) as worker:
            assert await ask(worker, sni=sni, host=host, certificate=False) == b""
            assert origin.requests == []
            answer = await ask(worker, sni=sni, host=host, certificate=True)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert len(origin.requests) == 1
        nursery.cancel_scope.cancel()
    (line,) = map(json.loads, written.getvalue().splitlines())
    assert "CN=agent 7" in line["tls.client.subject"]
    assert line["gateway.route.id"] == host.partition(".")[0]


# -- reloads ---------------------------------------------------------------------------------------

GET = b"GET /x HTTP/1.1\r\nHost: first.test\r\n\r\n"


async def reload(worker: Worker, config: GatewayConfig) -> None:
    snapshot = json.loads(json.dumps(config.model_dump(mode="json")))
    for order in ({"type": "prepare", "snapshot": snapshot}, {"type": "commit"}):
        await worker.control.send({"generation": 1, **order})
        answer = await worker.control.receive()
        assert answer is not None
        assert answer["type"] in {"prepared", "reloaded"}


async def accepted(worker: Worker, count: int) -> None:
    """Wait until the worker holds ``count`` connections."""
    held = None
    while held != count:
        await worker.control.send({"type": "ask", "id": 1, "question": "status"})
        answer = await worker.control.receive()
        assert answer is not None
        held = answer["status"]["connections"]


def secured(transport: trio.SocketStream, *, certificate: bool = False) -> RawClient:
    context = client_context()
    if certificate:
        CLIENTS.issue_cert("a@b.test").configure_cert(context)
    return RawClient(
        trio.SSLStream(transport, context, server_hostname="first.test", https_compatible=True)
    )


async def test_a_handshake_under_way_has_not_proved_what_is_demanded_since(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        origin: RawOrigin = await nursery.start(RawOrigin(answering(OK)).run)
        async with running_worker(config_of(tmp_path, origin, "off")) as worker:
            transport = await trio.open_tcp_stream(HOST, worker.tls)
            await accepted(worker, 1)
            await reload(worker, config_of(tmp_path, origin))
            async with secured(transport) as client:
                assert (await client.ask(GET)).status == 421
            assert origin.requests == []
        nursery.cancel_scope.cancel()


async def test_other_authorities_in_the_same_file_are_another_demand(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        origin: RawOrigin = await nursery.start(RawOrigin(answering(OK)).run)
        config = config_of(tmp_path, origin)
        async with running_worker(config) as worker:
            transport = await trio.open_tcp_stream(HOST, worker.tls)
            async with secured(transport, certificate=True) as client:
                assert (await client.ask(GET)).status == 200
                await reload(worker, config)
                assert (await client.ask(GET)).status == 200
                trustme.CA().cert_pem.write_to_path(str(tmp_path / "clients.pem"))
                await reload(worker, config)
                assert (await client.ask(GET)).status == 421
            assert len(origin.requests) == 2
        nursery.cancel_scope.cancel()
