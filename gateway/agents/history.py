"""What is remembered of agents' sessions once something has happened to them.

Owns: what follows from a beginning, an end, a refusal and a takeover: the node's timeline, the
search for idle timers, the cookies that are kept.

Must not know: how sessions run, who reads any of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gateway.agents.ended_cookies import EndedCookies
from gateway.agents.registry import Entry
from gateway.agents.takeover import Claim
from gateway.observability.idle_fingerprint import Fingerprints
from gateway.observability.logs import get_logger
from gateway.observability.timeline import Happening, Timelines
from gateway.runtime.ended_session import EndedSession

_log = get_logger("session")


class History:
    """The memory of one worker. Times are Unix time."""

    def __init__(self, cookies: EndedCookies, *, clock: Callable[[], float] = time.time) -> None:
        self._cookies = cookies
        self._kept: set[str] = set()  # sessions that live and whose cookies are kept
        self._clock = clock
        self._timelines = Timelines()
        self._fingerprints = Fingerprints()

    def opened(self, entry: Entry) -> None:
        """Note that a session begins; its cookie is kept if it is one of its own (JNLP4)."""
        view = entry.session.view()
        if view.transport == "jnlp4" and entry.cookie is not None:
            self._kept.add(entry.id)
            self._cookies.started(entry.controller, entry.node, entry.id, entry.cookie)
        self._note(
            Happening.OPENED,
            entry.controller,
            entry.node,
            session=entry.id,
            client=entry.client,
            transport=view.transport,
            controller_address=view.controller_address,
        )

    def ended(self, ended: EndedSession) -> None:
        """Note that a session has ended."""
        if ended.session in self._kept:
            self._kept.remove(ended.session)
            self._cookies.ended(ended.controller, ended.node, ended.session)
        fields = ended.as_fields()
        controller, node = fields.pop("controller"), fields.pop("node")
        self._note(Happening.ENDED, str(controller), str(node), **fields)
        cut = ended.cut()
        if cut is not None:
            for finding in self._fingerprints.record(cut):
                _log.warning("idle timer found", **finding.as_fields())

    def refused(self, controller: str, node: str, *, client: str, reason: str) -> None:
        """Note that an agent was refused.

        Without the id that it was told: it comes again every 10 s, and the same event only counts.
        """
        self._note(Happening.REFUSED, controller, node, client=client, reason=reason)

    def taken_over(self, entry: Entry, claim: Claim, why: str) -> None:
        """Note that a session was ended for a newcomer."""
        self.given_up(entry, claim.client, why)

    def given_up(self, entry: Entry, by: str, why: str) -> None:
        """Note that a session was ended so that a newcomer may have the node."""
        self._note(
            Happening.TAKEOVER,
            entry.controller,
            entry.node,
            session=entry.id,
            client=entry.client,
            by=by,
            why=why,
        )

    def findings(self) -> list[dict[str, Any]]:
        """Return the idle timers that the ends seen so far tell of, the surest first."""
        return [each.as_fields() for each in self._fingerprints.findings(self._clock())]

    def timeline(self, node: str) -> list[dict[str, Any]]:
        """Return the last events of ``node``, of every controller that has one of that name."""
        return [
            {"controller": controller, **event}
            for controller, each in self._timelines.nodes()
            if each == node
            for event in self._timelines.events(controller, each)
        ]

    def _note(
        self, what: Happening, controller: str, node: str, **fields: str | int | float | None
    ) -> None:
        self._timelines.note(what, controller, node, at=self._clock(), fields=fields)
