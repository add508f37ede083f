"""Compare a source, or the manifest of one, with what a container holds, and change nothing.

One listing tells all of plain objects; a large one costs a HEAD and its segments' MD5s. Findings have rclone's symbols
and come as they are made, in no order.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeVar

from swiftfs.errors import AuthError, ConfigError, Forbidden, SwiftFSError
from swiftfs.load.filters import Filters
from swiftfs.load.journal import Journal
from swiftfs.load.ports import Store
from swiftfs.load.reading import digest
from swiftfs.load.segments import LargePolicy, large_etag
from swiftfs.load.side_by_side import each
from swiftfs.load.sizes import within_sizes
from swiftfs.load.source import Omitted, Refused
from swiftfs.load.stored_large import StoredLarge
from swiftfs.model import Kind, ListingEntry, ObjectInfo, in_dataset, is_md5

if TYPE_CHECKING:
    from swiftfs.load.manifest import Described
    from swiftfs.load.source import OpenedSource, Source, SourceObject

NO_MD5 = "has no MD5 in the store: only --download can compare it"
"""Why an object is not compared that was sent in parts by another API."""

T = TypeVar("T")


class Symbol(StrEnum):
    """What is the case with a path, by the symbols of ``rclone check --combined``."""

    MATCH = "="
    MISSING_ON_SRC = "-"
    MISSING_ON_DST = "+"
    DIFFER = "*"
    ERROR = "!"


@dataclass(frozen=True, slots=True)
class Finding:
    """One path and what is the case; ``reason`` is empty for a match."""

    symbol: Symbol
    path: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """What to compare with and how. ``prefix`` ends with a slash or is empty, and a source's names begin with it.

    ``one_way`` does not look for what only the container has. ``size_only`` compares sizes, ``download`` every byte.
    """

    container: str
    prefix: str = ""
    filters: Filters = field(default_factory=Filters)
    one_way: bool = False
    size_only: bool = False
    download: bool = False
    checkers: int = 16
    large: LargePolicy = field(default_factory=LargePolicy)


class CheckedStore(Store, Protocol):
    """What a check needs of a store beyond what a load needs."""

    def stream(self, container: str, version: str) -> AsyncIterator[bytes]: ...


async def check_source(
    store: CheckedStore, request: CheckRequest, source: Source, say: Callable[[Finding], None]
) -> Counter[Symbol]:
    """Compare every object of ``source``; returns how many of each symbol there are.

    Raises what the listing raises, AuthError (not for one object that is forbidden) and ConfigError; another failure
    is a finding.
    """
    with _Check(store, request, say) as check:
        return await check.source(source)


async def check_manifest(
    store: CheckedStore, request: CheckRequest, described: Iterable[Described], say: Callable[[Finding], None]
) -> Counter[Symbol]:
    """Compare every object that a manifest describes; as :func:`check_source`, the manifest being the source."""
    with _Check(store, request, say) as check:
        return await check.manifest(described)


class _Check:
    def __init__(self, store: CheckedStore, request: CheckRequest, say: Callable[[Finding], None]) -> None:
        self._store = store
        self._request = request
        self._say = say
        self._counts: Counter[Symbol] = Counter()
        self._halted = threading.Event()
        self._pool = ThreadPoolExecutor(request.checkers, thread_name_prefix="swiftfs-check")
        self._large = StoredLarge(
            store,
            request.container,
            request.large,
            pool=self._pool,
            halted=self._halted,
            journal=Journal(None),
        )

    def __enter__(self) -> _Check:
        return self

    def __exit__(self, *_: object) -> None:
        self._halted.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def source(self, source: Source) -> Counter[Symbol]:
        filters, prefix = self._request.filters, self._request.prefix
        entries = await self._listed()
        objects: list[SourceObject] = []
        for found in await self._in_thread(lambda: list(source.scan(self._halted))):
            if isinstance(found, Refused):
                if (filters.enters if found.is_directory else filters.keeps)(found.name):
                    self._found(Symbol.ERROR, found.name, found.reason)
            elif (
                not isinstance(found, Omitted)
                and in_dataset(found.name, prefix)
                and filters.keeps(found.name.removeprefix(prefix), found.size)
            ):
                objects.append(found)
        await self._each(objects, lambda one: one.name, lambda one: self._judge_file(one, entries.get(one.name)))
        self._extra(entries, {one.name for one in objects})
        return self._counts

    async def manifest(self, described: Iterable[Described]) -> Counter[Symbol]:
        prefix = self._request.prefix
        entries = await self._listed()
        objects = [one for one in described if self._request.filters.keeps(one.name, one.size)]
        await self._each(
            objects,
            lambda one: prefix + one.name,
            lambda one: self._judge_described(one, entries.get(prefix + one.name)),
        )
        self._extra(entries, {prefix + one.name for one in objects})
        return self._counts

    async def _listed(self) -> dict[str, ListingEntry]:
        """The objects of the dataset that the filters let a check see, without directory markers."""
        container, prefix, filters = self._request.container, self._request.prefix, self._request.filters
        entries: dict[str, ListingEntry] = {}
        async for page in self._store.list_objects(container, prefix=prefix):
            named = [
                entry
                for entry in page
                if not entry.is_directory_marker
                and in_dataset(entry.name, prefix)
                and filters.keeps(entry.name.removeprefix(prefix))
            ]
            entries.update((entry.name, entry) for entry in await within_sizes(self._store, container, named, filters))
        return entries

    def _extra(self, entries: dict[str, ListingEntry], names: set[str]) -> None:
        if not self._request.one_way:
            for name in entries.keys() - names:
                self._found(Symbol.MISSING_ON_SRC, name, "is only in the container")

    async def _each(
        self, objects: list[T], name_of: Callable[[T], str], judge: Callable[[T], Awaitable[tuple[Symbol, str]]]
    ) -> None:
        """Judge every object, ``checkers`` at once."""

        async def look(one: T) -> None:
            try:
                symbol, reason = await judge(one)
            except SwiftFSError as error:
                # A store that forbids one object has given its listing: the others may be looked at.
                if isinstance(error, AuthError | ConfigError) and not isinstance(error, Forbidden):
                    raise
                symbol, reason = Symbol.ERROR, error.message
            self._found(symbol, name_of(one), reason)

        await each(objects, self._request.checkers, look)

    def _found(self, symbol: Symbol, name: str, reason: str) -> None:
        self._counts[symbol] += 1
        self._say(Finding(symbol, name.removeprefix(self._request.prefix), reason))

    # One object

    async def _judge_file(self, source: SourceObject, entry: ListingEntry | None) -> tuple[Symbol, str]:
        if entry is None:
            return Symbol.MISSING_ON_DST, "is missing from the container"
        info = await self._head(entry) if entry.may_be_large else None
        size = entry.size if info is None else info.size
        if size != source.size:
            return Symbol.DIFFER, f"has {source.size:,} bytes, and {size:,} in the container"
        if self._request.size_only:
            return Symbol.MATCH, ""
        if self._request.download:
            same = await self._same_bytes(source)
        elif info is not None and info.kind is not Kind.PLAIN:
            same = await self._large.same(source, info) is not None
            if not same and await self._large.segments(info) is None:
                return Symbol.ERROR, "nothing tells its segments: only --download can compare it"
        else:
            etag = entry.etag if info is None else info.etag
            if not is_md5(etag):
                return Symbol.ERROR, NO_MD5
            same = await self._in_thread(digest, source, self._halted) == etag
        return (Symbol.MATCH, "") if same else (Symbol.DIFFER, "has other bytes in the container")

    async def _judge_described(self, one: Described, entry: ListingEntry | None) -> tuple[Symbol, str]:
        if entry is None:
            return Symbol.MISSING_ON_DST, "is missing from the container"
        info = await self._head(entry) if entry.may_be_large else None
        size, etag = (entry.size, entry.etag) if info is None else (info.size, info.etag)
        if size != one.size:
            return Symbol.DIFFER, f"has {one.size:,} bytes in the manifest, and {size:,} in the container"
        if self._request.size_only:
            return Symbol.MATCH, ""
        plain = info is None or info.kind is Kind.PLAIN
        if self._request.download:
            same = await self._has_described_bytes(entry.name, one)
        elif plain != (one.md5 is not None):
            return Symbol.ERROR, "is stored in another way than the manifest says: only --download can compare it"
        elif plain and not is_md5(etag):
            return Symbol.ERROR, NO_MD5
        else:
            same = etag == (one.md5 or one.slo_etag)
        return (Symbol.MATCH, "") if same else (Symbol.DIFFER, "has other bytes in the container")

    async def _head(self, entry: ListingEntry) -> ObjectInfo:
        return await self._store.head(self._request.container, entry.name)

    async def _same_bytes(self, source: SourceObject) -> bool:
        """Whether the container sends the bytes that the source has."""
        opened = await self._in_thread(source.open)
        try:
            async for piece in self._store.stream(self._request.container, source.name):
                if await self._in_thread(_read_exactly, opened, len(piece)) != piece:
                    return False
            if await self._in_thread(opened.read, 1):
                return False
            await self._in_thread(opened.settle)
        finally:
            opened.close()
        return True

    async def _has_described_bytes(self, name: str, one: Described) -> bool:
        """Whether the container sends bytes with the MD5, or the segments' MD5s, that the manifest has."""
        lengths: list[int] = [one.size]
        if one.md5 is None:
            segments = await self._store.segments(self._request.container, name)
            if segments is None:
                raise SwiftFSError("nothing tells its segments, whose MD5s the manifest has")
            lengths = [segment.size for segment in segments]
        md5s = [hashlib.md5(usedforsecurity=False) for _ in lengths]
        at, left = 0, lengths[0] if lengths else 0
        async for piece in self._store.stream(self._request.container, name):
            while piece:
                while not left and at + 1 < len(lengths):
                    at, left = at + 1, lengths[at + 1]
                if not left:
                    return False
                md5s[at].update(piece[:left])
                left, piece = left - len(piece[:left]), piece[left:]
        if left or any(lengths[at + 1 :]):
            return False
        found = [md5.hexdigest() for md5 in md5s]
        return found == [one.md5] if one.md5 is not None else large_etag(found) == one.slo_etag

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


def _read_exactly(opened: OpenedSource, size: int) -> bytes:
    """The next ``size`` bytes, fewer only at the end."""
    pieces: list[bytes] = []
    while size and (piece := opened.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def summary_lines(counts: Counter[Symbol]) -> list[str]:
    """What a check found, in the words of rclone's. Pure."""
    differences = counts[Symbol.MISSING_ON_DST] + counts[Symbol.MISSING_ON_SRC] + counts[Symbol.DIFFER]
    lines = []
    if counts[Symbol.MISSING_ON_DST]:
        lines.append(f"{counts[Symbol.MISSING_ON_DST]} files missing in the container")
    if counts[Symbol.MISSING_ON_SRC]:
        lines.append(f"{counts[Symbol.MISSING_ON_SRC]} files missing in the source")
    lines.append(f"{differences} differences found")
    if counts[Symbol.ERROR]:
        lines.append(f"{counts[Symbol.ERROR]} errors while checking")
    lines.append(f"{counts[Symbol.MATCH]} matching files")
    return lines
