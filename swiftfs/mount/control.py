"""A mount's control socket: one JSON object in, one JSON object out, a line each.

The socket lies in the user's runtime directory (mode 0700) under a name made of the mountpoint, so that commands find
the mount without touching the mountpoint itself, which may not answer. Commands: ``status``, ``refresh``, ``warm``.

After the line of the command ``order`` come the names, one a line, until the writer shuts its side of the connection;
the reply follows then. Names are taken up as they come, so a writer is held up rather than buffered.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import trio

from swiftfs.errors import SwiftFSError, Unavailable, printable
from swiftfs.mount.ask import LONGEST_LINE

log = logging.getLogger(__name__)

IDLE = 30.0
"""Seconds a connection may be silent before it is closed."""
BACKLOG = 128
"""A Unix socket whose queue is full refuses at once."""
MOST_CLIENTS = 16
"""Connections answered at once; the others wait."""
PIECE = 16 * 1024
"""Bytes of a stream that are given to its command at a time."""

Command = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
StreamCommand = Callable[[AsyncIterator[bytes]], Awaitable[Mapping[str, Any]]]
"""A command that is followed by a stream of bytes; it takes all of them before it replies."""


async def serve(
    path: Path,
    commands: Mapping[str, Command],
    streams: Mapping[str, StreamCommand],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer commands until cancelled; removes its socket then. ``streams`` are those that a stream follows."""
    _make_way(path)
    listening = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    ours: tuple[int, int] | None = None
    try:
        with _umask(0o177):
            await listening.bind(os.fspath(path))
        ours = _identity(path)
        listening.listen(BACKLOG)
        task_status.started()
        places = trio.Semaphore(MOST_CLIENTS)
        handler = functools.partial(_answer, commands=commands, streams=streams, places=places)
        await trio.serve_listeners(handler, [trio.SocketListener(listening)])
    finally:
        # A mount that was detached lazily may end long after another took its place, and the name of its socket. As
        # long as ours is open, no other gets its inode number.
        if ours is not None and ours == _identity(path):
            _remove(path)
        listening.close()


async def _answer(
    stream: trio.SocketStream,
    *,
    commands: Mapping[str, Command],
    streams: Mapping[str, StreamCommand],
    places: trio.Semaphore,
) -> None:
    """One connection: one request, one reply. Whatever goes wrong stays in this connection."""
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        async with stream, places:
            line = b""
            with trio.move_on_after(IDLE):
                while b"\n" not in line and len(line) < LONGEST_LINE:
                    piece = await stream.receive_some()
                    if not piece:
                        return
                    line += piece
            line, _, rest = line.partition(b"\n")
            try:
                request = json.loads(line)
                if request["command"] in streams:
                    reply = await streams[request["command"]](_rest_of(stream, rest))
                else:
                    reply = await commands[request["command"]](request)
            except SwiftFSError as error:
                reply = {"error": type(error).__name__, "message": str(error)}
            except (ValueError, KeyError, TypeError) as error:
                reply = {"error": "UsageError", "message": f"not a command: {printable(repr(error))}"}
            except trio.BrokenResourceError:
                raise
            except Exception as error:
                log.exception("a command on the control socket failed")
                reply = {"error": "SwiftFSError", "message": f"internal error: {printable(type(error).__name__)}"}
            await stream.send_all(json.dumps(reply).encode() + b"\n")


async def _rest_of(stream: trio.SocketStream, begun: bytes) -> AsyncIterator[bytes]:
    """``begun`` and what follows until the other side is done. Raises Unavailable when that falls silent."""
    piece = begun
    while True:
        for start in range(0, len(piece), PIECE):
            yield piece[start : start + PIECE]
        with trio.move_on_after(IDLE) as waiting:
            piece = await stream.receive_some(PIECE)
        if waiting.cancelled_caught:
            raise Unavailable(f"the order broke off: nothing came for {IDLE:.0f} s")
        if not piece:
            return


def _make_way(path: Path) -> None:
    """A directory of our own for the socket, and no leftover of a mount that was killed."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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
