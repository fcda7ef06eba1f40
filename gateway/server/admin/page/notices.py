"""What an operator should look at, in one list.

Owns: what is worth saying so, in which words.

Must not know: HTML.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.server.admin.page.text import clock_time, plain
from gateway.server.admin.page.values import CertificateRow, Health, Snapshot

_DAY: Final = 86400.0
# Renewals come a month before the end, or two thirds through ninety days; this is past both.
EXPIRES_SOON: Final = 14 * _DAY
# Of each kind; the tables have the rest.
_MOST: Final = 5


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence, how bad it is, and the section that tells more."""

    health: Health
    text: str
    section: str


def notices(snapshot: Snapshot) -> tuple[Notice, ...]:
    """Return everything worth a look, the worst first."""
    order = list(Health)
    found = sorted(_all(snapshot), key=lambda notice: -order.index(notice.health))
    return tuple(found)


def certificate_health(row: CertificateRow, now: float) -> tuple[Health, str]:
    """Return how a certificate is, and the words for it."""
    if row.expires is None:
        return Health.BAD, row.problem or "cannot be read"
    left = row.expires - now
    if left <= 0:
        return Health.BAD, "expired"
    # In whole days, so that it changes once a day.
    words = f"ends in {int(left // _DAY)} d" if left >= _DAY else "ends within a day"
    if left < EXPIRES_SOON:
        return Health.WARNING, words
    return (Health.WARNING, row.problem) if row.problem else (Health.GOOD, words)


def _all(snapshot: Snapshot) -> Iterator[Notice]:
    if not snapshot.ready:
        yield Notice(Health.BAD, f"The gateway is not ready: it is {snapshot.state}.", "workers")
    for process in snapshot.silent[:_MOST]:
        yield Notice(
            Health.BAD,
            f"Worker {process} did not answer. What it knows is missing here: its sessions, their"
            " ends, its part of every number.",
            "workers",
        )
    if snapshot.left_out:
        yield Notice(
            Health.WARNING,
            f"{snapshot.left_out} sessions are not shown: they are too many for one answer of a"
            " worker. More workers would show them all.",
            "sessions",
        )
    bad = [row for row in snapshot.controllers if row.health in (Health.BAD, Health.WARNING)]
    for row in bad[:_MOST]:
        detail = f": {plain(row.detail)}" if row.detail else ""
        yield Notice(row.health, f"Controller {row.name} is {row.state}{detail}.", "controllers")
    if snapshot.reloads and (last := snapshot.reloads[0]).reason is not None:
        yield Notice(
            Health.WARNING,
            f"The last reload ({clock_time(last.at)} UTC) failed; the old configuration stays in"
            f" force: {plain(last.reason)}",
            "reloads",
        )
    judged = [(each, *certificate_health(each, snapshot.at)) for each in snapshot.certificates]
    for each, health, words in [one for one in judged if one[1] is not Health.GOOD][:_MOST]:
        yield Notice(health, f"Certificate {plain(each.file)}: {plain(words)}.", "certificates")
    suspect = sum(row.suspect for row in snapshot.sessions)
    if suspect:
        yield Notice(
            Health.WARNING,
            f"{suspect} {'session is' if suspect == 1 else 'sessions are'} suspect: a ping was not"
            " answered in time.",
            "sessions",
        )
    for timer in snapshot.timers[:_MOST]:
        yield Notice(Health.WARNING, plain(timer.sentence), "timers")
