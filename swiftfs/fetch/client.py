"""The trio side of the fetch process: asks for chunks, joins readers of the same chunk, restarts the process.

Used by one trio loop. Who owns what: this client owns the socket and the process; a reader that is cancelled leaves its
want behind, and the chunk goes to the cache for the next reader. A fetch process that ends is started again with
back-off and gets every want that is still waited for.
"""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import trio

from swiftfs.errors import DeadlineExceeded, SwiftFSError, Unavailable
from swiftfs.fetch import protocol
from swiftfs.fetch.protocol import (
    Alive,
    AskAlive,
    Failed,
    FromFetch,
    Have,
    Hello,
    Message,
    Ready,
    Refreshed,
    StartFailed,
    Status,
    Want,
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
class _Pending:
    """One chunk that readers wait for."""

    want: Want
    event: trio.Event = field(default_factory=trio.Event)
    readers: int = 0
    result: Have | SwiftFSError | None = None


class FetchClient:
    """Asks one fetch process. ``on_have`` is called for every chunk that arrived, also those nobody waits for,
    ``on_failed`` (inode, chunk) for every one that could not be fetched, ``on_refreshed`` for every rebuild of the
    index."""

    def __init__(
        self,
        hello: Hello,
        *,
        on_have: Callable[[Have], None],
        on_refreshed: Callable[[Refreshed], None],
        on_failed: Callable[[int, int], None] = lambda ino, chunk: None,
        start: Spawn = spawn,
    ) -> None:
        self._hello = hello
        self._on_have = on_have
        self._on_refreshed = on_refreshed
        self._on_failed = on_failed
        self._start = start
        self._pending: dict[tuple[int, int], _Pending] = {}
        self._answers: dict[type[Message], list[tuple[trio.Event, list[Message]]]] = {}
        self._socket: socket.socket | None = None
        self._unsent = bytearray()
        self._has_unsent = trio.Event()
        self._ready = False
        self.process: subprocess.Popen[bytes] | None = None
        self.restarts = 0

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
            except SwiftFSError as error:
                if not started:
                    raise
                reason = f": {error}"
            if not started:
                raise Unavailable(f"the fetch process ended with status {self._status()} before it was ready")
            self.restarts += 1
            log.warning("the fetch process ended with status %s%s; starting another", self._status(), reason)
            await trio.sleep(pause)
            pause = min(max(FIRST_PAUSE, pause * 2), LONGEST_PAUSE)

    async def chunk(self, want: Want) -> Have:
        """Wait for the one chunk of ``want``. Raises what the fetch failed with, and DeadlineExceeded."""
        chunk_id = (want.ino, want.first)
        pending = self._pending.get(chunk_id)
        if pending is None:
            pending = self._pending[chunk_id] = _Pending(want)
            self._send(want)
        pending.readers += 1
        try:
            with trio.move_on_after(self._hello.deadline):
                await pending.event.wait()
        finally:
            pending.readers -= 1
            if not pending.readers and self._pending.get(chunk_id) is pending:
                del self._pending[chunk_id]
        if pending.result is None:
            raise DeadlineExceeded(f"no answer from the store within {self._hello.deadline:.0f} s", object=want.name)
        if isinstance(pending.result, SwiftFSError):
            raise pending.result
        return pending.result

    def ask(self, message: Message) -> None:
        """Send a message that nobody waits for (prefetch, touch, bad chunk); dropped when too much is unsent."""
        if len(self._unsent) < MOST_UNSENT and self._ready:
            self._send(message)

    async def refresh(self) -> Refreshed:
        """Have the container listed now. Raises Unavailable when there is no answer in time."""
        answer = await self._ask_for(protocol.Refresh(), Refreshed)
        assert isinstance(answer, Refreshed)
        return answer

    async def status(self) -> Status:
        """The fetch process's counters. Raises Unavailable when there is no answer in time."""
        answer = await self._ask_for(protocol.AskStatus(), Status)
        assert isinstance(answer, Status)
        return answer

    async def _ask_for(self, message: Message, kind: type[Message]) -> Message:
        event, box = trio.Event(), list[Message]()
        self._answers.setdefault(kind, []).append((event, box))
        self._send(message)
        with trio.move_on_after(self._hello.deadline):
            await event.wait()
        if not box:
            raise Unavailable("the fetch process does not answer")
        return box[0]

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
            self._settle(message.ino, message.chunk, message)
        elif isinstance(message, Failed):
            self._on_failed(message.ino, message.chunk)
            self._settle(message.ino, message.chunk, message.exception())
        elif isinstance(message, AskAlive):
            self._send(Alive())
        else:
            if isinstance(message, Refreshed):
                self._on_refreshed(message)
            for event, box in self._answers.pop(type(message), []):
                box.append(message)
                event.set()

    def _settle(self, ino: int, chunk: int, result: Have | SwiftFSError) -> None:
        pending = self._pending.pop((ino, chunk), None)
        if pending is not None:
            pending.result = result
            pending.event.set()

    def _resend(self) -> None:
        """Ask a new fetch process for everything that readers wait for."""
        for pending in self._pending.values():
            self._send(pending.want)

    def _fail_answers(self) -> None:
        """Release those who wait for a status or a refresh of a process that has ended."""
        for waiting in self._answers.values():
            for event, _ in waiting:
                event.set()
        self._answers.clear()

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
