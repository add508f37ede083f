"""Reads of large objects: which bytes to ask for, and bytes that are cached or fetched in pieces.

A part of a chunk comes from the chunk where the cache holds that, else from its pieces. What is missing is fetched in
pieces or with its whole chunk, as :class:`swiftfs.fs.pattern.Pattern` plans.

What the disk does not take is fetched in pieces always, and not ahead: a whole chunk, or several of them, would push
each other out of memory before they are read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Container
from typing import TYPE_CHECKING, Protocol, TypeVar

from swiftfs.cache.names import PIECE_BYTES
from swiftfs.fetch.protocol import READAHEAD, Bad, HavePieces, Message, Want, Wants
from swiftfs.fs.pattern import LONGEST_WINDOW, Pattern, Plan

if TYPE_CHECKING:
    from swiftfs.cache.reader import Reader as CacheReader
    from swiftfs.fs.file import File
    from swiftfs.fs.unstored import Unstored

KEPT_PATTERNS = 256
"""Large objects whose reading is watched."""
READ_ATTEMPTS = 3
"""Times bytes are asked for when the cache had them and lost them again (evicted or damaged between two lines)."""

T = TypeVar("T")


class PieceFetcher(Protocol):
    """What reading in pieces needs of the fetch process."""

    async def pieces(self, want: Want) -> list[HavePieces]: ...

    def ask(self, message: Message) -> None: ...


class Waiting(Protocol):
    """What a reader goes through who waits for the store: counted, measured, its errors told in the tree's terms."""

    def hit(self, key: str, chunk: int) -> None: ...

    def miss(self, file: File, chunk: int) -> None: ...

    async def wait(self, file: File, chunk: int, fetch: Callable[[], Awaitable[T]]) -> T: ...


class Ranges:
    """Reads parts of large objects. ``streams`` chunks may be ahead of a reader at the most."""

    def __init__(
        self,
        cache: CacheReader,
        fetcher: PieceFetcher,
        waiting: Waiting,
        unstored: Unstored,
        *,
        chunk_size: int,
        streams: int,
    ) -> None:
        self._cache = cache
        self._unstored = unstored
        self._fetcher = fetcher
        self._waiting = waiting
        self._chunk_size = chunk_size
        self._streams = streams
        self._patterns: OrderedDict[int, Pattern] = OrderedDict()

    def plan(self, file: File, offset: int, stop: int) -> Plan:
        """What to fetch for a read of ``[offset, stop)``; asks for what to have ahead. Never waits."""
        plan = self._pattern(file).read(offset, stop)
        if self._unstored.needed:
            return plan
        missing = [number for number in plan.ahead if not self._cache.find(file.key, number)]
        if missing:
            self._fetcher.ask(Wants([file.want(number, number + 1, READAHEAD) for number in missing]))
            for number in missing:
                self._pattern(file).fetched_chunk(number)
        return plan

    async def read(self, file: File, chunk: int, start: int, stop: int, plan: Plan) -> bytes | None:
        """Bytes ``[start, stop)`` of one chunk from its pieces, fetched where they are missing.

        None when the whole chunk is to be fetched for them. Raises as :meth:`swiftfs.fs.vfs.Vfs.read`.
        """
        base = chunk * self._chunk_size
        length = min(self._chunk_size, file.size - base)
        first, last = (base + start) // PIECE_BYTES, -(-(base + stop) // PIECE_BYTES)
        pieces: dict[int, bytes] = {}
        for attempt in range(READ_ATTEMPTS):
            pieces |= self._cache.read_pieces(file.pieces_key, file.size, chunk, first, last)
            blind = self._cache.blind
            pieces |= self._in_memory(file, pieces, first, last)
            missing = [piece for piece in range(first, last) if piece not in pieces]
            if not missing:
                if attempt == 0:
                    self._waiting.hit(file.pieces_key, chunk)
                data = b"".join(pieces[piece] for piece in range(first, last))
                skipped = base + start - first * PIECE_BYTES
                return data[skipped : skipped + stop - start]
            if attempt == 0:
                to_disk = not self._unstored.needed
                if to_disk and (plan.whole or stop - start == length):
                    self._pattern(file).fetched_chunk(chunk)
                    return None
                more = base + stop + LONGEST_WINDOW if plan.whole else plan.stop
                missing = self._with_more(file, chunk, missing, min(more, base + length))
                if to_disk and self._pattern(file).is_dense(chunk, len(missing) * PIECE_BYTES):
                    self._pattern(file).fetched_chunk(chunk)
                    return None
                self._waiting.miss(file, chunk)
            else:
                whole = self._cache.read(file.key, file.size, chunk, start, stop)
                if whole is not None:  # it came meanwhile, and its pieces went
                    return whole
                if not blind:  # they were said to be there and are not usable: without this it would be said again
                    self.bad(file.pieces_key, chunk)
            want = file.want_pieces(missing[0], missing[-1] + 1)
            self._pattern(file).fetched_pieces(chunk, (want.stop - want.first) * PIECE_BYTES)
            for have in await self._waiting.wait(file, chunk, lambda want=want: self._fetcher.pieces(want)):  # type: ignore[misc]
                if have.data is not None:
                    pieces |= cut(have.first, have.data)
        return None  # the cache loses them again and again: a whole chunk can come in the answer

    def bad(self, key: str, chunk: int) -> None:
        """The cache's reader found pieces of a chunk damaged or gone; ``key`` is the key of pieces."""
        self._fetcher.ask(Bad(key, chunk, pieces=True))

    def _with_more(self, file: File, chunk: int, missing: list[int], stop: int) -> list[int]:
        """The ``missing`` pieces, and those beyond, up to the offset ``stop``, that are missing too."""
        after, end = missing[-1] + 1, -(-stop // PIECE_BYTES)
        if end <= after:
            return missing
        there = self._cache.find_pieces(file.pieces_key, chunk, after, end)
        return missing + [
            piece
            for piece in range(after, end)
            if piece not in there and not self._unstored.holds(file.pieces_key, piece)
        ]

    def _in_memory(self, file: File, known: Container[int], first: int, last: int) -> dict[int, bytes]:
        """Those of the pieces ``[first, last)`` that memory holds and that are not ``known``."""
        found = {}
        for piece in range(first, last):
            if piece not in known and (data := self._unstored.get(file.pieces_key, piece)) is not None:
                found[piece] = data
        return found

    def _pattern(self, file: File) -> Pattern:
        pattern = self._patterns.get(file.ino)
        if pattern is None:
            pattern = self._patterns[file.ino] = Pattern(file.size, self._chunk_size, self._streams)
            if len(self._patterns) > KEPT_PATTERNS:
                self._patterns.popitem(last=False)
        else:
            self._patterns.move_to_end(file.ino)
        return pattern


def cut(first: int, data: bytes) -> dict[int, bytes]:
    """The pieces of a run that begins with the piece ``first``."""
    return {first + at // PIECE_BYTES: data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)}
