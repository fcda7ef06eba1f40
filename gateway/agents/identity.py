"""Which public key a controller must show before it is told a secret.

Owns: pins. With ``identity: discover`` over plain http nobody vouches for the discovered key, so
the first one is kept in ``state_dir/identities`` and everything after must match it, until an
operator accepts another. No refresh ever replaces a pin.

Must not know: how keys are discovered or compared on the wire (``discovery``, ``jnlp4_leg``).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from gateway.config.keys import fingerprint
from gateway.errors import IdentityMismatch

_FOLDER: Final = "identities"


def remedy(controller: str) -> str:
    """Return the command that accepts another key; it finds the gateway's folder as ``run`` did."""
    return f"remoting-gateway identity accept {controller} (with the -c or --controller of run)"


@dataclass(frozen=True, slots=True)
class Pin:
    """A key that is held on to. ``key`` is a DER SubjectPublicKeyInfo."""

    key: bytes
    source: str


class PinStore:
    """Pins as files, one a controller; read each time, so that an acceptance takes effect at once.

    A pin that cannot be read is an IdentityMismatch: a damaged file must not open the door.
    """

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / _FOLDER

    def get(self, controller: str) -> Pin | None:
        """Return the pin of ``controller``, or None. Raises IdentityMismatch."""
        path = self._path(controller)
        try:
            value = json.loads(path.read_text("utf-8"))
            key = base64.b64decode(value["key"], validate=True)
            return Pin(key, str(value["source"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, binascii.Error) as error:
            raise IdentityMismatch(
                detail=f"the pin in {path} cannot be read ({type(error).__name__}); "
                f"look at it, then: {remedy(controller)}"
            ) from None

    def pin_first(self, controller: str, pin: Pin) -> Pin:
        """Keep ``pin`` if there is none yet; return the one in force. Raises IdentityMismatch."""
        try:
            temporary = self._write(pin)
            try:
                _link_unless_there(temporary, self._path(controller))
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise IdentityMismatch(
                detail=f"the key cannot be kept in {self._folder}: {reason}"
            ) from None
        return self.get(controller) or pin

    def accept(self, controller: str, pin: Pin) -> Path:
        """Replace the pin: an operator said so. Return where it is kept. Raises OSError."""
        path = self._path(controller)
        self._write(pin).replace(path)
        return path

    def _path(self, controller: str) -> Path:
        return self._folder / f"{quote(controller, safe='')}.json"

    def _write(self, pin: Pin) -> Path:
        """Write ``pin`` into a file of its own, which a rename or a link can put into place."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        value = {
            "key": base64.b64encode(pin.key).decode(),
            "fingerprint": fingerprint(pin.key),
            "source": pin.source,
        }
        with open(descriptor, "wb") as file:
            file.write(json.dumps(value, indent=1).encode() + b"\n")
            file.flush()
            os.fsync(descriptor)
            if os.geteuid() == 0:
                # "identity accept" by root, while the gateway runs as another user: it must be able
                # to read its pin.
                owner = self._folder.parent.stat()
                os.chown(self._folder, owner.st_uid, owner.st_gid)
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return Path(name)


def _link_unless_there(temporary: Path, path: Path) -> None:
    """Put ``temporary`` into place if nothing is there: the first worker's pin holds."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:
        # A file system without hard links. Two workers may now both be first; the later one holds.
        if not path.exists():
            temporary.replace(path)
