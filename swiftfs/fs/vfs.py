"""The mounted tree in our own types: look up, list, read. It knows inodes and chunks, not FUSE.

Reads go by inode: an inode is one version of one object, so an open handle needs no state of its own. Metadata comes
from the index and never waits for the network; bytes come from the cache, and a chunk that is not there is asked for
and waited for, within a deadline that :class:`swiftfs.fetch.client.FetchClient` keeps.

Used by one trio loop. Between two awaits nothing else runs here; what may not be split is named where it stands.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import trio

from swiftfs.cache.names import ChunkRow, chunk_count, has_pieces, object_key, pieces_key
from swiftfs.errors import Changed, DeadlineExceeded, LocalFileError, NotFound, SwiftFSError
from swiftfs.fetch.protocol import DEMAND, Bad, Have, HavePieces, Touch
from swiftfs.fs.ahead import FetchAhead
from swiftfs.fs.file import Fetcher, File
from swiftfs.fs.inodes import ROOT
from swiftfs.fs.pattern import Plan
from swiftfs.fs.ranges import Ranges, cut
from swiftfs.fs.slowest import Slowest, Wait
from swiftfs.fs.unstored import Unstored
from swiftfs.model import Kind

if TYPE_CHECKING:
    from swiftfs.cache.reader import Reader as CacheReader
    from swiftfs.fs.prefetch import Mode
    from swiftfs.index.entry import Change, Entry, Totals
    from swiftfs.index.reader import Reader as IndexReader
    from swiftfs.model import ObjectVersion

log = logging.getLogger(__name__)

KEPT_FILES = 4096
"""Files whose version and cache key are kept ready: what a few training workers have open or read again soon."""
TOUCH_BATCH = 256
"""Chunks in one message about recency: one message per file would cost more than the read."""
READ_ATTEMPTS = 5
"""Times a chunk is asked for when the cache had it and lost it again (evicted or damaged between two lines)."""
CACHE_ATTEMPTS = 2
"""Those of them that go through the cache. The bytes of the others come in the answer: where many read more than the
cache holds, a chunk may go before its reader has had a turn. One such answer may have been on its way in the old form,
hence more than one."""
WHOLE = Plan(whole=True, stop=0)
"""How an object of one chunk is fetched."""
SECOND_READ = 0.5
"""Seconds after a deadline in which the same chunk is not waited for again: the kernel, when its readahead fails, reads
a second time at once, and the program would wait for two deadlines."""
KEPT_LATE = 256
"""Chunks of which that is remembered: more than there are readers at once."""


T = TypeVar("T")


@dataclass(slots=True)
class ReadCounters:
    """What readers asked for, and whether the cache had it (hits) or they waited for the store (misses).

    ``waited`` is how many seconds they waited, all together.
    """

    opens: int = 0
    reads: int = 0
    read_bytes: int = 0
    hits: int = 0
    misses: int = 0
    errors: int = 0
    waited: float = 0.0


class Vfs:
    """The tree of one mount. ``account`` is the storage URL: part of every cache key."""

    def __init__(
        self,
        open_index: Callable[[], IndexReader],
        cache: CacheReader,
        fetcher: Fetcher,
        *,
        account: str,
        container: str,
        chunk_size: int,
        streams: int,
        prefetch: Mode,
        prefetch_budget: int,
    ) -> None:
        self._open_index = open_index
        self._index = open_index()
        self._former: IndexReader | None = None
        self._cache = cache
        self._fetcher = fetcher
        self._account = account
        self._container = container
        self._chunk_size = chunk_size
        self._unstored = Unstored()
        self._ranges = Ranges(cache, fetcher, self, self._unstored, chunk_size=chunk_size, streams=streams)
        self._files: OrderedDict[int, File] = OrderedDict()
        self._to_look_up: set[int] = set()
        self._touched: set[tuple[str, int]] = set()
        self._late: OrderedDict[tuple[str, int], tuple[float, DeadlineExceeded]] = OrderedDict()
        self._generation = self._index.generation()
        self._whole = trio.Event()
        self._note_whole()
        self.ahead = FetchAhead(self, cache, fetcher, prefetch, prefetch_budget)
        self.counters = ReadCounters()
        self.slowest = Slowest()
        self.changed = False

    @property
    def index(self) -> IndexReader:
        """The index as it is now: another one after it was made anew."""
        return self._index

    def close(self) -> None:
        """Close the index."""
        self._index.close()
        if self._former is not None:
            self._former.close()

    # Metadata

    @property
    def is_whole(self) -> bool:
        """Whether the tree is all that the container holds; until then nothing is known below directories on top."""
        return self._whole.is_set()

    async def whole(self) -> None:
        """Wait until the tree is whole: as long as the first listing takes, which is tried again when it fails."""
        await self._whole.wait()

    async def known(self, directory: int | None = None) -> None:
        """Wait until the names in ``directory`` are known, or all there are. Raises DeadlineExceeded."""
        if directory == ROOT or self._whole.is_set():
            return
        with trio.move_on_after(self._fetcher.deadline):
            await self._whole.wait()
            return
        raise DeadlineExceeded(
            f"the container has not been listed within {self._fetcher.deadline:.0f} s", container=self._container
        )

    def _note_whole(self) -> None:
        if not self._whole.is_set() and self._index.meta().complete:
            self._whole.set()

    def entry(self, ino: int) -> Entry:
        """The entry of an inode. Raises Changed when its version is no longer part of the tree."""
        entry = self._index.entry(ino)
        if entry is None:
            raise Changed("the file has changed or gone since it was looked up")
        return entry

    def child(self, parent: int, name: bytes) -> Entry | None:
        """The entry ``name`` of directory ``parent``; None when there is none."""
        return self._index.child(parent, name)

    def children(self, parent: int, after: int, limit: int) -> list[Entry]:
        """At most ``limit`` entries of a directory that follow the cookie ``after`` (0: from the start)."""
        return self._index.children(parent, after, limit)

    def totals(self) -> Totals:
        """Files, directories and bytes of the tree."""
        return self._index.totals()

    def has_moved(self) -> bool:
        """Whether the index shows another tree than at the last :meth:`refreshed`: another mount of the same container
        may have rebuilt it, and lookups see that at once."""
        return self._index.has_moved(self._generation)

    def refreshed(self) -> tuple[Change, ...] | None:
        """The index was rebuilt: returns what changed since the last time; None when it must be taken for everything.

        Versions that were being read stay readable from the cache, for an inode is one version. A large object that
        was stored again with the same bytes keeps its inode, but its requests are pinned by time: from now on by the
        new one.
        """
        if self._index.replaced():
            opened = self._open_index()
            if self._whole.is_set() and not opened.meta().complete:
                opened.close()  # what it says of the top is known, and of the rest it will say more
                return ()
            if self._former is not None:
                self._former.close()
            self._former, self._index = self._index, opened
            self._generation = self._index.generation()
            self._files.clear()
            self._to_look_up.clear()
            self.ahead.replaced()
            self._note_whole()
            return None
        generation = self._index.generation()
        # Before the tree was whole the kernel was told of no names but those on top.
        changes = self._index.changes_since(self._generation, None if self._whole.is_set() else ROOT)
        self._generation = generation
        self._note_whole()
        self._to_look_up = {ino for ino, file in self._files.items() if file.kind != Kind.PLAIN}
        self.ahead.refreshed(changed=changes != ())
        return changes

    def place(self, ino: int) -> tuple[int, bytes] | None:
        """Parent and name under which the kernel knows an inode, also one that a rebuild removed, or that the index had
        before it was made anew; None for others."""
        entry = self._index.entry(ino) or self._index.departed(ino)
        if entry is None and self._former is not None:
            with contextlib.suppress(LocalFileError):  # it may have been made anew because it was damaged
                entry = self._former.entry(ino)
        return (entry.parent, entry.name) if entry is not None and entry.parent else None

    # Reading

    async def read(self, ino: int, offset: int, size: int) -> bytes:
        """Bytes ``[offset, offset + size)`` of a file, cut at its end; never fewer for any other reason.

        A read at a file's start, or of a file that was not read lately, counts as its opening: the kernel may not tell.

        Raises Changed when the version is gone from the store, DeadlineExceeded, Unavailable, Damaged.
        """
        is_opening = not offset or ino not in self._files
        file = self._file(ino)
        stop = min(offset + size, file.size)
        if stop <= offset:
            return b""
        if is_opening:
            self.counters.opens += 1
            if not self._unstored.needed:  # what is fetched ahead would be thrown away
                self.ahead.opened(ino)
        self.counters.reads += 1
        plan = self._ranges.plan(file, offset, stop) if file.chunks > 1 else WHOLE
        first, last = offset // self._chunk_size, (stop - 1) // self._chunk_size
        base = first * self._chunk_size
        data = self._at_hand(file, first, offset - base, stop - base) if first == last else None
        if data is None:
            data = await self._parts(file, first, last, offset, stop, plan)
        self.counters.read_bytes += len(data)
        return data

    async def _parts(self, file: File, first: int, last: int, offset: int, stop: int, plan: Plan) -> bytes:
        """Bytes ``[offset, stop)``, which are in the chunks from ``first`` to ``last``, within one deadline for all."""
        pieces: list[bytes] = []
        with trio.move_on_after(self._fetcher.deadline) as limit:
            for chunk in range(first, last + 1):
                base = chunk * self._chunk_size
                end = min(stop - base, self._chunk_size, file.size - base)
                pieces.append(await self._part(file, chunk, max(offset - base, 0), end, plan))
        if limit.cancelled_caught:
            error = DeadlineExceeded(
                f"not read within {self._fetcher.deadline:.0f} s",
                container=self._container,
                object=file.name,
                span=(offset, stop),
            )
            self._note_late(file, first + len(pieces), error)
            raise error
        return b"".join(pieces)

    async def _part(self, file: File, chunk: int, start: int, stop: int, plan: Plan) -> bytes:
        """Bytes ``[start, stop)`` of one chunk, from the cache or through it."""
        if (data := self._at_hand(file, chunk, start, stop)) is not None:
            return data
        if file.pieces_key:
            data = await self._ranges.read(file, chunk, start, stop, plan)
            if data is not None:
                return data
        return await self._chunk(file, chunk, start, stop)

    def _at_hand(self, file: File, chunk: int, start: int, stop: int) -> bytes | None:
        """Bytes ``[start, stop)`` of one chunk, where they are in the cache or in memory."""
        data = self._cache.read(file.key, file.size, chunk, start, stop)
        if data is None and (unstored := self._unstored.get(file.key, chunk)) is not None:
            data = unstored[start:stop]
        if data is not None:
            self.hit(file.key, chunk)
        return data

    async def _chunk(self, file: File, chunk: int, start: int, stop: int) -> bytes:
        """Bytes ``[start, stop)`` of one chunk that is not in the cache."""
        self.miss(file, chunk)
        for attempt in range(READ_ATTEMPTS):
            if attempt and not self._cache.blind:
                # It was said to be there and is not usable: without this it would be said again.
                self.bad(file.key, chunk)
            want = file.want(chunk, chunk + 1, DEMAND, inline=attempt >= CACHE_ATTEMPTS)
            have = await self.wait(file, chunk, functools.partial(self._fetcher.chunk, want))
            if have.data is not None:
                return have.data[start:stop]
            data = self._cache.read(file.key, file.size, chunk, start, stop)
            if data is not None:
                self._touch(file.key, chunk)
                return data
        raise SwiftFSError("the cache loses what is put into it", container=self._container, object=file.name)

    def hit(self, key: str, chunk: int) -> None:
        """Count bytes that the cache had; the chunk, or its pieces, are recent."""
        self.counters.hits += 1
        self._touch(key, chunk)

    def miss(self, file: File, chunk: int) -> None:
        """Count a wait that begins. Raises what the last wait for this chunk ended with, when that was just now."""
        self.counters.misses += 1
        self.ahead.missed(file.ino)
        self._raise_if_late(file.key, chunk)

    async def wait(self, file: File, chunk: int, fetch: Callable[[], Awaitable[T]]) -> T:
        """The answer of ``fetch``, measured. An object that is gone is Changed here, and the tree is listed again."""
        began = time.monotonic()
        try:
            return await fetch()
        except NotFound:
            self.changed = True
            raise Changed("the object is gone from the store", container=self._container, object=file.name) from None
        except Changed:
            self.changed = True
            raise
        except DeadlineExceeded as error:
            self._note_late(file, chunk, error)
            raise
        finally:
            self._note_wait(began, file.name, chunk)

    def _note_wait(self, began: float, name: str, chunk: int) -> None:
        now = time.monotonic()
        self.counters.waited += now - began
        self.slowest.note(Wait(now - began, now, name, chunk))

    def _note_late(self, file: File, chunk: int, error: DeadlineExceeded) -> None:
        self._late[file.key, chunk] = (trio.current_time() + SECOND_READ, error)
        if len(self._late) > KEPT_LATE:
            self._late.popitem(last=False)

    def _raise_if_late(self, key: str, chunk: int) -> None:
        """Raise again what the last wait for this chunk ended with, when that was just now."""
        if (late := self._late.pop((key, chunk), None)) is not None:
            until, error = late
            if trio.current_time() < until:
                self._late[key, chunk] = late
                raise DeadlineExceeded(error.message, container=error.container, object=error.object)

    # What the fetch process says

    def have(self, message: Have | HavePieces) -> None:
        """A chunk or a run of pieces has arrived."""
        self._unstored.needed = message.data is not None
        self._cache.follow()
        if isinstance(message, HavePieces):
            for number, row in enumerate(message.rows, message.first):
                self._cache.admit(message.key, number, ChunkRow(*row))
            for number, piece in cut(message.first, message.data or b"").items():
                self._unstored.put(message.key, number, piece)
            return
        if message.data is None:
            self._cache.admit(message.key, message.chunk, ChunkRow(message.length, message.checksum))
        else:
            self._unstored.put(message.key, message.chunk, message.data)
        self.ahead.warming.arrived(message.ino, message.chunk, failed=message.data is not None)

    def failed(self, ino: int, chunk: int) -> None:
        """A chunk could not be fetched, whoever wanted it."""
        self.ahead.warming.arrived(ino, chunk, failed=True)

    def bad(self, key: str, chunk: int) -> None:
        """The cache's reader found a chunk damaged or gone."""
        self._fetcher.ask(Bad(key, chunk))

    def bad_pieces(self, key: str, chunk: int) -> None:
        """The cache's reader found pieces of a chunk damaged or gone."""
        self._ranges.bad(key, chunk)

    def keep_house(self) -> None:
        """To be called about once a second: gives evicted files back to the disk, tells what was read, and has
        everything fetched where that is wanted."""
        self._cache.release_evicted()
        self._tell_touched()
        self.ahead.keep_house()

    def _tell_touched(self) -> None:
        """Tell the fetch process which cached chunks were read."""
        if self._touched:
            self._fetcher.ask(Touch(list(self._touched)))
            self._touched.clear()

    def _touch(self, key: str, chunk: int) -> None:
        self._touched.add((key, chunk))
        if len(self._touched) >= TOUCH_BATCH:
            self._tell_touched()

    def _file(self, ino: int) -> File:
        file = self._files.get(ino)
        if file is not None and ino not in self._to_look_up:
            self._files.move_to_end(ino)
            return file
        version = self._index.version(ino)
        if version is None:
            raise Changed("the file has changed or gone since it was opened")
        self._to_look_up.discard(ino)
        file = self._files[ino] = self._file_from(ino, version)
        self._files.move_to_end(ino)
        if len(self._files) > KEPT_FILES:
            self._files.popitem(last=False)
        return file

    def file_of(self, entry: Entry) -> File:
        """The file that an entry stands for, ready to be asked for."""
        return self._file_from(entry.ino, self._index.version_of(entry))

    def _file_from(self, ino: int, version: ObjectVersion) -> File:
        key = object_key(self._account, self._container, version, chunk_size=self._chunk_size)
        return File(
            ino=ino,
            size=version.size,
            key=key,
            pieces_key=pieces_key(key) if has_pieces(version.size, self._chunk_size) else "",
            name=version.name,
            etag=version.etag,
            last_modified=version.last_modified,
            kind=int(version.kind),
            chunks=chunk_count(version.size, self._chunk_size),
        )
