"""Carry out a plan whose objects are members of an archive: read in the archive's order, sent from memory.

Batches are read one after another (or several at once, where the source can), each when the budget of bytes has room;
what a transfer has settled gives its bytes back. Members that are too large to be held come after the others, each
opened by itself as a file is, as many at once as the source allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from swiftfs.errors import Conflict, ContainerNotFound, Interrupted, NotFound, Rejected, SwiftFSError, printable
from swiftfs.load.archive_source import Batch, MemberSource, Unread
from swiftfs.load.held import BUDGET, HELD, ByteBudget, HeldObject, trim_memory
from swiftfs.load.passing import PassingObject
from swiftfs.load.plan import IMMUTABLE, Action, Compare, Step, is_newer, make_plan
from swiftfs.load.proof import Failure
from swiftfs.load.source import Refused
from swiftfs.load.stream_source import StreamSource, Withdrawn
from swiftfs.load.upload import Upload
from swiftfs.model import Kind

if TYPE_CHECKING:
    from swiftfs.load.source import Source, SourceObject
    from swiftfs.load.transform import Rules
    from swiftfs.load.upload import Outcome, _Job
    from swiftfs.model import ListingEntry, ObjectInfo

log = logging.getLogger(__name__)

READ = frozenset({Action.SEND, Action.COMPARE, Action.ASK})
"""Actions that need the object's bytes."""


class HeldUpload(Upload):
    """An upload whose objects are read into memory by others than the checkers, under a budget of ``held`` bytes."""

    def __init__(self, *arguments: Any, held: int = HELD, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limit = held
        self._budget = ByteBudget(min(held, BUDGET))
        self._held: dict[asyncio.Task[Any] | None, HeldObject] = {}

    async def _queued(self, step: Step[SourceObject]) -> bool:
        """Whether the object is on its way to a transfer, which gives its bytes back."""
        try:
            job = await self._job_for(step)
        except SwiftFSError as error:
            self._failed(step.source, error)
            return False
        if job is None:
            return False
        await self._queue.put(job)
        return True

    def _ended(self, error: SwiftFSError) -> None:
        """The archive itself is broken or out of reach: no other member can be had."""
        if not isinstance(error, Interrupted):
            self._outcome.fatal = self._outcome.fatal or error
        self._halted.set()

    async def _next(self) -> _Job | None:
        task = asyncio.current_task()
        if (settled := self._held.pop(task, None)) is not None:
            settled.drop()
            self._budget.give(settled.size)
        job = await super()._next()
        if job is not None and isinstance(job.source, HeldObject):
            self._held[task] = job.source
        return job


class ArchiveUpload(HeldUpload):
    """One run over steps whose objects ``members`` has."""

    def __init__(self, members: MemberSource, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._members = members
        self._apart = asyncio.Semaphore(members.apart)

    async def _check_all(self, pending: Iterator[Step[SourceObject]]) -> None:
        steps = {step.source.name: step for step in pending}
        reads = [step.source for step in steps.values() if self._is_read(step)]
        alone = iter([step for step in steps.values() if not self._is_read(step)])
        async with asyncio.TaskGroup() as group:
            batches = self._members.batches(reads)
            for _ in range(self._members.parallel):
                group.create_task(self._read_all(batches, steps))
        # Those that go through memory in segments need the room of the others.
        await self._budget.drained()
        await self._check(alone)
        for _ in range(self._transfers):
            await self._queue.put(None)

    async def _job_for(self, step: Step[SourceObject]) -> _Job | None:
        async with self._opening(step.source):
            return await super()._job_for(step)

    async def _send(self, job: _Job) -> None:
        async with self._opening(job.source):
            await super()._send(job)

    def _opening(self, source: SourceObject) -> AbstractAsyncContextManager[object]:
        """What to hold while the archive is opened for this object alone, if it is: each takes memory beside the
        segments, and of a tar the time to go through all that is before it."""
        return self._apart if source.size > self._limit else contextlib.nullcontext()

    def _is_read(self, step: Step[SourceObject]) -> bool:
        if step.source.size > self._limit or step.action not in READ:
            return False
        return not (self._dry_run and step.action is Action.SEND)

    async def _read_all(self, batches: Iterator[Batch], steps: dict[str, Step[SourceObject]]) -> None:
        for batch in batches:
            if self._is_over:
                return
            await self._budget.take(batch.cost)
            left = batch.cost
            try:
                for found in await self._members.read(batch):
                    if isinstance(found, Unread):
                        self._failed(found.source, found.error)
                    elif await self._queued(replace(steps[found.name], source=found)):
                        left -= found.size
            except SwiftFSError as error:
                self._ended(error)
                return
            finally:
                self._budget.give(left)


class StreamUpload(HeldUpload):
    """One run over the members of an archive that is gone through once; ``entries`` are all that the destination has
    below the prefix."""

    def __init__(
        self,
        stream: StreamSource,
        entries: Iterable[ListingEntry],
        rules: Rules | None,
        *arguments: Any,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._stream = stream
        self._entries = {entry.name: entry for entry in entries}
        self._rules = rules
        self._withdrawn: list[Withdrawn] = []
        self._left: set[str] = set()
        self._sent: set[str] = set()

    async def run(self, pending: Iterator[Step[SourceObject]], count: int) -> Outcome:
        """Everything in the stream taken; what its end disowns is taken back."""
        outcome = await super().run(pending, count)
        for one in self._withdrawn:
            await self._take_back(one)
        return outcome

    async def _check_all(self, pending: Iterator[Step[SourceObject]]) -> None:
        batch: list[HeldObject | PassingObject | Refused | Withdrawn] | None = []
        while batch is not None and not self._is_over:
            left = self._stream.wanted
            await self._budget.take(left)
            allowance = left
            passing = None
            try:
                batch = await asyncio.to_thread(self._stream.batch, allowance, self._rules, self._options.filters)
                for found in batch or ():
                    if isinstance(found, PassingObject):
                        passing = found
                    else:
                        left -= await self._taken(found)
            except SwiftFSError as error:
                self._ended(error)
                break
            finally:
                self._budget.give(left)
            if passing is not None:
                await self._passed(passing)
        for _ in range(self._transfers):
            await self._queue.put(None)

    async def _passed(self, source: PassingObject) -> None:
        """Send a member that is too large for memory, segment by segment as it is read, or skip it."""
        # Its segments need the memory that others have, and they settle without it.
        await self._budget.drained()
        trim_memory()
        self._tally.files += 1
        self._tally.size += source.claimed or 0
        self._outcome.times[source.name] = source.mtime
        try:
            await self._passing(source)
        except SwiftFSError as error:
            self._failed(source, error)
        finally:
            source.close()
            self._tally.size += source.size if source.claimed is None else 0

    async def _passing(self, source: PassingObject) -> None:
        there = await self._found(source)
        if there is not None and self._stays(source, there):
            self._trusted(source)
            return
        self._large.check_passing(source)
        if not self._begin(source.claimed or 0):
            return
        if self._dry_run:
            await self._in_thread(source.exhaust)
            if source.claimed is None:
                self._grow(source.size)
            self._tally.sent += 1
            self._tally.sent_size += source.size
            self._tally.moved += source.size
            log.warning("would send: %s", printable(source.name))
            return
        immutable = self._options.immutable
        if there is not None and there.kind is not Kind.PLAIN and not immutable:
            await self._there.replacing(there)
        if self._options.compare is Compare.NOTHING:
            there = None
        proof = await self._large.send(source, self._types.of(source.name), there, immutable=immutable)
        self._outcome.proofs.add(source.name, proof)
        self._outage = 0
        if there is not None and (there.size, there.etag) == (proof.size, proof.md5):
            self._tally.skipped += 1
            log.debug("same: %s", printable(source.name))
            return
        self._sent.add(source.name)
        self._tally.sent += 1
        self._tally.sent_size += source.size
        log.debug("sent: %s", printable(source.name))

    async def _found(self, source: PassingObject) -> ObjectInfo | None:
        """The object that the container has of the member's name; None: nothing that it could replace."""
        entry = self._entries.get(source.name)
        if entry is None or entry.is_directory_marker:
            return None
        try:
            return await self._store.head(self._container, source.name)
        except ContainerNotFound:
            raise
        except NotFound:
            return None

    def _stays(self, source: PassingObject, there: ObjectInfo) -> bool:
        """Whether the object stays, whatever the member holds, which is known when it has been sent.

        Raises Rejected when that cannot be told in time, and Conflict for another object that is to stay.
        """
        options = self._options
        if options.compare is Compare.NAME:
            return True
        if options.compare is Compare.SIZE:
            if source.claimed is None:
                raise Rejected("it shows its size only at its end, too late for --size-only")
            if there.size == source.claimed:
                return True
        if options.immutable and source.claimed not in {None, there.size}:
            raise Conflict(IMMUTABLE)
        return options.update and is_newer(there, source.mtime)

    def _trusted(self, source: SourceObject) -> None:
        super()._trusted(source)
        self._left.add(source.name)

    async def _take_back(self, one: Withdrawn) -> None:
        """Make what the archive's end disowns a failure, and delete it when this run has sent it."""
        reason = one.reason
        proof = self._outcome.proofs.take(one.name)
        if one.name in self._left:
            self._tally.trusted -= 1
            self._tally.skipped -= 1
        elif proof is None and not self._dry_run:
            return  # it has failed already, or was not tried
        elif one.name in self._sent:
            self._tally.sent -= 1
            self._tally.sent_size -= proof.size if proof is not None else 0
            try:
                segments = len(proof.segments or ()) if proof is not None else 0
                if segments and self._store.spares_segments(self._container):
                    segments = 0
                await self._store.delete(self._container, one.name, with_segments=segments)
            except NotFound:
                pass
            except SwiftFSError as error:
                reason += f"; the object made of it could not be deleted: {error.message}"
        elif self._dry_run:
            self._tally.sent = max(0, self._tally.sent - 1)
        else:
            self._tally.skipped -= 1
        self._outcome.failures.append(Failure(one.name, reason))
        self._tally.failed += 1

    async def _send(self, job: _Job) -> None:
        await super()._send(job)
        self._sent.add(job.source.name)

    def _width(self, steps: int) -> int:
        return self._transfers  # how much there is to do is known at the end

    async def _taken(self, found: HeldObject | Refused | Withdrawn) -> int:
        """Bytes that a transfer gives back of what came by."""
        if isinstance(found, Withdrawn):
            self._withdrawn.append(found)
            return 0
        self._tally.files += 1
        if isinstance(found, Refused):
            self._outcome.failures.append(Failure(found.name, found.reason))
            self._tally.failed += 1
            return 0
        self._tally.size += found.size
        entry = self._entries.get(found.name)
        one: SourceObject = found
        self._outcome.times[found.name] = found.mtime
        (step,) = make_plan([one], [] if entry is None else [entry], self._options.compare).steps
        return found.size if await self._queued(step) else 0


def upload_for(
    source: Source, entries: Iterable[ListingEntry], rules: Rules | None, *arguments: Any, **options: Any
) -> Upload:
    """The upload that suits the source; ``entries`` and ``rules`` are for a plan that is made on the way."""
    if isinstance(source, StreamSource):
        return StreamUpload(source, entries, rules, *arguments, **options)
    if isinstance(source, MemberSource):
        return ArchiveUpload(source, *arguments, **options)
    return Upload(*arguments, **options)
