"""The two halves of a full-duplex command that pass through: ``POST /cli`` twice (PROTOCOLS E.3).

Owns: which pairs are under way, at which address of their controller and for whom; that both halves
go to the same one, also through different workers; and what is read of them where policy or audit
want that.

Must not know: how requests are forwarded (``http.proxy``), how other workers are asked.

The download comes first and is there until the end, so a pair is what its download is. The upload
is judged as the *download's* user: the controller runs the command as that one, and an upload
without a login, or with another, must not be a way to other rules. Nor must a download that claims
to be somebody else's: it makes a pair once the controller has accepted it, and only then.

A command that is refused is replaced by one that no controller has, and whose name says why: the
controller's own "No such command" and exit code 2 then reach the client on the download, whichever
worker has that.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.config.values import Address
from gateway.errors import RemoteProtocolError
from gateway.http.proxy import Tap
from gateway.jenkins_cli.audit import CommandAudit
from gateway.jenkins_cli.full_duplex import DUPLEX
from gateway.jenkins_cli.policy import Command, Rules
from gateway.protocol.http_head import ResponseHead
from gateway.protocol.http_headers import Headers
from gateway.protocol.plain_cli import (
    CliFrame,
    CliFrameReader,
    Op,
    Sender,
    exit_code,
    text_frame,
)

# Java also takes shorter spellings of a UUID, so that two texts could mean one session.
_UUID: Final = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# For another worker to say which address a download is at. Clients wait 15 s.
OTHERS_ANSWER: Final = 3.0
_MAX_SHOWN: Final = 100  # characters of a refused command's name


@dataclass(frozen=True, slots=True)
class Pair:
    """A download that is under way; ``audit`` of its command, known to its own worker alone."""

    controller: str
    address: Address
    user: str | None
    audit: CommandAudit | None = field(default=None, compare=False)

    def in_words(self) -> dict[str, Any]:
        """Return what another worker needs to know of it."""
        return {
            "controller": self.controller,
            "address": str(self.address),
            "user": self.user,
        }

    @classmethod
    def of_words(cls, words: dict[str, Any]) -> Pair:
        """Read what another worker says. Raises KeyError, TypeError, ValueError."""
        user = words["user"]
        if user is not None and not isinstance(user, str):
            raise TypeError("a user that is no text")
        return cls(str(words["controller"]), Address.parse(words["address"]), user)


class Pairs:
    """The pairs of one worker. ``others`` asks the other workers for one of theirs."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], Pair] = {}
        self.others: Callable[[str, str], Awaitable[Pair | None]] | None = None

    def __len__(self) -> int:
        return len(self._pairs)

    @contextmanager
    def place(self, controller: str, session: str) -> Iterator[Callable[[Pair], None]]:
        """Yield what a download calls once it is accepted; it is known until the block ends.

        Both raise RemoteProtocolError for a session that is under way already.
        """
        key = (controller, session)
        self._check_free(key)
        added = False

        def add(pair: Pair) -> None:
            nonlocal added
            self._check_free(key)  # another one may have been faster
            self._pairs[key] = pair
            added = True

        try:
            yield add
        finally:
            if added:
                del self._pairs[key]

    def _check_free(self, key: tuple[str, str]) -> None:
        if key in self._pairs:
            raise RemoteProtocolError("this session has a download already")

    def known(self, controller: str, session: str) -> Pair | None:
        """Return a pair of this worker."""
        return self._pairs.get((controller, session))

    async def find(self, controller: str, session: str) -> Pair | None:
        """Return the pair of a session, whichever worker has it; None if none has."""
        pair = self.known(controller, session)
        if pair is None and self.others is not None:
            pair = await self.others(controller, session)
        return pair if pair is not None and pair.controller == controller else None


def session_of(headers: Headers) -> str:
    """Return the ``Session`` of a half. Raises RemoteProtocolError."""
    values = headers.get_all(b"session")
    if len(values) != 1 or not _UUID.fullmatch(values[0]):
        raise RemoteProtocolError("Session must be a UUID")
    return values[0].decode().lower()


def is_download(headers: Headers) -> bool:
    """Say which half it is. Raises RemoteProtocolError."""
    values = headers.get_all(b"side")
    if values not in ([b"download"], [b"upload"]):
        raise RemoteProtocolError("Side must be download or upload")
    return values == [b"download"]


class DownloadTap(Tap):
    """Makes a pair of a download that is accepted, and looks for the exit code in what passes."""

    def __init__(
        self, accepted: Callable[[Address], None], audit: CommandAudit | None = None
    ) -> None:
        """``audit`` None: nothing is read."""
        self._accepted = accepted
        self._connected_to: Address | None = None
        self._audit = audit
        self._frames: CliFrameReader | None = None
        self._begun = False
        self.exit_code: int | None = None

    def connected(self, address: Address) -> None:
        self._connected_to = address

    def answered(self, head: ResponseHead) -> None:
        assert self._connected_to is not None, "nobody answers who is not connected"
        if head.status == 200 and DUPLEX in head.headers:
            self._accepted(self._connected_to)

    def response_data(self, data: bytes) -> bytes:
        if self._audit is not None and data:
            self._look(self._audit, data)
        return data

    def _look(self, audit: CommandAudit, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            if data[0] != 0:
                return  # an error page, or a controller that speaks otherwise
            self._frames = CliFrameReader(Sender.CONTROLLER)
            data = data[1:]
        if self._frames is None:
            return
        try:
            self._frames.receive_data(data)
            for frame in self._frames.frames():
                if frame.op is Op.EXIT:
                    self.exit_code = exit_code(frame)
                    audit.ended(self.exit_code)
        except RemoteProtocolError:
            self._frames = None  # it is the client's to judge


class UploadTap(Tap):
    """Sends an upload to where its download is, and lets a command pass or not.

    ``address`` None: to the best address. ``command`` None: nothing is read.
    """

    def __init__(
        self,
        address: Address | None,
        rules: Rules | None = None,
        audit: CommandAudit | None = None,
        *,
        reads: bool = False,
    ) -> None:
        self.address = address
        self.reads = reads
        self._audit = audit
        self._command = Command(rules)
        self._frames = CliFrameReader(Sender.CLIENT)

    def request_data(self, data: bytes) -> bytes:
        if not self.reads:
            return data
        self._frames.receive_data(data)
        return b"".join(frame.as_stream() for frame in self._judged())

    def _judged(self) -> Iterator[CliFrame]:
        command = self._command
        for frame in self._frames.frames():
            began = command.started
            yield from command.take(frame)
            if command.started and not began:
                if self._audit is not None:
                    self._audit.started(command)
                if command.refusal is not None:
                    yield from _refused(command)


def _refused(command: Command) -> list[CliFrame]:
    """Return a command whose name says why there is none of it."""
    text = f"{command.name[:_MAX_SHOWN]!a} ({command.refusal})"
    return [text_frame(Op.ARG, text), CliFrame(Op.START)]
