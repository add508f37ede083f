"""When a body comes too slowly to go on waiting for it: pure arithmetic over waits and bytes.

A stall timer starts anew with every byte, so a byte a second would hold a reader until its deadline.
"""

from __future__ import annotations

SLOWEST = 1024
"""Bytes a second below which a connection is taken for broken. A line of 64 KiB/s that 32 transfers share gives each
of them twice that."""


class Pace:
    """The pace of one body. Only the time spent waiting for the store counts, not what its reader does between."""

    def __init__(self, window: float) -> None:
        """``window`` is how many seconds of waiting are looked at together."""
        self._window = window
        self._waited = 0.0
        self._received = 0

    def is_too_slow(self, waited: float, size: int) -> bool:
        """Count ``size`` bytes that came after ``waited`` seconds; whether the window that they end was too slow."""
        self._waited += waited
        self._received += size
        if self._waited < self._window:
            return False
        too_slow = self._received < SLOWEST * self._window
        self._waited, self._received = 0.0, 0
        return too_slow
