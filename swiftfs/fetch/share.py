"""How many fetches of a warm may run at once while readers wait for the store: a pure controller.

A store serves so much at once, and what a warm has under way there stands in front of a blocked reader, whatever places
are kept for it here. So a warm begins small and grows by one fetch a round trip while nobody waits, falls back to a
held level when somebody does, and the held level follows what readers notice: it grows slowly while their fetches take
as long as they do with hardly any warm beside them, slower still near where they last took longer, and is halved when
they do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

LEAST = 1 / 8
"""The held level at the least: a warm must end, however long readers go on. So few are behind one read in a hundred."""
FIRST = 4.0
"""Fetches at once that a warm begins with while nobody waits."""
TOLERATED = 1.4
"""Times the seconds of a quick undisturbed fetch that a reader's fetch may take: readers notice more than that."""
GROWTH = 0.25
"""What the held level grows by with each reader's fetch that was fast enough beside a warm: one more every four."""
NEAR = 0.7
"""Part of the level that readers have noticed last from which on it grows carefully: most reads are then beside nearly
as much as goes unnoticed, and few find out where that ends."""
CAREFUL = 1 / 32
"""What the held level grows by near there: it takes a hundred reads, not a dozen, until one is late again."""
QUICKER = 1 / 4
SLOWER = 1 / 16
"""What an undisturbed fetch that was quicker or slower than usual changes of that. Quicker ones count for more: what
made others slower, another user of the store perhaps, is no reason to put a warm on top of it."""
PROBE = 16
"""Fetches of readers beside a warm after which it pauses for one, to find out anew what is usual."""


@dataclass(slots=True)
class WarmShare:
    """``most`` is how many fetches may run at once at all, apart from places kept for readers."""

    most: int
    _level: float = FIRST
    _held: float = LEAST
    _noticed: float = math.inf
    _credit: float = 0.0
    _demands: int = 0
    _ended: int = 0
    _ticked_at: int = 0
    _unprobed: int = 0
    _alone: dict[int, float] = field(default_factory=dict)

    @property
    def allowed(self) -> int:
        """Fetches of a warm that may run at once now."""
        if self._unprobed >= PROBE:
            return 0
        return min(self.most, int(self._level)) if self._level >= 1 else int(self._credit)

    @property
    def moment(self) -> int:
        """A number that changes with every demand; to be kept when a warm's fetch starts."""
        return self._ended + self._demands

    def demand_starts(self) -> None:
        """A reader's fetch starts."""
        self._demands += 1
        self._level = min(self._level, self._held)

    def demand_ends(self, size: int, seconds: float | None, warm: int) -> None:
        """A reader's fetch of ``size`` bytes ended after ``seconds``, with ``warm`` fetches of a warm beside it at its
        start or end. ``seconds`` None tells nothing: it failed, or began as something else."""
        self._demands -= 1
        self._ended += 2  # so that one that started and ended is not forgotten in ``moment``
        self._credit = min(1.0, self._credit + self._held)
        if seconds is None:
            return
        scale = size.bit_length()
        usual = self._alone.get(scale, seconds)
        if not warm or (scale in self._alone and seconds < usual):  # beside a warm none is quicker than without
            self._alone[scale] = usual + (seconds - usual) * (QUICKER if seconds < usual else SLOWER)
        if not warm:  # it says nothing of what readers would notice
            self._unprobed = 0
            return
        self._unprobed += 1
        if seconds > TOLERATED * usual:
            self._noticed = max(1.0, self._held)
            self._held = max(LEAST, self._held / 2)
        elif scale in self._alone:
            growth = GROWTH if self._held < NEAR * self._noticed else CAREFUL
            self._held = min(self.most, self._held + growth)
        self._level = self._held

    def warm_starts(self) -> None:
        """A warm's fetch starts."""
        self._credit = max(0.0, self._credit - 1)

    def tick(self) -> bool:
        """Some moments have passed; whether a warm may start again because no reader waited for the store in them."""
        quiet = not self._demands and self._ticked_at == self.moment
        self._ticked_at = self.moment
        if not quiet or self.allowed:
            return False
        self._unprobed = 0
        self._level = max(1.0, self._level)
        return True

    def warm_ends(self, started: int) -> None:
        """A warm's fetch ended that had started at the moment ``started``."""
        if started == self.moment and not self._demands:
            self._level = min(self.most, self._level + 1 / max(1.0, self._level))
