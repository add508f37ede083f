"""Keeps a mount's index true: lists the container, looks at what may be a large object, has the index rebuilt.

Runs in the fetch process. SQLite is blocking: rebuilds run in a worker thread, one page at a time, so that fetches go
on meanwhile. An index is never half new: a rebuild that fails leaves the last one as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from swiftfs.errors import SwiftFSError
from swiftfs.index.build import Builder, Index
from swiftfs.index.entry import Diff, Resolved, Source, Totals
from swiftfs.index.reader import Reader
from swiftfs.index.schema import index_path
from swiftfs.swift.heads import heads
from swiftfs.swift.split_listing import SPLIT_FROM, list_split

if TYPE_CHECKING:
    from swiftfs.model import ContainerInfo, ListingEntry, ObjectInfo
    from swiftfs.swift.client import Client

log = logging.getLogger(__name__)

T = TypeVar("T")

LIST_FIRST = 100_000
"""Names up to which a changed container is listed again before the mount answers: a few seconds. A larger one shows its
saved tree at once and is listed behind it."""


class Indexer:
    """The index of one mount's dataset, opened for writing. Used from one event loop; rebuilds do not overlap."""

    def __init__(self, client: Client, directory: Path, account: str, container: str, prefix: str) -> None:
        self._client = client
        self._source = Source(account, container, prefix)
        self.path = index_path(directory, self._source)
        self._container = container
        self._index: Index | None = None
        self._begun: _Listing | None = None
        self._unproven: _Unproven | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="index")
        self.stale = False
        self.hidden = 0
        self.drifted = 0

    async def prepare(self) -> None:
        """Open the saved index, or build it. ``stale`` tells that the mount may begin with it and is to list soon.

        A container whose headers are as they were is not listed: an object that was replaced by one of as many bytes
        shows when it is read (its ETag is pinned), or at the next refresh. Raises ContainerNotFound, LocalFileError and
        what a listing raises.
        """
        # Where nothing was saved, the first page is asked for together with the headers.
        begun = None if self.path.exists() else self._flat()
        asked = asyncio.ensure_future(self._client.container_info(self._container))
        try:
            index = self._index = await self._in_thread(lambda: Index(self.path, self._source))
            meta = await self._in_thread(index.meta)
            info = await asked
            same = (meta.container_count, meta.container_bytes) == (info.count, info.size)
            if meta.complete and (same or info.count > LIST_FIRST):
                self.stale = not same
                self.hidden = sum((await self._in_thread(index.hidden_counts)).values())
            else:
                self._begun, begun = begun, None
                await self.rebuild(info)
        finally:
            asked.cancel()
            await asyncio.gather(asked, *([begun.close()] if begun is not None else []), return_exceptions=True)

    async def confirm(self) -> bool:
        """Whether the listing that the tree was first made of ends where the headers say; False: it is to be listed.

        Such a tree is shown before the empty page that ends a listing has come, and trusted by later mounts only then.
        """
        unproven, self._unproven = self._unproven, None
        if unproven is None:
            return True
        index = self._index
        assert index is not None
        try:
            if await unproven.rest.page():
                return False
            await self._in_thread(lambda: index.prove(unproven.info.count, unproven.info.size))
        except SwiftFSError as error:
            log.info("the end of the listing is not known: %s", error)
            return False
        finally:
            await unproven.rest.close()
        return True

    def _flat(self) -> _Listing:
        return _Listing(self._client.list_objects(self._container, prefix=self._source.listing_prefix))

    async def rebuild(self, info: ContainerInfo | None = None) -> Diff:
        """List the container and make the index say so. Raises what a listing raises; the index is then unchanged."""
        assert self._index is not None
        if info is None:
            info = await self._client.container_info(self._container)
        builder = await self._in_thread(self._index.builder)
        listed = 0
        try:
            async with contextlib.aclosing(self._pages(info)) as pages:
                async for page in pages:
                    listed += len(page)
                    await self._add(builder, page)
            count, size = (-1, -1) if self._unproven is not None else (self._counted(listed, info), info.size)
            diff = await self._in_thread(lambda: builder.finish(count, size))
        except BaseException:
            # Also when cancelled, where nothing may be awaited: the thread does it before it does anything else.
            self._thread.submit(builder.abort)
            raise
        self.hidden = diff.hidden
        if diff.hidden:
            log.warning("%d objects cannot be shown as files", diff.hidden)
        return diff

    def _pages(self, info: ContainerInfo) -> AsyncGenerator[list[ListingEntry]]:
        """The listing that the index is made of."""
        if info.count >= SPLIT_FROM:
            if self._begun is not None:
                self._begun.give_up()
                self._begun = None
            prefix = self._source.listing_prefix
            return list_split(self._client, self._container, prefix=prefix, spool=self.path.parent)
        return self._one_by_one(info)

    async def _one_by_one(self, info: ContainerInfo) -> AsyncGenerator[list[ListingEntry]]:
        """The pages of a listing: of one that was begun early as far as a mount has to wait for it. Pages with as many
        names as the headers count are all of it, unless :meth:`confirm` finds another."""
        is_first = self._begun is not None and not self._source.prefix
        listing, self._begun, self._unproven = self._begun or self._flat(), None, None
        listed = 0
        try:
            while page := await listing.page():
                listed += len(page)
                yield page
                if is_first and listed == info.count:
                    self._unproven = _Unproven(listing, info)
                    return
        finally:
            if self._unproven is None:
                await listing.close()

    def totals(self) -> Totals:
        """Files, directories and bytes of the tree."""
        reader = Reader(self.path)
        try:
            return reader.totals()
        finally:
            reader.close()

    def close(self) -> None:
        """Close the index; a rebuild that is under way is lost."""
        for listing in (self._begun, self._unproven.rest if self._unproven is not None else None):
            if listing is not None:
                listing.give_up()
        if self._index is not None:
            self._thread.submit(self._index.close)
        self._thread.shutdown()

    async def _in_thread(self, call: Callable[[], T]) -> T:
        """Run ``call`` in the one thread that the index's connection belongs to."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def _add(self, builder: Builder, page: list[ListingEntry]) -> None:
        """Stage one page, with a HEAD's answer for each entry where only that tells size and ETag."""
        needed = await self._in_thread(lambda: builder.needs_head(page))
        found = await heads(self._client, self._container, needed)
        # None: gone since it was listed, the next listing will not have it.
        infos = {entry.name: found.get(entry.name) for entry in needed}
        resolved = [one for entry in page if (one := self._resolved(entry, infos)) is not None]
        await self._in_thread(lambda: builder.add(resolved))

    def _resolved(self, entry: ListingEntry, infos: dict[str, ObjectInfo | None]) -> Resolved | None:
        """What goes into the index for ``entry``; ``infos`` has the HEADs that were made, None where nothing was."""
        if infos.get(entry.name, entry) is None:
            return None
        return Resolved(entry, infos.get(entry.name))

    def _counted(self, listed: int, info: ContainerInfo) -> int:
        """How many names the container's headers must count for the listing to be all of it: the next mount lists again
        when they do not. Loud when the listing lags behind them."""
        if self._source.prefix:
            return info.count
        if listed < info.count:
            log.warning(
                "the listing of %s has %d names, but its headers count %d: some may show only after the next refresh",
                self._container,
                listed,
                info.count,
            )
        return listed


class _Listing:
    """Pages of a listing: the next one is asked for while the last one is taken up. ``close`` it, or ``give_up`` where
    nothing may be awaited."""

    def __init__(self, pages: AsyncIterator[list[ListingEntry]]) -> None:
        self._pages = pages
        self._next = self._ask()

    async def page(self) -> list[ListingEntry]:
        """The next page, empty after the last. Raises what the listing raises."""
        page = await self._next
        if page:
            self._next = self._ask()
        return page

    async def close(self) -> None:
        """Give up what has not come, and wait until it is given up."""
        self.give_up()
        await asyncio.gather(self._next, return_exceptions=True)

    def give_up(self) -> None:
        """Give up what has not come."""
        self._next.cancel()

    def _ask(self) -> asyncio.Future[list[ListingEntry]]:
        asked = asyncio.ensure_future(anext(self._pages, []))
        # It may fail when nobody wants it any more.
        asked.add_done_callback(lambda done: done.cancelled() or done.exception())
        return asked


@dataclass(frozen=True, slots=True)
class _Unproven:
    """What may follow a listing that has as many names as ``info`` counts."""

    rest: _Listing
    info: ContainerInfo
