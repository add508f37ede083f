"""The cache as the file system process reads it: bytes that passed their checksum, or a miss.

Read-only. Every failure of the disk, of the table or of the bytes is a miss; what is gone or damaged is also reported,
so that a writer drops it. A chunk's checksum is checked once for each time its file is opened: an open file is one
file for good, while a name may come to stand for another one.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from swiftfs.cache.directory import DAMAGE, CacheDirectory, read_all
from swiftfs.cache.names import (
    DEFAULT_CHUNK_SIZE,
    PIECE_BYTES,
    ChunkRow,
    Place,
    checksum,
    piece_place,
    place,
)
from swiftfs.cache.table import FIND, FIND_RANGE, WAIT
from swiftfs.errors import SwiftFSError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

WHOLE_BYTES = 256 << 10
"""Objects up to this size are read and checked whole each time and not kept open: two reads of the kernel at most."""

OPEN_FILES = 512
"""Files kept open, and known to be sound: 4 GiB of a large object that is read at random. Half of the 1,024 descriptors
that a process may have by default."""

ADMITTED_CHUNKS = 65_536
"""Chunks known by message only; their rows follow within a second, so this is far more than are under way."""

TABLE_RETRY = 1.0
"""Seconds between two tries to open a table that is absent or unreadable."""


class _UnsoundError(Exception):
    """The bytes are not those that the row speaks of."""


class Reader:
    """Reads one cache. Use it from one thread; ``close`` it. No method raises for a failing disk.

    ``blind`` tells after a miss whether it says nothing about the bytes: they could not be looked at just then.
    """

    def __init__(
        self,
        path: Path,
        *,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        open_files: int = OPEN_FILES,
        on_bad: Callable[[str, int], None] = lambda key, chunk: None,
        on_bad_pieces: Callable[[str, int], None] = lambda key, chunk: None,
    ) -> None:
        """Opens the cache at ``path``.

        ``on_bad(key, chunk)`` is called for what a writer should ``drop``, ``on_bad_pieces`` for ``drop_pieces``.

        Raises ConfigError when the directory is not safe to use and LocalFileError when it cannot be used.
        """
        self.blind = False
        self._directory = CacheDirectory(path)
        self._chunk_size = chunk_size
        self._open_files = open_files
        self._on_bad = on_bad
        self._on_bad_pieces = on_bad_pieces
        self._table: sqlite3.Connection | None = None
        self._table_file: os.stat_result | None = None
        self._table_retry = 0.0
        self._files: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._admitted: OrderedDict[tuple[str, int], ChunkRow] = OrderedDict()

    def close(self) -> None:
        """Closes all files."""
        self._close_files(keep=0)
        self._close_table()
        self._directory.close()

    def admit(self, key: str, chunk: int, row: ChunkRow) -> None:
        """Takes a writer's word that the chunk is there, also before its row is."""
        self._admitted[key, chunk] = row
        self._admitted.move_to_end((key, chunk))
        if len(self._admitted) > ADMITTED_CHUNKS:
            self._admitted.popitem(last=False)

    def find(self, key: str, chunk: int) -> ChunkRow | None:
        """What is known of the chunk; None when it is not in the cache."""
        return self._admitted.get((key, chunk)) or self._row(key, chunk)

    def holds(self, key: str, chunk: int) -> bool:
        """Whether the chunk is in the cache by its table: an announced one may have been evicted again since. One that
        came within the last moments is not in the table yet; asking for it again costs no request."""
        return self._row(key, chunk) is not None

    def read(self, key: str, size: int, chunk: int, start: int, stop: int) -> bytes | None:
        """The bytes ``[start, stop)`` of chunk ``chunk`` of an object of ``size`` bytes; None for a miss.

        ``start`` and ``stop`` count from the chunk's first byte. Raises ValueError when the object has no such bytes.
        """
        where = place(size, chunk, self._chunk_size)
        if not 0 <= start <= stop <= where.length:
            raise ValueError(f"chunk {chunk} of {size} bytes has no bytes [{start}, {stop})")
        self.blind = False
        if size <= WHOLE_BYTES:
            data = self._read_once(key, chunk, where)
            return data if data is None or stop - start == where.length else data[start:stop]
        at = (key, where.extent)
        # One that was open may have been evicted and fetched anew since: then its name stands for another file now.
        for is_last in (False, True) if at in self._files else (True,):
            try:
                return self._read_open(key, chunk, where, start, stop)
            except (OSError, _UnsoundError) as error:
                self._close_file(at)
                if is_last:
                    self._missed(key, chunk, error)
        return None

    def find_pieces(self, key: str, chunk: int, first: int, stop: int) -> dict[int, ChunkRow]:
        """What is known of those of the pieces ``[first, stop)`` of a chunk that are in the cache.

        ``key`` is the key of pieces.
        """
        found = {}
        if self._table is not None or self._open_table():
            assert self._table is not None
            try:
                for number, *row in self._table.execute(FIND_RANGE, (bytes.fromhex(key), chunk, first, stop)):
                    found[number] = ChunkRow(*row)
            except sqlite3.Error:
                self._close_table()
        if len(found) < stop - first:
            for number in range(first, stop):
                row = self._admitted.get((key, number))
                if row is not None:
                    found[number] = row
        return found

    def read_pieces(self, key: str, size: int, chunk: int, first: int, stop: int) -> dict[int, bytes]:
        """The bytes of those of the pieces ``[first, stop)`` of a chunk that are in the cache and pass their checksum.

        ``key`` is the key of pieces. Each piece is checked each time: that takes a microsecond.
        """
        self.blind = False
        rows = self.find_pieces(key, chunk, first, stop)
        if not rows:
            return {}
        at = (key, chunk)
        if at in self._files:  # it may have been evicted and made anew since: then its name stands for another file
            pieces = self._sound_pieces(key, size, chunk, rows)
            if pieces is not None and len(pieces) == len(rows):
                return pieces
            self._close_file(at)
        pieces = self._sound_pieces(key, size, chunk, rows)
        if pieces is None or len(pieces) < len(rows):
            self._close_file(at)
        if pieces is None:
            self.blind = True
            return {}
        if len(pieces) < len(rows):
            for number in rows:
                self._admitted.pop((key, number), None)
            if any(number not in pieces for number in self.find_pieces(key, chunk, min(rows), max(rows) + 1)):
                log.info("pieces of chunk %d of %s in the cache are not usable and are fetched anew", chunk, key)
                self._on_bad_pieces(key, chunk)
        return pieces

    def _sound_pieces(self, key: str, size: int, chunk: int, rows: dict[int, ChunkRow]) -> dict[int, bytes] | None:
        """Those of the pieces in ``rows`` whose bytes pass, through a file that stays open; None when it cannot be
        looked at just now."""
        at = (key, chunk)
        first, last = min(rows), max(rows)
        where = piece_place(size, first, self._chunk_size)
        try:
            descriptor = self._files.get(at)
            if descriptor is None:
                descriptor = self._files[at] = self._open(key, chunk)
                self._close_files(keep=self._open_files)
            else:
                self._files.move_to_end(at)
            data = read_all(descriptor, (last - first + 1) * PIECE_BYTES, where.offset)
        except OSError as error:
            return {} if error.errno in DAMAGE else None
        sound = {}
        for number, row in rows.items():
            start = (number - first) * PIECE_BYTES
            one = data[start : start + row.length]
            if len(one) == row.length and checksum(key, number, one) == row.checksum:
                sound[number] = one
        return sound

    def release_evicted(self) -> int:
        """Closes the files that were evicted while open, so that the disk gets their bytes back; returns how many.

        To be called about once a second. It also notices when the table or the whole directory was made anew.
        """
        self.follow()
        evicted = [at for at, descriptor in self._files.items() if not os.fstat(descriptor).st_nlink]
        for at in evicted:
            self._close_file(at)
        if self._table_file is not None:
            try:
                same = os.path.samestat(self._table_file, os.stat(self._directory.table_path))
            except OSError:
                same = False
            if not same:
                self._close_table()
        return len(evicted)

    def follow(self) -> None:
        """Goes over to the directory that is there now, when it is another one: a writer whose cache was removed does
        so before it says what is in there. Stays where it is when that one is not safe to use.
        """
        if not self._directory.replaced():
            return
        try:
            directory = CacheDirectory(self._directory.path)
        except SwiftFSError as error:
            log.info("the new cache directory is not used: %s", error)
            return
        self._close_files(keep=0)
        self._close_table()
        self._table_retry = 0.0
        self._directory.close()
        self._directory = directory

    def _read_once(self, key: str, chunk: int, where: Place) -> bytes | None:
        """The whole chunk through a file that is opened for it alone."""
        row = self.find(key, chunk)
        if row is None:
            return None
        try:
            descriptor = self._open(key, where.extent)
            try:
                return _sound(descriptor, key, chunk, where, row)
            finally:
                os.close(descriptor)
        except (OSError, _UnsoundError) as error:
            self._missed(key, chunk, error)
            return None

    def _read_open(self, key: str, chunk: int, where: Place, start: int, stop: int) -> bytes | None:
        """A part of a chunk through a file that stays open, for it was sound; None when it is not there. Raises
        _UnsoundError or OSError."""
        at = (key, where.extent)
        descriptor = self._files.get(at)
        if descriptor is None:
            row = self.find(key, chunk)
            if row is None:
                return None
            self._files[at] = descriptor = self._open(key, where.extent)
            self._close_files(keep=self._open_files)
            return _sound(descriptor, key, chunk, where, row)[start:stop]
        self._files.move_to_end(at)
        data = read_all(descriptor, stop - start, where.offset + start)
        if len(data) != stop - start:
            raise _UnsoundError("the file was cut")
        return data

    def _open(self, key: str, extent: int) -> int:
        """A descriptor of the file; gives up those kept open when there are too many. Raises OSError."""
        try:
            return self._directory.open_to_read(key, extent)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        self._close_files(keep=0)
        return self._directory.open_to_read(key, extent)

    def _missed(self, key: str, chunk: int, error: Exception) -> None:
        """Forgets the word that the chunk is there; where the table says so too, it is wrong and is reported.

        An evicted file is an ordinary miss: its rows went before it. So is a file that cannot be looked at just now.
        """
        if isinstance(error, OSError) and error.errno not in DAMAGE:
            self.blind = True
            return
        self._admitted.pop((key, chunk), None)
        if self._row(key, chunk) is not None:
            log.info("chunk %d of %s in the cache is not usable and is fetched anew: %s", chunk, key, error)
            self._on_bad(key, chunk)

    def _row(self, key: str, chunk: int) -> ChunkRow | None:
        if self._table is None and not self._open_table():
            return None
        assert self._table is not None
        try:
            row = self._table.execute(FIND, (bytes.fromhex(key), chunk, chunk)).fetchone()
        except sqlite3.Error:
            self._close_table()
            return None
        return ChunkRow(*row) if row else None

    def _open_table(self) -> bool:
        now = time.monotonic()
        if now < self._table_retry:
            return False
        self._table_retry = now + TABLE_RETRY
        path = self._directory.table_path
        try:
            self._table_file = os.stat(path)
            self._table = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT, isolation_level=None
            )
        except (OSError, sqlite3.Error):
            self._close_table()
            return False
        return True

    def _close_table(self) -> None:
        if self._table is not None:
            self._table.close()
        self._table = self._table_file = None

    def _close_file(self, at: tuple[str, int]) -> None:
        descriptor = self._files.pop(at, None)
        if descriptor is not None:
            os.close(descriptor)

    def _close_files(self, keep: int) -> None:
        while len(self._files) > keep:
            _, descriptor = self._files.popitem(last=False)
            os.close(descriptor)


def _sound(descriptor: int, key: str, chunk: int, where: Place, row: ChunkRow) -> bytes:
    """The chunk's bytes when they pass the checksum. Raises _UnsoundError or OSError."""
    data = read_all(descriptor, where.length, where.offset)
    if len(data) != row.length or checksum(key, chunk, data) != row.checksum:
        raise _UnsoundError("its checksum is wrong")
    return data
