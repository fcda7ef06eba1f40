"""curl, wrk, Python's http.client and a client that pipelines, each with nginx or httpd behind."""

from __future__ import annotations

import hashlib
import http.client
import random
import ssl
from collections.abc import Iterator
from contextlib import closing

import pytest
import trio

from tests import certificates
from tests.e2e.clients import Curl, wrk
from tests.e2e.gateway import Site
from tests.e2e.origins import Origin
from tests.e2e.programs import HOST
from tests.peers.raw_client import RawClient

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl_verifies_the_gateway(nginx_behind: Origin, curl: Curl, version: str) -> None:
    got = curl("https://nginx.test/small.txt", f"--tlsv{version}", "--tls-max", version)
    assert (got.status, got.body) == (200, b"small answer\n")
    assert got.info["ssl_verify_result"] == 0


def test_curl_is_brought_down_to_http_1_1(nginx_behind: Origin, curl: Curl) -> None:
    got = curl("https://nginx.test/small.txt", "--http2")
    assert (got.status, got.info["http_version"]) == (200, "1.1")


def test_curl_uses_one_connection(origin: Origin, curl: Curl) -> None:
    urls = [f"https://{origin.host}/{name}" for name in ("small.txt", "nothing", "gzip/page.html")]
    got = curl.several(*urls, *urls)
    assert [each["http_code"] for each in got] == [200, 404, 200] * 2
    assert [each["num_connects"] for each in got] == [1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("path", ["small.txt", "chunked/page.html"])
def test_curl_as_an_old_client(origin: Origin, curl: Curl, path: str) -> None:
    got = curl(f"https://{origin.host}/{path}", "--http1.0")
    assert (got.status, got.get("Transfer-Encoding")) == (200, None)
    assert got.body == origin.file(path.rpartition("/")[2])


def test_curl_goes_on_where_a_download_stopped(origin: Origin, curl: Curl) -> None:
    whole = origin.file("large.bin")
    half = len(whole) // 2
    got = curl(f"https://{origin.host}/large.bin", "--continue-at", str(half))
    assert got.status == 206
    assert got.body == whole[half:]


def test_wrk_finds_no_error(origin: Origin, site: Site) -> None:
    load = wrk(f"https://{HOST}:{site.tls}/small.txt", origin.host, seconds=2, connections=32)
    assert load.errors == {}
    assert load.requests > 50


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut ``data`` into pieces of many sizes."""
    sizes = random.Random(6)
    at = 0
    while at < len(data):
        size = sizes.choice((1, 700, 16_384, 100_000))
        yield data[at : at + size]
        at += size


def test_http_client_many_requests_on_one_connection(
    nginx_behind: Origin, apache_behind: Origin, site: Site
) -> None:
    context = ssl.create_default_context(cafile=str(site.ca))
    client = http.client.HTTPSConnection(HOST, site.tls, timeout=20, context=context)
    client.connect()
    socket = client.sock
    page = nginx_behind.file("page.html")
    small = b"small answer\n"

    def ask(
        method: str, path: str, body: bytes | Iterator[bytes] | None = None, *, host: str
    ) -> tuple[int, bytes]:
        fields = {"Host": host}
        if isinstance(body, Iterator):
            fields["Transfer-Encoding"] = "chunked"
        client.request(method, path, body, fields, encode_chunked=True)
        response = client.getresponse()
        return response.status, response.read()

    for _ in range(40):
        for host in ("nginx.test", "apache.test"):
            assert ask("GET", "/small.txt", host=host) == (200, small)
            assert ask("HEAD", "/small.txt", host=host) == (200, b"")
            assert ask("GET", "/chunked/page.html", host=host) == (200, page)
            assert ask("GET", "/nothing", host=host)[0] == 404
            for body in (page, pieces(page)):
                assert ask("PUT", "/put/from-python", body, host=host)[0] in {201, 204}
    assert client.sock is socket
    client.close()
    for origin in (nginx_behind, apache_behind):
        assert origin.uploaded("from-python") == hashlib.sha256(page).hexdigest()


def test_http_client_that_looks_only_after_its_upload_gets_the_early_answer(
    origin: Origin, site: Site
) -> None:
    with closing(http.client.HTTPConnection(HOST, site.plain, timeout=20)) as client:
        client.request("PUT", "/small/blindly", bytes(12 << 20), {"Host": origin.host})
        response = client.getresponse()
        response.read()
    assert response.status == 413
    assert origin.uploaded("blindly") is None


async def test_pipelined_requests_are_answered_in_their_order(
    nginx_behind: Origin, apache_behind: Origin, site: Site
) -> None:
    """From one send, and to two origins in turn."""
    page = nginx_behind.file("page.html")
    asked: list[tuple[str, str, int, bytes]] = []
    for number in range(20):
        host = ("nginx.test", "apache.test")[number % 2]
        asked += [
            ("GET /small.txt", host, 200, b"small answer\n"),
            ("HEAD /page.html", host, 200, b""),
            (f"GET /nothing-{number}", host, 404, b""),
            ("GET /chunked/page.html", host, 200, page),
        ]
    data = "".join(f"{line} HTTP/1.1\r\nHost: {host}\r\n\r\n" for line, host, _, _ in asked)
    stream = trio.SSLStream(
        await trio.open_tcp_stream(HOST, site.tls),
        certificates.client_context(),
        server_hostname=HOST,
        https_compatible=True,
    )
    async with RawClient(stream) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.send, data.encode())
        for line, _, status, body in asked:
            answer = await client.read_answer(to_head=line.startswith("HEAD"))
            assert answer.status == status
            assert answer.get(b"x-request-line") == f"{line} HTTP/1.1".encode()
            if status == 200:
                assert answer.body == body
