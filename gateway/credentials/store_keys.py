"""The key file of the node store: what makes its content worth something.

Owns: the file's form and life (made once, mode 0600, rotated), and what is derived from a key: one
for digests of issued secrets, one each for what is encrypted (nodes' secrets in Jenkins; cookies,
in a file of theirs).

Must not know: the database, nodes.

The file has one key a line, ``<id> <base64 of 32 bytes>``, the newest first: that one is used for
everything new, the others for what was made with them. The keys are random, so HKDF without a salt
(RFC 5869, section 3.1) is right for deriving, and a plain HMAC for secrets of 256 random bits:
there is nothing to guess that a slow hash would slow down.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import glob
import hashlib
import hmac
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from gateway.config.keys import read_file, reason_of

_KEY: Final = 32  # bytes
_NONCE: Final = 12
_MAX_KEYS: Final = 16
_HEADER: Final = b"# Keys of the Remoting Gateway's node store. Secret. The first one is in use.\n"

Purpose = Literal["upstream-secret", "cookie"]


class StoreKeyError(Exception):
    """The key file cannot be used, or a key is not in it; the text names the file."""


@dataclass(frozen=True, slots=True)
class _Key:
    """One key. Its bytes are not part of the repr."""

    id: str
    secret: bytes = field(repr=False)

    def derive(self, purpose: str) -> bytes:
        info = b"remoting-gateway store 1 " + purpose.encode()
        return HKDFExpand(SHA256(), _KEY, info).derive(self.secret)


@dataclass(frozen=True, slots=True)
class Sealed:
    """Something encrypted, and by which key."""

    key_id: str
    data: bytes = field(repr=False)


class StoreKeys:
    """The keys of one file, as they were when it was read."""

    def __init__(self, path: Path, keys: tuple[_Key, ...]) -> None:
        self._path = path
        self._keys = keys
        self._digesting = {key.id: key.derive("node-secret") for key in keys}

    def __repr__(self) -> str:
        return f"<StoreKeys {self._path}: {', '.join(self.ids)}>"

    @classmethod
    def open(cls, path: Path) -> StoreKeys:
        """Read ``path``, and make it first where there is none. Raises StoreKeyError.

        Processes that make it at the same time all get the same key.
        """
        try:
            if not path.exists():
                _make(path)
        except OSError as error:
            raise StoreKeyError(f"{path} cannot be made: {_reason(error)}") from None
        return cls(path, _read(path))

    def reopened(self) -> StoreKeys:
        """Return the keys as the file has them now. Raises StoreKeyError.

        Within a transaction of the store nobody changes them: so does who writes.
        """
        return StoreKeys.open(self._path)

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the keys' ids, the one in use first."""
        return tuple(key.id for key in self._keys)

    def rotate(self, *, keep: frozenset[str]) -> StoreKeys:
        """Put a new key in front, and drop old ones that are not in ``keep``. StoreKeyError."""
        return self._replace((_new(), *(key for key in self._keys if key.id in keep)))

    def prune(self, *, keep: frozenset[str]) -> StoreKeys:
        """Drop old keys that are not in ``keep``. Raises StoreKeyError."""
        first, *old = self._keys
        return self._replace((first, *(key for key in old if key.id in keep)))

    def _replace(self, keys: tuple[_Key, ...]) -> StoreKeys:
        if len(keys) > _MAX_KEYS:
            raise StoreKeyError(
                f"{self._path} holds {_MAX_KEYS} keys that are still needed; rotate or revoke the"
                " nodes that have not connected for long"
            )
        try:
            _refuse_link(self._path)
            for left in self._path.parent.glob(glob.escape(_new_name(self._path)) + "*"):
                left.unlink(missing_ok=True)  # by a kill; only one process gets here at a time
            temporary = _write(self._path, keys)
            try:
                temporary.replace(self._path)
            finally:
                temporary.unlink(missing_ok=True)
            _sync(self._path.parent)
        except OSError as error:
            raise StoreKeyError(f"{self._path} cannot be written: {_reason(error)}") from None
        return StoreKeys(self._path, keys)

    # -- digests -----------------------------------------------------------------------------------

    def digest(self, context: str, secret: str, key_id: str | None = None) -> bytes:
        """Return the HMAC-SHA-256 of a secret, bound to ``context``; by the key in use.

        For a ``key_id`` that is not in the file the digest is one that nothing is equal to; it
        takes as long as any other.
        """
        key = self._digesting.get(key_id or self.ids[0])
        if key is None:
            key = os.urandom(_KEY)
        return hmac.new(key, _join(context, secret), hashlib.sha256).digest()

    # -- encryption --------------------------------------------------------------------------------

    def seal(self, purpose: Purpose, context: str, text: str) -> Sealed:
        """Encrypt ``text`` by the key in use; only the same ``context`` opens it again."""
        nonce = secrets.token_bytes(_NONCE)
        key = self._keys[0]
        sealed = AESGCM(key.derive(purpose)).encrypt(nonce, text.encode(), context.encode())
        return Sealed(key.id, nonce + sealed)

    def open_sealed(self, purpose: Purpose, context: str, sealed: Sealed) -> str:
        """Return what was sealed. Raises StoreKeyError."""
        key = next((each for each in self._keys if each.id == sealed.key_id), None)
        if key is None:
            raise StoreKeyError(f"{self._path} has no key {sealed.key_id}")
        nonce, data = sealed.data[:_NONCE], sealed.data[_NONCE:]
        try:
            return AESGCM(key.derive(purpose)).decrypt(nonce, data, context.encode()).decode()
        except (InvalidTag, ValueError):
            raise StoreKeyError(
                f"key {key.id} of {self._path} does not open what it sealed"
            ) from None


def new_secret() -> str:
    """Return a secret to issue: 32 random bytes in the form of Jenkins' own, 64 hex characters."""
    return secrets.token_hex(_KEY)


def hand_to_owner_of(path: Path, descriptor: int) -> None:
    """Give a file that root made just now to the owner of ``path``, for the gateway to use it."""
    if os.geteuid() == 0:
        owner = path.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _join(context: str, secret: str) -> bytes:
    first = context.encode()
    return len(first).to_bytes(4, "big") + first + secret.encode()


def _new() -> _Key:
    return _Key(secrets.token_hex(4), secrets.token_bytes(_KEY))


def _refuse_link(path: Path) -> None:
    # A link is read through, as secrets are often mounted by one. What it names is not changed:
    # the link would become a file, or root would follow one that somebody else put there.
    if path.is_symlink():
        raise StoreKeyError(
            f"{path} is a symbolic link, and is not written through; set store.key_file to the"
            " file itself"
        )


def _make(path: Path) -> None:
    _refuse_link(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = _write(path, (_new(),))
    try:
        with contextlib.suppress(FileExistsError):  # another process was faster: its key counts
            _put(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _put(temporary: Path, path: Path) -> None:
    """Give a file its name, unless another one has it: FileExistsError, OSError."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: who has made the empty file may replace it
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        temporary.replace(path)


def _new_name(path: Path) -> str:
    """Return how the names of files begin that are to take the place of ``path``."""
    return f".{path.name}.new-"


def _write(path: Path, keys: tuple[_Key, ...]) -> Path:
    """Write a file of its own, mode 0600, that a rename or a link can put into place."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_new_name(path))
    try:
        with open(descriptor, "wb") as file:
            file.write(_HEADER)
            for key in keys:
                file.write(f"{key.id} {base64.b64encode(key.secret).decode()}\n".encode())
            file.flush()
            os.fsync(descriptor)
            hand_to_owner_of(path if path.exists() else path.parent, descriptor)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _sync(folder: Path) -> None:
    """Have a folder's entries survive a power failure: a store without its key is lost."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> tuple[_Key, ...]:
    try:
        data = read_file(path)
    except ValueError as error:
        raise StoreKeyError(reason_of(error)) from None
    found = []
    try:
        for line in data.decode("ascii").splitlines():
            if line.startswith("#") or not line.strip():
                continue
            key_id, text = line.split()
            secret = base64.b64decode(text, validate=True)
            if len(secret) != _KEY:
                raise ValueError
            found.append(_Key(key_id, secret))
    except (ValueError, binascii.Error):
        raise StoreKeyError(
            f"{path} is not a key file of the node store; restore it from a backup"
        ) from None
    if not found:
        raise StoreKeyError(f"{path} holds no key; restore it from a backup")
    return tuple(found)


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
