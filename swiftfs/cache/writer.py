"""The cache's writer: reserves, writes, then says that a chunk is there. Only fetch processes have one.

The limit holds at every moment: bytes are reserved in the table before they are written, in slabs, and what must go for
them is unlinked in the same transaction. Rows are written in batches by ``flush``; until then a chunk exists for those
alone who were told of it. A full or failing disk costs the cache, never a read: ``store`` then returns None.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from swiftfs.cache.budget import plan_eviction, reserve, slab
from swiftfs.cache.directory import LOCK_WAIT, CacheDirectory, read_all, write_all
from swiftfs.cache.filling import Fillings
from swiftfs.cache.names import (
    DEFAULT_CHUNK_SIZE,
    ChunkRow,
    Place,
    checksum,
    place,
)
from swiftfs.cache.pause import Pause
from swiftfs.cache.pieces import Pieces
from swiftfs.cache.start import leave, reap, take_up
from swiftfs.cache.table import WAIT, Row
from swiftfs.cache.verify import Verified, verify
from swiftfs.errors import SwiftFSError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

FLUSH_ROWS = 256
"""Rows that are written at once without being asked: a transaction's fixed cost is then a small part."""

MOST_PENDING = 4096
"""Rows that may wait for a table that cannot be written; beyond, nothing is stored."""

MOST_TOUCHED = 4096
"""Chunks whose use is not written yet; beyond, it is."""

CLEARED_AT_ONCE = 64
"""Files deleted in one transaction when all go: others cannot commit meanwhile, and a large file takes milliseconds."""

ROOM_INTERVAL = 60.0
"""Seconds between two evictions for a disk that others filled."""

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What the cache holds: ``bytes`` in ``files`` of ``chunks``, ``reserved`` for bytes not counted yet, ``limit``."""

    path: str
    bytes: int
    reserved: int
    files: int
    chunks: int
    limit: int


class Writer:
    """Writes one cache, beside others. Calls must not overlap, but may come from different threads. ``close`` it.

    ``refused`` counts the chunks and pieces that were not stored. ``pieces`` are those in this cache, ``fillings`` the
    chunks that come into it bit by bit.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit: int,
        min_free: int = 0,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens the cache at ``path`` to hold at most ``limit`` bytes of content and leave the disk ``min_free``.

        With ``limit`` 0 nothing is stored and nothing evicted: what is there is for others that use it. ``clock`` gives
        monotonic seconds. Raises ConfigError when the directory is not safe to use and LocalFileError when it
        cannot be used.
        """
        self.refused = 0
        self.pieces = Pieces(self, chunk_size)
        self._limit = limit
        self._min_free = min_free
        self._chunk_size = chunk_size
        self._clock = clock
        self.fillings = Fillings(self, limit, chunk_size)
        self._pending: dict[tuple[str, int], Row] = {}
        self._touched: dict[tuple[str, int], None] = {}
        self._closed = False
        self._make_room_at = clock()
        self._pause = Pause(path, clock)
        self._begin(CacheDirectory(path), LOCK_WAIT)

    def close(self) -> None:
        """Writes the last rows and gives back what is reserved. A second call does nothing."""
        if self._closed:
            return
        self.fillings.close()
        self._settle()  # whatever failed a moment ago: it is the last try
        self._closed = True
        leave(self._directory, self._table, self._lock, self._owner)
        self._directory.close()

    def store(self, key: str, size: int, chunk: int, data: bytes | bytearray | memoryview) -> ChunkRow | None:
        """Stores chunk ``chunk`` of an object of ``size`` bytes; None when the cache cannot take it now.

        ``data`` is the whole chunk, verified by the caller; ValueError when it has another length.
        """
        where = place(size, chunk, self._chunk_size)
        if len(data) != where.length:
            raise ValueError(f"chunk {chunk} of {size} bytes has {where.length} bytes, not {len(data)}")
        row = self._pending.get((key, chunk))
        if row is None:
            row = Row(key, where.extent, chunk, where.offset, where.length, checksum(key, chunk, data))
            if not self.store_rows([row], where, data):
                return None
        return ChunkRow(row.length, row.checksum)

    def promise(self, length: int) -> bool:
        """Sets ``length`` reserved bytes aside for a chunk that comes bit by bit; whether there can be so many."""
        if not self._guarded(lambda: self._admits(1, length), False):
            return False
        self._left -= length
        return True

    def give_back(self, length: int) -> None:
        """So many of the bytes that were promised are not needed."""
        self._left += length

    def open_unnamed(self, key: str) -> int:
        """A descriptor of a new file without a name for an extent of ``key``. Raises OSError."""
        return self._directory.open_unnamed(key)

    def name(self, descriptor: int, key: str, extent: int) -> None:
        """Gives a file without a name an extent's, noted before as having bytes that no row counts. Raises OSError."""
        self._owner.note(key, extent)
        self._directory.name(descriptor, key, extent)

    def put_row(self, row: Row) -> None:
        """Takes up a chunk whose bytes were promised and are in its file now."""
        if (row.key, row.chunk) in self._pending:
            self.give_back(row.length)  # reserved for the other one that was stored meanwhile, too
        self._pending[row.key, row.chunk] = row
        if len(self._pending) >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes the rows of what was stored and touched; in a pause they wait. To be called some twenty times a
        second."""
        if not self._pause.holds():
            self._settle()

    def touch(self, chunks: Iterable[tuple[str, int]]) -> None:
        """Notes that these chunks (key, number) were read, or pieces of them: they go last when bytes must."""
        for chunk in chunks:
            self._touched.pop(chunk, None)
            self._touched[chunk] = None
        if len(self._touched) > MOST_TOUCHED:
            self.flush()
        while len(self._touched) > MOST_TOUCHED:
            del self._touched[next(iter(self._touched))]

    def find(self, key: str, chunk: int) -> ChunkRow | None:
        """What a reader needs to use the chunk; None when it is not in the cache."""
        row = self._pending.get((key, chunk))
        if row is not None:
            return ChunkRow(row.length, row.checksum)
        found = self._guarded(lambda: self._table.find(key, chunk, chunk), None)
        return ChunkRow(*found) if found else None

    def drop(self, key: str, chunk: int) -> None:
        """Takes a chunk that was found bad out of the cache. In a pause it stays: who reads it next finds it bad."""
        self.drop_extent(key, chunk)

    def clear(self) -> int:
        """Takes everything out of the cache; returns the bytes. Others get at the table between some files and the
        next: half of the time. What cannot be committed ends it."""
        self.flush()
        nothing: list[tuple[str, int]] = []
        files = self._guarded(lambda: [each.file for each in self._table.least_recent()], nothing)
        freed = 0
        for start in range(0, len(files), CLEARED_AT_ONCE):
            began = time.monotonic()
            freed += self._drop(files[start : start + CLEARED_AT_ONCE])
            if self._pause.holds():
                break
            time.sleep(time.monotonic() - began)
        return freed

    @property
    def limit(self) -> int:
        """Bytes of content that the cache may hold."""
        return self._limit

    def used(self) -> int:
        """Bytes of content that the cache holds, with those whose rows are not written yet; counts no rows for it."""
        used, _ = self._guarded(self._table.sums, (0, 0))
        return used + sum(row.length for row in self._pending.values())

    def info(self) -> CacheInfo:
        """What the cache holds. Raises LocalFileError never: a table that cannot be read counts nothing."""
        self.flush()
        used, reserved = self._guarded(self._table.sums, (0, 0))
        files, chunks = self._guarded(self._table.counts, (0, 0))
        return CacheInfo(str(self._directory.path), used, reserved, files, chunks, self._limit)

    def verify(self, progress: Callable[[int, int], None] = lambda done, total: None) -> Verified:
        """Reads every chunk, drops the bad ones and says how many there were. ``progress(done, total)`` in chunks."""
        self.flush()
        return verify(self, self._directory, progress)

    def store_rows(self, rows: list[Row], where: Place, data: bytes | bytearray | memoryview) -> bool:
        """Writes the bytes of ``rows``, which stand at ``where`` one after another; whether that could be done."""
        stored = self._guarded(lambda: self._store_rows(rows, where, data), False)
        if not stored:
            self.refused += len(rows)
        return stored

    def find_rows(self, key: str, extent: int, first: int, stop: int) -> dict[int, ChunkRow]:
        """What a reader needs to use those of the chunks ``[first, stop)`` of an extent that are in the cache."""
        nothing: dict[int, tuple[int, int]] = {}
        rows = self._guarded(lambda: self._table.find_range(key, extent, first, stop), nothing)
        found = {number: ChunkRow(*row) for number, row in rows.items()}
        for (pending, number), row in self._pending.items():
            if pending == key and first <= number < stop:
                found[number] = ChunkRow(row.length, row.checksum)
        return found

    def read_extent(self, key: str, extent: int, length: int) -> bytes:
        """The first ``length`` bytes of an extent's file, fewer where there are no more or none can be read."""
        try:
            descriptor = self._directory.open_to_read(key, extent)
            try:
                return read_all(descriptor, length, 0)
            finally:
                os.close(descriptor)
        except OSError:
            return b""

    def count(self) -> int:
        """How many chunks and pieces have rows."""
        return self._guarded(self._table.counts, (0, 0))[1]

    def rows_after(self, last: Row | None, limit: int) -> list[Row]:
        """The next ``limit`` rows in their order; None begins."""
        nothing: list[Row] = []
        return self._guarded(lambda: self._table.rows_after(last, limit), nothing)

    def has_row(self, row: Row) -> bool:
        """Whether the row exists still."""
        return self._guarded(lambda: self._table.find(row.key, row.extent, row.chunk), None) is not None

    def drop_extent(self, key: str, extent: int) -> None:
        """Takes an extent's file out of the cache. In a pause it stays."""
        self._drop([(key, extent)])

    def _drop(self, files: list[tuple[str, int]]) -> int:
        if self._pause.holds():
            return 0
        return self._guarded(lambda: self._transact(lambda left: self._unlink(files)), 0)

    def _settle(self) -> None:
        if self._pending or self._touched:
            self._guarded(lambda: self._transact(lambda left: None), None)

    def _begin(self, directory: CacheDirectory, patience: float) -> None:
        """Takes up the cache in ``directory``, which is closed when that fails. Raises LocalFileError."""
        try:
            self._table, self._lock, self._owner = take_up(directory, patience)
        except BaseException:
            directory.close()
            raise
        self._directory = directory
        self._removed = False
        self._left = 0  # bytes reserved and not written, nor promised to one that is filled
        self._pending.clear()
        self._touched.clear()
        if self._limit:
            self._guarded(lambda: self._grant(0), None)  # a lower limit than last time holds at once

    def _begin_anew(self) -> bool:
        """Goes over from the directory that was removed to the one that is there now, or makes it, with every check of
        a start; whether that was done. Not while chunks are on their way: what is reserved for them is the old one's,
        and they end soon, for none can be named there. Raises SwiftFSError.
        """
        if self.fillings.under_way:
            return False
        old = self._directory, self._table, self._lock, self._owner
        self._begin(CacheDirectory(self._directory.path), WAIT)
        leave(*old)
        old[0].close()
        return True

    def _store_rows(self, rows: list[Row], where: Place, data: bytes | bytearray | memoryview) -> bool:
        if not self._admits(len(rows), where.length):
            return False
        key = rows[0].key
        try:
            self._write(key, where, data)
        except OSError as error:
            if error.errno not in _DISK_FULL or not self._make_room(where.length):
                raise
            self._write(key, where, data)
        for row in rows:
            if (key, row.chunk) not in self._pending:  # else its bytes are reserved and written a second time
                self._left -= row.length
                self._pending[key, row.chunk] = row
        if len(self._pending) >= FLUSH_ROWS:
            self.flush()
        return True

    def _admits(self, rows: int, length: int) -> bool:
        """Whether so many rows and bytes can be taken now; the bytes are reserved then."""
        if not self._limit or self._pause.holds() or len(self._pending) + rows > MOST_PENDING:
            return False
        if self._removed and not self._begin_anew():
            return False
        if self._left < length and not self._reserved(length):
            self._pause.warn(f"{length} bytes do not fit beside what is reserved and what the disk must keep free")
            return False
        return True

    def _write(self, key: str, where: Place, data: bytes | bytearray | memoryview) -> None:
        """Writes the bytes; when that fails the whole file goes, for its half-written bytes are not counted."""
        self._owner.note(key, where.extent)
        try:
            descriptor = self._directory.open_to_write(key, where.extent)
            try:
                write_all(descriptor, data, where.offset)
            finally:
                os.close(descriptor)
        except OSError:
            self._directory.unlink(key, where.extent)  # first of all: the table may need the room
            self._transact(lambda left: self._unlink([(key, where.extent)]))
            raise

    def _reserved(self, need: int) -> bool:
        """Whether ``need`` bytes are reserved now."""
        return self._grant(need) or (reap(self._directory, self._table) and self._grant(need))

    def _grant(self, need: int) -> bool:
        """Reserves what is wanting to ``need`` bytes, and some more, evicting what must go for it."""

        def act(left: int) -> int:
            used, reserved = self._table.sums()
            plan = reserve(
                max(0, need - left),
                limit=self._limit,
                used=used,
                reserved=reserved,
                disk_free=self._directory.free_bytes(),
                min_free=self._min_free,
            )
            victims = plan_eviction(self._table.least_recent(), plan.evict)
            freed = self._unlink([victim.file for victim in victims])
            granted = plan.granted - max(0, plan.evict - freed)  # what could not be unlinked cannot be granted
            if granted <= 0 or left + granted < need:
                return 0
            self._table.grant(self._owner.name, granted)
            return granted

        granted = self._transact(act)
        self._left += granted
        return self._left >= need

    def _make_room(self, need: int) -> bool:
        """Evicts for a disk that others have filled, once in a while; whether anything went."""
        now = self._clock()
        if now < self._make_room_at:
            return False
        self._make_room_at = now + ROOM_INTERVAL

        def act(left: int) -> int:
            victims = plan_eviction(self._table.least_recent(), max(need, slab(self._limit)))
            return self._unlink([victim.file for victim in victims])

        return self._transact(act) > 0

    def _unlink(self, files: Iterable[tuple[str, int]]) -> int:
        """Deletes files and their rows, inside a transaction; returns the bytes. One that cannot be deleted stays."""
        return sum(self._table.forget(*file) for file in files if self._directory.unlink(*file))

    def _transact(self, act: Callable[[int], R]) -> R:
        """Writes the pending rows and does ``act(bytes reserved and left)``, in one transaction."""
        written = sum(row.length for row in self._pending.values())
        with self._table.transaction():
            counted = self._table.settle(self._pending.values(), self._touched)
            if counted:
                self._table.grant(self._owner.name, -counted)
            left = self._left + written - counted  # what another process counted already is ours to use again
            result = act(left)
        self._left = left
        self._pending.clear()
        self._touched.clear()
        self._owner.settled()
        return result

    def _guarded(self, action: Callable[[], R], otherwise: R) -> R:
        """``action()``, or ``otherwise`` when the disk or the table fails: then nothing is stored for a while."""
        began = self._clock()
        try:
            return action()
        except (OSError, sqlite3.Error, SwiftFSError) as error:
            self._removed = self._directory.removed()
            self._pause.begin(began, str(error))
            return otherwise
