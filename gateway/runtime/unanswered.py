"""What may still be on its way to a peer, so that its silence proves nothing yet.

Owns: the two things that are known of sent bytes. A pong shows that everything in front of its ping
was read. What the next kernel has acknowledged has got that far and may wait there, in a proxy or
in a peer that reads slowly; but where bytes are under way and not one is acknowledged, the way
itself is cut.

Must not know: how long to wait for whom.
"""

from __future__ import annotations

from typing import Final

from gateway.transport.stream import Stream, StreamBroken

# What may be unanswered without a word: at ``SLOWEST`` it is through in less than 2 s.
LITTLE: Final = 4096
# Bytes a second of the slowest line that was tried.
SLOWEST: Final = 2500


class Unanswered:
    """What was sent on one stream since the last ping that was answered."""

    __slots__ = ("_asked", "_is_ponged", "_ponged", "_stream")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._ponged = self._asked = stream.activity.bytes_sent
        self._is_ponged = True

    @property
    def size(self) -> int:
        """How many bytes of which no pong says that they were read."""
        return self._stream.activity.bytes_sent - self._ponged

    @property
    def is_little(self) -> bool:
        """Whether they cannot keep even a slow line busy for long."""
        return self.size <= LITTLE

    @property
    def is_ponged(self) -> bool:
        """Whether the last ping was answered; also where there was none."""
        return self._is_ponged

    def asked(self) -> None:
        """Note that a ping follows what was sent until now."""
        self._asked = self._stream.activity.bytes_sent
        self._is_ponged = False

    def ponged(self) -> None:
        """Note that the last ping was answered."""
        self._ponged = self._asked
        self._is_ponged = True

    def acknowledged(self) -> int:
        """Return what the next kernel has taken; -1 where nobody can say any more."""
        try:
            return self._stream.acknowledged()
        except StreamBroken:
            return -1

    def is_cut_since(self, acknowledged: int) -> bool:
        """Say whether bytes are under way, and none was taken since so many were."""
        try:
            return self._stream.in_flight() > 0 and self._stream.acknowledged() == acknowledged
        except StreamBroken:
            return False
