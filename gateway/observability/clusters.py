"""Find the value at which durations cluster, or say that they do not.

Owns: the statistics of fingerprints. Must not know: what the durations are.

What is compared is a window of 1 s (a value and half a second on either side) with the 5 s before
it and the 5 s behind it. Without a timer the durations there are spread smoothly: if the density is
about the same in the window and beside it, each of the values in both falls into the window with a
known chance, and how many do is binomial. Nothing is assumed about the rest of the distribution.

* A window begins at an observation; that one is not counted, since it was chosen.
* Each side is tested alone and the weaker result holds. A smooth slope or an edge, such as the one
  that pings cut into the distribution of idle times, then cannot look like a cluster.
* The chance is multiplied by the number of windows, one per observation, and by that of the
  ``tests`` the caller makes with the same history (Bonferroni).
* Besides being unlikely, a cluster must be large: ``MIN_CLUSTER`` values, and three times as dense
  as either side, and as the second next to it. Where there are many observations, even a bend of no
  importance is significant; and tasks that take 600 s, give or take 2, are no timer.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Width of a cluster, seconds: a value and half a second on either side.
WINDOW: Final = 1.0
# What a cluster is compared with, on either side of it, seconds.
FLANK: Final = 5.0
# The fewest values in a cluster.
MIN_CLUSTER: Final = 8
# How many times denser than either side a cluster must be.
MIN_RATIO: Final = 3.0
# How likely a claim may be, at most, where there is nothing to find; per look at a history.
SIGNIFICANCE: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Cluster:
    """Values from ``low`` to ``high``, both included, which are at most ``WINDOW`` apart.

    ``chance`` is the corrected one: at most this likely if there were nothing to find.
    """

    low: float
    high: float
    median: float
    count: int
    chance: float


def find_cluster(values: Sequence[float], *, floor: float, tests: int = 1) -> Cluster | None:
    """Return the largest significant cluster of ``values`` (seconds, none negative), or None.

    Clusters that begin below ``floor`` are not looked for. ``tests`` is how many searches are made
    in one history; each is then held to its share of ``SIGNIFICANCE``.
    """
    ordered = sorted(values)
    corrections = len(ordered) * tests
    best: Cluster | None = None
    for first in range(bisect_left(ordered, floor), len(ordered) - MIN_CLUSTER + 1):
        start = ordered[first]
        behind = bisect_right(ordered, start + WINDOW)
        count = behind - first
        if count < MIN_CLUSTER or (best is not None and count <= best.count):
            continue
        next_to_it = max(
            first - bisect_left(ordered, start - WINDOW),
            bisect_right(ordered, start + 2 * WINDOW) - behind,
        )
        if count - 1 < MIN_RATIO * next_to_it:
            continue
        left = first - bisect_left(ordered, start - FLANK)
        right = bisect_right(ordered, start + WINDOW + FLANK) - behind
        # There is nothing below 0: the left side of a small value is narrower.
        chance = corrections * max(
            _chance(count - 1, left, min(FLANK, start)),
            _chance(count - 1, right, FLANK),
        )
        if chance <= SIGNIFICANCE:
            middle = ordered[first + (count - 1) // 2]
            best = Cluster(start, ordered[behind - 1], middle, count, chance)
    return best


def _chance(inside: int, beside: int, width: float) -> float:
    """Return how likely at least ``inside`` of ``inside + beside`` values are in the window.

    The density is taken to be the same there and in the ``width`` seconds beside it; 1 where the
    window is not dense enough to matter.
    """
    if inside * width < MIN_RATIO * beside * WINDOW:
        return 1.0
    total = inside + beside
    into = WINDOW / (WINDOW + width)
    return math.fsum(
        math.comb(total, count) * into**count * (1.0 - into) ** (total - count)
        for count in range(inside, total + 1)
    )
