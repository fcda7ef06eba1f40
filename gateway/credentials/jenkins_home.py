"""Jenkins' own files: from ``$JENKINS_HOME`` to the node-secret key and the public identity.

Owns: PROTOCOLS G.2 and G.3, byte for byte (core ``DefaultConfidentialStore``, instance-identity
``InstanceIdentity``), and that exactly four files are read.

Must not know: what is done with the keys, files of our own (``config.extracted``).

A controller's private key is read to get the public one from it, and forgotten. Nothing of a file's
content gets into an error.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.config.extracted import Extracted
from gateway.config.keys import PublicKey, read_file, reason_of

_MAGIC: Final = b"::::MAGIC::::"
_AES_BLOCK: Final = 16  # bytes; also the length of every key here
_NODE_KEY: Final = Path("secrets/jenkins.slaves.JnlpSlaveAgentProtocol.secret")
_IDENTITY_KEY: Final = Path(
    "secrets/org.jenkinsci.main.modules.instance_identity.InstanceIdentity.KEY"
)
_IDENTITY: Final = Path("identity.key.enc")
_MASTER_KEY: Final = Path("secrets/master.key")


class JenkinsFileError(ValueError):
    """One of Jenkins' files cannot be read or used; the text names it."""


@dataclass(frozen=True, slots=True)
class JenkinsHome:
    """Where the four files are."""

    folder: Path
    master_key: Path | None = None

    @property
    def files(self) -> tuple[Path, Path, Path, Path]:
        """Return the four: master key, node-secret key, identity's key, identity."""
        return (
            self.master_key or self.folder / _MASTER_KEY,
            self.folder / _NODE_KEY,
            self.folder / _IDENTITY_KEY,
            self.folder / _IDENTITY,
        )

    def read(self) -> Extracted:
        """Read all four. Raises JenkinsFileError; a missing identity is none."""
        master_file, node_file, identity_key_file, identity_file = self.files
        master = master_key(_read(master_file))
        node_key = _confidential(node_file, master)
        if not identity_file.exists():
            return Extracted(node_key, None)
        key = _confidential(identity_key_file, master)[:_AES_BLOCK]
        return Extracted(node_key, _public(identity_file, key))


def master_key(text: bytes) -> bytes:
    """Return the AES key that the text of ``master.key`` stands for (G.2 items 1 and 2)."""
    return hashlib.sha256(text.strip()).digest()[:_AES_BLOCK]


def confidential_key(data: bytes, master: bytes) -> bytes:
    """Decrypt a ConfidentialKey file (G.2 items 3 to 5). ValueError for what Jenkins would not
    take either.
    """
    plain = _decrypt(data, master)
    if not plain.endswith(_MAGIC):
        raise ValueError("the end mark is missing")
    return plain[: -len(_MAGIC)]


def _decrypt(data: bytes, key: bytes) -> bytes:
    if not data or len(data) % _AES_BLOCK:
        raise ValueError("not a whole number of blocks")
    decryptor = Cipher(algorithms.AES(key), modes.ECB()).decryptor()
    unpadder = PKCS7(_AES_BLOCK * 8).unpadder()
    padded = decryptor.update(data) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()


def _confidential(path: Path, master: bytes) -> bytes:
    try:
        key = confidential_key(_read(path), master)
    except JenkinsFileError:
        raise
    except ValueError as error:
        raise JenkinsFileError(
            f"{path} does not fit the master key ({error}); are both from the same controller?"
        ) from None
    if not key:
        raise JenkinsFileError(f"{path} holds an empty key")
    return key


def _public(path: Path, key: bytes) -> PublicKey:
    try:
        if len(key) != _AES_BLOCK:
            raise ValueError("its key is too short")
        private = load_pem_private_key(_decrypt(_read(path), key), password=None)
        return PublicKey.of(private.public_key())
    except JenkinsFileError:
        raise
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise JenkinsFileError(f"{path} cannot be decrypted to a private key") from None


def _read(path: Path) -> bytes:
    try:
        return read_file(path)
    except ValueError as error:
        raise JenkinsFileError(reason_of(error)) from None
