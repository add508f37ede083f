"""Carry out a plan: checkers compare, transfers send, with bounded queues between them.

One object's failure is that object's: the others go on. What would fail every object (credentials, the container
gone, a store that stays away) ends the run once, with what was not tried.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from swiftfs.errors import (
    AuthError,
    Changed,
    ConfigError,
    Conflict,
    ContainerNotFound,
    Forbidden,
    Interrupted,
    LocalFileError,
    NotFound,
    SwiftFSError,
    TransferLimit,
    Unavailable,
    printable,
)
from swiftfs.load.content_type import ContentTypes
from swiftfs.load.held import ByteBudget
from swiftfs.load.journal import Journal
from swiftfs.load.large import LargeUpload
from swiftfs.load.options import LoadOptions
from swiftfs.load.plan import IMMUTABLE, Action, Compare, Step, after_head, is_newer
from swiftfs.load.proof import Failure, Proof, Proofs
from swiftfs.load.reading import SMALL, SourceBody, is_seekable, known_digest, read_whole
from swiftfs.load.ready import Ready
from swiftfs.load.segments import LargePolicy
from swiftfs.load.stored_large import StoredLarge
from swiftfs.model import Kind, Limits

if TYPE_CHECKING:
    from swiftfs.load.ports import Store
    from swiftfs.load.source import SourceObject
    from swiftfs.load.tally import Tally

log = logging.getLogger(__name__)

BACKLOG = 2
"""Objects that wait per transfer: enough that a transfer never waits for the next name, and no bytes are held."""
TURN = 64
"""Objects that one checker decides before the loop sees to its sockets."""
IN_FLIGHT = 32 * 1024 * 1024
"""Bytes of small objects in memory over all transfers, however many there are: more than a path of 100 ms and 2 Gbit/s
holds, and beside segments and what an archive holds less than 150 MiB."""
OUTAGE = 32
"""Objects in a row that may fail because the store cannot be reached, or forbids them, before the rest is not tried."""

T = TypeVar("T")


@dataclass(slots=True)
class Outcome:
    """What became of the steps. ``fatal`` ended the run early and is None when every step was tried.

    ``times`` are those of the objects that showed on the way (nanoseconds; None: unknown), by name.
    """

    proofs: Proofs = field(default_factory=Proofs)
    failures: list[Failure] = field(default_factory=list)
    fatal: SwiftFSError | None = None
    times: dict[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Job:
    source: SourceObject
    md5: str | None


class Upload:
    """One run over ``steps``. ``halted`` set from outside means: start nothing new, let what runs finish.

    A dry run compares and counts as any other, and sends nothing. Large objects take one of the ``transfers`` for each
    segment on its way.
    """

    def __init__(
        self,
        store: Store,
        container: str,
        *,
        transfers: int,
        checkers: int,
        tally: Tally,
        halted: threading.Event,
        dry_run: bool = False,
        journal: Journal | None = None,
        large: LargePolicy | None = None,
        limits: Limits | None = None,
        storage_policy: str | None = None,
        options: LoadOptions | None = None,
    ) -> None:
        self._options = options or LoadOptions()
        self._begun = 0
        self._full = False
        self._store = store
        self._container = container
        self._transfers = transfers
        self._checkers = checkers
        self._tally = tally
        self._halted = halted
        self._dry_run = dry_run
        self._pool = ThreadPoolExecutor(checkers, thread_name_prefix="swiftfs-read")
        self._types = ContentTypes()
        self._outcome = Outcome()
        self._outage = 0
        self._queue: asyncio.Queue[_Job | None] = asyncio.Queue(BACKLOG * transfers)
        self._places = asyncio.Semaphore(transfers)
        self._memory = ByteBudget(IN_FLIGHT)
        self._journal = journal or Journal(None)
        self._ready = Ready(self._journal)
        self._committing: Future[None] | None = None
        policy = large or LargePolicy()
        self._there = StoredLarge(store, container, policy, pool=self._pool, halted=halted, journal=self._journal)
        self._large = LargeUpload(
            store,
            container,
            policy,
            limits or Limits(),
            self._there,
            storage_policy=storage_policy,
            places=self._places,
            pool=self._pool,
            tally=tally,
            halted=halted,
            journal=self._journal,
            grow=self._grow,
        )

    async def run(self, pending: Iterator[Step[SourceObject]], count: int) -> Outcome:
        """Every step taken, of which there are ``count``; raises nothing that belongs to one object."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._width(count)):
                    group.create_task(self._transfer())
                group.create_task(self._check_all(pending))
        finally:
            self._halted.set()
            self._pool.shutdown(wait=False, cancel_futures=True)
        return self._outcome

    async def _check_all(self, pending: Iterator[Step[SourceObject]]) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._checkers):
                group.create_task(self._check(pending))
        for _ in range(self._transfers):
            await self._queue.put(None)

    async def _check(self, pending: Iterator[Step[SourceObject]]) -> None:
        for number, step in enumerate(pending):
            if self._is_over:
                return
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)  # what is known at once would keep the loop from everything else
            try:
                job = await self._job_for(step)
            except SwiftFSError as error:
                self._failed(step.source, error)
                continue
            if job is not None:
                await self._queue.put(job)

    async def _job_for(self, step: Step[SourceObject]) -> _Job | None:
        """The job of sending the object, or None when the store has it already or is to keep what it has."""
        job = await self._decide(step)
        if job is not None and step.there and not await self._may_replace(step.source):
            return None
        return job

    async def _decide(self, step: Step[SourceObject]) -> _Job | None:
        """The job of sending the object, or None when the store has it already."""
        source = step.source
        compare = self._options.compare
        if step.action is Action.ASK:
            try:
                info = await self._store.head(self._container, source.name)
                step = after_head(source, info, compare)
                if info.kind is not Kind.PLAIN and step.action is not Action.SKIP:
                    if compare is not Compare.NOTHING and (proof := await self._there.same(source, info)) is not None:
                        self._skipped(source, proof)
                        return None
                    if not self._dry_run:
                        await self._there.replacing(info)
            except ContainerNotFound:
                raise
            except NotFound:
                step = Step(source, Action.SEND)
        if step.action is Action.SKIP:
            self._trusted(source)
            return None
        if step.action is Action.SEND and (self._large.cuts(source) or source.size <= SMALL or self._dry_run):
            return _Job(source, None)
        md5 = self._known(source)
        if md5 is None:
            md5 = await self._in_thread(known_digest, source, self._halted, self._journal)
        if step.action is Action.SEND or md5 != step.etag:
            return _Job(source, md5)
        self._skipped(source, Proof(source.size, md5))
        return None

    async def _may_replace(self, source: SourceObject) -> bool:
        """Whether the object that differs from ``source`` is to be replaced. Raises Conflict when it must not be."""
        if self._options.immutable:
            raise Conflict(IMMUTABLE)
        if self._options.update:
            try:
                info = await self._store.head(self._container, source.name)
            except ContainerNotFound:
                raise
            except NotFound:
                return True
            if is_newer(info, source.mtime):
                self._trusted(source)
                return False
        return True

    def _trusted(self, source: SourceObject) -> None:
        self._tally.trusted += 1
        self._tally.skipped += 1
        self._tally.moved += source.size
        log.debug("left as it is: %s", printable(source.name))

    def _skipped(self, source: SourceObject, proof: Proof) -> None:
        self._outcome.proofs.add(source.name, proof)
        self._tally.skipped += 1
        self._tally.moved += source.size
        log.debug("same: %s", printable(source.name))

    async def _transfer(self) -> None:
        while (job := await self._next()) is not None:
            if self._is_over or not self._begin(job.source.size):
                continue
            if self._dry_run:
                self._tally.sent += 1
                self._tally.sent_size += job.source.size
                self._tally.moved += job.source.size
                log.warning("would send: %s", printable(job.source.name))
                continue
            try:
                await self._send(job)
            except SwiftFSError as error:
                self._failed(job.source, error)

    def _width(self, steps: int) -> int:
        """How many transfers that many steps can keep busy."""
        return min(self._transfers, max(1, steps))

    async def _next(self) -> _Job | None:
        """The next job for a transfer that has settled its last one; None: there is none any more."""
        return await self._queue.get()

    @property
    def _is_over(self) -> bool:
        """Whether nothing new is to be started. What runs is within --max-transfer and goes on to its end."""
        return self._full or self._halted.is_set()

    def _begin(self, size: int) -> bool:
        """Whether ``size`` bytes more may be begun; the end of the run when they would go past --max-transfer."""
        limit = self._options.max_transfer
        if limit is not None and self._begun + size > limit:
            self._outcome.fatal = self._outcome.fatal or TransferLimit(
                f"what is next would go past --max-transfer, {limit:,} bytes: {self._begun:,} have been begun"
            )
            self._full = True
            return False
        self._begun += size
        return True

    def _grow(self, size: int) -> None:
        """Begin ``size`` bytes of an object whose size shows at its end. Raises Interrupted when they may not be."""
        if not self._begin(size):
            raise Interrupted("stopped at --max-transfer")

    async def _send(self, job: _Job) -> None:
        source = job.source
        if self._large.cuts(source):
            proof = await self._large.send(source, self._types.of(source.name))
        else:
            async with self._places:
                proof = Proof(source.size, await self._send_plain(source, job.md5))
        self._outage = 0
        self._outcome.proofs.add(source.name, proof)
        self._tally.sent += 1
        self._tally.sent_size += source.size
        log.debug("sent: %s", printable(source.name))

    async def _send_plain(self, source: SourceObject, md5: str | None) -> str:
        if source.size <= SMALL:
            if not self._memory.take_now(source.size):
                await self._memory.take(source.size)
            try:
                md5 = await self._send_whole(source)
            finally:
                self._memory.give(source.size)
        else:
            assert md5 is not None
            body = SourceBody(source, self._pool, self._tally)
            try:
                await self._put(source, body, md5)
            finally:
                body.close()
        self._tally.moved += source.size
        return md5

    async def _send_whole(self, source: SourceObject) -> str:
        content = self._ready.read(source)
        if content is None:
            content = await self._in_thread(read_whole, source, self._journal)
        self._commit_when_due()
        await self._put(source, content.body, content.md5)
        return content.md5

    async def _put(self, source: SourceObject, body: bytes | SourceBody, md5: str) -> None:
        await self._store.put(
            self._container,
            source.name,
            body,
            md5=md5,
            mtime=source.mtime,
            content_type=self._types.of(source.name),
        )

    def _known(self, source: SourceObject) -> str | None:
        """The MD5 of an object that can be had without waiting: from the journal, or read from memory."""
        if is_seekable(source) and (identity := source.identity()) is not None and not self._journal.is_busy:
            if (known := self._journal.known(source.name, identity[0])) is not None:
                return known
            if (content := self._ready.read(source)) is not None:
                self._commit_when_due()
                return content.md5
        return None

    def _commit_when_due(self) -> None:
        """Let a thread put the journal on the disk, one at a time."""
        if self._journal.is_due and (self._committing is None or self._committing.done()):
            self._committing = self._pool.submit(self._journal.commit)

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def _failed(self, source: SourceObject, error: SwiftFSError) -> None:
        """Note one object's failure, and end the run when the next object would fail alike."""
        if isinstance(error, Interrupted):
            return
        # A store that has taken others forbids this object, until it has forbidden too many.
        alone = isinstance(error, Forbidden) and self._tally.sent > 0
        self._outage = self._outage + 1 if alone or isinstance(error, Unavailable) else 0
        local = isinstance(error, Changed | LocalFileError)
        hopeless = isinstance(error, AuthError | ConfigError | ContainerNotFound) and not alone
        if hopeless or self._outage >= OUTAGE:
            self._outcome.fatal = self._outcome.fatal or error
            self._halted.set()
        reason = error.message if error.hint is None or local else f"{error.message}; {error.hint}"
        self._outcome.failures.append(Failure(source.name, reason))
        self._tally.failed += 1
        log.info("failed: %s: %s", printable(source.name), printable(reason))
