"""The work of a fetch process: asyncio, the one that talks to the store and the one that writes cache and index.

It ends when its socket closes, so it never outlives the file system process. docs/CONCURRENCY.md names its tasks; the
short of it: one task reads messages, each running fetch is a task of its own, one lists the container, one keeps house.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from swiftfs.cache.names import PIECE_BYTES, ChunkRow, has_pieces, object_key, pieces_key
from swiftfs.errors import DeadlineExceeded, SwiftFSError, Unavailable
from swiftfs.fetch import protocol
from swiftfs.fetch.jobs import Job, Jobs
from swiftfs.fetch.protocol import (
    DEMAND,
    READAHEAD,
    AskAlive,
    Failed,
    Have,
    HavePieces,
    Hello,
    Ready,
    Refreshed,
    Status,
    WantId,
)
from swiftfs.fetch.watchdog import TICKS, Watchdog, give_up, tick_seconds
from swiftfs.model import ByteRange, ObjectVersion

if TYPE_CHECKING:
    from swiftfs.cache.writer import Writer
    from swiftfs.fetch.indexer import Indexer
    from swiftfs.fetch.link import Link
    from swiftfs.swift.client import Client

log = logging.getLogger(__name__)

LIST_AGAIN = 2.0
"""Seconds until a first listing that failed is tried again: readers wait for it. Where they are shown a tree that is
out of date meanwhile, each failure doubles the pause."""
LIST_AGAIN_AT_MOST = 300.0
"""Seconds to which it is doubled: what lasts this long is not mended sooner by asking more often."""
FLUSH = 0.05
"""Seconds between two commits of rows about finished chunks: the file system process knows of them by message."""


class Worker:
    """Serves one mount."""

    def __init__(self, hello: Hello, link: Link, client: Client, cache: Writer, indexer: Indexer, account: str) -> None:
        self._hello = hello
        self._link = link
        self._client = client
        self._cache = cache
        self._indexer = indexer
        self._account = account
        self._jobs = Jobs(hello.streams)
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs: dict[WantId, asyncio.Task[None]] = {}
        self._refresh_asked = asyncio.Event()
        self._last_question = 0
        self._watchdog = Watchdog()
        self._fetched = 0
        self._fetched_pieces = 0
        self._failed = 0

    async def run(self) -> None:
        """Serve until the socket closes."""
        totals = self._indexer.totals()
        self._link.send(
            Ready(
                account=self._account,
                index_path=os.fspath(self._indexer.path),
                files=totals.files,
                directories=totals.directories,
                size=totals.bytes,
                hidden=self._indexer.hidden,
            )
        )
        if self._indexer.stale or self._indexer.partial:
            self._refresh_asked.set()
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(task)
                for task in (
                    self._refresh(),
                    self._housekeeping(),
                    self._watch_parent(),
                    self._client.get_ready_to_stream(),
                )
            ]
            await self._messages()
            self._jobs.forget(DEMAND)  # a job that ends makes room for the next one
            for task in [*background, *self._tasks]:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _messages(self) -> None:
        while (message := await self._link.receive()) is not None:
            self._watchdog.heard()
            match message:
                case protocol.Want():
                    self._jobs.add(message)
                    self._pump()
                case protocol.Wants():
                    for want in message.wants:
                        self._jobs.add(want)
                    self._pump()
                case protocol.Forget():
                    self._jobs.forget(message.priority, message.last)
                case protocol.Touch():
                    self._cache.touch(message.chunks)
                case protocol.Bad():
                    (self._cache.pieces.drop if message.pieces else self._cache.drop)(message.key, message.chunk)
                case protocol.Refresh():
                    self._last_question = message.number
                    self._refresh_asked.set()
                case protocol.AskStatus():
                    self._link.send(self._status())
                case protocol.Alive():
                    pass  # that it came is all it says
                case protocol.Hello():
                    log.warning("a second greeting")

    def _pump(self) -> None:
        """Start every job that has a place."""
        while (job := self._jobs.take()) is not None:
            task = asyncio.create_task(self._run_job(job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if job.want.pieces:
                self._runs[job.id] = task

    async def _run_job(self, job: Job) -> None:
        ino, first, stop = job.id
        try:
            self._link.send(await (self._fetch_pieces(job) if job.want.pieces else self._fetch(job)))
        except SwiftFSError as error:
            self._failed += 1
            if job.priority > READAHEAD:
                log.info("fetched ahead in vain: %s", error)
            self._link.send(Failed(ino, first, type(error).__name__, str(error), stop, job.priority != DEMAND))
        except Exception as error:
            # A reader waits for this chunk: whatever happened, it must hear of it.
            log.exception("unexpected error while fetching")
            self._link.send(Failed(ino, first, "SwiftFSError", f"unexpected {type(error).__name__}", stop))
        finally:
            self._runs.pop(job.id, None)
            self._jobs.done(job)
            self._pump()

    async def _fetch(self, job: Job) -> Have:
        """The chunk of ``job`` in the cache, from there or from the store."""
        want, chunk = job.want, job.chunk
        version = want.version
        key = object_key(self._account, self._hello.container, version, chunk_size=self._hello.chunk_size)
        row = None if job.inline else self._cache.find(key, chunk)
        if row is not None:
            return Have(want.ino, chunk, key, row.length, row.checksum)
        start = chunk * self._hello.chunk_size
        stop = min(start + self._hello.chunk_size, version.size)
        in_pieces = has_pieces(version.size, self._hello.chunk_size)
        pieces = pieces_key(key) if in_pieces else ""
        head = self._cache.pieces.read_head(pieces, version.size, chunk) if in_pieces else b""
        head_stop = start + len(head)
        coming = []
        for (ino, first, last), task in sorted(self._runs.items()):
            if ino == want.ino and first * PIECE_BYTES <= head_stop < min(last * PIECE_BYTES, stop):
                head_stop = min(last * PIECE_BYTES, stop)
                coming.append(task)
        began = asyncio.get_running_loop().time()
        if in_pieces and not coming and not job.inline and (row := await self._fill(key, version, chunk, head)):
            job.seconds = asyncio.get_running_loop().time() - began
            self._fetched += 1
            self._drop_pieces(pieces, chunk)
            return Have(want.ino, chunk, key, row.length, row.checksum)
        data = await self._get(version, ByteRange(head_stop, stop))
        job.seconds = asyncio.get_running_loop().time() - began
        if coming:  # runs of the chunk's head were under way
            await asyncio.wait(coming, timeout=self._hello.deadline)
            head = self._cache.pieces.read_head(pieces, version.size, chunk)[: head_stop - start]
            head += await self._get(version, ByteRange(start + len(head), head_stop))
        if head:
            data = head + data
        self._fetched += 1
        stored = self._cache.store(key, version.size, chunk, data)
        if stored is not None and in_pieces:
            self._drop_pieces(pieces, chunk)
        if stored is None:
            # The disk refuses it. A reader gets it over the socket; what was fetched ahead is let go.
            if job.priority != DEMAND:
                raise Unavailable("the cache has no room for what was fetched ahead")
            return Have(want.ino, chunk, key, len(data), 0, data)
        return Have(want.ino, chunk, key, len(data), stored.checksum, data if job.inline else None)

    async def _fill(self, key: str, version: ObjectVersion, chunk: int, head: bytes) -> ChunkRow | None:
        """The chunk, which begins with ``head``, written into the cache as it comes; None when that cannot be.

        Raises as :meth:`_get`.
        """
        filling = self._cache.fillings.begin(key, version.size, chunk)
        if filling is None:
            return None
        start = chunk * self._hello.chunk_size
        span = ByteRange(start + len(head), start + filling.where.length)
        try:
            good = filling.write(head)
            coming = self._client.stream(self._hello.container, version, span)
            async with self._deadline(version, span), contextlib.aclosing(coming) as pieces:
                async for piece in pieces:
                    if not (good := good and filling.write(piece)):
                        break
            return self._cache.fillings.finish(filling) if good else None
        finally:
            self._cache.fillings.abandon(filling)

    def _drop_pieces(self, key: str, chunk: int) -> None:
        """Take the pieces of a chunk that is there as a whole out of the cache."""
        if self._cache.pieces.has(key, chunk):
            self._cache.pieces.drop(key, chunk)

    async def _fetch_pieces(self, job: Job) -> HavePieces:
        """The pieces of ``job`` in the cache, from there or by one request for all of them."""
        want = job.want
        version = want.version
        chunk_size = self._hello.chunk_size
        key = pieces_key(object_key(self._account, self._hello.container, version, chunk_size=chunk_size))
        chunk = want.first * PIECE_BYTES // chunk_size
        found = self._cache.pieces.find(key, chunk, want.first, want.stop)
        rows = [found[piece] for piece in sorted(found)]
        if len(rows) < want.stop - want.first:
            span = ByteRange(want.first * PIECE_BYTES, min(want.stop * PIECE_BYTES, version.size))
            data = await self._get(version, span)
            self._fetched_pieces += want.stop - want.first
            stored = self._cache.pieces.store(key, version.size, want.first, data)
            if stored is None:
                return HavePieces(want.ino, want.first, want.stop, key, [], data)
            rows = stored
        return HavePieces(want.ino, want.first, want.stop, key, [(row.length, row.checksum) for row in rows])

    async def _get(self, version: ObjectVersion, span: ByteRange) -> bytes:
        """Bytes of one version within the deadline; none of an empty span."""
        if not len(span):
            return b""
        async with self._deadline(version, span):
            return await self._client.get(self._hello.container, version, span)

    @contextlib.asynccontextmanager
    async def _deadline(self, version: ObjectVersion, span: ByteRange) -> AsyncIterator[None]:
        """A fetch that takes longer than a reader waits is DeadlineExceeded."""
        try:
            async with asyncio.timeout(self._hello.deadline):
                yield
        except TimeoutError:
            raise DeadlineExceeded(
                f"not fetched within {self._hello.deadline:.0f} s",
                container=self._hello.container,
                object=version.name,
                span=(span.start, span.stop),
            ) from None

    async def _refresh(self) -> None:
        """List the container when asked to, every ``refresh`` seconds, and until the tree is whole and not stale."""
        if not await self._confirm():
            self._indexer.stale = True
            self._refresh_asked.set()
        pause = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._list_after(pause)):
                    await self._refresh_asked.wait()
            self._refresh_asked.clear()
            # Whoever asks while this listing runs gets the next one's answer: this one may be past what they mean.
            answers = self._last_question
            try:
                diff = await self._indexer.rebuild()
                files = self._indexer.totals().files
            except Exception as error:
                # Whatever happened: it costs this listing, and not the process that readers wait for.
                pause = min(max(LIST_AGAIN, pause * 2), LIST_AGAIN_AT_MOST)
                self._link.send(Refreshed(0, 0, 0, 0, _said(error), answers))
            else:
                pause = 0.0
                self._link.send(Refreshed(diff.added, diff.changed, diff.removed, files, answers=answers))

    async def _confirm(self) -> bool:
        """Whether the first listing is all of it, as far as that is known."""
        try:
            return await self._indexer.confirm()
        except Exception as error:
            _said(error)
            return False

    def _list_after(self, pause: float) -> float | None:
        """Seconds until the container is listed though nobody asks, ``pause`` after a failure; None: never."""
        if self._indexer.partial:
            return LIST_AGAIN
        if self._indexer.stale:
            pause = max(LIST_AGAIN, pause)
            return pause if self._hello.refresh is None else min(pause, self._hello.refresh)
        return self._hello.refresh

    async def _housekeeping(self) -> None:
        while True:
            await asyncio.sleep(FLUSH)
            self._cache.flush()
            if self._jobs.tick():
                self._pump()

    async def _watch_parent(self) -> None:
        """Ask for signs of life; when none comes for too long, end the mount so that its readers are freed."""
        tick = tick_seconds(self._hello.deadline)
        while True:
            self._link.send(AskAlive())
            await asyncio.sleep(tick)
            if self._watchdog.tick():
                log.error(
                    "the process %d that serves %s has not answered for %.0f s: ending its mount",
                    self._hello.parent,
                    self._hello.mountpoint,
                    tick * TICKS,
                )
                give_up(self._hello.parent, self._hello.mountpoint)
                self._watchdog.heard()

    def _status(self) -> Status:
        counters = self._client.counters
        return Status(
            requests=counters.requests,
            received=counters.received,
            retries=counters.retries,
            logins=counters.logins,
            fetched_chunks=self._fetched,
            failed_chunks=self._failed,
            waiting=self._jobs.waiting,
            running=self._jobs.running,
            cache_bytes=self._cache.used(),
            cache_limit=self._cache.limit,
            hidden=self._indexer.hidden,
            drifted=self._indexer.drifted,
            fetched_pieces=self._fetched_pieces,
        )


def _said(error: Exception) -> str:
    """Log why a listing failed; returns it. One that nobody foresaw with the place where it came from."""
    if isinstance(error, SwiftFSError):
        log.warning("the container could not be listed: %s", error)
        return str(error)
    log.error("unexpected error while the container was listed", exc_info=error)
    return f"unexpected {type(error).__name__}"
