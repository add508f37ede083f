"""The large objects that a container has: their segments, whether they are what a source has, what goes with them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Protocol, TypeVar

from swiftfs.errors import ContainerNotFound
from swiftfs.load.journal import Debt, Journal
from swiftfs.load.proof import Proof
from swiftfs.load.reading import digest_parts, hash_parts, is_seekable
from swiftfs.load.segments import (
    LargePolicy,
    SegmentName,
    large_etag,
    lengths,
    name_segment,
    own_cuts,
    proven_groups,
    proven_own,
    segment_of,
)
from swiftfs.load.verify_large import find_segments
from swiftfs.model import (
    SEGMENTS_PREFIX,
    SEGMENTS_SUFFIX,
    Kind,
    ListingEntry,
    ObjectInfo,
    Segment,
    is_segment_place,
)

if TYPE_CHECKING:
    from swiftfs.load.ports import Store
    from swiftfs.load.source import SourceObject

T = TypeVar("T")


class StoredLarge:
    """Large objects of ``container``; ``home`` is the container that ``policy`` has their segments in."""

    def __init__(
        self,
        store: Store,
        container: str,
        policy: LargePolicy,
        *,
        pool: Executor,
        halted: threading.Event,
        journal: Journal,
    ) -> None:
        self._store = store
        self._container = container
        self._policy = policy
        self._pool = pool
        self._halted = halted
        self._journal = journal
        self.home = policy.home(container)

    async def same(self, source: SourceObject, info: ObjectInfo) -> Proof | None:
        """The proof that the large object ``info`` has the bytes of ``source``; None when it has not, when a segment
        is gone, or when no proof is to be had. The source is hashed in the store's own segments, whoever made them."""
        if info.size != source.size:
            return None
        prefix = self._policy.prefix(info.name)
        known = await self.segments(info)
        if known:
            if (await find_segments(self._store, known, self.home, prefix)).missing:
                return None
            md5s = await self._hash(source, lengths(known))
            return Proof(info.size, info.etag, known) if md5s == [one.md5 for one in known] else None
        own = await self.own(info.name)
        stored = {Segment(self.home, entry.name, entry.size, entry.etag) for _, entry in own}
        for cut in own_cuts(info.size, (one.segment_size for one, _ in own)):
            if cut.count(info.size) > len(own):
                continue
            spans = cut.spans(info.size)
            md5s = await self._hash(source, [len(span) for span in spans])
            if large_etag(md5s) == info.etag:
                segments = tuple(
                    Segment(self.home, name_segment(prefix, cut.place(span.start), md5), len(span), md5)
                    for span, md5 in zip(spans, md5s, strict=True)
                )
                return Proof(info.size, info.etag, segments) if stored.issuperset(segments) else None
        return None

    async def segments(self, info: ObjectInfo) -> tuple[Segment, ...] | None:
        """The segments of a large object in the store; None where nothing proves which they are."""
        if info.kind is Kind.SLO and (found := await self._store.segments(self._container, info.name)) is not None:
            return found
        if info.kind is Kind.DLO:
            home, _, prefix = (info.manifest or "").partition("/")
            if not prefix:
                return None  # a manifest without a prefix would name all of a container
            listed = await _listed(self._store, home, prefix)
            return tuple(Segment(home, one.name, one.size, one.etag) for one in listed)
        return await prove_segments(self._store, self._container, info, [self._policy])

    async def replacing(self, info: ObjectInfo) -> None:
        """Remember what must go once another object has taken the place of the large object ``info``.

        Nothing must for a symbolic link to one: all that is told of it is told of the other.
        """
        if info.is_link or self._store.spares_segments(self._container):
            return
        prefix = self._policy.prefix(info.name)
        debts = [Debt(info.name, self.home, prefix)]
        for one in await self.segments(info) or ():
            ours = one.container == self.home and segment_of(prefix, one.name) is not None
            if not ours and not one.name.endswith("/") and is_segment_place(one.container, one.name):
                debts.append(Debt(info.name, one.container, one.name))
        await self._in_thread(self._journal.owe, debts)

    async def uploading(self, name: str) -> None:
        """Remember the segments of ours that the object may have too many, unless it is stored and proven."""
        if not self._store.spares_segments(self._container):
            await self._in_thread(self._journal.owe, [Debt(name, self.home, self._policy.prefix(name))])

    async def _hash(self, source: SourceObject, sizes: tuple[int, ...] | list[int]) -> list[str]:
        """The MD5s of the parts of these sizes, one after the other, from the journal where it knows them."""
        if not is_seekable(source):
            return await self._in_thread(digest_parts, source, sizes, self._halted)
        return await self._in_thread(hash_parts, source, sizes, self._halted, self._journal)

    async def own(self, name: str) -> list[tuple[SegmentName, ListingEntry]]:
        """The segments of ours that there are for an object, those of interrupted uploads among them."""
        return await _own(self._store, self._container, self._policy, name)

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


BOTH = (LargePolicy(), LargePolicy(in_container=True))
"""Where swiftfs keeps segments, whichever way a remote is configured."""


class Listing(Protocol):
    """What finding segments needs of a store."""

    def list_objects(self, container: str, *, prefix: str = "") -> AsyncIterator[list[ListingEntry]]: ...


async def prove_segments(
    store: Listing, container: str, info: ObjectInfo, policies: Iterable[LargePolicy] = BOTH
) -> tuple[Segment, ...] | None:
    """The segments of a large object of ``container`` as listings of their own places prove them; None where nothing
    does. Ours lie where ``policies`` have them, those of other clients in the places usual for them."""
    for policy in policies:
        own = await _own(store, container, policy, info.name)
        if (ours := proven_own(policy.home(container), own, info.size, info.etag)) is not None:
            return ours
    for home, prefix in (
        (container + SEGMENTS_SUFFIX, f"{info.name}/"),
        (container, f"{SEGMENTS_PREFIX}{info.name}/"),
    ):
        if (found := proven_groups(home, await _listed(store, home, prefix), info.size, info.etag)) is not None:
            return found
    return None


async def _own(
    store: Listing, container: str, policy: LargePolicy, name: str
) -> list[tuple[SegmentName, ListingEntry]]:
    prefix = policy.prefix(name)
    entries = await _listed(store, policy.home(container), prefix)
    return [(one, entry) for entry in entries if (one := segment_of(prefix, entry.name)) is not None]


async def _listed(store: Listing, home: str, prefix: str) -> list[ListingEntry]:
    try:
        return [entry async for page in store.list_objects(home, prefix=prefix) for entry in page]
    except ContainerNotFound:
        return []
