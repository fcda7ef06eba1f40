"""No token, no answer."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from gateway.config.admin import AdminConfig
from gateway.config.values import Secret
from gateway.errors import ConfigError
from gateway.server.admin.authentication import Authentication
from tests.server.admin.asking import LOOPBACK, serving

TOKEN = "0123456789abcdef"


def basic(text: str) -> str:
    return f"Authorization: Basic {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    ("field", "status"),
    [
        (f"Authorization: Bearer {TOKEN}", 200),
        (f"authorization: bearer  {TOKEN}", 200),
        (basic(f"anybody:{TOKEN}"), 200),
        (basic(f":{TOKEN}"), 200),
        (basic(TOKEN), 401),
        (f"Authorization: Bearer {TOKEN[:-1]}", 401),
        (f"Authorization: Bearer {TOKEN}x", 401),
        ("Authorization: Bearer", 401),
        ("Authorization: Basic ???", 401),
        (f"Authorization: Digest {TOKEN}", 401),
        (f"Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}", 401),
        ("X-Nothing: 1", 401),
    ],
)
async def test_who_is_let_in(field: str, status: int) -> None:
    async with serving(AdminConfig(listen=LOOPBACK, token=Secret(TOKEN))) as admin:
        found = await admin.ask(target="/closed", fields=[field])
    assert found.status == status
    if status == 401:
        assert found.problem == "unauthorized"
        assert 'WWW-Authenticate: Bearer realm="Remoting Gateway"' in found.head
        assert "WWW-Authenticate: Basic" in found.head
        assert TOKEN not in found.body.decode()


async def test_strangers_do_not_learn_which_paths_there_are() -> None:
    async with serving(AdminConfig(listen=LOOPBACK, token=Secret(TOKEN))) as admin:
        assert (await admin.ask(target="/closed")).status == 401
        assert (await admin.ask(target="/nothing")).status == 401
        assert (await admin.ask("POST", "/do")).status == 401
        assert (await admin.ask("DELETE", "/closed")).status == 401
        assert (await admin.ask(target="/open")).status == 200


async def test_without_a_token_everybody_on_this_machine_may() -> None:
    async with serving() as admin:
        assert (await admin.ask(target="/closed")).json["caller"] == "127.0.0.1"


def test_a_token_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"admin.token_file: .*no such file"):
        Authentication(AdminConfig(token_file=tmp_path / "none"))
