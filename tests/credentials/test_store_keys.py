"""Tests of ``gateway.credentials.store_keys``: the file, what is derived, rotation."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.credentials.store_keys import StoreKeyError, StoreKeys, new_secret

KEY = bytes(range(32))


def _write(path: Path, *keys: tuple[str, bytes]) -> Path:
    path.write_text("".join(f"{name} {base64.b64encode(key).decode()}\n" for name, key in keys))
    return path


def test_it_is_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "store.key"
    keys = StoreKeys.open(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert StoreKeys.open(path).ids == keys.ids
    assert StoreKeys.open(path).digest("c", "s") == keys.digest("c", "s")
    assert list(path.parent.iterdir()) == [path]
    assert len(keys.ids) == 1


def test_digests_are_hmacs_by_a_derived_key(tmp_path: Path) -> None:
    """By HKDF-Expand and HMAC written out (RFC 5869, RFC 2104): a store must stay readable."""
    keys = StoreKeys.open(_write(tmp_path / "k", ("one", KEY)))
    info = b"remoting-gateway store 1 node-secret"
    derived = hmac.new(KEY, info + b"\x01", hashlib.sha256).digest()
    expected = hmac.new(derived, b"\0\0\0\x06main/asecret", hashlib.sha256).digest()
    assert keys.digest("main/a", "secret") == expected
    assert keys.digest("main/", "asecret") != expected
    assert keys.digest("main/a", "secret", "gone") != expected


def test_sealing(tmp_path: Path) -> None:
    keys = StoreKeys.open(tmp_path / "k")
    sealed = keys.seal("upstream-secret", "main/a", "hunter2")
    assert b"hunter2" not in sealed.data
    assert keys.open_sealed("upstream-secret", "main/a", sealed) == "hunter2"
    assert keys.seal("upstream-secret", "main/a", "hunter2").data != sealed.data
    for context, changed in (
        ("main/b", sealed),
        ("main/a", replace(sealed, data=sealed.data[:-1] + b"\0")),
        ("main/a", replace(sealed, data=b"")),
        ("main/a", replace(sealed, key_id="other")),
    ):
        with pytest.raises(StoreKeyError) as caught:
            keys.open_sealed("upstream-secret", context, changed)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(StoreKeyError, match="does not open"):
        keys.open_sealed("cookie", "main/a", sealed)


def test_rotation(tmp_path: Path) -> None:
    path = tmp_path / "k"
    first = StoreKeys.open(path)
    sealed = first.seal("cookie", "c", "text")
    second = first.rotate(keep=frozenset(first.ids))
    assert second.ids[1:] == first.ids
    assert StoreKeys.open(path).ids == second.ids
    assert second.open_sealed("cookie", "c", sealed) == "text"
    assert second.digest("c", "s") != first.digest("c", "s")
    assert second.digest("c", "s", first.ids[0]) == first.digest("c", "s")
    third = second.prune(keep=frozenset())
    assert third.ids == second.ids[:1]
    assert first.reopened().ids == third.ids
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_too_many_keys(tmp_path: Path) -> None:
    keys = StoreKeys.open(tmp_path / "k")
    for _ in range(15):
        keys = keys.rotate(keep=frozenset(keys.ids))
    with pytest.raises(StoreKeyError, match="16 keys that are still needed"):
        keys.rotate(keep=frozenset(keys.ids))
    assert len(StoreKeys.open(tmp_path / "k").ids) == 16


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "holds no key"),
        (b"# only this\n\n", "holds no key"),
        (b"one\n", "is not a key file"),
        (b"one AAAA\n", "is not a key file"),
        (b"one !!!!\n", "is not a key file"),
        (b"\xff\xfe", "is not a key file"),
        (b"one " + base64.b64encode(KEY) + b" more\n", "is not a key file"),
    ],
)
def test_damaged_files_are_never_replaced(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "k"
    path.write_bytes(content)
    with pytest.raises(StoreKeyError, match=text):
        StoreKeys.open(path)
    assert path.read_bytes() == content


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreKeyError, match="cannot be made"):
        StoreKeys.open(tmp_path / "file" / "k")


def test_nothing_shows_a_key(tmp_path: Path) -> None:
    keys = StoreKeys.open(_write(tmp_path / "k", ("one", KEY)))
    assert repr(keys) == f"<StoreKeys {tmp_path / 'k'}: one>"
    assert "data" not in repr(keys.seal("cookie", "c", "x"))


def test_secrets_have_the_form_of_jenkins_own() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(each) == 64 and bytes.fromhex(each).hex() == each for each in secrets)


def test_a_file_that_is_named_by_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    with pytest.raises(StoreKeyError, match="link is a symbolic link"):
        StoreKeys.open(link)
    assert not real.exists()
    made = StoreKeys.open(real)
    through = StoreKeys.open(link)
    assert through.ids == made.ids
    with pytest.raises(StoreKeyError, match=r"set store\.key_file to the file itself"):
        through.rotate(keep=frozenset(made.ids))
    assert link.is_symlink()
    assert StoreKeys.open(real).ids == made.ids
    assert {each.name for each in tmp_path.iterdir()} == {"real", "link"}


def test_what_cannot_be_replaced_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "k"
    keys = StoreKeys.open(path)

    def replace(*paths: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(StoreKeyError, match="cannot be written: operation not permitted"):
        keys.rotate(keep=frozenset(keys.ids))
    assert list(tmp_path.iterdir()) == [path]
    assert StoreKeys.open(path).ids == keys.ids


@pytest.mark.parametrize("is_late", [False, True])
def test_a_file_system_without_hard_links(
    *, is_late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "k"

    def link(*paths: object) -> None:
        if is_late:
            _write(path, ("another", KEY))
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    keys = StoreKeys.open(path)
    assert (keys.ids == ("another",)) is is_late, "nobody's key is replaced"
    assert StoreKeys.open(path).ids == keys.ids
    assert list(tmp_path.iterdir()) == [path]
    assert is_late or stat.S_IMODE(path.stat().st_mode) == 0o600
