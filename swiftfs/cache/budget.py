"""The cache's arithmetic: how much it may hold, what to reserve at a time, and what to evict.

No I/O here: sizes come in, decisions go out. All in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

SLAB_BYTES = 32 << 20
"""Most that a process reserves ahead of writing: some 450 files of 72 KiB, so the table is locked once for them all."""

SLAB_SHARE = 16
"""Of a small cache one process reserves no more than this part, so that several can work side by side."""

LEAST_DEFAULT = 1 << 30
"""The default limit is at least this where there is room: Food-11 and its like fit whole."""

DEFAULT_SHARE = 10
"""The default limit is this part of the disk that is free or the cache's own: it must not surprise other users."""

ROOM_SHARE = 2
"""Even ``LEAST_DEFAULT`` takes no more than this part of it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Evictable(Generic[T]):
    """One cache file that may go: what names it, and the bytes that go with it."""

    file: T
    size: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What to do to reserve bytes: ``granted`` after ``evict``-ing; 0 granted when there is no room at all."""

    granted: int
    evict: int


def default_limit(free: int, used: int) -> int:
    """The cache's limit where the user sets none, with ``free`` bytes on its disk besides ``used`` in the cache itself.

    What the cache holds is not in the way of it: filling it must not make the next mount's limit smaller.
    """
    room = free + used
    return max(room // DEFAULT_SHARE, min(LEAST_DEFAULT, room // ROOM_SHARE))


def slab(limit: int) -> int:
    """How much one process reserves ahead in a cache of ``limit`` bytes."""
    return min(SLAB_BYTES, limit // SLAB_SHARE)


def reserve(need: int, *, limit: int, used: int, reserved: int, disk_free: int, min_free: int) -> Reservation:
    """How many bytes to grant for a need of ``need`` and how many to evict before.

    ``used`` bytes are in files that can be evicted, ``reserved`` are granted already, to any process. A slab is granted
    where there is room for it; no file is evicted to fill more than ``need`` when that is all the limit has left
    besides what others reserved. Unless granted 0: ``used - evict + reserved + granted <= limit``.
    """
    most = limit - reserved  # what would be left with every file evicted
    if need > most:
        return Reservation(0, 0)
    granted = min(max(need, slab(limit)), most)
    over_limit = used + reserved + granted - limit
    short_of_disk = granted + min_free - disk_free
    if short_of_disk > used:  # not even an empty cache leaves the disk what it should: try with the least
        granted = need
        over_limit = used + reserved + granted - limit
        short_of_disk = granted + min_free - disk_free
        if short_of_disk > used:
            return Reservation(0, 0)
    return Reservation(granted, max(0, over_limit, short_of_disk))


def plan_eviction(files: Iterable[Evictable[T]], evict: int) -> list[Evictable[T]]:
    """The fewest of ``files``, taken in their order (least recently used first), that free ``evict`` bytes.

    Fewer when all of them are not enough. Takes no more from ``files`` than it needs.
    """
    victims: list[Evictable[T]] = []
    if evict <= 0:
        return victims
    for file in files:
        victims.append(file)
        evict -= file.size
        if evict <= 0:
            break
    return victims
