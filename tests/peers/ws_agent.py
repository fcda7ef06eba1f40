"""An agent's WebSocket bytes for tests: wsproto makes and reads the frames, not our own core.

Owns: turning payload into masked frames as agents send them, in one piece or in fragments, and
reading what a server sends. Written from PROTOCOLS A.6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong
from wsproto.frame_protocol import FrameProtocol, Opcode


class AgentFrames:
    """The client's end of an open WebSocket."""

    def __init__(self) -> None:
        self._connection = Connection(ConnectionType.CLIENT)
        assert self._connection.state is ConnectionState.OPEN
        self._frames = FrameProtocol(client=True, extensions=[])

    def message(self, payload: bytes, cuts: Iterable[int] = ()) -> list[bytes]:
        """Return ``payload`` as one message, fragmented at ``cuts``; one wire frame an item."""
        edges = [0, *sorted(cut for cut in cuts if 0 <= cut <= len(payload)), len(payload)]
        pieces = [payload[a:b] for a, b in pairwise(edges)]
        return [
            bytes(
                self._frames._serialize_frame(
                    Opcode.BINARY if index == 0 else Opcode.CONTINUATION,
                    piece,
                    fin=index == len(pieces) - 1,
                )
            )
            for index, piece in enumerate(pieces)
        ]

    def send(self, event: Event) -> bytes:
        return bytes(self._connection.send(event))

    def receive(self, data: bytes) -> Iterator[Event]:
        """Yield what the server said. Answers are the caller's to send."""
        self._connection.receive_data(data)
        yield from self._connection.events()


def payload_of(events: Iterable[Event]) -> bytes:
    """Return the binary payload of ``events``, in order."""
    return b"".join(bytes(event.data) for event in events if isinstance(event, BytesMessage))


__all__ = ["AgentFrames", "BytesMessage", "CloseConnection", "Ping", "Pong", "payload_of"]
