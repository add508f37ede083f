"""The slowest reads of the last minutes: a record of fixed size, for those who ask why training waits.

Pure: the clock's time comes in. Two spans are kept, the running one and the one before, so what is shown is at least
one span old and at most two; a slow start is forgotten and does not hide what is slow now.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

SPAN = 300.0
"""Seconds of one span: long enough to be seen by somebody who looks after an epoch stalled."""
KEPT = 10
"""Reads kept of each span."""


@dataclass(frozen=True, slots=True, order=True)
class Wait:
    """One read that waited for the store: ``seconds`` it took, ``at`` which second of the caller's clock it ended."""

    seconds: float
    at: float
    name: str
    chunk: int


@dataclass(slots=True)
class Slowest:
    """The ``KEPT`` longest waits of this span and of the one before."""

    _now: list[Wait] = field(default_factory=list)
    _before: list[Wait] = field(default_factory=list)
    _began: float = 0.0

    def note(self, wait: Wait) -> None:
        """Record a read that has waited."""
        self._turn(wait.at)
        if len(self._now) < KEPT:
            heapq.heappush(self._now, wait)
        elif self._now[0] < wait:
            heapq.heapreplace(self._now, wait)

    def report(self, now: float) -> list[Wait]:
        """At most ``KEPT`` waits, the longest first."""
        self._turn(now)
        return heapq.nlargest(KEPT, self._now + self._before)

    def _turn(self, now: float) -> None:
        if now - self._began < SPAN:
            return
        self._before = self._now if now - self._began < 2 * SPAN else []
        self._now = []
        self._began = now
