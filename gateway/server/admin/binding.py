"""The admin listener's socket.

Owns: making it, by ``admin.listen``, and its way through an upgrade.

Must not know: what is served on it.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.config.models import GatewayConfig, ListenerConfig
from gateway.errors import ConfigError
from gateway.server import unix_socket
from gateway.server.control import Message
from gateway.transport.listeners import bind, check_free

_BACKLOG: Final = 128


@dataclass(slots=True)
class AdminSocket:
    """A bound socket. ``listen`` is as the configuration has it; ``path`` of a Unix socket."""

    listen: str
    socket: socket.socket
    path: Path | None = None

    @property
    def address(self) -> str:
        """Where it really listens, also where the configuration said port 0."""
        if self.path is not None:
            return f"unix:{self.path}"
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def in_words(self) -> Message:
        """Return what ``take_over`` needs."""
        path = None if self.path is None else str(self.path)
        return {"listen": self.listen, "socket": self.socket.fileno(), "path": path}

    def let_go(self) -> None:
        """Leave the descriptor to the next program."""
        self.socket.detach()

    def close(self) -> None:
        """Leave nothing behind."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self.socket.close()


def bind_admin(config: GatewayConfig) -> AdminSocket | None:
    """Make the socket; None where the configuration wants none. Raises ConfigError."""
    listen = config.admin.listen
    if listen.is_off:
        return None
    path = listen.socket_path(config.state_dir)
    try:
        if path is None:
            assert listen.address is not None
            return AdminSocket(str(listen), bind(ListenerConfig(address=listen.address)))
        _check_nobody_listens(path)
        mode = int(config.admin.socket_mode, 8)
        return AdminSocket(str(listen), unix_socket.bind(path, mode=mode, backlog=_BACKLOG), path)
    except ConfigError as error:
        raise ConfigError(
            f'admin.listen: found "{listen}"; {error} Choose another place, or "off".'
        ) from None


def check_admin_free(config: GatewayConfig) -> None:
    """Raise ConfigError where somebody else has the address."""
    listen = config.admin.listen
    path = listen.socket_path(config.state_dir)
    if path is not None:
        _check_nobody_listens(path)
    elif listen.address is not None:
        check_free(ListenerConfig(address=listen.address))


def _check_nobody_listens(path: Path) -> None:
    """Raise ConfigError where another program has the socket; one that was left behind is stale."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        try:
            with unix_socket.address_of(path) as address:
                sock.connect(address)
        except OSError as error:
            if error.errno != errno.EAGAIN:  # its backlog is full: somebody is there
                return
    raise ConfigError(f"{path}: another program listens there.")


def take_over(words: Message) -> AdminSocket:
    """Take over the socket that the program before left."""
    path = None if words["path"] is None else Path(words["path"])
    return AdminSocket(str(words["listen"]), socket.socket(fileno=words["socket"]), path)
