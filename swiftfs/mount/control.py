"""A mount's control socket: one JSON object in, one JSON object out, a line each.

The socket lies in the user's runtime directory (mode 0700) under a name made of the mountpoint, so that commands find
the mount without touching the mountpoint itself, which may not answer. Commands: ``status``, ``refresh``, ``warm``.

After the line of the command ``order`` come the names, one a line, until the writer shuts its side of the connection;
the reply follows then. Names are taken up as they come, so a writer is held up rather than buffered.

Commands that may have to wait, for the first listing for example, have places of their own: however many of them there
are, what is answered at once still is. A client that goes away ends the waiting of its command.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from swiftfs.config import make_private
from swiftfs.errors import SwiftFSError, Unavailable, printable
from swiftfs.mount.ask import LONGEST_LINE
from swiftfs.mount.places import Bounded

log = logging.getLogger(__name__)

IDLE = 30.0
"""Seconds a stream that follows a command may be silent before it is given up."""
ASKING = 5.0
"""Seconds a client gets to say its command: less than others wait for an answer about the mount behind it."""
BACKLOG = 128
"""A Unix socket whose queue is full refuses at once."""
MOST_CLIENTS = 16
"""Connections that are read and answered at once; the others wait unaccepted."""
MOST_SLOW = 16
"""Commands that may have to wait and are under way at once: an order of two million names takes some memory."""
MOST_WAITING = 64
"""Commands that wait for one of those places. More are refused: each holds a descriptor."""
LOOK = 0.5
"""Seconds between two looks at whether a client is still there. Nothing else tells of it: one that has only shut its
side of the connection can be read from for ever."""
PIECE = 16 * 1024
"""Bytes of a stream that are given to its command at a time."""

Request = Mapping[str, Any]
Reply = Mapping[str, Any]
Command = Callable[[Request], Awaitable[Reply]]
StreamCommand = Callable[[AsyncIterator[bytes]], Awaitable[Reply]]
"""A command that is followed by a stream of bytes; it takes all of them before it replies."""


def _never(request: Request) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Commands:
    """What is answered: ``commands`` by their names, and ``streams``, those that a stream follows.

    ``quick`` says whether a request to one of the former is answered soon, whatever the mount waits for.
    """

    commands: Mapping[str, Command] = field(default_factory=dict)
    streams: Mapping[str, StreamCommand] = field(default_factory=dict)
    quick: Callable[[Request], bool] = _never


async def serve(path: Path, commands: Commands, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Answer ``commands`` until cancelled; removes its socket then."""
    _make_way(path)
    listening = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    ours: tuple[int, int] | None = None
    try:
        with _umask(0o177):
            await listening.bind(os.fspath(path))
        ours = _identity(path)
        listening.listen(BACKLOG)
        task_status.started()
        answering = _Answering(commands)
        await trio.serve_listeners(answering.answer, [Bounded(listening, answering.places)])
    finally:
        # A mount that was detached lazily may end long after another took its place, and the name of its socket. As
        # long as ours is open, no other gets its inode number.
        if ours is not None and ours == _identity(path):
            _remove(path)
        listening.close()


class _Answering:
    """Answers connections: one request, one reply."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._slow = trio.Semaphore(MOST_SLOW)
        self.places = trio.Semaphore(MOST_CLIENTS)

    async def answer(self, stream: trio.SocketStream) -> None:
        """Answer one connection, which has one of ``places``. Whatever goes wrong stays in it."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError), contextlib.ExitStack() as place:
            place.callback(self.places.release)
            async with stream:
                line, rest = await _first_line(stream)
                reply = await _while_there(stream, functools.partial(self._reply, stream, line, rest, place))
                await stream.send_all(json.dumps(reply).encode() + b"\n")

    async def _reply(self, stream: trio.SocketStream, line: bytes, rest: bytes, place: contextlib.ExitStack) -> Reply:
        try:
            return await self._outcome(stream, line, rest, place)
        except SwiftFSError as error:
            return {"error": type(error).__name__, "message": str(error)}
        except (ValueError, KeyError, TypeError) as error:
            return {"error": "UsageError", "message": f"not a command: {printable(repr(error))}"}
        except Exception as error:
            log.exception("a command on the control socket failed")
            return {"error": "SwiftFSError", "message": f"internal error: {printable(type(error).__name__)}"}

    async def _outcome(self, stream: trio.SocketStream, line: bytes, rest: bytes, place: contextlib.ExitStack) -> Reply:
        """What a command replies. One that may have to wait gives ``place`` back for one of those for its like."""
        request = json.loads(line)
        name = request["command"]
        if name not in self._commands.streams and self._commands.quick(request):
            return await self._commands.commands[name](request)
        if self._slow.statistics().tasks_waiting >= MOST_WAITING:
            raise Unavailable("too many commands wait for this mount already")
        place.close()
        async with self._slow:
            if name in self._commands.streams:
                return await self._commands.streams[name](_rest_of(stream, rest))
            return await self._commands.commands[name](request)


async def _first_line(stream: trio.SocketStream) -> tuple[bytes, bytes]:
    """The line of a connection's command, and what has come after it. Raises BrokenResourceError when none comes."""
    line = b""
    with trio.move_on_after(ASKING):
        while b"\n" not in line and len(line) < LONGEST_LINE:
            piece = await stream.receive_some()
            if not piece:
                raise trio.BrokenResourceError
            line += piece
    line, _, rest = line.partition(b"\n")
    return line, rest


async def _while_there(stream: trio.SocketStream, reply: Callable[[], Awaitable[Reply]]) -> Reply:
    """What ``reply`` returns. Cancels it when the client goes, and raises BrokenResourceError."""

    async def watch() -> None:
        while True:
            await trio.sleep(LOOK)
            if _has_gone(stream):
                nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        found = await reply()
        nursery.cancel_scope.cancel()
        return found
    raise trio.BrokenResourceError("the client has gone")


def _has_gone(stream: trio.SocketStream) -> bool:
    """Whether the other side has closed its socket: a hang-up, which shutting one direction is not (unix(7))."""
    poll = select.poll()
    poll.register(stream.socket.fileno(), 0)
    return bool(poll.poll(0))


async def _rest_of(stream: trio.SocketStream, begun: bytes) -> AsyncIterator[bytes]:
    """``begun`` and what follows until the other side is done. Raises Unavailable when that falls silent or has gone:
    what has come then may be half of an order."""
    piece = begun
    while True:
        for start in range(0, len(piece), PIECE):
            yield piece[start : start + PIECE]
        try:
            with trio.move_on_after(IDLE) as waiting:
                piece = await stream.receive_some(PIECE)
        except trio.BrokenResourceError:
            piece = b""
        if waiting.cancelled_caught:
            raise Unavailable(f"the order broke off: nothing came for {IDLE:.0f} s")
        if not piece:
            if _has_gone(stream):
                raise Unavailable("the order broke off: who told it has gone")
            return


def _make_way(path: Path) -> None:
    """A directory of our own for the socket, and no leftover of a mount that was killed."""
    make_private(path.parent, os.environ)
    _remove(path)


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of what is at ``path``; None when nothing is."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
