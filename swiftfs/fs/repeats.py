"""What has been logged lately: a request that fails again and again must not fill the disk with lines about it.

Pure: the time is an argument.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

PAUSE = 60.0
"""Seconds in which the same is said once: often enough for who looks at the log while it happens."""
MOST = 100
"""Things that are told apart, and so the most lines in a pause but one. What comes beyond them is taken together: with
a store that is away each of a million files fails."""


@dataclass(slots=True)
class _Said:
    """When something was said last, and how often it has been kept back since."""

    at: float
    kept: int = 0


class Repeats:
    """Remembers up to :data:`MOST` things that were said, those of the last :data:`PAUSE` seconds first of all."""

    def __init__(self) -> None:
        self._said: OrderedDict[Hashable, _Said] = OrderedDict()
        self._others = _Said(-PAUSE)

    def say(self, what: Hashable, now: float) -> int | None:
        """Whether ``what`` is to be said: None when not, else how much like it was kept back since the last time."""
        found = self._said.get(what)
        if found is None:
            found = self._entered(what, now)
        if now - found.at < PAUSE:
            found.kept += 1
            return None
        kept, found.at, found.kept = found.kept, now, 0
        if what in self._said:
            self._said.move_to_end(what)
        return kept

    def _entered(self, what: Hashable, now: float) -> _Said:
        """A place for something that was not said lately; that of all others when every place is taken."""
        if len(self._said) >= MOST:
            oldest = next(iter(self._said))
            if now - self._said[oldest].at < PAUSE:
                return self._others
            del self._said[oldest]
        entry = self._said[what] = _Said(now - PAUSE)
        return entry
