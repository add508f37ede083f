"""How far to read ahead within one large object: a pure planner over chunk numbers.

The kernel reads ahead by itself, 128 KiB at a time, which asks for a chunk only when a reader is already near it. This
planner asks for whole chunks earlier: twice as many with each chunk that is read in sequence, none when reading jumps.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_WINDOW = 1
"""Chunks ahead after the first chunk: a reader that stops there wasted one chunk."""


@dataclass(slots=True)
class Readahead:
    """Plans for one inode. ``most`` chunks may be ahead at once."""

    most: int
    _last: int = -1
    _window: int = 0
    _planned: int = 0

    @classmethod
    def beginning_at(cls, chunk: int, most: int) -> Readahead:
        """Plans for a reader that is known to read in sequence and has come to ``chunk``."""
        return cls(most, chunk - 1, _planned=chunk)

    @property
    def planned(self) -> int:
        """The first chunk that was neither read in sequence nor asked for."""
        return max(self._planned, self._last + 1)

    def read(self, chunk: int, chunks: int) -> range:
        """Chunk ``chunk`` of ``chunks`` is being read: which later chunks to ask for now, those not asked for yet."""
        if chunk == self._last:
            return range(0)
        if chunk == self._last + 1:
            self._window = min(max(FIRST_WINDOW, self._window * 2), self.most)
        else:
            self._window = 0
            self._planned = chunk + 1
        self._last = chunk
        stop = min(chunk + 1 + self._window, chunks)
        start = max(self._planned, chunk + 1)
        if start >= stop:
            return range(0)
        self._planned = stop
        return range(start, stop)
