"""Limits, TLS, and what a reload changes."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from gateway.config.admin import AdminConfig, AdminListen
from gateway.config.listener_tls import ClientCertificatesConfig
from gateway.config.values import Secret
from gateway.server.admin.binding import AdminSocket
from gateway.server.admin.listener import AdminListener, AdminTerms
from gateway.server.admin.routes import Routes
from gateway.server.unix_socket import bind
from gateway.transport.listeners import accept_forever
from tests.certificates import authority, client_context, issue, tls_config
from tests.server.admin.asking import HOST, LOOPBACK, Admin, Said, request, say, serving

TOKEN = "0123456789abcdef"


async def test_a_reload_changes_the_token_on_connections_that_are_open() -> None:
    async with serving(AdminConfig(listen=LOOPBACK, token=Secret(TOKEN))) as admin:
        stream = await admin.connect()
        field = f"Authorization: Bearer {TOKEN}"
        asked = request(target="/closed", fields=[field])
        await stream.send_all(asked.replace(b"Connection: close\r\n", b""))
        assert (await stream.receive_some(65536)).startswith(b"HTTP/1.1 200 ")
        admin.follow(AdminConfig(listen=LOOPBACK, token=Secret(TOKEN[::-1])))
        assert (await say(stream, asked)).status == 401


async def test_no_more_connections_than_allowed() -> None:
    async with serving(AdminConfig(listen=LOOPBACK, connections=2)) as admin:
        held = [await admin.connect() for _ in range(2)]
        for stream in held:
            await stream.send_all(request().replace(b"Connection: close\r\n", b""))
            assert await stream.receive_some(65536)
        async with await admin.connect() as refused:
            with pytest.raises(trio.BrokenResourceError):
                await refused.receive_some(1)
        await held[0].aclose()
        with trio.fail_after(5):
            while True:
                try:
                    assert (await admin.ask()).status == 200
                    break
                except (trio.BrokenResourceError, IndexError):
                    await trio.sleep(0.01)
        await held[1].aclose()


async def ask_by_tls(admin: Admin, *, certificate: bool, fields: list[str]) -> Said:
    context = client_context()
    if certificate:
        issue("operator").configure_cert(context)
    stream = trio.SSLStream(
        await admin.connect(), context, server_hostname="localhost", https_compatible=True
    )
    return await say(stream, request(target="/closed", fields=fields))


def with_certificates(folder: Path, mode: str, **more: object) -> AdminConfig:
    (folder / "ca.pem").write_bytes(authority().cert_pem.bytes())
    clients = ClientCertificatesConfig.model_validate({"mode": mode, "ca_file": folder / "ca.pem"})
    tls = tls_config(folder, "localhost", HOST).model_copy(update={"client_certificates": clients})
    return AdminConfig.model_validate({"listen": LOOPBACK, "tls": tls, **more})


async def test_a_certificate_or_the_token(tmp_path: Path) -> None:
    config = with_certificates(tmp_path, "optional", token=TOKEN)
    bearer = [f"Authorization: Bearer {TOKEN}"]
    async with serving(config) as admin:
        assert (await ask_by_tls(admin, certificate=False, fields=[])).status == 401
        assert (await ask_by_tls(admin, certificate=False, fields=bearer)).status == 200
        found = await ask_by_tls(admin, certificate=True, fields=[])
        assert found.status == 200
        assert found.json["caller"].startswith("127.0.0.1 ")


async def test_nobody_without_a_certificate(tmp_path: Path) -> None:
    async with serving(with_certificates(tmp_path, "require")) as admin:
        assert (await ask_by_tls(admin, certificate=True, fields=[])).status == 200
        with pytest.raises(trio.BrokenResourceError):
            await ask_by_tls(admin, certificate=False, fields=[])


async def test_a_reload_changes_what_certificates_are_asked_for(tmp_path: Path) -> None:
    async with serving(with_certificates(tmp_path, "off")) as admin:
        stream = trio.SSLStream(
            await admin.connect(),
            client_context(),
            server_hostname="localhost",
            https_compatible=True,
        )
        await stream.do_handshake()
        admin.follow(with_certificates(tmp_path, "require"))
        assert (await say(stream, request(target="/closed"))).status == 421


async def test_nobody_beyond_this_machine_shuts_others_out() -> None:
    beyond = AdminListen.parse("0.0.0.0:0")
    config = AdminConfig(listen=beyond, connections=4)
    async with serving(config) as admin, await admin.connect() as first:
        await first.send_all(request().replace(b"Connection: close\r\n", b""))
        assert await first.receive_some(65536)
        async with await admin.connect() as second:
            with pytest.raises(trio.BrokenResourceError):
                await second.receive_some(1)


async def test_a_bug_in_accepting_does_not_end_the_gateway(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    real = accept_forever
    calls = 0

    async def broken(*arguments: Any, **more: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("a bug")
        await real(*arguments, **more)

    monkeypatch.setattr("gateway.server.admin.listener.accept_forever", broken)
    with capture_logs() as logs:
        async with serving() as admin:
            await trio.sleep(2)
            assert (await admin.ask()).status == 200
    assert "internal error" in [line["event"] for line in logs]


async def test_a_reload_changes_who_may_connect(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with bind(path, mode=0o600, backlog=1) as sock:
        terms = AdminTerms.read(AdminConfig())
        found = AdminListener(AdminSocket("unix", sock, path), terms, Routes(()))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        found.follow(AdminTerms.read(AdminConfig(socket_mode="0660")))
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
