"""Idle timers on the way, found by what they leave behind: sessions that are cut at one value.

Owns: which ends of sessions are looked at, the history of each path, and what is claimed of it.

Must not know: sessions and streams (the facts are handed in), clocks, logs. The statistics are in
``clusters``, the names of boxes in ``known_timers``.

A path is a leg of a controller's sessions and the network at its far end. Networks are as wide as a
site usually is (IPv4 /16, IPv6 /48): timers stand at a site's door, and a /24 rarely sees enough
ends. A claim then names the smallest network that holds all the sessions in question, down to one
address, so that neither neighbours nor one bad machine are mixed up with the site.

Which values could show a timer:

* the time since any byte: what most balancers and firewalls count;
* since the last byte *received*, or *sent*: timers that look at one direction;
* the age: timers that nothing restarts.

Pings of ours restart idle timers, so on the agent leg one shows where it is shorter than the
interval, counts the other direction, or sits where pings do not pass. On the controller leg nothing
is pinged (JNLP4 has none): there any timer shows.

What would look like a timer and is none:

* An end right after we sent something may be the answer to that: whoever has forgotten a connection
  resets it when a byte comes, and our pings come at regular intervals. Its idle time is not used.
* Ends that come together have one cause, a restart or a cable. One end in ``APART`` seconds counts.
  Where sessions began together, too, their ages are then spread at least that far.
* Ends after a last word, or during it, pile up at zero: below ``FLOORS`` nothing is looked for.
* Our own limits (``dead_after``, stalls) and the kernel's: neither EOF nor reset, not handed in.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.config.networks import peer_address
from gateway.observability.clusters import WINDOW, Cluster, find_cluster
from gateway.observability.known_timers import Counts, KnownTimer, timers_of

# Fewer counted ends on a path, and nothing is claimed of it; of them ``clusters.MIN_CLUSTER`` must
# agree.
MIN_ENDS: Final = 12
# The last ends of a path that are kept, and the paths: 10 MiB when full.
MAX_ENDS: Final = 128
MAX_PATHS: Final = 256
# What is older says nothing about today's network, seconds.
KEEP: Final = 7 * 86400.0
# Ends of a path that come closer together count as one, seconds.
APART: Final = 10.0
# An end this soon after a byte of ours, besides a round trip, may be the answer to it, seconds.
ANSWER: Final = 1.0
# Of the ends in a cluster, that both directions were silent.
_NEARLY_ALL: Final = 0.9
# Timers claimed per path.
_MAX_FOUND: Final = 3

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_IPv4_SITE: Final = 16
_IPv6_SITE: Final = 48


class Leg(Enum):
    """Which side of the gateway a connection was cut on."""

    AGENT = "agent"
    CONTROLLER = "controller"


class Measure(Enum):
    """What a timer may be counting. The first is named where several fit alike."""

    IDLE = "idle"
    RECEIVED = "received"
    SENT = "sent"
    AGE = "age"


# Shorter values are not looked for, seconds: agents that fail at their start end by themselves.
FLOORS: Final = {
    Measure.IDLE: 3.0,
    Measure.RECEIVED: 3.0,
    Measure.SENT: 3.0,
    Measure.AGE: 10.0,
}


@dataclass(frozen=True, slots=True)
class Cut:
    """A connection that ended by EOF or reset, seen from the gateway. Times in seconds.

    ``address``: of the far end. ``at``: Unix time. ``age``: since the connection was made.
    ``received_idle``, ``sent_idle``: since the last byte from and to the far end.
    ``ping_interval``: ours on this leg, None where there are no pings. ``round_trip``: of the last
    answered ping.
    """

    controller: str
    leg: Leg
    address: str
    at: float
    age: float
    received_idle: float
    sent_idle: float
    ping_interval: float | None = None
    round_trip: float | None = None

    def value(self, measure: Measure) -> float | None:
        """Return what a timer of this kind would have counted; None where that cannot be said."""
        if measure is Measure.AGE:
            return self.age
        if self.sent_idle < ANSWER + (self.round_trip or 0.0):
            return None
        if measure is Measure.RECEIVED:
            return self.received_idle
        if measure is Measure.SENT:
            return self.sent_idle
        return min(self.received_idle, self.sent_idle)


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim: ``count`` of ``total`` cut sessions from ``network`` ended at ``seconds``.

    ``chance`` is how likely so large a cluster would be without a timer. ``first_at`` and
    ``last_at`` are Unix times of its ends.
    """

    controller: str
    leg: Leg
    network: str
    measure: Measure
    seconds: float
    count: int
    total: int
    first_at: float
    last_at: float
    ping_interval: float | None
    chance: float

    @property
    def known(self) -> tuple[str, ...]:
        """Return the boxes that have a timer of this length."""
        return tuple(timer.name for timer in self._known)

    def sentence(self) -> str:
        """Say it to an operator, with what can be done."""
        timer, measured = f"{round(self._length)} s", f"{self.seconds:.1f} s"
        where = f"between {'agent and gateway' if self._at_agent else 'gateway and controller'}"
        kind = "an age limit" if self.measure is Measure.AGE else "an idle timer"
        return (
            f"{self.count} of {self.total} cut sessions {self._of_whom} ended {measured}"
            f" after {self._since}: {kind} of {timer} lies {where}{self._names(timer)};"
            f" {self._pings}; {self._advice(timer)}"
        )

    def as_fields(self) -> dict[str, str | int | float | None]:
        """Return it as fields of a log line or a JSON object."""
        return {
            "controller": self.controller,
            "leg": self.leg.value,
            "network": self.network,
            "measure": self.measure.value,
            "seconds": round(self.seconds, 1),
            "count": self.count,
            "total": self.total,
            "first_at": round(self.first_at),
            "last_at": round(self.last_at),
            "ping_interval_s": self.ping_interval,
            "known": ", ".join(self.known),
            "chance": float(f"{self.chance:.2g}"),
            "text": self.sentence(),
        }

    @property
    def _at_agent(self) -> bool:
        return self.leg is Leg.AGENT

    @property
    def _known(self) -> tuple[KnownTimer, ...]:
        counts = Counts.AGE if self.measure is Measure.AGE else Counts.IDLE
        return timers_of(self.seconds, counts)

    @property
    def _length(self) -> float:
        """Return the length that the timer is probably set to: what is found is a little longer."""
        return self._known[0].seconds if self._known else self.seconds

    @property
    def _of_whom(self) -> str:
        return f"{'from' if self._at_agent else 'to'} {self.network}"

    @property
    def _since(self) -> str:
        if self.measure is Measure.AGE:
            return "their beginning"
        if self.measure is Measure.IDLE:
            return "the last byte"
        return f"the last byte {'from' if self.measure is Measure.RECEIVED else 'to'} the" + (
            " agent" if self._at_agent else " controller"
        )

    def _names(self, timer: str) -> str:
        names = self.known
        if not names:
            return ""
        if len(names) == 1:
            return f" ({names[0]} uses {timer})"
        return f" ({', '.join(names[:-1])} and {names[-1]} use {timer})"

    @property
    def _pings(self) -> str:
        if self.ping_interval is None:
            return "nothing is pinged on that path"
        return f"our ping interval on that path is {self.ping_interval:g} s"

    def _advice(self, timer: str) -> str:
        if self.measure is Measure.AGE:
            return "no ping helps: raise the limit there, or find what stops agents at that age"
        if self.ping_interval is None:
            return f"raise it there, or let Jenkins ping its agents more often than every {timer}"
        if self.seconds <= self.ping_interval:
            return f"set agents.keepalive.interval to {max(self.seconds / 3, 1):.2g}s, or raise it"
        return "it does not count our pings: raise it there"


class Fingerprints:
    """What is known about the paths of one process, in bounded memory."""

    def __init__(self, *, max_paths: int = MAX_PATHS, max_ends: int = MAX_ENDS) -> None:
        self._max_paths = max_paths
        self._max_ends = max_ends
        self._paths: OrderedDict[tuple[str, Leg, str], _Path] = OrderedDict()

    def __len__(self) -> int:
        return len(self._paths)

    def record(self, cut: Cut) -> list[Finding]:
        """Take an end; return the claims that it makes possible, each once while it stays true."""
        key = (cut.controller, cut.leg, site_of(cut.address))
        path = self._paths.get(key)
        if path is None:
            path = self._paths[key] = _Path(self._max_ends)
            if len(self._paths) > self._max_paths:
                self._paths.popitem(last=False)
        self._paths.move_to_end(key)
        return path.record(cut)

    def findings(self, now: float) -> list[Finding]:
        """Return all that can be claimed at Unix time ``now``, the surest first."""
        found = [each for path in self._paths.values() for each in path.findings(now)]
        return sorted(found, key=lambda finding: finding.chance)


class _Path:
    """The last ends of one path."""

    __slots__ = ("_announced", "_cuts")

    def __init__(self, max_ends: int) -> None:
        self._cuts: deque[Cut] = deque(maxlen=max_ends)
        self._announced: set[tuple[bool, int]] = set()

    def record(self, cut: Cut) -> list[Finding]:
        cuts = self._cuts
        if cuts and abs(cut.at - cuts[-1].at) < APART:
            return []
        cuts.append(cut)
        found = self.findings(cut.at)
        fresh = [each for each in found if not self._announced & _around(each)]
        self._announced = {_key(each) for each in found}
        return fresh

    def findings(self, now: float) -> list[Finding]:
        cuts = self._cuts
        while cuts and cuts[0].at < now - KEEP:
            cuts.popleft()
        if len(cuts) < MIN_ENDS:
            return []
        rest = list(cuts)
        findings: list[Finding] = []
        while len(findings) < _MAX_FOUND and (best := _best_cluster(rest)) is not None:
            measure, cluster, members = best
            findings.append(_claim(cuts, measure, cluster, members))
            # One timer is seen by several measures. What it cut is explained, and left out.
            explained = set(map(id, members))
            rest = [cut for cut in rest if id(cut) not in explained]
        return findings


def _best_cluster(cuts: Sequence[Cut]) -> tuple[Measure, Cluster, list[Cut]] | None:
    """Return the cluster with the most ends, and these."""
    best: tuple[Measure, Cluster, list[Cut]] | None = None
    for measure in Measure:
        values = [(value, cut) for cut in cuts if (value := cut.value(measure)) is not None]
        cluster = find_cluster(
            [value for value, _ in values], floor=FLOORS[measure], tests=len(Measure)
        )
        if cluster is not None and (best is None or cluster.count > best[1].count):
            members = [cut for value, cut in values if cluster.low <= value <= cluster.high]
            best = (_simplest(measure, cluster, members), cluster, members)
    return best


def _simplest(measure: Measure, cluster: Cluster, members: Sequence[Cut]) -> Measure:
    """Return IDLE for a cluster in one direction where the other was silent for as long."""
    if measure is Measure.AGE:
        return measure
    both = sum(
        (idle := cut.value(Measure.IDLE)) is not None and idle > cluster.low - WINDOW
        for cut in members
    )
    return Measure.IDLE if both >= _NEARLY_ALL * len(members) else measure


def _claim(
    cuts: Iterable[Cut], measure: Measure, cluster: Cluster, members: Sequence[Cut]
) -> Finding:
    last = members[-1]
    network = _common(site_of(last.address), [cut.address for cut in members])
    return Finding(
        controller=last.controller,
        leg=last.leg,
        network=_name(network),
        measure=measure,
        seconds=cluster.median,
        count=cluster.count,
        total=sum(_is_in(cut.address, network) for cut in cuts),
        first_at=members[0].at,
        last_at=last.at,
        ping_interval=last.ping_interval,
        chance=cluster.chance,
    )


def _key(finding: Finding) -> tuple[bool, int]:
    return finding.measure is Measure.AGE, round(finding.seconds)


def _around(finding: Finding) -> set[tuple[bool, int]]:
    """Return the keys of what is the same claim: a median moves as ends come and go."""
    is_age, seconds = _key(finding)
    return {(is_age, seconds + step) for step in (-1, 0, 1)}


# -- networks --------------------------------------------------------------------------------------


def site_of(address: str) -> str:
    """Return the network that an address is counted in; the text itself if it is no IP address."""
    parsed = peer_address(address)
    if parsed is None:
        return address
    width = _IPv4_SITE if parsed.version == 4 else _IPv6_SITE
    return str(ipaddress.ip_network((parsed, width), strict=False))


def _common(site: str, addresses: Iterable[str]) -> _Network | str:
    """Return the smallest network within ``site`` that holds all ``addresses``."""
    parsed = [each for each in map(peer_address, addresses) if each is not None]
    if not parsed:
        return site
    low, high = min(map(int, parsed)), max(map(int, parsed))
    width = parsed[0].max_prefixlen - (low ^ high).bit_length()
    return ipaddress.ip_network((parsed[0], width), strict=False)


def _is_in(address: str, network: _Network | str) -> bool:
    if isinstance(network, str):
        return True  # all ends of such a path have this address
    parsed = peer_address(address)
    return parsed is not None and parsed in network


def _name(network: _Network | str) -> str:
    if not isinstance(network, str) and network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network)
