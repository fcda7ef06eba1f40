"""DNS rebinding and cross-site requests."""

from __future__ import annotations

import pytest

from gateway.config.admin import AdminConfig, AdminListen
from gateway.server.admin.origins import host_in
from tests.server.admin.asking import LOOPBACK, serving


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost:9180", 200),
        ("localhost.:1", 200),
        ("127.0.0.1:80", 200),
        ("127.8.8.8", 200),
        ("[::1]:80", 200),
        (None, 200),  # HTTP/1.0, as some balancers' probes
        ("evil.example", 421),
        ("evil.example:9180", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("8.8.8.8", 421),
    ],
)
async def test_rebinding(host: str | None, status: int) -> None:
    async with serving() as admin:
        found = await admin.ask(host=host)
    assert found.status == status
    if status == 421:
        assert found.problem == "misdirected"


async def test_names_that_are_configured() -> None:
    async with serving(AdminConfig(listen=LOOPBACK, hosts=("admin.lan",))) as admin:
        assert (await admin.ask(host="admin.lan:1")).status == 200
        assert (await admin.ask(host="localhost")).status == 200
        assert (await admin.ask(host="other.lan")).status == 421


async def test_beyond_this_machine() -> None:
    beyond = AdminListen.parse("0.0.0.0:0")
    async with serving(AdminConfig(listen=beyond)) as admin:
        assert (await admin.ask(host="gateway.svc")).status == 200
    async with serving(AdminConfig(listen=beyond, hosts=("admin.lan",))) as admin:
        assert (await admin.ask(host="gateway.svc")).status == 421
        assert (await admin.ask(host="10.0.0.1:80")).status == 200  # a probe
        assert (await admin.ask(host="admin.lan")).status == 200


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([], 200),
        (["Origin: http://localhost"], 200),
        (["Origin: https://localhost"], 200),  # behind a proxy that speaks TLS
        (["Sec-Fetch-Site: same-origin", "Origin: http://localhost"], 200),
        (["Sec-Fetch-Site: none"], 200),
        (["Sec-Fetch-Site: cross-site"], 403),
        (["Sec-Fetch-Site: same-site"], 403),
        (["Origin: null"], 403),
        (["Origin: http://evil.example"], 403),
        (["Origin: http://localhost:81"], 403),
        (["Origin: http://localhost", "Origin: http://localhost"], 403),
    ],
)
async def test_cross_site(fields: list[str], status: int) -> None:
    fields = [*fields, "Content-Type: application/json"]
    async with serving() as admin:
        found = await admin.ask("POST", "/do", fields=fields, body=b'{"word": "x"}')
    assert found.status == status
    if status == 403:
        assert found.problem == "cross-site"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("A.b:1", "a.b"), ("[::1]", "::1"), ("[::1]:1", "::1"), ("x.", "x"), ("", "")],
)
def test_hosts(text: str, expected: str) -> None:
    assert host_in(text) == expected
