"""What the fuzz targets share: cutting an input, outcomes to compare, and what a machine holds.

A target takes any bytes and returns. A core answers them with values or a RemoteProtocolError
(the head gate with two errors more, which it names); any other exception is a finding, and so is an
AssertionError of the target, which says what else must be true.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache
from typing import Final, TypeVar

from gateway.errors import GatewayError, RemoteProtocolError

T = TypeVar("T")
Pieces = list[bytes]

# Longer inputs are not fed byte by byte: some cores copy what they hold at every call.
_BYTE_BY_BYTE: Final = 2048


def cuttings(data: bytes) -> Iterator[Pieces]:
    """Yield ``data`` whole, byte by byte, in two, and in pieces of many sizes.

    Where it is cut follows from ``data``, so that a finding can be repeated from its bytes alone.
    """
    yield [data]
    if len(data) <= _BYTE_BY_BYTE:
        yield [data[i : i + 1] for i in range(len(data))]
    chance = random.Random(zlib.crc32(data))
    cut = chance.randint(0, len(data))
    yield [data[:cut], data[cut:]]
    pieces = []
    at = 0
    while at < len(data):
        size = chance.choice((0, 1, 2, 3, 7, 30, 200, 5000))
        pieces.append(data[at : at + size])
        at += size
    yield pieces


def value_or_error(
    parse: Callable[[Pieces], T],
    pieces: Pieces,
    errors: tuple[type[GatewayError], ...] = (RemoteProtocolError,),
) -> T | type[GatewayError]:
    """Return what ``parse`` makes of ``pieces``, or the class of its error if that is allowed."""
    try:
        return parse(pieces)
    except errors as error:
        return type(error)


def held(machine: object) -> int:
    """Return how many bytes and characters are kept in the slots of ``machine``."""
    cls: type = type(machine)
    return sum(_size(getattr(machine, slot, None)) for slot in _slots(cls))


def _size(value: object) -> int:
    if value is None or isinstance(value, int):  # most are
        return 0
    if isinstance(value, bytes | bytearray | memoryview | str):
        return len(value)
    if isinstance(value, tuple | list | set | frozenset):
        return sum(map(_size, value))
    if isinstance(value, dict):
        return sum(_size(key) + _size(item) for key, item in value.items())
    return held(value)


@cache
def _slots(cls: type) -> tuple[str, ...]:
    """Return the names of the slots of a class of ours; what else there is keeps nothing."""
    if not cls.__module__.startswith("gateway.protocol") or issubclass(cls, Enum):
        return ()
    return tuple(slot for base in cls.__mro__ for slot in getattr(base, "__slots__", ()))
