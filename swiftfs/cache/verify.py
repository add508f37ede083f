"""Reads all of a cache and drops what is damaged, beside those that use it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from swiftfs.cache.directory import DAMAGE, read_all
from swiftfs.cache.names import checksum

if TYPE_CHECKING:
    from collections.abc import Callable

    from swiftfs.cache.directory import CacheDirectory
    from swiftfs.cache.table import Row

VERIFIED_AT_ONCE = 500
"""Rows fetched at a time: what is stored and evicted meanwhile is seen soon enough."""


class Shelf(Protocol):
    """What verifying needs of a writer."""

    def count(self) -> int:
        """How many chunks and pieces have rows."""

    def rows_after(self, last: Row | None, limit: int) -> list[Row]:
        """The next ``limit`` rows in their order; None begins."""

    def has_row(self, row: Row) -> bool:
        """Whether the row exists still."""

    def drop_extent(self, key: str, extent: int) -> None:
        """Takes an extent's file out of the cache."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found: chunks read, and how many of them were bad and were dropped."""

    chunks: int
    bad: int


def verify(shelf: Shelf, directory: CacheDirectory, progress: Callable[[int, int], None]) -> Verified:
    """Reads every chunk and drops the bad ones. ``progress(done, total)`` in chunks."""
    total = shelf.count()
    done = bad = 0
    last: Row | None = None
    while rows := shelf.rows_after(last, VERIFIED_AT_ONCE):
        last = rows[-1]
        for row in rows:
            if not _is_good(directory, row) and shelf.has_row(row):  # else it was evicted meanwhile, which is not bad
                bad += 1
                shelf.drop_extent(row.key, row.extent)
        done += len(rows)
        progress(done, max(done, total))
    return Verified(done, bad)


def _is_good(directory: CacheDirectory, row: Row) -> bool:
    try:
        descriptor = directory.open_to_read(row.key, row.extent)
        try:
            data = read_all(descriptor, row.length, row.offset)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno not in DAMAGE  # what cannot be looked at is not known to be bad
    return len(data) == row.length and checksum(row.key, row.chunk, data) == row.checksum
