"""What the cache's writer does for pieces: parts of a large object's chunk, each with a row and a checksum of its own.

The pieces of one chunk share a file, which stands under the key of pieces; they are dropped and evicted together.
"""

from __future__ import annotations

from typing import Protocol

from swiftfs.cache.names import PIECE_BYTES, ChunkRow, Place, checksum, chunk_count, piece_place
from swiftfs.cache.table import Row


class Shelf(Protocol):
    """What pieces need of a writer."""

    def store_rows(self, rows: list[Row], where: Place, data: bytes | bytearray | memoryview) -> bool:
        """Writes the bytes of ``rows``, which stand at ``where`` one after another; whether that could be done."""

    def find_rows(self, key: str, extent: int, first: int, stop: int) -> dict[int, ChunkRow]:
        """What a reader needs to use those of the chunks ``[first, stop)`` of an extent that are in the cache."""

    def read_extent(self, key: str, extent: int, length: int) -> bytes:
        """The first ``length`` bytes of an extent's file, fewer where there are no more or none can be read."""

    def drop_extent(self, key: str, extent: int) -> None:
        """Takes an extent's file out of the cache."""


class Pieces:
    """The pieces in the cache of a writer; as for that one, calls must not overlap."""

    def __init__(self, shelf: Shelf, chunk_size: int) -> None:
        self._shelf = shelf
        self._chunk_size = chunk_size

    def store(self, key: str, size: int, first: int, data: bytes | bytearray | memoryview) -> list[ChunkRow] | None:
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
        if not self._shelf.store_rows(rows, whole, data):
            return None
        return [ChunkRow(row.length, row.checksum) for row in rows]

    def find(self, key: str, chunk: int, first: int, stop: int) -> dict[int, ChunkRow]:
        """What a reader needs to use those of the pieces ``[first, stop)`` of ``chunk`` that are in the cache."""
        return self._shelf.find_rows(key, chunk, first, stop)

    def read_head(self, key: str, size: int, chunk: int) -> bytes:
        """The bytes of a chunk from its start up to the first piece that is not in the cache or not sound."""
        per_chunk = self._chunk_size // PIECE_BYTES
        first = chunk * per_chunk
        found = self.find(key, chunk, first, min(first + per_chunk, chunk_count(size, PIECE_BYTES)))
        stop = first
        while stop in found:
            stop += 1
        if stop == first:
            return b""
        data = self._shelf.read_extent(key, chunk, sum(found[number].length for number in range(first, stop)))
        for number in range(first, stop):
            at = (number - first) * PIECE_BYTES
            one = data[at : at + PIECE_BYTES]
            if len(one) != found[number].length or checksum(key, number, one) != found[number].checksum:
                return data[:at]
        return data

    def has(self, key: str, chunk: int) -> bool:
        """Whether any piece of a chunk is in the cache."""
        first, stop = (number * (self._chunk_size // PIECE_BYTES) for number in (chunk, chunk + 1))
        return bool(self.find(key, chunk, first, stop))

    def drop(self, key: str, chunk: int) -> None:
        """Takes the pieces of a chunk out of the cache: one was found bad, or the whole chunk is there."""
        self._shelf.drop_extent(key, chunk)
