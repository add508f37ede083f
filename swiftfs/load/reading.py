"""Read and hash source objects in threads, and check that what was read is one version of them.

The functions block and are called in the loader's pool; :class:`SourceBody` is their face towards the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard, cast

from swiftfs.errors import Changed, Interrupted
from swiftfs.load.held import ByteBudget
from swiftfs.load.segments import places
from swiftfs.model import ByteRange

if TYPE_CHECKING:
    from swiftfs.load.journal import Journal
    from swiftfs.load.source import OpenedSource, Seekable, SourceObject
    from swiftfs.load.tally import Tally

SMALL = 4 * 1024 * 1024
"""Bytes up to which an object is read once, hashed and sent from memory, as far as there is memory for them."""
PIECE = 1024 * 1024
"""Bytes read at once of a larger object: a switch between threads per MiB costs nothing beside the MiB."""
SLICE = 256 * 1024
"""Bytes of a body in memory that are handed over at once."""


@dataclass(frozen=True, slots=True)
class Content:
    """The whole of a small object and its MD5."""

    body: bytes
    md5: str


def is_seekable(source: SourceObject) -> TypeGuard[Seekable]:
    """Whether the object can be read from any byte: a file can, a member of an archive cannot."""
    return hasattr(source, "identity")


def read_whole(source: SourceObject, journal: Journal | None = None) -> Content:
    """A small object's bytes and MD5, noted in the journal. Raises Changed, LocalFileError."""
    identity = None if journal is None else _identity(source)
    opened = source.open()
    try:
        body = opened.read(source.size + 1)
        # Until an empty read: a source that goes on after its size is not what was planned.
        while len(body) <= source.size and (piece := opened.read(source.size + 1 - len(body))):
            body += piece
        if len(body) != source.size:
            raise Changed("changed while it was read")
        opened.settle()
    finally:
        opened.close()
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
    if journal is not None and identity is not None:
        journal.note(source.name, identity, md5)
    return Content(body, md5)


def _identity(source: SourceObject) -> tuple[str, int] | None:
    """Of a file; None for what comes out of an archive or a stream, and has to be read to be known."""
    return source.identity() if is_seekable(source) else None


def digest(source: SourceObject, halted: threading.Event) -> str:
    """The MD5 of an object of any size. Raises Changed, LocalFileError, and Interrupted once ``halted`` is set."""
    return digest_parts(source, [source.size], halted)[0]


def known_digest(source: SourceObject, halted: threading.Event, journal: Journal) -> str:
    """As :func:`digest`, from the journal when that knows the file as it is."""
    if (identity := _identity(source)) is None:
        return digest(source, halted)
    if (md5 := journal.known(source.name, identity[0])) is None:
        md5 = digest(source, halted)
        journal.note(source.name, identity, md5)
    return md5


def fill(source: Seekable, start: int, buffer: memoryview) -> str:
    """Fill ``buffer`` with the part of that length; returns its MD5. Raises Changed, LocalFileError."""
    opened = source.open(start)
    done = 0
    try:
        while done < len(buffer) and (count := opened.readinto(buffer[done:])):
            done += count
        if done < len(buffer):
            raise Changed("changed while it was read")
        opened.settle()
    finally:
        opened.close()
    return hashlib.md5(buffer, usedforsecurity=False).hexdigest()


def digest_span(source: Seekable, span: ByteRange, halted: threading.Event) -> str:
    """The MD5 of a part. Raises Changed, LocalFileError, and Interrupted once ``halted`` is set."""
    opened = source.open(span.start)
    try:
        md5 = _digest_next(opened, len(span), halted)
        opened.settle()
    finally:
        opened.close()
    return md5


def _digest_next(opened: OpenedSource, left: int, halted: threading.Event) -> str:
    """The MD5 of the next ``left`` bytes."""
    md5 = hashlib.md5(usedforsecurity=False)
    while left and (piece := opened.read(min(PIECE, left))):
        left -= len(piece)
        md5.update(piece)
        if halted.is_set():
            raise Interrupted("stopped while hashing")
    if left:
        raise Changed("changed while it was read")
    return md5.hexdigest()


def fill_next(opened: OpenedSource, buffer: memoryview) -> tuple[int, str]:
    """Fill ``buffer`` with what comes next, less only at the end; how much that is, and its MD5.

    Raises Changed, LocalFileError.
    """
    done = 0
    while done < len(buffer) and (piece := opened.read(min(PIECE, len(buffer) - done))):
        buffer[done : done + len(piece)] = piece
        done += len(piece)
    return done, hashlib.md5(buffer[:done], usedforsecurity=False).hexdigest()


def digest_parts(source: SourceObject, sizes: Sequence[int], halted: threading.Event) -> list[str]:
    """The MD5s of the consecutive parts that make an object, which is read once. Raises as :func:`digest`."""
    opened = source.open()
    try:
        md5s = [_digest_next(opened, size, halted) for size in sizes]
        if opened.read(1):
            raise Changed("changed while it was read")
        opened.settle()
    finally:
        opened.close()
    return md5s


def hash_parts(source: Seekable, sizes: Sequence[int], halted: threading.Event, journal: Journal) -> list[str]:
    """The MD5s of the parts of these sizes, one after the other, from the journal where it knows them.

    Raises as :func:`digest`.
    """
    identity = source.identity()
    md5s: list[str] = []
    start = 0
    for place, size in zip(places(sizes), sizes, strict=True):
        md5 = None
        if place is not None and identity is not None:
            md5 = journal.known(source.name, identity[0], *place)
        if md5 is None:
            md5 = digest_span(source, ByteRange(start, start + size), halted)
            if place is not None and identity is not None:
                journal.note(source.name, identity, md5, *place)
        md5s.append(md5)
        start += size
    return md5s


class HeldBody:
    """Bytes in memory as a body, handed over in slices: one large write would be copied into the socket's buffer."""

    def __init__(self, body: memoryview) -> None:
        self._body = body

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self._body)

    async def open(self) -> AsyncIterator[memoryview]:
        """The slices from the first on."""
        for start in range(0, len(self._body), SLICE):
            yield self._body[start : start + SLICE]


class Buffers:
    """At most ``limit`` bytes of memory, or a single larger piece, that are used again and again.

    Memory of this size that comes and goes in threads is kept by the allocator for each of them: several times as much.
    """

    def __init__(self, limit: int) -> None:
        self._budget = ByteBudget(limit)
        self._free: list[bytearray] = []

    def would_wait(self, size: int) -> bool:
        """Whether so many bytes would have to be waited for."""
        return self._budget.would_wait(size)

    @contextlib.asynccontextmanager
    async def take(self, size: int) -> AsyncIterator[memoryview]:
        """``size`` bytes of memory for a while."""
        await self._budget.take(size)
        try:
            memory = self._free.pop() if self._free else bytearray()
            if len(memory) < size:
                self._free.clear()  # of another size, too
                memory = bytearray(size)
            yield memoryview(memory)[:size]
            self._free.append(memory)  # not after a failure: a request that broke off may still hold it
        finally:
            self._budget.give(size)


class SourceBody:
    """A large object, or the part ``span`` of it, as a body: opened anew for each attempt, read in ``pool``.

    The last piece goes out only when the source is still what it was, so a source that changes underneath ends the
    request short and the store keeps nothing of it.
    """

    def __init__(
        self, source: SourceObject | Seekable, pool: Executor, tally: Tally, span: ByteRange | None = None
    ) -> None:
        self._size = source.size if span is None else len(span)
        self._open: Callable[[], OpenedSource] = source.open
        if span is not None:
            self._open = functools.partial(cast("Seekable", source).open, span.start)
        self._pool = pool
        self._tally = tally
        self._counted = 0
        self._opened: OpenedSource | None = None

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return self._size

    async def open(self) -> AsyncIterator[bytes]:
        """The pieces from the first on. Raises Changed, LocalFileError."""
        self.close()
        loop = asyncio.get_running_loop()
        opened = self._opened = await loop.run_in_executor(self._pool, self._open)
        left = self.size
        while left:
            piece = await loop.run_in_executor(self._pool, opened.read, min(PIECE, left))
            if not piece:
                raise Changed("changed while it was read")
            left -= len(piece)
            if not left:
                opened.settle()
            self._counted += len(piece)
            self._tally.moved += len(piece)
            yield piece

    def close(self) -> None:
        """Close the source and take back what was counted as moved: nothing of an attempt counts but a success."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        self._tally.moved -= self._counted
        self._counted = 0
