"""nginx and Apache httpd as controllers: what they say arrives as they said it.

Most tests compare an answer through the gateway with the origin's own.
"""

from __future__ import annotations

import gzip
import http.client
import random
import re
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from tests.e2e.clients import Curl, Got
from tests.e2e.gateway import Site
from tests.e2e.origins import IDLE_MS, LARGE, Origin, sha256
from tests.e2e.programs import HOST
from tests.peers.raw_client import RawClient

pytestmark = pytest.mark.e2e

CLIENTS = 16
ROUNDS = 20
# What may differ between an answer through the gateway and one without it.
_OWN = {"date", "connection", "keep-alive", "transfer-encoding", "x-request-id"}


def direct(origin: Origin, tmp_path: Path, site: Site) -> Curl:
    """Return curl that goes to the origin itself."""
    folder = tmp_path / "direct"
    folder.mkdir()
    return Curl(folder, origin.port, site.ca)


def fields_of(got: Got) -> list[str]:
    """Return the fields of the last head, in order and case, but for what the gateway may say."""
    return [
        line
        for line in got.fields
        if (name := line.partition(":")[0].lower()) not in _OWN and not name.startswith("x-seen-")
    ]


def test_large_downloads_are_whole(origin: Origin, curl: Curl) -> None:
    wanted = sha256(origin.file("large.bin"))
    got = curl(f"https://{origin.host}/large.bin")
    assert (got.status, len(got.body)) == (200, LARGE)
    assert sha256(got.body) == wanted


@pytest.mark.parametrize("path", ["small.txt", "chunked/page.html", "gzip/page.html"])
@pytest.mark.parametrize("head", [False, True], ids=["GET", "HEAD"])
def test_answers_are_the_origins_own(
    origin: Origin, curl: Curl, tmp_path: Path, site: Site, path: str, *, head: bool
) -> None:
    arguments = ["--header", "Accept-Encoding: gzip", *(["--head"] if head else [])]
    got = curl(f"https://{origin.host}/{path}", *arguments)
    own = direct(origin, tmp_path, site)(f"http://{origin.host}/{path}", *arguments)
    assert got.status == own.status == 200
    assert fields_of(got) == fields_of(own)
    if path.startswith("gzip"):
        assert got.get("Content-Encoding") == "gzip"
    if not head:  # else curl shows the head in its place
        assert got.body == own.body


async def test_chunked_stays_chunked(origin: Origin, site: Site) -> None:
    async with await RawClient.connect(site.plain) as client:
        for path in ("/chunked/page.html", "/gzip/page.html", "/small.txt"):
            fields = f"Host: {origin.host}\r\nAccept-Encoding: gzip\r\n\r\n"
            answer = await client.ask(f"GET {path} HTTP/1.1\r\n{fields}".encode())
            assert answer.status == 200
            chunked = answer.get(b"transfer-encoding") == b"chunked"
            assert chunked is (path != "/small.txt")
            body = gzip.decompress(answer.body) if "gzip" in path else answer.body
            assert body == origin.file(path.rpartition("/")[2])


async def test_trailers_arrive(nginx_behind: Origin, site: Site) -> None:
    async with await RawClient.connect(site.plain) as client:
        answer = await client.ask(
            b"GET /chunked/page.html HTTP/1.1\r\nHost: nginx.test\r\nTE: trailers\r\n\r\n"
        )
    assert answer.body == nginx_behind.file("page.html")
    assert answer.trailers == b"X-Checked: GET\r\n"


async def test_an_old_client_gets_chunked_answers_up_to_the_end(origin: Origin, site: Site) -> None:
    async with await RawClient.connect(site.plain) as client:
        answer = await client.ask(
            f"GET /chunked/page.html HTTP/1.0\r\nHost: {origin.host}\r\n\r\n".encode()
        )
        assert answer.status == 200
        assert answer.get(b"transfer-encoding") is None
        assert answer.body == origin.file("page.html")
        assert await client.read_to_end() == b""


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ("bytes=0-0", 206),
        ("bytes=100-4099", 206),
        ("bytes=-5", 206),
        ("bytes=10-19,1000-1009,-3", 206),
        ("bytes=999999999-", 416),
    ],
)
def test_ranges(
    origin: Origin, curl: Curl, tmp_path: Path, site: Site, wanted: str, status: int
) -> None:
    ask = ("--header", f"Range: {wanted}")
    got = curl(f"https://{origin.host}/large.bin", *ask)
    own = direct(origin, tmp_path, site)(f"http://{origin.host}/large.bin", *ask)
    assert got.status == own.status == status
    boundary = re.compile(rb"(?<=--)[0-9a-f]{16,}|(?<=boundary=)[0-9a-f]{16,}")
    if "," in wanted:  # whose parts are divided by something new each time
        assert len(boundary.findall(got.body)) == 4
    assert boundary.sub(b"", got.body) == boundary.sub(b"", own.body)
    assert got.get("Content-Range") == own.get("Content-Range")


def test_conditional_requests_and_head_leave_the_connection_usable(
    origin: Origin, site: Site
) -> None:
    client = http.client.HTTPConnection(HOST, site.plain, timeout=20)
    client.connect()
    socket = client.sock

    def ask(method: str, path: str, **fields: str) -> tuple[http.client.HTTPResponse, bytes]:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        client.request(method, path, headers={"Host": origin.host, **named})
        response = client.getresponse()
        return response, response.read()

    first, body = ask("GET", "/large.bin")
    assert sha256(body) == sha256(origin.file("large.bin"))
    tag, date = first.headers["ETag"], first.headers["Last-Modified"]
    for fields in ({"If_None_Match": tag}, {"If_Modified_Since": date}):
        response, body = ask("GET", "/large.bin", **fields)
        assert (response.status, body) == (304, b"")
        response, body = ask("HEAD", "/large.bin")
        assert (response.status, body) == (200, b"")
        assert response.headers["Content-Length"] == str(LARGE)
        response, body = ask("GET", "/small.txt")
        assert (response.status, body) == (200, b"small answer\n")
    response, _ = ask("GET", "/large.bin", If_Match='"another"', Range="bytes=0-9")
    assert response.status == 412
    assert client.sock is socket
    client.close()


@pytest.mark.parametrize(
    "path",
    [
        "/a%2Fb",
        "/job/feature%252Fx/",
        "/a//b///",
        "/a;v=1/b?q=%2F&&x",
        "/x/./../y",
        "/%7Euser/%c3%a4",
    ],
)
def test_paths_arrive_as_they_were_written(origin: Origin, curl: Curl, path: str) -> None:
    got = curl(f"https://{origin.host}{path}")
    assert got.status == 404
    assert got.get("X-Request-Line") == f"GET {path} HTTP/1.1"


@pytest.mark.parametrize("how", ["length", "chunked"])
@pytest.mark.parametrize("expect", [False, True], ids=["at once", "100-continue"])
def test_large_uploads_are_whole(
    origin: Origin, curl: Curl, tmp_path: Path, how: str, *, expect: bool
) -> None:
    data = origin.file("large.bin")
    source = tmp_path / "upload"
    source.write_bytes(data)
    name = f"{how}-{expect}"
    got = curl(
        f"https://{origin.host}/put/{name}",
        *("--upload-file", str(source) if how == "length" else "-"),
        *("--header", "Expect: 100-continue" if expect else "Expect:", "--verbose"),
        # Longer than any wait here: only the origin's word makes it begin.
        *("--expect100-timeout", "25"),
        send=data if how == "chunked" else None,
    )
    assert got.status == 201
    assert ("HTTP/1.1 100 Continue" in got.heads) is expect
    assert origin.uploaded(name) == sha256(data)


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_an_early_413_reaches_the_client(
    origin: Origin, curl: Curl, tmp_path: Path, how: str
) -> None:
    data = origin.file("large.bin")
    source = tmp_path / "upload"
    source.write_bytes(data)
    for number in range(8):  # it is a race: the origin closes while the client sends
        got = curl(
            f"https://{origin.host}/small/{number}",
            *("--upload-file", str(source) if how == "length" else "-"),
            *("--header", "Expect:"),
            send=data if how == "chunked" else None,
        )
        assert got.status == 413
        assert got.info["size_upload"] < LARGE
    assert origin.uploaded("0") is None


def test_who_asks_first_uploads_nothing_for_a_413(
    origin: Origin, curl: Curl, tmp_path: Path
) -> None:
    source = tmp_path / "upload"
    source.write_bytes(origin.file("large.bin"))
    got = curl(
        f"https://{origin.host}/small/asked",
        *("--upload-file", str(source), "--header", "Expect: 100-continue"),
        *("--expect100-timeout", "25"),
    )
    assert got.status == 413
    assert "100 Continue" not in got.heads
    assert got.info["size_upload"] == 0


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_both_bodies_at_once(apache_behind: Origin, curl: Curl, tmp_path: Path, how: str) -> None:
    """The origin sends back what it gets while it gets it, so neither side could wait."""
    data = apache_behind.file("large.bin")
    source = tmp_path / "upload"
    source.write_bytes(data)
    got = curl(
        "https://apache.test/reflect",
        *("--request", "POST", "--upload-file", str(source) if how == "length" else "-"),
        send=data if how == "chunked" else None,
    )
    assert got.status == 200
    assert sha256(got.body) == sha256(data)


async def test_connections_that_the_origin_closes_cost_no_request(
    origin: Origin, site: Site
) -> None:
    """All clients come back just when the origin closes what was idle: elsewhere, sporadic 502s."""
    request = f"GET /small.txt HTTP/1.1\r\nHost: {origin.short}\r\n\r\n".encode()
    chance = random.Random(5)
    statuses: Counter[int] = Counter()

    async def ask(client: RawClient, pause: float) -> None:
        await trio.sleep(pause)
        answer = await client.ask(request)
        statuses[answer.status] += 1
        assert answer.status != 200 or answer.body == b"small answer\n"

    async with AsyncExitStack() as stack:
        connecting = [RawClient.connect(site.plain) for _ in range(CLIENTS)]
        clients = [await stack.enter_async_context(await each) for each in connecting]
        for _ in range(ROUNDS):
            async with trio.open_nursery() as nursery:
                for client in clients:
                    pause = IDLE_MS / 1000 + chance.uniform(-0.006, 0.006)
                    nursery.start_soon(ask, client, pause)
    assert statuses == {200: CLIENTS * ROUNDS}
    assert origin.connections() > 2 * CLIENTS  # else nothing was closed while it was wanted
