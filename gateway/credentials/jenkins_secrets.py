"""Mode ``jenkins_secrets``: Jenkins' own node secrets, computed and compared here.

Owns: PROTOCOLS G.1, and reading the key again when its files change (a controller that was restored
from a backup, or lost the file, has another one).

Must not know: Jenkins' file formats (``jenkins_home``), the network.

Every name has a secret, whether there is such a node or not: that is the controller's to say, and
only to who has the right secret for the name.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from gateway.config.credentials import JenkinsHomeConfig
from gateway.config.extracted import Extracted
from gateway.config.keys import reason_of
from gateway.credentials.jenkins_home import JenkinsHome
from gateway.credentials.policy import Granted, Presented, Unrecognised
from gateway.errors import CredentialsUnavailable
from gateway.observability.logs import get_logger

_log = get_logger("system")

# Seconds between two looks at the files' times.
_LOOK_EVERY: Final = 2.0

_Stamp = tuple[tuple[int, ...] | None, ...]


def node_secret(key: bytes, node: str) -> str:
    """Return the secret of ``node``: 64 lower-case hexadecimal characters (G.1)."""
    return hmac.new(key, node.encode(), hashlib.sha256).hexdigest()


class SecretSource:
    """The node-secret key of one controller, as its files are now."""

    def __init__(self, controller: str, config: Path | JenkinsHomeConfig) -> None:
        self._controller = controller
        self.config = config
        self._home: JenkinsHome | None = None
        if isinstance(config, JenkinsHomeConfig):
            self._home = JenkinsHome(config.jenkins_home, config.master_key)
            self._files: tuple[Path, ...] = self._home.files
        else:
            self._files = (config,)
        self._key: bytes | None = None
        self._stamp: _Stamp | None = None
        self._reason = ""  # why it could not be read the last time
        self._looked_at = float("-inf")
        self._looking = trio.Lock()

    def look_again(self) -> None:
        """Have the next one who asks look at the files."""
        self._looked_at = float("-inf")

    async def secret(self, node: str) -> str:
        """Return the secret of ``node``. Raises CredentialsUnavailable where there is no key.

        Looks at the files' times at most every 2 s; as long as there is no key, everybody waits for
        the one who looks. What cannot be read any more, such as a file that is just being replaced,
        leaves the key as it was.
        """
        if self._is_due() and (self._key is None or not self._looking.locked()):
            async with self._looking:
                if self._is_due():
                    await trio.to_thread.run_sync(self._look)  # a home may be on a slow network
                    self._looked_at = trio.current_time()
        if self._key is None:
            raise CredentialsUnavailable(
                detail=f"the node-secret key of {self._controller} cannot be read"
            )
        return node_secret(self._key, node)

    def _is_due(self) -> bool:
        return trio.current_time() >= self._looked_at + _LOOK_EVERY

    def _look(self) -> None:
        stamp = tuple(map(_stamp_of, self._files))
        if stamp == self._stamp and self._key is not None:
            return
        changed, self._stamp = stamp != self._stamp, stamp
        try:
            key = self._read()
        except (ValueError, OSError) as error:  # such as a folder that may not be entered
            reason = reason_of(error)
            if changed or reason != self._reason:
                _log.error(
                    "the node-secret key cannot be read",
                    controller=self._controller,
                    reason=reason,
                    in_force="none" if self._key is None else "the one read before",
                )
            self._reason = reason
            return
        self._reason = ""
        if self._key is not None and self._key != key:
            _log.warning("the controller has a new node-secret key", controller=self._controller)
        self._key = key

    def _read(self) -> bytes:
        if self._home is not None:
            return self._home.read().node_key
        return Extracted.read(self._files[0]).node_key


def _stamp_of(path: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


class JenkinsSecretsCheck:
    """Recognise the secret that Jenkins has for the node, in constant time."""

    def __init__(self, source: SecretSource) -> None:
        self._source = source

    async def verify(
        self, presented: Presented, failures: Sequence[str] = ()
    ) -> Granted | Unrecognised:
        """Return the grant, or why not. Raises CredentialsUnavailable."""
        expected = await self._source.secret(presented.node)
        if not hmac.compare_digest(expected.encode(), presented.secret.encode()):
            return Unrecognised("not the secret that Jenkins has for this name")
        return Granted(expected, proved=True, mode="jenkins_secrets")
