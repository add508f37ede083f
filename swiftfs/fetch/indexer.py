"""Keeps a mount's index true: lists the container, looks at what may be a large object, has the index rebuilt.

Runs in the fetch process. SQLite is blocking: rebuilds run in a worker thread, one page at a time, so that fetches go
on meanwhile. An index is never half new: a rebuild that fails leaves the last one as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from swiftfs.config.settings import DEFAULT_DEADLINE
from swiftfs.errors import SwiftFSError, Truncated
from swiftfs.index.build import UNPROVEN, Builder, Index
from swiftfs.index.entry import Diff, Resolved, Source, Totals
from swiftfs.index.reader import Reader
from swiftfs.index.schema import index_path, local_errors
from swiftfs.model import EMPTY_MD5, ListingEntry, Subdir
from swiftfs.swift.heads import heads
from swiftfs.swift.split_listing import SPLIT_FROM, list_split

if TYPE_CHECKING:
    from swiftfs.model import ContainerInfo, ObjectInfo
    from swiftfs.swift.client import Client
    from swiftfs.swift.listing import Top

log = logging.getLogger(__name__)

T = TypeVar("T")

ONE_PAGE = 10_000
"""Names of a container that one request lists, as a rule: of more than that, those on top are shown first."""
LISTED_IN_A_SECOND = 8_000
"""Names that are surely listed in a second. Readers who look below the top wait for the first listing, within their
deadline; where that may not be enough, the mount answers when all is listed."""
LIST_FIRST = 100_000
"""Names up to which a changed container is listed again before the mount answers: a few seconds. A larger one shows its
saved tree at once and is listed behind it."""


class Indexer:
    """The index of one mount's dataset, opened for writing. Used from one event loop; rebuilds do not overlap.

    ``stale`` tells that the saved tree is shown and known to be out of date; ``partial`` that the index has no more
    than the names on top, which one request tells. Both until the next :meth:`rebuild`.
    """

    top_first = True
    """Whether a mount may begin with the names on top."""

    def __init__(
        self,
        client: Client,
        directory: Path,
        account: str,
        container: str,
        prefix: str,
        *,
        deadline: float = DEFAULT_DEADLINE,
    ) -> None:
        """``deadline`` is how many seconds readers wait for a listing."""
        self._client = client
        self._listed_soon = int(LISTED_IN_A_SECOND * deadline)
        self._source = Source(account, container, prefix)
        self.path = index_path(directory, self._source)
        self._container = container
        self._index: Index | None = None
        self._begun: _Listing | None = None
        self._top: Top | None = None
        self._unproven: _Unproven | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="index")
        self.stale = False
        self.partial = False
        self.hidden = 0
        self.drifted = 0

    async def prepare(self) -> None:
        """Open the saved index, or begin it: with the whole listing where that is short, else with the names on top.

        A container whose headers are as they were is not listed: an object that was replaced by one of as many bytes
        shows when it is read (its ETag is pinned), or at the next refresh. Raises ContainerNotFound, LocalFileError and
        what a listing raises.
        """
        # Where nothing was saved, the names on top are asked for instead of the headers, which come with them, and the
        # first page of all names beside them.
        begun = None if self.path.exists() else self._flat()
        asked = asyncio.ensure_future(self._headers() if begun is None else self._list_top())
        try:
            index = self._index = await self._in_thread(lambda: Index(self.path, self._source))
            meta = await self._in_thread(index.meta)
            info = await asked
            same = (meta.container_count, meta.container_bytes) == (info.count, info.size)
            if meta.complete and (same or info.count > LIST_FIRST):
                self.stale = not same
                self.hidden = sum((await self._in_thread(index.hidden_counts)).values())
                return
            self._begun, begun = begun, None
            is_long = ONE_PAGE < info.count <= self._listed_soon
            if not (self.top_first and is_long and await self._show_top(index)):
                await self.rebuild(info)
        finally:
            if begun is not None:
                await begun.close()
            if not asked.done():
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
            elif not asked.cancelled():
                asked.exception()  # looked at, also where another error came first

    async def _headers(self) -> ContainerInfo:
        return await self._client.container_info(self._container)

    async def _list_top(self) -> ContainerInfo:
        """The container's headers, and what is on top where the store can tell that by itself."""
        try:
            self._top = await self._client.list_top(self._container, prefix=self._source.listing_prefix)
        except Truncated as error:
            log.info("the names on top are not shown first: %s", error)
            return await self._headers()
        return self._top.info

    async def _show_top(self, index: Index) -> bool:
        """Have the index show the names on top; False when they are too many, or when it is whole by now."""
        if self._top is None:
            await self._list_top()
        if self._top is None:
            return False
        if self._top.names is None:
            return False
        # Not in the thread: the first page of all names comes at the same time, and reading that keeps the interpreter.
        builder = index.builder(begun=True)
        try:
            page = [_on_top(name) for name in self._top.names]
            builder.add(await self._looked_up(page, builder.needs_head(page)))
            self.partial = builder.finish_top()
        finally:
            builder.abort()
        return self.partial

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
        """List the container and make the index say so. Raises what a listing raises; the index is then unchanged.

        Where another mount has done that meanwhile, by a listing that began after this one, its tree stays: it has all
        that this one could bring.
        """
        index = self._index
        assert index is not None
        top, self._top = self._top, None
        if info is None:
            info = await self._headers() if top is None else top.info
        begun = self._begun is not None and info.count < SPLIT_FROM  # from there on another listing begins
        builder = await self._in_thread(lambda: index.builder(begun=begun))
        listed = 0
        try:
            with local_errors(self.path):  # pages that wait are kept beside it
                async with contextlib.aclosing(self._pages(info)) as pages:
                    async for page in pages:
                        listed += len(page)
                        await self._add(builder, page)
            count, size = (
                (UNPROVEN, UNPROVEN) if self._unproven is not None else (self._counted(listed, info), info.size)
            )
            diff = await self._in_thread(lambda: builder.finish(count, size))
        except BaseException:
            # Also when cancelled, where nothing may be awaited: the thread does it before it does anything else.
            self._thread.submit(builder.abort)
            raise
        self.partial = self.stale = False
        if diff.outrun:
            log.info("another mount has listed %s later than this one, and sooner: its tree stays", self._container)
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
        is_waited_for = self._begun is not None and not self.partial and not self._source.prefix
        listing, self._begun, self._unproven = self._begun or self._flat(), None, None
        listed = 0
        try:
            while page := await listing.page():
                listed += len(page)
                yield page
                if is_waited_for and listed == info.count:
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
        resolved = await self._looked_up(page, await self._in_thread(lambda: builder.needs_head(page)))
        await self._in_thread(lambda: builder.add(resolved))

    async def _looked_up(self, page: list[ListingEntry], needed: list[ListingEntry]) -> list[Resolved]:
        """The entries of a page, with HEADs' answers for those that are ``needed``."""
        found = await heads(self._client, self._container, needed)
        # None: gone since it was listed, the next listing will not have it.
        infos = {entry.name: found.get(entry.name) for entry in needed}
        return [one for entry in page if (one := self._resolved(entry, infos)) is not None]

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


def _on_top(name: ListingEntry | Subdir) -> ListingEntry:
    """A directory is listed as its marker would be, of the present time until its files are known."""
    if isinstance(name, Subdir):
        return ListingEntry(name.name, 0, EMPTY_MD5, time.time_ns())
    return name


@dataclass(frozen=True, slots=True)
class _Unproven:
    """What may follow a listing that has as many names as ``info`` counts."""

    rest: _Listing
    info: ContainerInfo
