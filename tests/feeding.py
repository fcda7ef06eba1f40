"""Feeding parsers in every way the network may.

A parser must come to the same result whether its input arrives whole or byte by byte, and must not
touch what follows. ``feed_all_ways`` checks that for one input; hypothesis checks arbitrary cuts
where the order of the pieces is all that matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

TRAILING = b"\x00\xfftrailing\r\n\r\n"


class Parse(Protocol[T_co]):
    """Feed pieces to a fresh parser; return its result and the bytes it did not use."""

    def __call__(self, pieces: Iterable[bytes], /) -> tuple[T_co, bytes]: ...


def feed_all_ways(data: bytes, parse: Parse[T], *, trailing: bytes = TRAILING) -> T:
    """Return what ``parse`` makes of ``data``, after checking that it never makes anything else.

    ``data`` is one complete input. Fed are: all of it, each byte on its own, each cut into two,
    and each of the first two with ``trailing`` after it, which must be left over untouched. With
    ``trailing=b""`` the last part is left out, for inputs that end only where the stream does.
    """
    result, rest = parse([data])
    assert rest == b"", "whole: bytes left over"
    for name, pieces in _cuts(data):
        assert parse(pieces) == (result, b""), f"{name}: another result than for the whole"
    if trailing:
        single = [data[i : i + 1] for i in range(len(data))]
        for name, pieces in (
            ("whole, then trailing", [data, trailing]),
            ("in one piece with trailing", [data + trailing]),
            ("byte by byte, then trailing", [*single, trailing]),
        ):
            assert parse(pieces) == (result, trailing), f"{name}: trailing data was touched"
    return result


def fail_all_ways(data: bytes, parse: Callable[[Iterable[bytes]], object]) -> type[Exception]:
    """Return the class of the error that ``parse`` raises, the same for every cut of ``data``."""
    classes = set()
    for name, pieces in (("whole", [data]), *_cuts(data)):
        try:
            parse(pieces)
        except Exception as error:
            classes.add(type(error))
        else:
            raise AssertionError(f"{name}: accepted")
    assert len(classes) == 1, f"different errors for different cuts: {classes}"
    return classes.pop()


def _cuts(data: bytes) -> Iterable[tuple[str, list[bytes]]]:
    yield "byte by byte", [data[i : i + 1] for i in range(len(data))]
    # Every cut of a short input; of a long one, those near its ends and a sample between.
    step = max(1, len(data) // 200)
    for cut in range(1, len(data), step):
        yield f"cut at {cut}", [data[:cut], data[cut:]]
