"""Starts a fetch process: a socket pair, of which the process serves one end.

Knows no event loop, so that the process can be started before the modules of the file system process are imported: the
imports of both take as long as the rest of a mount's start, and go on side by side.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Protocol


class Spawn(Protocol):
    """Starts a fetch process that serves ``sock``, which it inherits."""

    def __call__(self, sock: socket.socket) -> subprocess.Popen[bytes]: ...


@dataclass(frozen=True, slots=True)
class Started:
    """A fetch process and our end of its socket. It ends when that is closed."""

    sock: socket.socket
    process: subprocess.Popen[bytes]


def spawn(sock: socket.socket, remote: str | None = None) -> subprocess.Popen[bytes]:
    """Start ``python -m swiftfs.fetch FD [REMOTE]``; secrets are neither in its arguments nor sent to it.

    With ``remote``, the name of one, the process logs in there before it is told anything else.
    """
    descriptor = sock.fileno()
    return subprocess.Popen(
        [sys.executable, "-m", "swiftfs.fetch", str(descriptor), *([] if remote is None else [remote])],
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
    )


def start(how: Spawn = spawn) -> Started:
    """Start a fetch process. Raises OSError when the system has no process or descriptor to spare."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            return Started(ours, how(theirs))
        except BaseException:
            ours.close()
            raise


def start_early(remote: str) -> Started | None:
    """A fetch process for ``remote``; None when it cannot be started now: who needs it tries again and says why not."""
    try:
        return start(lambda sock: spawn(sock, remote))
    except OSError:
        return None
