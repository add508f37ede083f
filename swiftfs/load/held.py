"""Source objects whose bytes are in memory, and the budget that bounds how many bytes that are."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
from collections.abc import Iterable

HELD = 64 * 1024 * 1024
"""Bytes that one source object may have in memory; a larger one is streamed, or refused where that cannot be."""
BUDGET = 48 * 1024 * 1024
"""Bytes of source objects in memory over all transfers, but for a single larger one: with the program itself and what
its connections buffer, that stays below 150 MiB."""


class HeldObject:
    """A source object that has been read whole, as pieces that were never joined; see ``source.SourceObject``."""

    def __init__(self, name: str, mtime: int | None, pieces: Iterable[bytes]) -> None:
        self.name = name
        self.mtime = mtime
        self._pieces = tuple(pieces)
        self.size = sum(map(len, self._pieces))

    def open(self) -> OpenedHeld:
        """From the first byte on."""
        return OpenedHeld(self._pieces)

    def drop(self) -> None:
        """Let go of the bytes, whoever still knows the object: what was settled must not take memory."""
        self._pieces = ()


class OpenedHeld:
    """One reading of bytes in memory; see ``source.OpenedSource``."""

    def __init__(self, pieces: tuple[bytes, ...]) -> None:
        self._pieces = iter(pieces)
        self._left = b""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; a whole piece without a copy."""
        piece = self._left or next(self._pieces, b"")
        self._left = piece[size:]
        return piece[:size]

    def settle(self) -> None:
        """Bytes in memory do not change."""

    def close(self) -> None:
        """Nothing is open."""


def trim_memory() -> None:
    """Give memory that is free back to the system, where the C library can: glibc keeps that of small objects in pools
    of each thread, and large segments find no place in it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class ByteBudget:
    """Bytes that may be in memory at once; waiters get theirs in the order in which they came."""

    def __init__(self, limit: int = BUDGET) -> None:
        self._limit = limit
        self._used = 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    def would_wait(self, size: int) -> bool:
        """Whether :meth:`take` of so many would have to wait."""
        return self._turn.locked() or (self._used > 0 and self._used + size > self._limit)

    def take_now(self, size: int) -> bool:
        """Take ``size`` bytes if they need not be waited for; whether they were taken."""
        if self.would_wait(size):
            return False
        self._used += size
        return True

    async def take(self, size: int) -> None:
        """Wait until ``size`` bytes more may be there; more than the limit are taken for the limit."""
        async with self._turn:
            while self._used and self._used + size > self._limit:
                self._freed.clear()
                await self._freed.wait()
            self._used += size

    async def drained(self) -> None:
        """Wait until all that was taken is free again."""
        async with self._turn:
            while self._used:
                self._freed.clear()
                await self._freed.wait()

    def give(self, size: int) -> None:
        """What was taken is free again."""
        self._used -= size
        self._freed.set()
