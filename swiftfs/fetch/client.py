"""The trio side of the fetch process: asks for chunks, joins readers of the same chunk, restarts the process.

Used by one trio loop. Who owns what: this client owns the socket and the process; a reader that is cancelled leaves its
want behind, and the chunk goes to the cache for the next reader. A fetch process that ends is started again with
back-off and gets every want that is still waited for.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import trio

from swiftfs.errors import ConfigError, DeadlineExceeded, SwiftFSError, Unavailable
from swiftfs.fetch import protocol
from swiftfs.fetch.child import Child
from swiftfs.fetch.protocol import (
    Alive,
    AskAlive,
    Failed,
    FromFetch,
    Have,
    HavePieces,
    Hello,
    Message,
    Ready,
    Refreshed,
    Status,
    Want,
    WantId,
)
from swiftfs.fetch.questions import Questions
from swiftfs.fetch.start import Process, Spawn, Started, spawn

log = logging.getLogger(__name__)

MOST_UNSENT = 4 * 1024 * 1024
"""Bytes that may wait to be sent before prefetch messages are dropped; demands always go."""
STATUS_PATIENCE = 5.0
"""Seconds that the counters of the fetch process are waited for, which has them at hand: whoever asks gives the mount
ten seconds, and wants to see the rest when that process hangs."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds between restarts of the fetch process: the first at once, so that readers wait less than 2 s."""


class _Elsewhere(ConfigError):
    """A process that was started again serves another account: the remote was set up anew, or its store has moved."""


@dataclass(slots=True, eq=False)
class _Pending:
    """One chunk, or one run of pieces, that readers wait for."""

    want: Want
    event: trio.Event = field(default_factory=trio.Event)
    readers: int = 0
    result: Have | HavePieces | SwiftFSError | None = None


class FetchClient:
    """Asks one fetch process. ``on_have`` is called for every chunk that arrived, also those nobody waits for,
    ``on_failed`` (inode, chunk) for every one that could not be fetched, ``on_refreshed`` for every rebuild of the
    index. ``start`` makes processes; ``first`` is one that is there already, None when there is none."""

    def __init__(
        self,
        hello: Hello,
        *,
        on_have: Callable[[Have | HavePieces], None],
        on_refreshed: Callable[[Refreshed], None],
        on_failed: Callable[[int, int], None] = lambda ino, chunk: None,
        start: Spawn = spawn,
        first: Started | None = None,
    ) -> None:
        self._hello = hello
        self._on_have = on_have
        self._on_refreshed = on_refreshed
        self._on_failed = on_failed
        self._pending: dict[WantId, _Pending] = {}
        self._pieces: dict[tuple[int, int], _Pending] = {}
        self._child = Child(start, first)
        self._questions = Questions(self._child)
        self._refreshes = 0
        self._ready = False
        self._ended = "the fetch process has ended"
        self.restarts = 0

    @property
    def deadline(self) -> float:
        """Seconds that a request may take."""
        return self._hello.deadline

    @property
    def process(self) -> Process | None:
        """The fetch process, or the last one; None before the first."""
        return self._child.process

    async def run(self, task_status: trio.TaskStatus[Ready] = trio.TASK_STATUS_IGNORED) -> None:
        """Start the fetch process and keep it running until cancelled.

        Reports its first :class:`Ready`. Raises what a first start that failed says; later failures are retried.
        A later process that has another account or index is an error, too: what it fetches and lists, readers here
        would not find, and the inodes that the kernel knows are not those of that tree.
        """
        first: Ready | None = None
        pause = 0.0

        def take(message: FromFetch) -> None:
            if isinstance(message, Ready):
                ready(message)
            else:
                self._take(message)

        def gone() -> None:
            self._ready = False
            self._questions.fail()

        def ready(message: Ready) -> None:
            nonlocal first, pause
            if first is not None and (message.account, message.index_path) != (first.account, first.index_path):
                raise _Elsewhere(
                    f"the store is at {message.account} now and not at {first.account}", hint="mount again"
                )
            pause = 0.0
            self._ready = True
            if first is None:
                first = message
                task_status.started(message)
            else:
                # It may have listed the container anew before it was ready.
                self._on_refreshed(Refreshed(0, 0, 0, message.files))
            self._resend()

        while True:
            reason = ""
            try:
                await self._child.serve(self._hello, take, gone)
            except _Elsewhere as error:
                log.error("the mount ends: %s", error)
                raise
            except (SwiftFSError, OSError) as error:
                if first is None and isinstance(error, OSError):
                    raise Unavailable(f"the fetch process cannot be started: {error.strerror}") from None
                if first is None:
                    raise
                reason = f": {error}"  # also when the system has no process or descriptor to spare just now
            if first is None:
                raise Unavailable(f"the fetch process ended with status {self._child.status()} before it was ready")
            self.restarts += 1
            self._ended = f"the fetch process ended with status {self._child.status()}{reason}"
            log.warning("%s; starting another", self._ended)
            await trio.sleep(pause)
            pause = min(max(FIRST_PAUSE, pause * 2), LONGEST_PAUSE)

    async def chunk(self, want: Want) -> Have:
        """Wait for the one chunk of ``want``. Raises what the fetch failed with, and DeadlineExceeded."""
        pending = self._pending.get((want.ino, want.first, 0))
        if pending is None:
            pending = self._begin(want)
        elif want.inline and not pending.want.inline:
            pending.want = want
            self._child.send(want)
        (result,) = await self._wait([pending])
        assert isinstance(result, Have)
        return result

    async def pieces(self, want: Want) -> list[HavePieces]:
        """Wait for all pieces of ``want``; those that others wait for already are not asked for again.

        One answer for each run of them, in no order, perhaps with more pieces. Raises as :meth:`chunk`.
        """
        waited: list[_Pending] = []
        first = want.first
        for piece in range(want.first, want.stop + 1):
            others = self._pieces.get((want.ino, piece)) if piece < want.stop else None
            if others is None and piece < want.stop:
                continue
            if first < piece:
                waited.append(self._begin(msgspec.structs.replace(want, first=first, stop=piece)))
            first = piece + 1
            if others is not None and others not in waited:
                waited.append(others)
        return [result for result in await self._wait(waited) if isinstance(result, HavePieces)]

    def _begin(self, want: Want) -> _Pending:
        """Ask for one chunk or one run of pieces."""
        (want_id,) = want.ids
        pending = self._pending[want_id] = _Pending(want)
        if want.pieces:
            for piece in range(want.first, want.stop):
                self._pieces[want.ino, piece] = pending
        self._child.send(want)
        return pending

    def _end(self, want_id: WantId) -> _Pending | None:
        """Nobody waits for this any more."""
        pending = self._pending.pop(want_id, None)
        if pending is not None and pending.want.pieces:
            for piece in range(pending.want.first, pending.want.stop):
                self._pieces.pop((pending.want.ino, piece), None)
        return pending

    async def _wait(self, waited: list[_Pending]) -> list[Have | HavePieces]:
        for pending in waited:
            pending.readers += 1
        try:
            with trio.move_on_after(self._hello.deadline):
                for pending in waited:
                    await pending.event.wait()
        finally:
            for pending in waited:
                pending.readers -= 1
                (want_id,) = pending.want.ids
                if not pending.readers and self._pending.get(want_id) is pending:
                    self._end(want_id)
        results: list[Have | HavePieces] = []
        for pending in waited:
            if pending.result is None:
                raise DeadlineExceeded(
                    f"no answer from the store within {self._hello.deadline:.0f} s", object=pending.want.name
                )
            if isinstance(pending.result, SwiftFSError):
                raise pending.result
            results.append(pending.result)
        return results

    def ask(self, message: Message) -> None:
        """Send a message that nobody waits for (prefetch, touch, bad chunk); dropped when too much is unsent."""
        if self._child.unsent < MOST_UNSENT and self._ready:
            self._child.send(message)

    async def refresh(self) -> Refreshed:
        """Have the container listed now; the answer is of a listing that began after the call.

        However long that takes: each of its requests has a deadline. Raises Unavailable when the process ends.
        """
        self._refreshes += 1
        answer = await self._questions.ask(
            protocol.Refresh(self._refreshes), Refreshed, self._refreshes, patience=math.inf
        )
        assert isinstance(answer, Refreshed)
        return answer

    async def status(self) -> Status:
        """The fetch process's counters. Raises Unavailable when there is no answer in time, and at once while no
        process is ready: it says then how the last one ended, for the next may fare no better."""
        if not self._ready:
            raise Unavailable(f"{self._ended}; another is being started")
        patience = min(STATUS_PATIENCE, self._hello.deadline)
        answer = await self._questions.ask(protocol.AskStatus(), Status, patience=patience)
        assert isinstance(answer, Status)
        return answer

    def _take(self, message: FromFetch) -> None:
        if isinstance(message, Have):
            self._on_have(message)
            self._settle((message.ino, message.chunk, 0), message)
        elif isinstance(message, HavePieces):
            self._on_have(message)
            self._settle((message.ino, message.first, message.stop), message)
        elif isinstance(message, Failed):
            if not message.stop:
                self._on_failed(message.ino, message.chunk)
            if not message.ahead:
                self._settle((message.ino, message.chunk, message.stop), message.exception())
        elif isinstance(message, AskAlive):
            self._child.send(Alive())
        else:
            last = 0
            if isinstance(message, Refreshed):
                self._on_refreshed(message)
                last = message.answers
            self._questions.answer(message, last)

    def _settle(self, want_id: WantId, result: Have | HavePieces | SwiftFSError) -> None:
        pending = self._end(want_id)
        if pending is not None:
            pending.result = result
            pending.event.set()

    def _resend(self) -> None:
        """Ask a new fetch process for everything that readers wait for."""
        for pending in self._pending.values():
            self._child.send(pending.want)
