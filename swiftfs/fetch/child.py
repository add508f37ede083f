"""The fetch process as the file system process has it: started, spoken with over a socket, ended.

Used by one trio loop. What is sent never waits: what the socket does not take goes out later.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

import trio

from swiftfs.errors import SwiftFSError
from swiftfs.fetch import protocol
from swiftfs.fetch.protocol import FromFetch, Hello, Message, StartFailed
from swiftfs.fetch.start import Process, Spawn, Started, spawn, start

RECEIVE = 256 * 1024
"""Bytes read from the socket at once: hundreds of messages."""
END_PATIENCE = 5.0
"""Seconds that a fetch process gets to end after its socket is closed."""


class Child:
    """One fetch process after another, made by ``spawn``. ``process`` is the present one, or the last."""

    def __init__(self, spawn: Spawn = spawn, first: Started | None = None) -> None:
        """``first`` is a process that was started before, the first to be served."""
        self._spawn = spawn
        self._first = first
        self._socket: socket.socket | None = None
        self._unsent = bytearray()
        self._has_unsent = trio.Event()
        self.process: Process | None = None

    @property
    def is_there(self) -> bool:
        """Whether there is a process to speak with."""
        return self._socket is not None

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return len(self._unsent)

    async def serve(self, hello: Hello, take: Callable[[FromFetch], None], gone: Callable[[], None]) -> None:
        """One life of a fetch process: ``take`` gets what it says, ``gone`` is called when its socket has closed, and
        this returns when it has ended.

        Raises OSError when it cannot be started, and what it says of a start that failed.
        """
        started, self._first = self._first or start(self._spawn), None
        ours, self.process = started.sock, started.process
        try:
            ours.setblocking(False)
            self._socket = ours
            self._unsent.clear()
            if not started.greeted:
                self.send(hello)
            failure: SwiftFSError | None = None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_unsent)
                try:
                    await self._receive(ours, take)
                except SwiftFSError as error:
                    failure = error
                nursery.cancel_scope.cancel()
            if failure is not None:
                raise failure
        finally:
            self._socket = None
            ours.close()
            gone()
            with trio.CancelScope(shield=True):
                await self._end_process()

    async def _receive(self, sock: socket.socket, take: Callable[[FromFetch], None]) -> None:
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
                take(message)

    def send(self, message: Message) -> None:
        """Send now what the socket takes, the rest from :meth:`_send_unsent`. Never waits."""
        if self._socket is None:
            return
        data: bytearray | memoryview = protocol.frame(message)
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

    def status(self) -> str:
        """How the last process ended, in words for a log."""
        code = self.process.returncode if self.process is not None else None
        if code is not None and code < 0:
            return f"{code} ({signal.strsignal(-code)})"
        return str(code)
