"""Large objects are sent in segments that are found again after a crash, and are never half old.

Segments first, each with its MD5 as ETag, then the manifest: the object appears at once and whole. The MD5 is known
before a segment is sent, for it is part of its name and lets the server refuse damaged bytes. A segment of up to 16 MiB
is read once, hashed and sent from memory; a larger one is read twice, the second time mostly from the page cache: that
copy costs a tenth of what its MD5 costs, and no memory.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from swiftfs.errors import Changed, Conflict, Interrupted, Rejected, SwiftFSError, Truncated, printable
from swiftfs.load.passing import PassingObject
from swiftfs.load.plan import IMMUTABLE
from swiftfs.load.proof import Proof
from swiftfs.load.reading import (
    Buffers,
    HeldBody,
    SourceBody,
    digest_span,
    fill,
    fill_next,
    is_seekable,
)
from swiftfs.load.segments import (
    LEAST_SEGMENT,
    LargePolicy,
    choose_cut,
    large_etag,
    lengths,
    name_segment,
)
from swiftfs.load.sending import Sending, Sequence
from swiftfs.model import (
    Kind,
    Limits,
    ListingEntry,
    ObjectInfo,
    Segment,
)
from swiftfs.swift.large import BadSegments

if TYPE_CHECKING:
    from swiftfs.load.journal import Journal
    from swiftfs.load.ports import Store
    from swiftfs.load.source import Seekable, SourceObject
    from swiftfs.load.stored_large import StoredLarge
    from swiftfs.load.tally import Tally
    from swiftfs.swift.body import Body

log = logging.getLogger(__name__)

HELD = 16 * 1024 * 1024
"""Bytes of a segment that may be held in memory, and is then read once."""
SEQUENTIAL_CUTOFF = 64 * 1024 * 1024
"""Bytes from which on a source that can only be read in order is sent in segments, though the cutoff is higher."""
HELD_AT_ONCE = 48 * 1024 * 1024
"""Bytes of segments held in memory at once, of all objects; a single larger one alone."""

T = TypeVar("T")


class LargeUpload:
    """The large objects of one run into ``container``; ``places`` are the run's transfers, one for each segment.

    ``grow`` is told the bytes of each segment of an object of unknown size before it is sent, and may raise.
    """

    def __init__(
        self,
        store: Store,
        container: str,
        policy: LargePolicy,
        limits: Limits,
        there: StoredLarge,
        *,
        storage_policy: str | None,
        places: asyncio.Semaphore,
        pool: Executor,
        tally: Tally,
        halted: threading.Event,
        journal: Journal,
        grow: Callable[[int], None],
    ) -> None:
        self._store = store
        self._container = container
        self._policy = policy
        self._limits = limits
        self._there = there
        self._storage_policy = storage_policy
        self._places = places
        self._pool = pool
        self._tally = tally
        self._halted = halted
        self._journal = journal
        self._grow = grow
        self._home = there.home
        self._home_made = asyncio.Lock()
        self._has_home = policy.in_container
        self._buffers = Buffers(HELD_AT_ONCE)

    def cuts(self, source: SourceObject) -> bool:
        """Whether the object is sent in segments. Raises Rejected when it must be and may not."""
        if self._policy.cuts(source.size, self._limits):
            return True
        if source.size > self._limits.max_file_size:
            most = f"the store takes {self._limits.max_file_size:,} bytes in one object"
            raise Rejected(f"it has {source.size:,} bytes; {most}, and large objects are switched off")
        # What can only be read from its beginning would be read twice for its MD5: from a bound on, segments save that.
        return not is_seekable(source) and not self._policy.forbidden and source.size >= SEQUENTIAL_CUTOFF

    def check_passing(self, source: PassingObject) -> None:
        """Raise Rejected when large objects are switched off: in one piece a member has to be held, or read twice."""
        if self._policy.forbidden:
            size = f"at least {source.size:,}" if source.claimed is None else f"{source.claimed:,}"
            raise Rejected(
                f"it has {size} bytes, which only segments can take on the way, and large objects are switched off",
                hint="swiftfs extract the archive and load the directory",
            )

    async def send(
        self,
        source: SourceObject,
        content_type: str | None,
        there: ObjectInfo | None = None,
        *,
        immutable: bool = False,
    ) -> Proof:
        """Store the object and prove it; what is ``there`` stays when it is the same object of the same segments.

        Raises as ``Store.put``, Interrupted when the run is stopped, and Conflict when what is there is another object
        and ``immutable``.
        """
        sending = self._planned(source)
        try:
            return await self._send(sending, content_type, there, immutable=immutable)
        finally:
            self._tally.large.pop(source.name, None)

    async def _send(
        self, sending: Sending, content_type: str | None, there: ObjectInfo | None, *, immutable: bool
    ) -> Proof:
        source = sending.source
        self._tally.large[source.name] = (0, sending.size)
        await self._make_home()
        await self._there.uploading(source.name)
        for last in (isinstance(source, PassingObject), True):
            stored = {one.text: entry for one, entry in await self._there.own(source.name)}
            await self._send_segments(sending, stored)
            segments = self._named(sending)
            proof = Proof(sum(lengths(segments)), large_etag(one.md5 for one in segments), segments)
            # The same ETag may be that of other segments, which are about to go.
            same = there is not None and _is_proven(there, proof)
            if same and await self._store.segments(self._container, source.name) == segments:
                return proof
            if there is not None and immutable:
                raise Conflict(IMMUTABLE)
            try:
                await self._store.put_manifest(
                    self._container, source.name, segments, mtime=source.mtime, content_type=content_type
                )
                break
            except BadSegments as error:
                if last:
                    raise
                sending.distrusted = {path.partition("/")[2] for path in error.paths}
                log.info("segments are sent again: %s: %s", printable(source.name), printable(error.message))
        if not _is_proven(await self._store.head(self._container, source.name), proof):
            raise Truncated("the store holds other bytes than were sent", container=self._container, object=source.name)
        return proof

    def _planned(self, source: SourceObject) -> Sending:
        """How the object is cut. Raises Rejected when the store's limits or this machine's memory do not allow it."""
        policy, limits = self._policy, self._limits
        passing = isinstance(source, PassingObject)
        if not is_seekable(source):
            # Its segments go through memory, whatever size the user wishes them to have.
            most = LEAST_SEGMENT if passing else HELD
            policy = replace(policy, segment_size=min(policy.segment_size or most, most))
        size = source.claimed if isinstance(source, PassingObject) else source.size
        # Of unknown size: as many segments of one size as there may be, and the end must come before.
        cut = choose_cut(limits.max_segments if size is None else size, policy, limits)
        if size is not None and -(-size // cut.fine) > limits.max_segments:
            raise Rejected(f"it has {size:,} bytes, more than {limits.max_segments} segments may have")
        if passing and cut.fine > HELD_AT_ONCE:
            raise Rejected(
                f"it has {source.size:,} bytes: its {limits.max_segments} segments are too large for memory",
                hint="swiftfs extract the archive and load the directory",
            )
        return Sending(source, cut, size)

    async def _send_segments(self, sending: Sending, stored: dict[str, ListingEntry]) -> None:
        """Every segment that is not stored yet, of one version of the source; nothing counts as moved of a failure."""
        source = sending.source
        try:
            opened = await self._in_thread(source.open)
            try:
                if is_seekable(source):
                    numbers = iter(range(len(sending.parts)))

                    async def random() -> bool:
                        if (number := next(numbers, None)) is not None:
                            await self._segment(sending, source, number, stored)
                        return number is not None

                    await self._streams(random)
                else:
                    await self._streams(functools.partial(self._next_segment, sending, Sequence(opened), stored))
                # After the last segment: the source is still the one that was cut.
                await self._in_thread(opened.settle)
            finally:
                opened.close()
        except BaseException:
            self._tally.moved -= sending.moved
            sending.moved = 0
            raise

    async def _streams(self, take: Callable[[], Awaitable[bool]]) -> None:
        """Call ``take`` until it has nothing left, as many at once as a file has streams; the first failure ends the
        others' turn and is raised."""
        failures: list[SwiftFSError] = []

        async def stream() -> None:
            while not failures:
                try:
                    if self._halted.is_set():
                        raise Interrupted("stopped between two segments")
                    if not await take():
                        return
                except SwiftFSError as error:
                    failures.append(error)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._policy.streams):
                group.create_task(stream())
        if failures:
            raise failures[0]

    async def _next_segment(self, sending: Sending, sequence: Sequence, stored: dict[str, ListingEntry]) -> bool:
        """Read and send the next segment of a source that has to be read in order; False after the last."""
        most = sending.cut.fine if sending.size is None else min(sending.cut.fine, sending.size)
        async with self._buffers.take(most) as buffer:
            async with sequence.turn:
                if sequence.ended:
                    return False
                number = sequence.number
                sequence.number += 1
                length, md5 = await self._in_thread(fill_next, sequence.opened, buffer)
                if not sending.found(number, length):
                    sequence.ended = True
                    return False
                if number == self._limits.max_segments:
                    raise Rejected(f"it has more than the {number * most:,} bytes that segments of this size may have")
                if sending.size is None:
                    self._grow(length)
            if not self._is_stored(sending, number, md5, stored):
                async with self._places:
                    await self._put(sending, number, md5, HeldBody(buffer[:length]))
            return True

    async def _segment(self, sending: Sending, source: Seekable, number: int, stored: dict[str, ListingEntry]) -> None:
        span = sending.parts[number]
        identity = await self._in_thread(source.identity)
        if identity is not None:
            inode = identity[0].rpartition(":")[0]
            sending.inode = sending.inode or inode
            if sending.inode != inode:
                # By another file of its size and time, which is not to be noticed in any single segment.
                raise Changed("was replaced while it was read")
        md5 = sending.md5s[number]
        if md5 is None and identity is not None:
            md5 = await self._in_thread(self._journal.known, source.name, identity[0], *sending.place(number))
        if md5 is not None and self._is_stored(sending, number, md5, stored):
            return
        if len(span) <= HELD and not self._buffers.would_wait(len(span)):
            async with self._buffers.take(len(span)) as buffer, self._places:
                md5 = await self._in_thread(fill, source, span.start, buffer)
                await self._note(sending, number, md5, identity)
                if not self._is_stored(sending, number, md5, stored):
                    await self._put(sending, number, md5, HeldBody(buffer))
            return
        async with self._places:
            if md5 is None:
                md5 = await self._in_thread(digest_span, source, span, self._halted)
                await self._note(sending, number, md5, identity)
                if self._is_stored(sending, number, md5, stored):
                    return
            sending.md5s[number] = md5
            body = SourceBody(source, self._pool, self._tally, span)
            try:
                await self._put(sending, number, md5, body)
            finally:
                body.close()

    def _is_stored(self, sending: Sending, number: int, md5: str, stored: dict[str, ListingEntry]) -> bool:
        """Whether the store has the segment already; then it counts as moved."""
        sending.md5s[number] = md5
        name = self._segment_name(sending, number, md5)
        entry = stored.get(name)
        length = len(sending.parts[number])
        if entry is None or (entry.size, entry.etag) != (length, md5) or name in sending.distrusted:
            return False
        sending.count(number, self._tally)
        return True

    async def _note(self, sending: Sending, number: int, md5: str, identity: tuple[str, int] | None) -> None:
        if identity is not None:
            note = self._journal.note
            await self._in_thread(note, sending.source.name, identity, md5, *sending.place(number))

    async def _put(self, sending: Sending, number: int, md5: str, body: Body) -> None:
        name = self._segment_name(sending, number, md5)
        await self._store.put(self._home, name, body, md5=md5, content_type="application/octet-stream")
        if isinstance(body, SourceBody):
            body.close()
        sending.count(number, self._tally)
        log.debug("sent: %s", printable(name))

    def _segment_name(self, sending: Sending, number: int, md5: str) -> str:
        return name_segment(self._policy.prefix(sending.source.name), sending.place(number), md5)

    def _named(self, sending: Sending) -> tuple[Segment, ...]:
        def segments() -> Iterator[Segment]:
            for number, (span, md5) in enumerate(zip(sending.parts, sending.md5s, strict=True)):
                assert md5 is not None
                yield Segment(self._home, self._segment_name(sending, number, md5), len(span), md5)

        return tuple(segments())

    async def _make_home(self) -> None:
        async with self._home_made:
            if not self._has_home:
                await self._store.create_container(self._home, storage_policy=self._storage_policy)
                self._has_home = True

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


def _is_proven(info: ObjectInfo, proof: Proof) -> bool:
    return (info.size, info.etag, info.kind) == (proof.size, proof.md5, Kind.SLO)
