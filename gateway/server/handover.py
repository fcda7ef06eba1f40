"""What a supervisor leaves to the program that replaces it in its own process (``os.execv``).

Owns: the list of what is left, and its way through the exec: descriptors stay open under their
numbers, everything else is JSON in a memory file whose number is an argument.

Must not know: when a program is replaced, what the next one does with its heritage.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.errors import ConfigError
from gateway.server.control import Message
from gateway.server.slots import Listener

# Raised when a program could no longer understand what an older one leaves.
_VERSION: Final = 1
_MOST: Final = 16 * 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Handover:
    """Everything that outlives the program. Descriptors are numbers here."""

    incarnation: int  # of the program that leaves
    generation: int  # the last number that was given to a configuration
    started: float  # Unix time, of the first program
    lock: int
    control_socket: int
    listeners: tuple[Message, ...]  # address, shared, sockets
    children: tuple[Message, ...]  # in the words of ``children``
    config: Message  # what is in force: for the case that the next program finds nothing better
    restarts: int = 0  # workers that were replaced so far
    admin: Message | None = None  # in the words of ``admin.binding``
    version: int = field(default=_VERSION)

    @property
    def descriptors(self) -> list[int]:
        """Everything that must stay open."""
        sockets = [fd for each in self.listeners for fd in each["sockets"]]
        return [
            self.lock,
            self.control_socket,
            *sockets,
            *(each["control"] for each in self.children),
            *([] if self.admin is None else [self.admin["socket"]]),
        ]

    def write(self) -> int:
        """Write it into a memory file; return the descriptor, which is not inherited yet."""
        data = json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()
        descriptor = os.memfd_create("handover")
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        return descriptor


def read(descriptor: int) -> Handover:
    """Read what the program before left. Raises ConfigError if it cannot be understood."""
    try:
        size = os.fstat(descriptor).st_size
        values: dict[str, Any] = json.loads(os.pread(descriptor, min(size, _MOST), 0))
        if values["version"] != _VERSION:
            raise ConfigError(
                f"what the running program leaves (version {values['version']}) is not understood"
                f" by this one (version {_VERSION}); restart instead"
            )
        lists = {name: tuple(values[name]) for name in ("listeners", "children")}
        # What this program does not know is not needed by it: else the version were another one.
        known = {name: value for name, value in values.items() if name in Handover.__slots__}
        return Handover(**{**known, **lists})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"what the running program leaves cannot be read ({type(error).__name__})"
        ) from None


def in_words(listeners: Sequence[Listener]) -> tuple[Message, ...]:
    """Return what ``take_listeners`` needs."""
    return tuple(
        {
            "address": each.address,
            "shared": each.shared,
            "sockets": [sock.fileno() for sock in each.sockets],
        }
        for each in listeners
    )


def take_listeners(words: Sequence[Message]) -> list[Listener]:
    """Take over the listeners that the program before left."""
    return [
        Listener(
            each["address"], [socket.socket(fileno=fd) for fd in each["sockets"]], each["shared"]
        )
        for each in words
    ]


def keep_open(descriptors: Sequence[int]) -> None:
    """Let ``descriptors`` outlive ``os.execv``."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)


def keep_private(descriptors: Sequence[int]) -> None:
    """Let no child inherit ``descriptors`` by accident: the other way of ``keep_open``."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
