"""The trio side of the fetch process: asks for chunks, joins readers of the same chunk, restarts the process.

Used by one trio loop. Who owns what: this client owns the socket and the process; a reader that is cancelled leaves its
want behind, and the chunk goes to the cache for the next reader. A fetch process that ends is started again with
back-off and gets every want that is still waited for.
"""

from __future__ import annotations

import logging
import math
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import trio

from swiftfs.errors import DeadlineExceeded, SwiftFSError, Unavailable
from swiftfs.fetch import protocol
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
    StartFailed,
    Status,
    Want,
    WantId,
)

log = logging.getLogger(__name__)

RECEIVE = 256 * 1024
"""Bytes read from the socket at once: hundreds of messages."""
MOST_UNSENT = 4 * 1024 * 1024
"""Bytes that may wait to be sent before prefetch messages are dropped; demands always go."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds between restarts of the fetch process: the first at once, so that readers wait less than 2 s."""
END_PATIENCE = 5.0
"""Seconds that a fetch process gets to end after its socket is closed."""


class Spawn(Protocol):
    """Starts a fetch process that serves ``sock``, which it inherits."""

    def __call__(self, sock: socket.socket) -> subprocess.Popen[bytes]: ...


def spawn(sock: socket.socket) -> subprocess.Popen[bytes]:
    """Start ``python -m swiftfs.fetch FD``; secrets are neither in its arguments nor sent to it."""
    descriptor = sock.fileno()
    return subprocess.Popen(
        [sys.executable, "-m", "swiftfs.fetch", str(descriptor)], pass_fds=[descriptor], stdin=subprocess.DEVNULL
    )


@dataclass(slots=True, eq=False)
class _Question:
    """One question about status or refresh; ``number`` tells refreshes apart and is 0 for others."""

    kind: type[Message]
    number: int
    event: trio.Event = field(default_factory=trio.Event)
    answer: Message | None = None


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
    index."""

    def __init__(
        self,
        hello: Hello,
        *,
        on_have: Callable[[Have | HavePieces], None],
        on_refreshed: Callable[[Refreshed], None],
        on_failed: Callable[[int, int], None] = lambda ino, chunk: None,
        start: Spawn = spawn,
    ) -> None:
        self._hello = hello
        self._on_have = on_have
        self._on_refreshed = on_refreshed
        self._on_failed = on_failed
        self._start = start
        self._pending: dict[WantId, _Pending] = {}
        self._pieces: dict[tuple[int, int], _Pending] = {}
        self._questions: list[_Question] = []
        self._refreshes = 0
        self._socket: socket.socket | None = None
        self._unsent = bytearray()
        self._has_unsent = trio.Event()
        self._ready = False
        self.process: subprocess.Popen[bytes] | None = None
        self.restarts = 0

    @property
    def deadline(self) -> float:
        """Seconds that a request may take."""
        return self._hello.deadline

    async def run(self, task_status: trio.TaskStatus[Ready] = trio.TASK_STATUS_IGNORED) -> None:
        """Start the fetch process and keep it running until cancelled.

        Reports its first :class:`Ready`. Raises what a first start that failed says; later failures are retried.
        """
        started = False
        pause = 0.0

        def ready(message: Ready) -> None:
            nonlocal started, pause
            pause = 0.0
            if not started:
                started = True
                task_status.started(message)
            else:
                # It may have listed the container anew before it was ready.
                self._on_refreshed(Refreshed(0, 0, 0, message.files))
            self._resend()

        while True:
            reason = ""
            try:
                await self._serve(ready)
            except (SwiftFSError, OSError) as error:
                if not started and isinstance(error, OSError):
                    raise Unavailable(f"the fetch process cannot be started: {error.strerror}") from None
                if not started:
                    raise
                reason = f": {error}"  # also when the system has no process or descriptor to spare just now
            if not started:
                raise Unavailable(f"the fetch process ended with status {self._status()} before it was ready")
            self.restarts += 1
            log.warning("the fetch process ended with status %s%s; starting another", self._status(), reason)
            await trio.sleep(pause)
            pause = min(max(FIRST_PAUSE, pause * 2), LONGEST_PAUSE)

    async def chunk(self, want: Want) -> Have:
        """Wait for the one chunk of ``want``. Raises what the fetch failed with, and DeadlineExceeded."""
        pending = self._pending.get((want.ino, want.first, 0))
        if pending is None:
            pending = self._begin(want)
        elif want.inline and not pending.want.inline:
            pending.want = want
            self._send(want)
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
        self._send(want)
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
        if len(self._unsent) < MOST_UNSENT and self._ready:
            self._send(message)

    async def refresh(self) -> Refreshed:
        """Have the container listed now; the answer is of a listing that began after the call.

        However long that takes: each of its requests has a deadline. Raises Unavailable when the process ends.
        """
        self._refreshes += 1
        answer = await self._ask_for(protocol.Refresh(self._refreshes), Refreshed, self._refreshes, patience=math.inf)
        assert isinstance(answer, Refreshed)
        return answer

    async def status(self) -> Status:
        """The fetch process's counters. Raises Unavailable when there is no answer in time."""
        answer = await self._ask_for(protocol.AskStatus(), Status, patience=self._hello.deadline)
        assert isinstance(answer, Status)
        return answer

    async def _ask_for(self, message: Message, kind: type[Message], number: int = 0, *, patience: float) -> Message:
        if self._socket is None:
            raise Unavailable("the fetch process has ended and is being started again")
        question = _Question(kind, number)
        self._questions.append(question)
        self._send(message)
        try:
            with trio.move_on_after(patience):
                await question.event.wait()
        finally:
            if question in self._questions:
                self._questions.remove(question)
        if question.answer is None:
            raise Unavailable("the fetch process does not answer")
        return question.answer

    async def _serve(self, ready: Callable[[Ready], None]) -> None:
        """One life of a fetch process, from its start until its socket closes."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self.process = self._start(theirs)
            ours.setblocking(False)
            self._socket = ours
            self._unsent.clear()
            self._send(self._hello)
            failure: SwiftFSError | None = None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_unsent)
                try:
                    await self._receive(ours, ready)
                except SwiftFSError as error:
                    failure = error
                nursery.cancel_scope.cancel()
            if failure is not None:
                raise failure
        finally:
            self._socket = None
            self._ready = False
            ours.close()
            self._fail_answers()
            with trio.CancelScope(shield=True):
                await self._end_process()

    async def _receive(self, sock: socket.socket, ready: Callable[[Ready], None]) -> None:
        unframer = protocol.Unframer()
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                data = sock.recv(RECEIVE)
            except BlockingIOError:
                continue
            except ConnectionError:
                return
            if not data:
                return
            for body in unframer.feed(data):
                message = protocol.decode_from_fetch(body)
                if isinstance(message, StartFailed):
                    raise message.exception()
                if isinstance(message, Ready):
                    self._ready = True
                    ready(message)
                else:
                    self._take(message)

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
            self._send(Alive())
        else:
            last = 0
            if isinstance(message, Refreshed):
                self._on_refreshed(message)
                last = message.answers
            self._answer(message, last)

    def _answer(self, message: Message, last: int) -> None:
        """Answer the questions that ``message`` is about; of those about a refresh, up to the one numbered ``last``."""
        answered = [one for one in self._questions if isinstance(message, one.kind) and one.number <= last]
        self._questions = [one for one in self._questions if one not in answered]
        for question in answered:
            question.answer = message
            question.event.set()

    def _settle(self, want_id: WantId, result: Have | HavePieces | SwiftFSError) -> None:
        pending = self._end(want_id)
        if pending is not None:
            pending.result = result
            pending.event.set()

    def _resend(self) -> None:
        """Ask a new fetch process for everything that readers wait for."""
        for pending in self._pending.values():
            self._send(pending.want)

    def _fail_answers(self) -> None:
        """Release those who wait for a status or a refresh of a process that has ended."""
        for question in self._questions:
            question.event.set()
        self._questions.clear()

    def _send(self, message: Message) -> None:
        """Send now what the socket takes, the rest from :meth:`_send_unsent`. Never waits."""
        if self._socket is None:
            return
        data: bytes | memoryview = protocol.frame(message)
        if not self._unsent:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except ConnectionError:
                return
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        self._unsent += data
        self._has_unsent.set()

    async def _send_unsent(self) -> None:
        while True:
            await self._has_unsent.wait()
            self._has_unsent = trio.Event()
            while self._unsent and self._socket is not None:
                await trio.lowlevel.wait_writable(self._socket)
                try:
                    sent = self._socket.send(self._unsent)
                except BlockingIOError:
                    continue
                except ConnectionError:
                    return
                del self._unsent[:sent]

    async def _end_process(self) -> None:
        """Let the process end by itself, which it does when its socket closes; kill it when it does not."""
        process = self.process
        if process is None:
            return
        with trio.move_on_after(END_PATIENCE):
            await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
        if process.poll() is None:
            process.kill()
            await trio.to_thread.run_sync(process.wait)

    def _status(self) -> str:
        """How the last process ended, in words for a log."""
        code = self.process.returncode if self.process is not None else None
        if code is not None and code < 0:
            return f"{code} ({signal.strsignal(-code)})"
        return str(code)
