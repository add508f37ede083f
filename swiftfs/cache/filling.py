"""A chunk that is written as its bytes come, so that no more of it is in memory than has just arrived.

It is a file without a name until it is whole (open(2), O_TMPFILE): nobody can read a part of it, and whoever gives it
up, or dies, leaves nothing behind.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING, Protocol

from swiftfs.cache.directory import write_all
from swiftfs.cache.names import Checksum, ChunkRow, place
from swiftfs.cache.table import Row

if TYPE_CHECKING:
    from swiftfs.cache.names import Place

log = logging.getLogger(__name__)

SHARE = 1 / 4
"""Part of the cache that chunks may have reserved while their bytes come: what waits for the store must not evict what
is read."""


_NEVER = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EXDEV})
"""What a file system or a kernel says that has no files without a name, or cannot give them one. A full disk, no
descriptor or a removed directory may be over with the next chunk."""

_NAMES = "/proc/self/fd"
"""Where such a file is found to be given a name: without it, none ever is."""


class Shelf(Protocol):
    """What chunks on their way need of a writer."""

    def promise(self, length: int) -> bool:
        """Sets ``length`` reserved bytes aside; whether there can be so many."""

    def give_back(self, length: int) -> None:
        """So many of them are not needed."""

    def open_unnamed(self, key: str) -> int:
        """A descriptor of a new file without a name for an extent of ``key``. Raises OSError."""

    def name(self, descriptor: int, key: str, extent: int) -> None:
        """Gives a file without a name an extent's. Raises OSError."""

    def put_row(self, row: Row) -> None:
        """Takes up a chunk whose bytes were promised and are in its file now."""


class Filling:
    """One chunk on its way into the cache. ``where`` says how long it is; ``descriptor`` is this object's to close."""

    def __init__(self, key: str, chunk: int, where: Place, descriptor: int) -> None:
        self.key = key
        self.chunk = chunk
        self.where = where
        self.descriptor = descriptor
        self._checksum = Checksum(key, chunk, where.length)
        self._written = 0
        self._failed = False

    def write(self, data: bytes) -> bool:
        """The next bytes; False once the disk has refused some, or when there are more than the chunk has."""
        if not self._failed:
            try:
                write_all(self.descriptor, data, self.where.offset + self._written)
            except OSError:
                self._failed = True
            self._written += len(data)
            self._checksum.update(data)
        return not self._failed and self._written <= self.where.length

    def row(self) -> Row | None:
        """The row of the whole chunk; None when it is not whole."""
        if self._failed or self._written != self.where.length:
            return None
        where = self.where
        return Row(self.key, where.extent, self.chunk, where.offset, where.length, self._checksum.value())

    def close(self) -> None:
        """Let go of the file; without a name it is gone then."""
        os.close(self.descriptor)


class Fillings:
    """The chunks that are on their way into the cache of a writer; as for that one, calls must not overlap."""

    def __init__(self, shelf: Shelf, limit: int, chunk_size: int) -> None:
        self._shelf = shelf
        self._limit = limit
        self._chunk_size = chunk_size
        self._open: set[Filling] = set()
        self._works = True

    @property
    def under_way(self) -> int:
        """How many chunks are on their way."""
        return len(self._open)

    def begin(self, key: str, size: int, chunk: int) -> Filling | None:
        """A place for chunk ``chunk`` of an object of ``size`` bytes, to be filled, then finished or abandoned.

        None when it must come all at once (``Writer.store``): there is little room, or the disk is sick or has no files
        without a name.
        """
        where = place(size, chunk, self._chunk_size)
        promised = sum(filling.where.length for filling in self._open)
        if not self._works or promised + where.length > SHARE * self._limit or not self._shelf.promise(where.length):
            return None
        try:
            filling = Filling(key, chunk, where, self._shelf.open_unnamed(key))
        except OSError as error:
            self._shelf.give_back(where.length)
            self._failed(error)
            return None
        self._open.add(filling)
        return filling

    def finish(self, filling: Filling) -> ChunkRow | None:
        """The chunk is whole, and its bytes are right: puts it into the cache. None when it is not, or cannot be."""
        row = filling.row()
        if row is None:
            return None
        try:
            self._shelf.name(filling.descriptor, row.key, row.extent)
        except OSError as error:
            self._failed(error)
            return None
        self._open.discard(filling)
        filling.close()
        self._shelf.put_row(row)
        return ChunkRow(row.length, row.checksum)

    def abandon(self, filling: Filling) -> None:
        """Lets go of what was written, if it has not been finished."""
        if filling in self._open:
            self._open.discard(filling)
            self._shelf.give_back(filling.where.length)
            filling.close()

    def close(self) -> None:
        """Abandons all."""
        for filling in list(self._open):
            self.abandon(filling)

    def _failed(self, error: OSError) -> None:
        """A chunk that is whole and cannot be named is fetched a second time: that is not to happen again and again."""
        if error.errno in _NEVER or not os.path.exists(_NAMES):
            log.info("chunks are taken all at once from now on: %s", error)
            self._works = False
        else:
            log.info("a chunk is taken all at once: %s", error)
