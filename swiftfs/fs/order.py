"""Files fetched in an order that was told: a pure planner that follows readers through it and stays ahead of them.

The order is that in which files will be read, as a sampler has drawn it. The planner keeps the files that come next
fetched, a bounded number and a bounded share of the cache, counted from the furthest place that readers have come to.
Several readers may share one order, each a little behind the furthest: what lies between has been planned already.

A reader deviates when its opens are neither near the front nor files that were planned and are still to be read. One
stray open means nothing; ``DEVIATED`` of the last ``LOOKED_BACK`` opens at one other place mean that the reading goes
on there, and so does the planner, with a small window that grows again while the order is kept.

Why a third of the cache: a file that was fetched ahead is evicted only after as many bytes as the cache holds were
fetched or read since. Until it is read these are at most the window behind it and the window before it, and readers
that lag may be one more window behind.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import merge
from itertools import accumulate

FILES_AHEAD = 256
"""Files ahead of the furthest reader: at 72 KB a file about 18 MB, some seconds of reading."""
BYTES_AHEAD = 256 << 20
"""Bytes ahead at the most: what 32 streams of 8 MiB have under way at once."""
BUDGET_SHARE = 3
"""The window is at most this part of the cache, see above."""
FIRST_WINDOW = 16
"""Files ahead after readers have moved to another place: little is lost when they do not stay there."""
REFILL = 0.75
"""The window is filled up when no more than this part of it is planned: one message for some dozens of files."""
LOOKED_BACK = 16
"""Opens among which those at another place are counted: 8 workers with two opens each."""
DEVIATED = 4
"""Opens close to each other at another place that mean that the reading goes on there."""
REACH = 256
"""How far apart opens may be and still be close to each other: 8 workers that read batches of 32."""
SLACK = 64
"""How far past the planned files an open may be and still keep the order, and how far behind the front a file may be
opened again: some programs open each file twice."""
REPEATS = 64
"""Places of one file that are looked at: a file may stand in an order more than once."""
SORTED_AT_ONCE = 16_384
"""Places sorted in one go: some milliseconds."""


def most_bytes_ahead(budget: int) -> int:
    """Bytes that may be fetched ahead of a reader, where the cache may hold ``budget``, see above."""
    return min(BYTES_AHEAD, budget // BUDGET_SHARE)


@dataclass(frozen=True, slots=True)
class Order:
    """Inode numbers in the order in which the files will be read. ``ends`` has the bytes of all files up to each place,
    and 0 before the first; ``by_ino`` has the places sorted by inode number and place."""

    inos: array[int]
    ends: array[int]
    by_ino: array[int]

    @classmethod
    def of(cls, inos: Iterable[int], sizes: Iterable[int]) -> Order:
        """The order of ``inos`` with their ``sizes`` in bytes; both of one length."""
        numbers = array("Q", inos)
        ends = array("Q", accumulate(sizes, initial=0))
        if len(ends) != len(numbers) + 1:
            raise ValueError("as many sizes as files")
        # In pieces, for one sort of millions would hold the interpreter, and with it every other thread, for seconds.
        pieces = (
            sorted(range(start, min(start + SORTED_AT_ONCE, len(numbers))), key=numbers.__getitem__)
            for start in range(0, len(numbers), SORTED_AT_ONCE)
        )
        return cls(numbers, ends, array("I", merge(*pieces, key=numbers.__getitem__)))

    def __len__(self) -> int:
        return len(self.inos)

    def places(self, ino: int, least: int) -> array[int]:
        """The first places of ``ino`` from ``least`` on, ``REPEATS`` at the most; where there is none, the last one
        before. Empty for a file that is not in the order."""
        first = bisect_left(self.by_ino, ino, key=self.inos.__getitem__)
        stop = bisect_right(self.by_ino, ino, first, key=self.inos.__getitem__)
        start = min(bisect_left(self.by_ino, least, first, stop), max(first, stop - 1))
        return self.by_ino[start : min(stop, start + REPEATS)]

    def bytes_between(self, start: int, stop: int) -> int:
        """Bytes of the files at the places ``[start, stop)``."""
        return self.ends[stop] - self.ends[start]


@dataclass(frozen=True, slots=True)
class Ahead:
    """What an open leads to: ``missing`` is to be fetched, in this order; ``present`` is in the cache and will be read
    soon, so it should go last when bytes must. With ``moved`` what was asked for earlier and waits is not needed."""

    missing: tuple[int, ...] = ()
    present: tuple[int, ...] = ()
    moved: bool = False


NOTHING = Ahead()


@dataclass(slots=True)
class OrderPlanner:
    """Follows readers through one order. ``budget`` is what the cache may hold, in bytes.

    ``position`` is the place after the furthest one that was read lately; the files before ``planned`` have been
    planned, from ``base`` on, where the readers began or went on last.
    """

    order: Order
    budget: int
    base: int = 0
    position: int = 0
    planned: int = 0
    _window: int = FILES_AHEAD
    _read: bytearray = field(default_factory=bytearray)
    _elsewhere: deque[int | None] = field(default_factory=lambda: deque(maxlen=LOOKED_BACK))

    def __post_init__(self) -> None:
        self._read = bytearray(len(self.order))

    @property
    def bytes_ahead(self) -> int:
        """Bytes that were planned and that no reader has come to."""
        return self.order.bytes_between(self.position, max(self.position, self.planned))

    def start(self, is_present: Callable[[int], bool]) -> Ahead:
        """The order was just told and nothing is read yet: its first files."""
        return self._plan(is_present)

    def knows(self, ino: int) -> bool:
        """Whether the file is in the order."""
        return bool(self.order.places(ino, 0))

    def opened(self, ino: int, is_present: Callable[[int], bool]) -> Ahead:
        """What to fetch because the file ``ino`` was opened now. ``is_present`` tells what is in the cache."""
        places = self.order.places(ino, self.base)
        if not places:
            return NOTHING
        place = next((place for place in places if place >= self.base and not self._read[place]), places[-1])
        read_before = place < self.base or self._read[place]
        if not read_before and place <= self.planned + SLACK:
            self._elsewhere.append(None)
            self._read[place] = 1
            self.position = max(self.position, place + 1)
            return self._plan(is_present)
        again = read_before and 0 < self.position - place <= min(SLACK, len(self.order) // 4)
        if again or not self._moves_to(place):
            return NOTHING
        return self._plan(is_present, moved=True)

    def _moves_to(self, place: int) -> bool:
        """Whether the reading goes on around ``place``, now that it was opened as well; goes there."""
        self._elsewhere.append(place)
        close = {other for other in self._elsewhere if other is not None and abs(other - place) < REACH}
        if len(close) < DEVIATED:
            return False
        self._elsewhere.clear()
        self._read = bytearray(len(self.order))
        for other in close:
            self._read[other] = 1
        self.base = self.planned = min(close)
        self.position = max(close) + 1
        self._window = FIRST_WINDOW
        return True

    def _plan(self, is_present: Callable[[int], bool], moved: bool = False) -> Ahead:
        """Fill the window up when enough of it is empty."""
        stop = self._window_end()
        ahead = max(0, self.planned - self.position)
        if stop <= self.planned or (stop < len(self.order) and ahead > REFILL * (stop - self.position)):
            return Ahead(moved=True) if moved else NOTHING
        start = self.planned
        if self.order.bytes_between(start, stop) > most_bytes_ahead(self.budget):
            start = max(start, self.position)
        wanted = dict.fromkeys(
            self.order.inos[place]
            for place in range(start, stop)
            if not self._read[place] and self.order.bytes_between(place, place + 1)
        )
        self.planned = stop
        self._window = min(FILES_AHEAD, self._window * 2)
        missing, present = list[int](), list[int]()
        for ino in wanted:
            (present if is_present(ino) else missing).append(ino)
        return Ahead(tuple(missing), tuple(present), moved)

    def _window_end(self) -> int:
        """The place before which files may be fetched, at the readers' position."""
        ends, position = self.order.ends, self.position
        stop = bisect_right(ends, ends[position] + most_bytes_ahead(self.budget), position) - 1
        if stop == position < len(self.order) and ends[position + 1] - ends[position] <= self.budget // BUDGET_SHARE:
            stop = position + 1  # one file that is larger than the window but not than the cache's share
        return min(stop, position + self._window)
