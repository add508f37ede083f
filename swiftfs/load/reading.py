"""Read and hash source objects in threads, and check that what was read is one version of them.

The functions block and are called in the loader's pool; :class:`SourceBody` is their face towards the store.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftfs.errors import Changed, Interrupted

if TYPE_CHECKING:
    from swiftfs.load.source import OpenedSource, SourceObject
    from swiftfs.load.tally import Tally

SMALL = 4 * 1024 * 1024
"""Bytes up to which an object is read once, hashed and sent from memory; with 32 transfers that is 128 MiB at most."""
PIECE = 1024 * 1024
"""Bytes read at once of a larger object: a switch between threads per MiB costs nothing beside the MiB."""


@dataclass(frozen=True, slots=True)
class Content:
    """The whole of a small object and its MD5."""

    body: bytes
    md5: str


def read_whole(source: SourceObject) -> Content:
    """A small object's bytes and MD5. Raises Changed, LocalFileError."""
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
    return Content(body, hashlib.md5(body, usedforsecurity=False).hexdigest())


def digest(source: SourceObject, halted: threading.Event) -> str:
    """The MD5 of an object of any size. Raises Changed, LocalFileError, and Interrupted once ``halted`` is set."""
    opened = source.open()
    md5 = hashlib.md5(usedforsecurity=False)
    left = source.size
    try:
        while piece := opened.read(PIECE):
            left -= len(piece)
            if left < 0:
                break
            md5.update(piece)
            if halted.is_set():
                raise Interrupted("stopped while hashing")
        if left:
            raise Changed("changed while it was read")
        opened.settle()
    finally:
        opened.close()
    return md5.hexdigest()


class SourceBody:
    """A large object as a body: opened anew for each attempt, read in ``pool``, checked before its last piece is out.

    The last piece goes out only when the source is still what it was, so a source that changes underneath ends the
    request short and the store keeps nothing of it.
    """

    def __init__(self, source: SourceObject, pool: Executor, tally: Tally) -> None:
        self._source = source
        self._pool = pool
        self._tally = tally
        self._counted = 0
        self._opened: OpenedSource | None = None

    @property
    def size(self) -> int:
        """Bytes of the source object."""
        return self._source.size

    async def open(self) -> AsyncIterator[bytes]:
        """The pieces from the first on. Raises Changed, LocalFileError."""
        self.close()
        loop = asyncio.get_running_loop()
        opened = self._opened = await loop.run_in_executor(self._pool, self._source.open)
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
