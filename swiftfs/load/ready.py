"""Read a small file in the event loop itself when its bytes are in memory already.

A trip to a thread and back costs more than reading and hashing such a file: the threads and the loop take the
interpreter's lock from each other at every system call. Whether the bytes are in memory is asked of the kernel, with
a read that does not wait for the disk (preadv2(2), RWF_NOWAIT). Where files are cold, or their file system cannot
tell, the threads do the work, and only now and then a file is tried again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeGuard

from swiftfs.load.reading import Content
from swiftfs.load.source import SourceObject

if TYPE_CHECKING:
    from swiftfs.load.journal import Journal

INLINE = 256 * 1024
"""Bytes of the largest file that is read here: its MD5 keeps the loop from its sockets for less than a millisecond."""
SLOW = 0.02
"""Seconds that opening and reading may take; more means a disk or a network was waited for."""
MISSES = 4
"""Files in a row that were not in memory, or slow, before the next ones are not tried."""
PASSED_OVER = 64
"""Files that are then left to the threads before one is tried again."""


class Cached(SourceObject, Protocol):
    """A source object that may be in memory already."""

    def cached(self, memory: bytearray) -> tuple[bytes, tuple[str, int]] | None:
        """Its bytes and its identity, without waiting for a disk; None when that cannot be.

        ``memory`` is more than it needs to hold. Raises Changed, LocalFileError.
        """


class Ready:
    """Reads for one run; used from its event loop only."""

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self._clock = clock
        self._memory = bytearray(INLINE + 1)
        self._misses = 0
        self._passes = 0

    def read(self, source: SourceObject) -> Content | None:
        """The object's bytes and MD5, remembered in the journal; None: let a thread read it.

        Raises Changed, LocalFileError.
        """
        if source.size > INLINE or not _may_be_cached(source):
            return None
        if self._passes:
            self._passes -= 1
            return None
        begun = self._clock()
        found = source.cached(self._memory)
        if found is None or self._clock() - begun > SLOW:
            self._misses += 1
            if self._misses >= MISSES:
                self._misses, self._passes = 0, PASSED_OVER
        else:
            self._misses = 0
        if found is None:
            return None
        body, identity = found
        md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
        self._journal.remember(source.name, identity, md5)
        return Content(body, md5)


def _may_be_cached(source: SourceObject) -> TypeGuard[Cached]:
    return hasattr(source, "cached")
