"""The file that ``remoting-gateway jenkins-secrets extract`` writes.

Owns: its form: the key that all node secrets of one controller are computed from, and the
controller's public identity. Nothing else of Jenkins' is in it.

Must not know: Jenkins' own files (``credentials.jenkins_home``), what is done with the key.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.config.keys import PublicKey, read_file

_FORMAT: Final = "remoting-gateway jenkins-secrets 1"
_ALLOWED: Final = "allowed: a file that `remoting-gateway jenkins-secrets extract` wrote"


@dataclass(frozen=True, slots=True)
class Extracted:
    """What the gateway needs of a controller's secrets. The key is not part of the repr."""

    node_key: bytes = field(repr=False)
    identity: PublicKey | None

    @classmethod
    def read(cls, path: Path) -> Extracted:
        """Read the file; ValueError says what is wrong with it, and shows nothing of it."""
        data = read_file(path)
        try:
            value = json.loads(data)
            if value["format"] != _FORMAT:
                raise ValueError
            key = base64.b64decode(value["node_secret_key"], validate=True)
            given = value.get("identity")
            identity = None if given is None else PublicKey.parse(given)
        except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
            raise ValueError(f"{_ALLOWED}; {path} is not one") from None
        if not key:
            raise ValueError(f"{_ALLOWED}; the key in {path} is empty")
        return cls(key, identity)

    def to_bytes(self) -> bytes:
        """Write what ``read`` reads."""
        value = {
            "format": _FORMAT,
            "node_secret_key": base64.b64encode(self.node_key).decode(),
            "identity": None if self.identity is None else str(self.identity),
        }
        return json.dumps(value, indent=1).encode() + b"\n"
