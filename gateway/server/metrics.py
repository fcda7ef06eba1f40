"""The numbers of the whole gateway: what all workers say, added up, and what the supervisor knows.

Owns: that counters go on when workers end and when the program is replaced; what is shown of a
worker that does not answer.

Must not know: what workers count, who scrapes.

Workers are asked at each scrape, and every ten seconds besides, so that of one that is killed at
most so much is lost; one that ends in order says its last word. What a worker has counted goes into
the sum of those that have ended as soon as it has. What one said that does not answer is shown
again, with ``worker_up`` 0: a busy worker must neither hang a scrape nor look like a restart.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import trio

from gateway import __version__
from gateway.agents.session_meters import TRANSPORTS
from gateway.observability.logs import get_logger
from gateway.observability.metrics import table
from gateway.observability.metrics.exposition import expose
from gateway.observability.metrics.samples import Samples
from gateway.server.children import Child, State
from gateway.server.control import Message
from gateway.server.fleet import Fleet
from gateway.server.reloader import Reload

_log = get_logger("system")

# Seconds between two questions where nobody scrapes.
ASK_EVERY: Final = 10.0
# Bytes of JSON: what is handed over in all may have 16 MiB.
MOST_LEFT: Final = 8 * 1024 * 1024
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Facts:
    """What only the supervisor knows. ``started``: Unix time."""

    started: float
    draining: object


class GatewayMetrics:
    """Adds up; lives as long as one program. Times are Unix time."""

    def __init__(
        self,
        fleet: Callable[[], Fleet],
        facts: Callable[[], Facts],
        *,
        last_reload: Reload | None = None,
        heritage: Message | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``heritage``: what the program before left by ``in_words``.

        ``last_reload``: how the configuration came into force, where it was not by the start.
        """
        self._fleet = fleet
        self._facts = facts
        self._clock = clock
        self._last: Reload | None = None
        left = {} if heritage is None else heritage
        self._ended = Samples.of_words(left.get("ended"))
        self._of_children: dict[str, Any] = left.get("children", {})
        for result in ("success", "failure"):
            self._ended.add(table.RELOADS, 0, result)
        self._ended.add(table.WORKER_RESTARTS, 0)
        self._in_force_since = float(left.get("in_force_since", clock()))
        self._last_worked = True
        if last_reload is not None:
            self.reloaded(last_reload)

    def adopt(self, children: Iterable[Child]) -> None:
        """Go on with the counts of workers from the program before; what others had is kept."""
        for child in children:
            words = self._of_children.pop(str(child.process.pid), None)
            child.samples = Samples.of_words(words)
        for words in self._of_children.values():  # they have ended in between
            self._ended.merge(Samples.of_words(words), gauges=False)
        self._of_children = {}

    def worker_ended(self, child: Child) -> None:
        """Keep what a worker had counted. Sessions that it still had have ended with it."""
        self._ended.merge(child.samples, gauges=False)
        for (controller, transport, state), number in child.samples.of(table.SESSIONS).items():
            if state != "closing" and isinstance(number, int | float) and number:
                end = (controller, transport, "gateway", "worker_died")
                self._ended.add(table.SESSIONS_ENDED, number, *end)

    def reloaded(self, result: Reload) -> None:
        """Count a reload."""
        if result is self._last:
            return
        self._last = result
        self._ended.add(table.RELOADS, 1, "success" if result.ok else "failure")
        self._last_worked = result.ok
        if result.ok:
            self._in_force_since = self._clock()

    async def run(self) -> None:
        """Ask now and then, until cancelled."""
        while True:
            await self._fleet().ask_all("metrics")
            await trio.sleep(ASK_EVERY)

    async def scrape(self, accept: str | None = None) -> tuple[str, bytes]:
        """Return content type and text; ``accept`` is the header of whoever asks.

        Within a few seconds, whatever workers do.
        """
        return expose(await self.samples(), accept)

    async def samples(self) -> Samples:
        """Ask all workers; return the numbers of the whole gateway."""
        answers = await self._fleet().ask_all("metrics")
        fleet = self._fleet()
        samples = Samples()
        samples.merge(self._ended)
        for child in fleet.children:
            # Also where the worker is from an older program that knows no such question.
            samples.merge(child.samples)
            if child.state is not State.STARTING:
                samples.add(table.WORKER_UP, int(bool(answers.get(child))), _name(child))
                samples.add(table.WORKER_SESSIONS, _live(child), _name(child))
            if child.linger_until is not None:
                samples.add(table.WORKER_LINGER, child.linger_until, _name(child))
            memory = resident(child.process.pid)
            if memory:
                samples.add(table.WORKER_MEMORY, memory, _name(child))
        self._add_own(samples, fleet)
        _cut_nodes(samples, fleet.in_force.config.metrics.nodes)
        return samples

    def _add_own(self, samples: Samples, fleet: Fleet) -> None:
        facts = self._facts()
        is_ready = fleet.is_serving and not facts.draining
        for controller in fleet.in_force.config.controllers:
            for transport in TRANSPORTS:
                end = (controller, transport, "gateway", "worker_died")
                samples.add(table.SESSIONS_ENDED, 0, *end)
        samples.add(table.BUILD, 1, __version__, platform.python_version())
        samples.add(table.READY, int(is_ready))
        samples.add(table.DRAINING, int(bool(facts.draining)))
        samples.add(table.START, facts.started)
        samples.add(table.INCARNATION, fleet.incarnation)
        samples.add(table.UPGRADING, int(fleet.incarnation > 1 and not fleet.is_settled))
        samples.add(table.GENERATION, fleet.in_force.generation)
        samples.add(table.RELOAD_OK, int(self._last_worked))
        samples.add(table.RELOAD_AT, self._in_force_since)
        samples.add(table.WORKER_RESTARTS, fleet.restarts)
        samples.add(table.SUPERVISOR_MEMORY, resident(os.getpid()))
        for state in State:
            number = sum(child.state is state for child in fleet.children)
            samples.add(table.WORKERS, number, state.value)

    def in_words(self) -> Message:
        """Return what the next program goes on with. Gauges are not for it: it asks anew."""
        words = {
            "ended": self._ended.in_words(),
            "children": {
                str(child.process.pid): _counted(child.samples) for child in self._fleet().children
            },
            "in_force_since": self._in_force_since,
        }
        if len(json.dumps(words)) > MOST_LEFT:
            # Rather begin anew than be in the way of an upgrade.
            _log.warning("too many metrics to hand over; counters begin anew with the upgrade")
            return {"in_force_since": self._in_force_since}
        return words


def _counted(samples: Samples) -> dict[str, Any]:
    counted = Samples()
    counted.merge(samples, gauges=False)
    return counted.in_words()


def _live(child: Child) -> float:
    sessions = child.samples.of(table.SESSIONS).values()
    return sum(number for number in sessions if isinstance(number, int | float))


def _name(child: Child) -> str:
    return f"{child.incarnation}.{child.slot}"


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 for one that is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def _cut_nodes(samples: Samples, most: int) -> None:
    """Leave the ``most`` nodes that are connected for longest: each worker has shown so many."""
    since = {
        names: start
        for names, start in samples.of(table.NODE_START).items()
        if isinstance(start, int | float)
    }
    surplus = sorted(since, key=lambda names: (since[names], names))[most:]
    for names in surplus:
        for metric in (table.NODE_START, table.NODE_ROUND_TRIP):
            samples.without(metric, *names)
        for direction in ("from_agent", "to_agent"):
            samples.without(table.NODE_BYTES, *names, direction)
    if surplus:
        samples.add(table.NODES_LEFT_OUT, len(surplus))
