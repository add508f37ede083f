"""Load a source into a container: walk, list once, plan, send, prove."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from swiftfs.config.settings import DEFAULT_CHECKERS, DEFAULT_TRANSFERS
from swiftfs.errors import (
    ContainerNotFound,
    Incomplete,
    Interrupted,
    SwiftFSError,
    UsageError,
    printable,
)
from swiftfs.load.interrupt import Interrupt
from swiftfs.load.journal import Journal
from swiftfs.load.leftovers import remove_abandoned, remove_leftovers
from swiftfs.load.manifest import Described, write_manifest
from swiftfs.load.mirror import Destination, check_deletes, delete_all
from swiftfs.load.options import LoadOptions
from swiftfs.load.plan import OWN_PLACE, Plan, make_plan
from swiftfs.load.progress import Display, shown
from swiftfs.load.proof import Failure, Proofs
from swiftfs.load.reading import SMALL
from swiftfs.load.renaming import renamed
from swiftfs.load.segments import LargePolicy
from swiftfs.load.source import DirectorySource, Omitted, Refused, Source, SourceObject
from swiftfs.load.tally import Tally
from swiftfs.load.upload import Upload
from swiftfs.load.verify import Verified, verify
from swiftfs.load.verify_large import verify_large
from swiftfs.model import in_dataset

if TYPE_CHECKING:
    from swiftfs.load.ports import Store
    from swiftfs.load.transform import Move, Rules
    from swiftfs.load.upload import Outcome
    from swiftfs.model import ListingEntry

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What to load and how. ``prefix`` ends with a slash or is empty, and the source's names begin with it.

    ``rules`` say where each object belongs below it; None leaves names as they are.
    """

    source: Source
    container: str
    prefix: str = ""
    transfers: int = DEFAULT_TRANSFERS
    checkers: int = DEFAULT_CHECKERS
    dry_run: bool = False
    storage_policy: str | None = None
    large: LargePolicy = field(default_factory=LargePolicy)
    rules: Rules | None = None
    options: LoadOptions = field(default_factory=LoadOptions)


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a run did. ``verified`` is None when nothing was proven: a dry run, or one that was stopped.

    ``trusted`` of the skipped files were not compared by content, as the user wanted it. ``manifest`` is the digest of
    the manifest that was written, None when none was.
    """

    files: int
    size: int
    seconds: float
    requests: int
    retries: int
    logins: int
    sent: int
    sent_size: int
    skipped: int
    failures: tuple[Failure, ...] = ()
    omitted: tuple[Omitted, ...] = ()
    verified: Verified | None = None
    fatal: SwiftFSError | None = None
    interrupted: bool = False
    dry_run: bool = False
    moves: tuple[Move, ...] = ()
    trusted: int = 0
    deleted: int = 0
    manifest: str | None = None

    @property
    def untried(self) -> int:
        """Files that were not looked at because the run ended early."""
        return max(0, self.files - self.sent - self.skipped - len(self.failures))


async def load_directory(
    client: Store,
    request: LoadRequest,
    display: Display,
    *,
    interrupt: Interrupt | None = None,
    journal: Journal | None = None,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> LoadResult:
    """Make the container hold every object of the source, and prove it.

    ``journal`` is what earlier runs of the same source and destination have left, and this one leaves to the next.
    Raises what the listing or the container's creation raises, and Interrupted at the second Ctrl-C, or
    while the source is walked at the first; failures of
    objects and what ended the run early are in the result.
    """
    interrupt = interrupt or Interrupt()
    run = _Run(client, request, interrupt, journal or Journal(None), pause, clock)
    async with shown(display, run.tally):
        return await interrupt.run(run.go())


@dataclass(slots=True)
class _End:
    """What became of a run after its uploads, as in :class:`LoadResult`."""

    deleted: int
    verified: Verified | None = None
    manifest: str | None = None


class _Run:
    def __init__(
        self,
        client: Store,
        request: LoadRequest,
        interrupt: Interrupt,
        journal: Journal,
        pause: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._request = request
        self._interrupt = interrupt
        self._journal = journal
        self._pause = pause
        self._clock = clock
        self.tally = Tally()

    async def go(self) -> LoadResult:
        request, tally, start = self._request, self.tally, self._clock()
        options = request.options
        if request.rules is not None and options.deletes and options.filters.active:
            raise UsageError(
                "filters choose among the source's names, deletes among those that --transform makes of them",
                hint="leave out the filters, or delete in a run without --transform",
            )
        # Filters speak of the source's names, as rclone's do: what they leave out is not renamed either.
        objects, refused, omitted = _chosen(
            request, *await asyncio.to_thread(_walk, request.source, self._interrupt.halted)
        )
        moves: tuple[Move, ...] = ()
        if request.rules is not None:
            objects, more, moves = renamed(objects, request.rules, request.prefix)
            refused.extend(more)
        streamed = _is_streamed(request.source)
        if streamed and options.delete_extra:
            raise UsageError(
                "an archive that is read as it comes shows what it holds on the way: there is no --delete-extra for it",
                hint="swiftfs extract it first",
            )
        there = await self._destination(None if streamed else {source.name for source in objects})
        check_deletes(there.doomed, options.max_delete)
        deleted = await self._clean(there, refused) if options.clean else 0
        plan = make_plan(objects, there.entries, options.compare)
        failures = [Failure(one.name, one.reason) for one in refused]
        failures.extend(Failure(source.name, "another source object has this name") for source in plan.clashes)
        tally.files, tally.size = len(plan.steps) + len(failures), plan.size
        tally.failed = len(failures)

        entries = there.entries if streamed else []
        there.forget()
        del objects
        outcome = await self._upload(plan, entries)
        failures.extend(outcome.failures)
        end = _End(deleted)
        try:
            await self._finish(end, plan, there, outcome, whole=not failures)
        except SwiftFSError as error:
            outcome.fatal = outcome.fatal or error  # what was done is told all the same
        counters = self._client.counters
        return LoadResult(
            files=tally.files,
            size=tally.size,
            seconds=self._clock() - start,
            requests=counters.requests,
            retries=counters.retries,
            logins=counters.logins,
            sent=tally.sent,
            sent_size=tally.sent_size,
            skipped=tally.skipped,
            failures=tuple(failures),
            omitted=tuple(omitted),
            verified=end.verified,
            fatal=outcome.fatal,
            interrupted=bool(self._interrupt.presses),
            dry_run=request.dry_run,
            moves=moves,
            trusted=tally.trusted,
            deleted=end.deleted,
            manifest=end.manifest,
        )

    async def _finish(
        self, end: _End, plan: Plan[SourceObject], there: Destination, outcome: Outcome, *, whole: bool
    ) -> None:
        """Prove what was loaded, then delete and write what was asked for. ``whole``: no object has failed."""
        request, options = self._request, self._request.options
        going_on = outcome.fatal is None and not self._interrupt.presses
        if going_on and not request.dry_run:
            self.tally.phase = "verifying"
            end.verified = await self._verify(outcome.proofs)
        proven = request.dry_run or (end.verified is not None and not end.verified.unproven)
        if going_on and whole and proven and not self._interrupt.presses:
            if not request.dry_run:
                await remove_abandoned(self._client, self._journal, request.container)
            if options.delete_extra:
                end.deleted = await self._delete(there)
            if options.manifest and not request.dry_run:
                end.manifest = await self._write_manifest(plan, outcome)
        elif options.delete_extra and there.doomed:
            log.warning("nothing is deleted: not all of the source is in the container")

    async def _destination(self, names: set[str] | None) -> Destination:
        """What the destination has of the source's ``names`` (None: of anything); makes the container when missing."""
        request = self._request
        there = Destination(request.prefix, request.options, names)
        try:
            async for page in self._client.list_objects(request.container, prefix=request.prefix):
                await there.add(self._client, request.container, page)
        except ContainerNotFound:
            if not request.dry_run:
                await self._client.create_container(request.container, storage_policy=request.storage_policy)
        return there

    async def _clean(self, there: Destination, refused: list[Refused]) -> int:
        if refused:
            reason = f"{printable(refused[0].name)} {printable(refused[0].reason)}"
            hint = "mend that or leave it out with --exclude"
            raise Incomplete(f"nothing is deleted and nothing is sent: {reason}", hint=hint)
        return await self._delete(there)

    async def _delete(self, there: Destination) -> int:
        # An upload looks at presses by itself; a delete must be kept from beginning, for nothing would undo it.
        if self._interrupt.presses:
            raise Interrupted("stopped before anything was deleted", hint="run it again to continue")
        self.tally.phase = "deleting"
        return await delete_all(self._client, self._request.container, there.doomed, dry_run=self._request.dry_run)

    async def _write_manifest(self, plan: Plan[SourceObject], outcome: Outcome) -> str:
        request = self._request
        times = outcome.times or {step.source.name: step.source.mtime for step in plan.steps}
        described = [
            Described.of(name.removeprefix(request.prefix), outcome.proofs[name], mtime)
            for name, mtime in times.items()
        ]
        return await write_manifest(self._client, request.container, described)

    async def _verify(self, proofs: Proofs) -> Verified:
        """Prove every object, then remove what the proven ones and those that are gone have left behind."""
        request = self._request
        first = await verify(self._client, request.container, request.prefix, proofs.plain, self._pause)
        second = await verify_large(
            self._client,
            request.container,
            request.large,
            self._journal,
            proofs.large,
            self._pause,
            at_once=request.checkers,
        )
        unproven = first.unproven + second.unproven
        for one in unproven:
            proofs.take(one.name)
        await remove_leftovers(self._client, self._journal, request.container, proofs, at_once=request.checkers)
        return Verified(first.count + second.count, first.size + second.size, unproven)

    async def _upload(self, plan: Plan[SourceObject], entries: list[ListingEntry]) -> Outcome:
        self.tally.phase = "loading"
        # A server that takes no more than 4 MiB at once is no object store: only larger files ask for its limits.
        limits = None
        streamed = _is_streamed(self._request.source)
        if streamed or any(step.source.size > min(SMALL, self._request.large.cutoff) for step in plan.steps):
            limits = await self._client.limits()
        upload = _upload_for(self._request, entries)(
            self._client,
            self._request.container,
            transfers=self._request.transfers,
            checkers=self._request.checkers,
            tally=self.tally,
            halted=self._interrupt.halted,
            dry_run=self._request.dry_run,
            journal=self._journal,
            large=self._request.large,
            limits=limits,
            storage_policy=self._request.storage_policy,
            options=self._request.options,
        )
        # Only a manifest needs the times of what has been sent.
        pending = iter(plan.steps) if self._request.options.manifest else plan.steps.handed_over()
        return await upload.run(pending, len(plan.steps))


def _is_streamed(source: Source) -> bool:
    """Whether what the source holds shows only on the way."""
    if isinstance(source, DirectorySource):
        return False
    from swiftfs.load.stream_source import StreamSource

    return isinstance(source, StreamSource)


def _upload_for(request: LoadRequest, entries: list[ListingEntry]) -> Callable[..., Upload]:
    """The upload that suits the source. A directory needs none of the modules that know archives."""
    if isinstance(request.source, DirectorySource):
        return Upload
    from swiftfs.load.archive_upload import upload_for

    return functools.partial(upload_for, request.source, entries, request.rules)


def _walk(source: Source, halted: threading.Event) -> tuple[list[SourceObject], list[Refused], list[Omitted]]:
    """All that the source has. Raises Interrupted once ``halted`` is set: the loop cannot end before its threads do."""
    objects: list[SourceObject] = []
    refused: list[Refused] = []
    omitted: list[Omitted] = []
    for found in source.scan(halted):
        if halted.is_set():
            raise Interrupted("stopped while the source was walked", hint="run it again")
        if isinstance(found, Refused):
            refused.append(found)
        elif isinstance(found, Omitted):
            omitted.append(found)
        else:
            objects.append(found)
    return objects, refused, omitted


def _chosen(
    request: LoadRequest, objects: list[SourceObject], refused: list[Refused], omitted: list[Omitted]
) -> tuple[list[SourceObject], list[Refused], list[Omitted]]:
    """What the filters let the run see of a source, without what belongs to swiftfs itself."""
    filters, prefix = request.options.filters, request.prefix
    ours = [source for source in objects if not in_dataset(source.name, prefix)]
    omitted = [one for one in omitted if filters.keeps(one.name)]
    omitted += [Omitted(source.name, OWN_PLACE) for source in ours]
    own = {source.name for source in ours}
    return (
        [one for one in objects if filters.keeps(one.name.removeprefix(prefix), one.size) and one.name not in own],
        [one for one in refused if (filters.enters if one.is_directory else filters.keeps)(one.name)],
        omitted,
    )
