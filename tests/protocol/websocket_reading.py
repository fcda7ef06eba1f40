"""Reading WebSocket frames for tests: both paths of the reader, results that can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.protocol.websocket import Data, WebSocketReader

LIMIT = 0x20000  # of a message, where a test needs one


def read(
    pieces: Iterable[bytes],
    *,
    fast: bool = False,
    accept_text: bool = True,
    max_message: int = LIMIT,
) -> list[object]:
    """Feed ``pieces``; return control events and payload in order, adjacent payload joined."""
    reader = WebSocketReader(accept_text=accept_text, max_message=max_message)
    seen: list[object] = []
    for piece in pieces:
        reader.receive_data(piece)
        while True:
            if fast and (payload := reader.read_binary()):
                add(seen, payload)
            event = reader.next_event()
            if event is None:
                break
            add(seen, event.payload if isinstance(event, Data) else event)
    return seen


def add(seen: list[object], item: object) -> None:
    """Append ``item``, or join it with payload in front of it."""
    if isinstance(item, bytes) and seen and isinstance(seen[-1], bytes):
        seen[-1] += item
    elif item != b"":
        seen.append(item)


def read_fast(pieces: Iterable[bytes]) -> list[object]:
    """Read as the bridge does."""
    return read(pieces, fast=True)


def joined(seen: Sequence[object]) -> list[object]:
    """Join payload that came in pieces."""
    result: list[object] = []
    for item in seen:
        add(result, item)
    return result
