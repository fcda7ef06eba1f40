"""Tests of ``gateway.agents.identity``: pins hold, and only an operator replaces one."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from gateway.agents.identity import Pin, PinStore
from gateway.config.keys import fingerprint
from gateway.errors import IdentityMismatch

KEY = b"\x30\x82\x01\x22 a key"
OTHER = b"\x30\x82\x01\x22 another key"


@pytest.fixture
def store(tmp_path: Path) -> PinStore:
    return PinStore(tmp_path)


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "identities").iterdir())


def test_fingerprint() -> None:
    """As ssh-keygen writes them, so that people can compare."""
    digest = base64.b64encode(hashlib.sha256(KEY).digest()).decode()
    assert fingerprint(KEY) == "SHA256:" + digest.rstrip("=")
    assert fingerprint(KEY) != fingerprint(OTHER)


def test_no_pin_yet(store: PinStore) -> None:
    assert store.get("main") is None


def test_the_first_key_is_kept(store: PinStore, tmp_path: Path) -> None:
    pin = Pin(KEY, "first discovery over http")
    assert store.pin_first("main", pin) == pin
    assert store.get("main") == pin
    assert PinStore(tmp_path).get("main") == pin, "after a restart"


def test_a_second_key_does_not_replace_it(store: PinStore, tmp_path: Path) -> None:
    """Whoever asks, and from whichever worker: what is in force comes back."""
    store.pin_first("main", Pin(KEY, "first"))
    assert store.pin_first("main", Pin(OTHER, "refresh")) == Pin(KEY, "first")
    assert PinStore(tmp_path).pin_first("main", Pin(OTHER, "refresh")) == Pin(KEY, "first")
    assert store.get("main") == Pin(KEY, "first")


def test_an_operator_replaces_it_at_once(store: PinStore, tmp_path: Path) -> None:
    other_worker = PinStore(tmp_path)
    store.pin_first("main", Pin(KEY, "first"))
    assert other_worker.get("main") == Pin(KEY, "first")
    store.accept("main", Pin(OTHER, "accepted"))
    assert other_worker.get("main") == Pin(OTHER, "accepted")


def test_an_operator_may_be_first(store: PinStore) -> None:
    store.accept("main", Pin(KEY, "accepted"))
    assert store.get("main") == Pin(KEY, "accepted")


def test_controllers_have_pins_of_their_own(store: PinStore, tmp_path: Path) -> None:
    names = ["main", "Main", "a.b", "a_b", "a-b", "..", "../main", "a/b", "x" * 63, "ü"]
    for index, name in enumerate(names):
        store.pin_first(name, Pin(KEY + bytes((index,)), name))
    for index, name in enumerate(names):
        assert store.get(name) == Pin(KEY + bytes((index,)), name)
    assert len(files(tmp_path)) == len(names)


def test_nobody_else_reads_them_and_nothing_is_left_behind(store: PinStore, tmp_path: Path) -> None:
    store.pin_first("main", Pin(KEY, "first"))
    store.pin_first("main", Pin(OTHER, "second"))
    store.accept("main", Pin(OTHER, "accepted"))
    assert [path.name for path in files(tmp_path)] == ["main.json"]
    assert stat.S_IMODE(files(tmp_path)[0].stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "identities").stat().st_mode) == 0o700


def test_people_can_read_the_file(store: PinStore, tmp_path: Path) -> None:
    store.pin_first("main", Pin(KEY, "first discovery over http"))
    assert json.loads(files(tmp_path)[0].read_text()) == {
        "key": base64.b64encode(KEY).decode(),
        "fingerprint": fingerprint(KEY),
        "source": "first discovery over http",
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"not json",
        b"null",
        b"[]",
        b'"key"',
        b"{}",
        b'{"key": "MIIB"}',
        b'{"source": "first"}',
        b'{"key": null, "source": "first"}',
        b'{"key": 7, "source": "first"}',
        b'{"key": "not base64!", "source": "first"}',
        b'{"key": "MIIB\\u00e9", "source": "first"}',
        b'{"key": "MII", "source": "first"}',
    ],
)
def test_a_damaged_pin_opens_no_door(store: PinStore, tmp_path: Path, content: bytes) -> None:
    """It must not count as none: the next key seen would take its place."""
    store.pin_first("main", Pin(KEY, "first"))
    (path,) = files(tmp_path)
    path.write_bytes(content)
    with pytest.raises(IdentityMismatch, match="identity accept main") as caught:
        store.get("main")
    assert str(path) in caught.value.detail
    assert str(path) not in caught.value.public
    with pytest.raises(IdentityMismatch, match="identity accept main"):
        store.pin_first("main", Pin(OTHER, "second"))
    assert path.read_bytes() == content
    store.accept("main", Pin(OTHER, "accepted"))
    assert store.get("main") == Pin(OTHER, "accepted")


def test_a_pin_that_cannot_be_opened_opens_no_door(store: PinStore, tmp_path: Path) -> None:
    (tmp_path / "identities" / "main.json").mkdir(parents=True)
    with pytest.raises(IdentityMismatch, match="cannot be read"):
        store.get("main")


def test_a_state_dir_that_cannot_be_used(tmp_path: Path) -> None:
    """A key that cannot be kept is not trusted either: it would be "first" for ever."""
    (tmp_path / "state").write_bytes(b"a file")
    store = PinStore(tmp_path / "state")
    with pytest.raises(IdentityMismatch, match="cannot be kept"):
        store.pin_first("main", Pin(KEY, "first"))
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        store.accept("main", Pin(KEY, "accepted"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_accepts_the_gateway_can_read(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 23456)
    PinStore(tmp_path).accept("main", Pin(KEY, "accepted"))
    for path in (tmp_path / "identities", *files(tmp_path)):
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)
