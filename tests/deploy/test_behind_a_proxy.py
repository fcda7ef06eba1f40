"""deploy/systemd/in-front and "Settings that work" of docs/doctor.md, as they are but for ports and
files: real nginx, httpd and HAProxy, the gateway with the configuration that is meant for behind
them, a stand-in controller and an agent.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio
import yaml

from gateway.demo.agent import SimulatedAgent
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.channel import echo
from gateway.demo.controller import INBOUND, StandInController
from tests import certificates
from tests.deploy.rehearsal import shipped
from tests.deploy.rehearsal.replicas import Replica, replicas_in
from tests.docs.pages import ROOT, blocks_of
from tests.e2e.programs import HOST, apache, free_ports, haproxy, nginx
from tests.gateway_process import Line
from tests.peers.raw_client import Answer, RawClient
from tests.peers.raw_origin import RawOrigin, answering

pytestmark = pytest.mark.e2e

FOLDER: Final = Path(__file__).parents[2] / "deploy/systemd/in-front"
# Another one than the proxy's, who is believed.
CLIENT: Final = "127.0.0.5"
MODULES: Final = "mpm_event authz_core ssl socache_shmcb headers proxy proxy_http"


# How each of the doctor's blocks begins.
BLOCKS: Final = {
    "nginx settings": "map $http_upgrade",
    "haproxy settings": "http-request set-header",
    "apache settings": "ProxyPreserveHost",
}


class Names(trio.abc.HostnameResolver):
    """Every name is this machine's."""

    async def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        """Return the proxy's address."""
        return socket.getaddrinfo(HOST, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        """Fail: addresses are not looked up."""
        raise AssertionError(sockaddr)


@contextmanager
def proxy(kind: str, address: str, folder: Path) -> Iterator[int]:
    """Run the example of a kind before ``address``; yield its port."""
    (port,) = free_ports(1)
    pair = certificates.write(folder, shipped.HOST)
    if kind in BLOCKS:
        with settings(kind, address, folder, port):
            yield port
        return
    if kind == "nginx":
        text = shipped.nginx_server(f"{HOST}:{port}", [address], pair)
        with nginx(folder / "nginx", text, [port]):
            yield port
        return
    open_folder = Path(tempfile.mkdtemp(prefix="behind-apache-"))  # where its user may look
    try:
        text = (FOLDER / "apache.conf").read_text("utf-8")
        places = {
            "*:443": f"{HOST}:{port}",
            "127.0.0.1:8081": address,
            "/etc/httpd/tls.crt": shutil.copy(pair.certificate, open_folder / "tls.crt"),
            "/etc/httpd/tls.key": shutil.copy(pair.key, open_folder / "tls.key"),
        }
        for old, new in places.items():
            assert text.count(old) == 1, old
            text = text.replace(old, str(new))
        with apache(open_folder, text, MODULES, [port]):
            yield port
    finally:
        shutil.rmtree(open_folder, ignore_errors=True)


@contextmanager
def settings(kind: str, address: str, folder: Path, port: int) -> Iterator[None]:
    """Run what the doctor's page shows before ``address``, with TLS before it."""
    (text,) = (
        block.text
        for block in blocks_of(ROOT / "docs/doctor.md")
        if block.text.startswith(BLOCKS[kind])
    )
    place = "127.0.0.1:8080"
    assert text.count(place) == (0 if kind.startswith("haproxy") else 1)
    text = text.replace(place, address)
    pair = certificates.write(folder, shipped.HOST)
    if kind.startswith("nginx"):
        conditional, location = text.split("location ", 1)
        tls = f"ssl_certificate {pair.certificate}; ssl_certificate_key {pair.key};"
        server = f"server {{ listen {HOST}:{port} ssl; {tls} location {location} }}"
        with nginx(folder / "nginx", f"{conditional}{server}", [port]):
            yield
    elif kind.startswith("haproxy"):
        both = folder / "both.pem"
        both.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
        lines = (
            f"listen jenkins\n  bind {HOST}:{port} ssl crt {both}\n{text}  server it {address}\n"
        )
        with haproxy(folder / "haproxy", lines, [port]):
            yield
    else:
        open_folder = Path(tempfile.mkdtemp(prefix="behind-apache-"))
        try:
            certificate = shutil.copy(pair.certificate, open_folder / "tls.crt")
            key = shutil.copy(pair.key, open_folder / "tls.key")
            tls = f"SSLEngine on\nSSLCertificateFile {certificate}\nSSLCertificateKeyFile {key}\n"
            with apache(open_folder, f"{tls}{text}", f"{MODULES} env", [port]):
                yield
        finally:
            shutil.rmtree(open_folder, ignore_errors=True)


@asynccontextmanager
async def site_behind(
    kind: str, folder: Path
) -> AsyncIterator[tuple[int, Replica, StandInController]]:
    """Have everything for the block: the proxy's port, the gateway, the controller."""
    trio.socket.set_custom_hostname_resolver(Names())
    (port,) = free_ports(1)
    address = f"{HOST}:{port}"
    config = yaml.safe_load((FOLDER / "gateway.yaml").read_text("utf-8"))
    assert config["listeners"] == [{"address": "127.0.0.1:8081"}]
    controller = StandInController({"agent-1": INBOUND}, on_channel=echo)
    async with (
        replicas_in(folder, shipped.pod()) as replicas,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(partial(controller.run, host=HOST))
        config["listeners"] = [{"address": address}]
        config["controllers"]["main"]["url"] = controller.url
        gateway = replicas.add("gateway")
        await gateway.start(config)
        with proxy(kind, address, folder) as public:
            yield public, gateway, controller
        nursery.cancel_scope.cancel()


async def ask(port: int, head: str) -> Answer:
    """Send a request over TLS and return the answer."""
    plain = await trio.open_tcp_stream(HOST, port, local_address=CLIENT)
    tls = certificates.client_context()
    stream = trio.SSLStream(plain, tls, server_hostname=shipped.HOST, https_compatible=True)
    async with RawClient(stream) as client:
        return await client.ask(f"{head}Connection: close\r\n\r\n".encode())


async def logged(gateway: Replica, path: str) -> Line:
    """Return the access log's line of a request, once it is written."""
    with trio.fail_after(20):
        while True:
            for line in gateway.access.lines:
                if line["url.path"].startswith(path):
                    return line
            await trio.sleep(0.02)


@pytest.mark.parametrize("kind", ["nginx", "apache", *BLOCKS])
async def test_agents_and_people_get_through(kind: str, tmp_path: Path) -> None:
    async with (
        site_behind(kind, tmp_path) as (port, gateway, controller),
        trio.open_nursery() as nursery,
    ):
        agent = SimulatedAgent(
            f"https://{shipped.HOST}:{port}/",
            "agent-1",
            controller.secret("agent-1"),
            tls=certificates.client_context(),
        )
        answer = await agent.login()
        assert getattr(answer, "status", None) == 200, answer
        channel = await agent.connect(nursery)
        assert isinstance(channel, AgentChannel)
        await channel.send_command(b"x" * 100_000)
        with trio.fail_after(20):
            assert await channel.receive_command() == b"x" * 100_000
        # What a client claims about itself is worth nothing, and paths stay as they are written.
        lies = "".join(
            f"X-Forwarded-{name}: {value}\r\n"
            for name, value in (("Host", "evil"), ("Port", "1"), ("For", "192.0.2.1"))
        )
        await ask(port, f"GET /job/a%2Fb/ HTTP/1.1\r\nHost: {shipped.HOST}\r\n{lies}")
        line = await logged(gateway, "/job/")
        assert line["url.path"] == "/job/a%2Fb/"
        assert (line["url.scheme"], line["server.address"]) == ("https", shipped.HOST)
        assert line["client.address"] == CLIENT
        assert line["http.response.status_code"] == 404
        await channel.close()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def before(kind: str, origin: RawOrigin, folder: Path) -> AsyncIterator[int]:
    """Have a proxy before an origin for the block; yield its port."""
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.run)
        with proxy(kind, f"{HOST}:{origin.port}", folder) as port:
            yield port
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", ["nginx", "apache", *BLOCKS])
async def test_before_jenkins_itself_nothing_of_a_clients_is_left(
    kind: str, tmp_path: Path
) -> None:
    """Jenkins takes the first element of each."""
    origin = RawOrigin(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    body = b"x" * (2 << 20)
    lies = "".join(f"X-Forwarded-{name}: lie\r\n" for name in ("For", "Host", "Port", "Proto"))
    async with before(kind, origin, tmp_path) as port:
        plain = await trio.open_tcp_stream(HOST, port, local_address=CLIENT)
        tls = certificates.client_context()
        stream = trio.SSLStream(plain, tls, server_hostname=shipped.HOST, https_compatible=True)
        async with RawClient(stream) as client:
            head = f"POST /job/a%2Fb/ HTTP/1.1\r\nHost: {shipped.HOST}\r\n{lies}"
            head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            answer = await client.ask(head.encode() + body)
        assert answer.status == 200
        (request,) = origin.requests
        assert request.line == b"POST /job/a%2Fb/ HTTP/1.1"
        assert request.body == body
        said = {
            name: [value for key, value in request.fields if key.lower() == b"x-forwarded-" + name]
            for name in (b"for", b"host", b"proto", b"port")
        }
        expected_port = b"443" if kind.startswith("apache") else b"%d" % port
        assert said == {
            b"for": [CLIENT.encode()],
            b"host": [shipped.HOST.encode()],
            b"proto": [b"https"],
            b"port": [expected_port],
        }
