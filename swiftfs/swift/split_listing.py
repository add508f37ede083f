"""A long listing asked for in several ranges at once, handed over in order.

The ranges begin at the top level's names. A range that has ended takes over the upper half of one that has not; where
the names' middle is a bad guess, the next half is smaller. Pages that come before their turn wait in a file without a
name, so memory does not grow with the listing.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import tempfile
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import IO, Protocol

import msgspec

from swiftfs.model import ListingEntry, Subdir
from swiftfs.swift.split import LAST_CHARACTER, first_cuts, marker_before, midpoint

SPLIT_FROM = 50_000
"""Names from which on a listing is split: below, it is a handful of pages."""
RANGES = 8
"""Ranges asked for at once: listings are the dearest requests that a container server has."""
AT_HAND = 2
"""Pages in memory of the range whose turn it is, before its requests wait for whoever takes them."""

WORTH = 2
"""Pages that must have come of a range since it was last cut before it is cut again: a bad guess costs one request."""


class Pages(Protocol):
    """The part of ``swift.client.Client`` that lists."""

    def list_pages(
        self, container: str, *, prefix: str = "", delimiter: str | None = None, marker: str = "", end_marker: str = ""
    ) -> AsyncGenerator[list[ListingEntry | Subdir]]: ...


async def list_split(
    client: Pages, container: str, *, prefix: str = "", spool: Path, ranges: int = RANGES
) -> AsyncGenerator[list[ListingEntry]]:
    """Pages of the flat listing below ``prefix``, each name once and in order; pages that wait are kept in ``spool``.

    Raises as ``Client.list_pages``, and OSError when ``spool`` cannot hold them.
    """
    async with contextlib.aclosing(client.list_pages(container, prefix=prefix, delimiter="/")) as top:
        cuts = first_cuts(await anext(top, []), ranges)
    listing = _Listing(client, container, prefix, spool, cuts)
    workers = [asyncio.create_task(listing.work()) for _ in range(ranges)]
    for worker in workers:
        worker.add_done_callback(listing.ended)
    try:
        async for page in listing.pages():
            yield page
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        listing.close()


class _Range:
    """The names from ``first`` (inclusive; '' for the very first) up to ``end`` (exclusive; '' for all)."""

    def __init__(self, first: str, end: str, spool: Path) -> None:
        self.first = first
        self.end = end
        self.position = first
        self.next: _Range | None = None
        self.is_taken = False
        self.is_done = False
        self.come = 0
        self.cuts = 0
        self.ready: list[list[ListingEntry]] = []
        self._spool = spool
        self._file: IO[bytes] | None = None
        self._file_lock = threading.Lock()
        self._edges = [0]
        self._read = 0

    @property
    def has_parked(self) -> bool:
        """Whether pages wait in the file."""
        return self._read < len(self._edges) - 1

    async def park(self, page: list[ListingEntry]) -> None:
        """Put a page into the file."""
        await asyncio.to_thread(self._write, msgspec.msgpack.encode(page))

    async def unpark(self) -> list[ListingEntry]:
        """The next page from the file."""
        start, stop = self._edges[self._read : self._read + 2]
        self._read += 1
        data = await asyncio.to_thread(self._read_at, start, stop - start)
        return msgspec.msgpack.decode(data, type=list[ListingEntry])

    def close(self) -> None:
        """Let go of the file."""
        with self._file_lock:
            if self._file is not None:
                self._file.close()

    def _write(self, data: bytes) -> None:
        with self._file_lock:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._spool)  # noqa: SIM115 (closed with its range)
            self._file.seek(self._edges[-1])
            self._file.write(data)
            self._edges.append(self._edges[-1] + len(data))

    def _read_at(self, start: int, size: int) -> bytes:
        assert self._file is not None
        with self._file_lock:
            self._file.seek(start)
            return self._file.read(size)


class _Listing:
    def __init__(self, client: Pages, container: str, prefix: str, spool: Path, cuts: list[str]) -> None:
        self._client = client
        self._container = container
        self._prefix = prefix
        self._spool = spool
        self._changed = asyncio.Condition()
        self._failure: BaseException | None = None
        self._telling: asyncio.Future[None] | None = None
        edges = ["", *cuts, ""]
        self._ranges = [_Range(first, end, spool) for first, end in itertools.pairwise(edges)]
        for one, following in itertools.pairwise(self._ranges):
            one.next = following
        self._head: _Range | None = self._ranges[0]

    async def pages(self) -> AsyncIterator[list[ListingEntry]]:
        """Every page, in order."""
        while (head := self._head) is not None:
            async with self._changed:
                await self._changed.wait_for(lambda: self._failure or head.ready or head.has_parked or head.is_done)
                if self._failure is not None:
                    raise self._failure
            if head.has_parked:
                yield await head.unpark()
            elif head.ready:
                page = head.ready.pop(0)
                await self._tell()
                yield page
            else:
                head.close()
                self._head = head.next
                await self._tell()

    async def work(self) -> None:
        """Ask for one range after the other until all are listed."""
        while not self._is_listed():
            if (one := self._take()) is not None:
                await self._ask(one)
                one.is_done = True
                await self._tell()
                continue
            async with self._changed:
                # Whatever has come on since can be cut; this was looked at before, without a wait in between.
                await self._changed.wait()

    def _is_listed(self) -> bool:
        return all(one.is_done for one in self._ranges)

    def ended(self, worker: asyncio.Task[None]) -> None:
        """A worker's failure is the listing's."""
        if not worker.cancelled() and (failure := worker.exception()) is not None:
            self._failure = self._failure or failure
            # The condition is told by a task, for this is called by the loop.
            self._telling = asyncio.ensure_future(self._tell())

    def close(self) -> None:
        """Let go of every file."""
        for one in self._ranges:
            one.close()

    def _take(self) -> _Range | None:
        """A range that nobody asks for yet, the first one first, or half of one that somebody does."""
        one = self._head
        while one is not None:
            if not one.is_taken:
                one.is_taken = True
                return one
            one = one.next
        return self._split()

    def _split(self) -> _Range | None:
        """The upper half of a range that has come on since it was last cut, the one first that was cut least: what is
        always ahead of its cuts has the most names."""
        best: tuple[_Range, str] | None = None
        one = self._head
        while one is not None:
            if not one.is_done and one.come >= WORTH:
                cut = midpoint(one.position, one.end or self._prefix + LAST_CHARACTER)
                if cut is not None and (best is None or one.cuts < best[0].cuts):
                    best = (one, cut)
            one = one.next
        if best is None:
            return None
        low, cut = best
        high = _Range(cut, low.end, self._spool)
        high.next, low.next = low.next, high
        high.is_taken = True
        low.end, low.come = cut, 0
        low.cuts = high.cuts = low.cuts + 1
        self._ranges.append(high)
        return high

    async def _ask(self, one: _Range) -> None:
        marker = marker_before(one.first) if one.first else ""
        while True:
            pages = self._client.list_pages(self._container, prefix=self._prefix, marker=marker, end_marker=one.end)
            async with contextlib.aclosing(pages):
                found = [entry for entry in await anext(pages, []) if isinstance(entry, ListingEntry)]
            if not found:
                return
            marker = found[-1].name
            one.position = max(marker, one.first)
            # The range may have been cut while the page was on its way: the rest of it is another's.
            inside = [entry for entry in found if entry.name >= one.first and (not one.end or entry.name < one.end)]
            if inside:
                one.come += 1
                await self._give(one, inside)
            if one.end and marker >= one.end:
                return

    async def _give(self, one: _Range, page: list[ListingEntry]) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: one is not self._head or one.has_parked or len(one.ready) < AT_HAND)
            waits = one is not self._head or one.has_parked
        if waits:
            await one.park(page)
        else:
            one.ready.append(page)
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


__all__ = ["RANGES", "SPLIT_FROM", "Pages", "list_split"]
