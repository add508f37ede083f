"""What the cache's writer does for pieces: parts of a large object's chunk, each with a row and a checksum of its own.

The pieces of one chunk share a file, which stands under the key of pieces; they are dropped and evicted together.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from swiftfs.cache.directory import read_all
from swiftfs.cache.names import PIECE_BYTES, Place, checksum, chunk_count, piece_place
from swiftfs.cache.table import Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from swiftfs.cache.directory import CacheDirectory
    from swiftfs.cache.table import Table

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Stored:
    """A chunk that is in the cache now: what a reader needs to use it before its row is written."""

    length: int
    checksum: int


class PieceWriter:
    """The part of :class:`swiftfs.cache.writer.Writer` that knows pieces."""

    refused: int
    _chunk_size: int
    _directory: CacheDirectory
    _table: Table
    _pending: dict[tuple[str, int], Row]

    def store_pieces(
        self, key: str, size: int, first: int, data: bytes | bytearray | memoryview
    ) -> list[Stored] | None:
        """Stores the pieces from number ``first`` on, all of one chunk, under the key of pieces; None when it cannot.

        ``data`` is whole pieces, the object's last one cut at its end; ValueError for anything else.
        """
        stop = first + -(-len(data) // PIECE_BYTES)
        where = piece_place(size, first, self._chunk_size)
        last = piece_place(size, stop - 1, self._chunk_size)
        if last.extent != where.extent or last.offset + last.length - where.offset != len(data):
            raise ValueError(f"{len(data)} bytes are not the pieces from {first} on of one chunk of {size} bytes")
        whole = Place(where.extent, where.offset, len(data))
        view = memoryview(data)
        cut = [view[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)]
        rows = [
            Row(key, where.extent, first + n, where.offset + n * PIECE_BYTES, len(one), checksum(key, first + n, one))
            for n, one in enumerate(cut)
        ]
        if not self._guarded(lambda: self._store_rows(rows, whole, data), False):
            self.refused += len(rows)
            return None
        return [Stored(row.length, row.checksum) for row in rows]

    def find_pieces(self, key: str, chunk: int, first: int, stop: int) -> dict[int, Stored]:
        """What a reader needs to use those of the pieces ``[first, stop)`` of ``chunk`` that are in the cache."""
        nothing: dict[int, tuple[int, int]] = {}
        rows = self._guarded(lambda: self._table.find_range(key, chunk, first, stop), nothing)
        found = {number: Stored(*row) for number, row in rows.items()}
        for number in range(first, stop) if self._pending else ():
            row = self._pending.get((key, number))
            if row is not None:
                found[number] = Stored(row.length, row.checksum)
        return found

    def read_head(self, key: str, size: int, chunk: int) -> bytes:
        """The bytes of a chunk from its start up to the first piece that is not in the cache or not sound."""
        per_chunk = self._chunk_size // PIECE_BYTES
        first = chunk * per_chunk
        found = self.find_pieces(key, chunk, first, min(first + per_chunk, chunk_count(size, PIECE_BYTES)))
        stop = first
        while stop in found:
            stop += 1
        if stop == first:
            return b""
        try:
            descriptor = self._directory.open_to_read(key, chunk)
            try:
                data = read_all(descriptor, sum(found[number].length for number in range(first, stop)), 0)
            finally:
                os.close(descriptor)
        except OSError:
            return b""
        for number in range(first, stop):
            at = (number - first) * PIECE_BYTES
            one = data[at : at + PIECE_BYTES]
            if len(one) != found[number].length or checksum(key, number, one) != found[number].checksum:
                return data[:at]
        return data

    def has_pieces(self, key: str, chunk: int) -> bool:
        """Whether any piece of a chunk is in the cache."""
        first, stop = (number * (self._chunk_size // PIECE_BYTES) for number in (chunk, chunk + 1))
        return bool(self.find_pieces(key, chunk, first, stop))

    def drop_pieces(self, key: str, chunk: int) -> None:
        """Takes the pieces of a chunk out of the cache: one was found bad, or the whole chunk is there."""
        self._drop(key, chunk)

    def _store_rows(self, rows: list[Row], where: Place, data: bytes | bytearray | memoryview) -> bool:
        raise NotImplementedError

    def _drop(self, key: str, extent: int) -> None:
        raise NotImplementedError

    def _guarded(self, action: Callable[[], R], otherwise: R) -> R:
        raise NotImplementedError
