"""What systemd passes in and wants to hear: sockets (LISTEN_FDS) and readiness (NOTIFY_SOCKET).

Owns: both protocols, sd_listen_fds(3) and sd_notify(3).

Must not know: what is listened for, what readiness means.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.config.models import ListenerConfig
from gateway.config.values import Address
from gateway.errors import ConfigError
from gateway.server.slots import Listener

_FIRST: Final = 3  # SD_LISTEN_FDS_START
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})


@dataclass(frozen=True, slots=True)
class Passed:
    """A socket that was passed in, and its name there (FileDescriptorName=)."""

    socket: socket.socket
    name: str


def passed_sockets(environ: MutableMapping[str, str] = os.environ) -> list[Passed]:
    """Take the sockets that the service manager passed to this process.

    The variables are removed, so that no child takes them for its own. Raises ConfigError for what
    is not a listening TCP socket.
    """
    values = {name: environ.pop(name, "") for name in _VARIABLES}
    if values["LISTEN_PID"] != str(os.getpid()) or not values["LISTEN_FDS"].isdigit():
        return []
    names = values["LISTEN_FDNAMES"].split(":")
    found = []
    for i in range(int(values["LISTEN_FDS"])):
        name = names[i] if i < len(names) and names[i] else f"descriptor {_FIRST + i}"
        os.set_inheritable(_FIRST + i, False)
        sock = socket.socket(fileno=_FIRST + i)
        is_listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or not is_listening:
            raise ConfigError(
                f"socket activation: {name} is not a listening TCP socket; let the .socket unit"
                " have ListenStream= with a port, and Accept=no"
            )
        sock.setblocking(False)
        found.append(Passed(sock, name))
    return found


def adopt(passed: Sequence[Passed], configs: Sequence[ListenerConfig]) -> list[Listener]:
    """Give each passed socket to the listener whose address it has. Raises ConfigError.

    A socket on all addresses is that of a listener on all addresses, whatever the family: systemd
    makes ``[::]`` of a mere port.
    """
    made: list[Listener] = []
    left = list(configs)
    for each in passed:
        host, port = each.socket.getsockname()[:2]
        config = next((c for c in left if _is_at(c.address, str(host), int(port))), None)
        if config is None:
            known = ", ".join(str(c.address) for c in configs)
            raise ConfigError(
                f"socket activation: {each.name} listens on {Address(str(host), int(port))}, which"
                f" is no listener's address; allowed: {known}. Mend ListenStream=, or listeners."
            )
        left.remove(config)
        made.append(Listener(str(config.address), [each.socket], shared=True))
    return made


def _is_at(address: Address, host: str, port: int) -> bool:
    return address.port == port and (address.host == host or {address.host, host} <= _EVERYWHERE)


def notify(*lines: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Tell the service manager, if there is one (Type=notify): ``READY=1`` and the like."""
    path = environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    # Nobody can be told that telling failed; the service manager notices by itself.
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        sock.settimeout(1.0)
        sock.sendto("\n".join(lines).encode(), address)


def reloading() -> tuple[str, str]:
    """Return the lines that say that a reload has begun; Type=notify-reload needs the time."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
