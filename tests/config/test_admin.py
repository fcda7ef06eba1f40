"""The section ``admin``: spellings, defaults, and the token."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.admin import AdminConfig, AdminListen
from gateway.config.values import Address, FileContext, Secret

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("off", AdminListen(is_off=True)),
        ("unix", AdminListen()),
        ("unix:/run/x.sock", AdminListen(path=Path("/run/x.sock"))),
        ("127.0.0.1:9180", AdminListen(Address("127.0.0.1", 9180))),
        ("[::1]:9180", AdminListen(Address("::1", 9180))),
    ],
)
def test_spellings_of_listen(text: str, expected: AdminListen) -> None:
    assert AdminListen.parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize("text", ["", "on", "unix:", "9180", "unix:a\0b", "tcp:1:2"])
def test_what_is_no_listen(text: str) -> None:
    with pytest.raises(ValueError, match=r"allowed: .unix"):
        AdminListen.parse(text)


@pytest.mark.parametrize(
    ("text", "is_local"),
    [("unix", True), ("localhost:1", True), ("[::1]:1", True), ("0.0.0.0:1", False)],
)
def test_what_is_local(text: str, is_local: bool) -> None:
    assert AdminListen.parse(text).is_local is is_local


def test_the_default_is_a_socket_in_the_state_folder() -> None:
    config = AdminConfig()
    assert config.listen.socket_path(Path("/state")) == Path("/state/admin.sock")
    assert config.socket_mode == "0600"
    assert config.read_token() is None


def test_a_socket_beside_the_file_is_no_file_to_watch(tmp_path: Path) -> None:
    context = FileContext(tmp_path)
    found = AdminConfig.model_validate({"listen": "unix:run/a.sock"}, context=context)
    assert found.listen.path == tmp_path / "run/a.sock"
    assert context.named == set()


def test_a_token_file_is_watched_and_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    context = FileContext(tmp_path)
    found = AdminConfig.model_validate({"token_file": "token"}, context=context)
    assert context.named == {path}
    assert found.read_token() == Secret(TOKEN)
    path.write_text(TOKEN * 2)
    assert found.read_token() == Secret(TOKEN * 2)


@pytest.mark.parametrize("text", [b"short", b"", b"0123456789 abcdef", "ä".encode() * 20, b"\xff"])
def test_what_is_no_token(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(text)
    with pytest.raises(ValueError, match="allowed: a") as caught:
        AdminConfig(token_file=path).read_token()
    assert not text or repr(text)[2:-1] not in str(caught.value)


def test_a_token_is_never_shown() -> None:
    config = AdminConfig(token=Secret(TOKEN))
    assert TOKEN not in repr(config)
    assert config.read_token() == Secret(TOKEN)
