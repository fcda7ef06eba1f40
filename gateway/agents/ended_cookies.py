"""The cookies of this gateway's sessions, for the day on which a controller has not noticed an end.

Owns: what is waiting to be written, and when it is. Nobody ever waits for the disk but who asks for
a cookie.

Must not know: the file (``cookie_file``), what a cookie is presented for (``takeover``).

Only cookies of JNLP4 sessions belong here. There a controller makes a new one for each session, so
one that has ended is nobody's. Over WebSocket an agent keeps its cookie through all its sessions
(PROTOCOLS A.4): it may live on with it elsewhere, and whoever presented it would end that session.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import trio

from gateway.agents.cookie_file import (
    Change,
    CookieFile,
    CookieFileError,
    Ended,
    Forgotten,
    Started,
)
from gateway.observability.logs import get_logger

_log = get_logger("session")

# Changes within this time are written together.
GATHER: Final = 0.05
TIDY_EVERY: Final = 60.0
# What could not be written is tried again after this time, doubled each time, so often.
AGAIN_AFTER: Final = 1.0
MOST_TRIES: Final = 6
# How long a disk may keep a newcomer waiting who asks for a cookie.
FIND_WITHIN: Final = 1.0
# Nodes whose changes may wait for a slow disk; what comes on top of that is not remembered.
MOST_WAITING: Final = 10_000


class EndedCookies:
    """Remembers cookies, and gives out those of sessions that have ended."""

    def __init__(self, file: CookieFile) -> None:
        self._file = file
        self._waiting: dict[tuple[str, str], Change] = {}
        self._changed = trio.Event()
        self._one_at_a_time = trio.CapacityLimiter(1)
        self._is_broken = False
        self._failed = 0  # tries in a row

    @property
    def is_waiting(self) -> bool:
        """Say whether anything is still to be written."""
        return bool(self._waiting)

    def started(self, controller: str, node: str, session: str, cookie: str) -> None:
        """Remember the cookie of a session that begins."""
        self._put(Started(controller, node, session, cookie))

    def ended(self, controller: str, node: str, session: str) -> None:
        """Note that a session has ended; nothing to one that was not remembered."""
        waiting = self._waiting.get((controller, node))
        if isinstance(waiting, Started):
            if waiting.session == session:
                self._put(Started(controller, node, session, waiting.cookie, has_ended=True))
            return
        self._put(Ended(controller, node, session))

    def forget(self, controller: str, node: str) -> None:
        """Forget what is remembered of a node."""
        self._put(Forgotten(controller, node))

    async def find(self, controller: str, node: str) -> str | None:
        """Return the cookie of the node's last session if that has ended, by its owner's word or
        death; None, too, where the disk does not say so within 1 s.
        """
        waiting = self._waiting.get((controller, node))
        if isinstance(waiting, Started):
            return waiting.cookie if waiting.has_ended else None
        if isinstance(waiting, Forgotten):
            return None
        found: str | None = None
        scope = trio.CancelScope(deadline=trio.current_time() + FIND_WITHIN)
        try:
            with scope:
                found = await trio.to_thread.run_sync(
                    self._file.ended_cookie,
                    controller,
                    node,
                    abandon_on_cancel=True,
                    limiter=self._one_at_a_time,
                )
        except CookieFileError as error:
            self._complain(error)
        if scope.cancelled_caught:
            self._complain(CookieFileError(f"the disk does not answer within {FIND_WITHIN:g} s"))
        # By now it may have a session again.
        return None if (controller, node) in self._waiting else found

    async def run(self) -> None:
        """Write what is to be remembered, until cancelled."""
        tidied_at = -TIDY_EVERY
        while True:
            await self._changed.wait()
            await trio.sleep(GATHER)
            self._changed = trio.Event()
            changes, self._waiting = list(self._waiting.values()), {}
            is_tidying = trio.current_time() >= tidied_at + TIDY_EVERY
            try:
                damaged = await trio.to_thread.run_sync(
                    self._write,
                    changes,
                    is_tidying,
                    abandon_on_cancel=True,
                    limiter=self._one_at_a_time,
                )
            except CookieFileError as error:
                self._complain(error)
                await self._keep_for_another_try(changes)
                continue
            self._failed = 0
            if damaged:
                _log.warning("damaged rows in cookies.db were deleted", rows=damaged)
            if is_tidying:
                tidied_at = trio.current_time()
            if self._is_broken:
                self._is_broken = False
                _log.info("sessions' cookies are kept again")

    async def _keep_for_another_try(self, changes: list[Change]) -> None:
        """Put ``changes`` back, but for those that others have replaced; then wait. Give up in the
        end.
        """
        self._failed += 1
        if self._failed >= MOST_TRIES:
            self._failed = 0
            return
        for change in changes:
            newer = self._waiting.get((change.controller, change.node))
            if newer is None:
                self._put(change)
            elif (
                isinstance(change, Started)
                and isinstance(newer, Ended)
                and change.session == newer.session
            ):
                self._put(replace(change, has_ended=True))
        await trio.sleep(AGAIN_AFTER * 2 ** (self._failed - 1))

    def _put(self, change: Change) -> None:
        key = (change.controller, change.node)
        if key in self._waiting or len(self._waiting) < MOST_WAITING:
            self._waiting[key] = change
            self._changed.set()

    def _write(self, changes: list[Change], is_tidying: object) -> int:
        self._file.write(changes)
        return self._file.tidy() if is_tidying else 0

    def _complain(self, error: CookieFileError) -> None:
        if not self._is_broken:
            self._is_broken = True
            _log.error(
                "sessions' cookies cannot be kept: an agent whose old session the controller has"
                " not missed yet may have to wait for it",
                reason=str(error),
            )
