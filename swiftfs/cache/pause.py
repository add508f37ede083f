"""When a disk or a table that failed is left alone, and how often that is said."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

PAUSE = 1.0
"""Least seconds without a try after a failure: nothing is stored, committed or dropped meanwhile."""

PAUSE_TIMES = 10
"""And so many times as long as the failed try took, so that waiting for a sick disk, or for a table that a stopped
process holds, takes less than a tenth of our time: readers wait for it, too."""

WARNING_INTERVAL = 60.0
"""Seconds between two warnings about a failing cache."""


class Pause:
    """What a writer remembers of the failures of the cache at ``path``. ``clock`` gives monotonic seconds."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._until = self._warn_at = clock()

    def holds(self) -> bool:
        """Whether something failed a moment ago."""
        return self._clock() < self._until

    def begin(self, began: float, reason: str) -> None:
        """A try that began at ``began`` has failed just now."""
        now = self._clock()
        self._until = now + max(PAUSE, PAUSE_TIMES * (now - began))
        self.warn(reason)

    def warn(self, reason: str) -> None:
        """Says that the cache cannot be written, once in a while."""
        now = self._clock()
        if now >= self._warn_at:
            self._warn_at = now + WARNING_INTERVAL
            log.warning("the cache %s cannot be written, reads go on without it: %s", self._path, reason)
