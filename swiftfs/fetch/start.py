"""Starts a fetch process: a socket pair, of which the process serves one end.

Knows no event loop: the first process of a mount is started before the modules of the file system process are
imported, so that the imports of both, and the network, go on side by side.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol

if TYPE_CHECKING:
    from swiftfs.fetch.protocol import Hello

TITLE = "swiftfs-fetch"
"""What ps and top call the process."""
PR_SET_NAME = 15
"""From linux/prctl.h."""
FAILED = 70
"""The exit code of a process that an error ended which nobody has foreseen (sysexits.h)."""


class Process(Protocol):
    """A child process, as ``subprocess.Popen`` has it."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def poll(self) -> int | None: ...

    def wait(self) -> int | None: ...

    def kill(self) -> None: ...


class Spawn(Protocol):
    """Starts a fetch process that serves ``sock``, which it inherits."""

    def __call__(self, sock: socket.socket) -> Process: ...


@dataclass(slots=True)
class Started:
    """A fetch process and our end of its socket; it ends when that is closed. ``greeted``: it knows what to serve."""

    sock: socket.socket
    process: Process
    greeted: bool = False

    def greet(self, hello: Hello) -> None:
        """Tell it what to serve: it begins at once. That it cannot be told shows where its answers are read."""
        from swiftfs.fetch import protocol

        self.greeted = True
        with contextlib.suppress(OSError):
            self.sock.sendall(protocol.frame(hello))


def spawn(sock: socket.socket) -> Process:
    """Start ``python -P -m swiftfs.fetch FD``; secrets are neither in its arguments nor sent to it.

    Without ``-P`` it would import from the directory in which the mount was made first: a file ``random.py`` there
    would be run, with the credentials at hand, in the place of Python's own.
    """
    descriptor = sock.fileno()
    command = [sys.executable, "-P", "-m", "swiftfs.fetch", str(descriptor)]
    return subprocess.Popen(command, pass_fds=[descriptor], stdin=subprocess.DEVNULL)


def start(how: Spawn = spawn) -> Started:
    """Start a fetch process. Raises OSError when the system has no process or descriptor to spare."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            return Started(ours, how(theirs))
        except BaseException:
            ours.close()
            raise


class Serve(Protocol):
    """What a fetch process does with its end of the socket, until it ends with an exit code."""

    def __call__(self, descriptor: int, /) -> int: ...


def take_title() -> None:
    """Have ps and top call this process as what it is. Not by way of /proc/self/comm, which is root's where a process
    keeps its memory private."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, TITLE.encode(), 0, 0, 0)


def start_early(serve: Serve) -> Started | None:
    """A fetch process, to be greeted, that gets ready to ``serve``: a fork of this process, which must have one thread
    and no loop. None when there can be none now: who needs it tries again and says why not."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            return None
        if pid == 0:
            _become(theirs, serve)
        return Started(ours, Forked(pid))


def _become(sock: socket.socket, serve: Serve) -> NoReturn:
    """Serve, as a process of its own: of what its parent had open it keeps standard output and error alone, and how
    that writes there."""
    code = FAILED
    try:
        for handler in list(logging.getLogger().handlers):
            if getattr(handler, "stream", None) is not sys.stderr:
                logging.getLogger().removeHandler(handler)
                handler.close()
        for entry in os.listdir("/proc/self/fd"):
            if int(entry) > 2 and int(entry) != sock.fileno():
                with contextlib.suppress(OSError):
                    os.close(int(entry))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        code = serve(sock.detach())
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


class Forked:
    """A child that was made by a fork; see :class:`Process`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._look(os.WNOHANG)

    def wait(self) -> int | None:
        """Wait for its end; returns the exit code."""
        return self._look(0)

    def kill(self) -> None:
        """End it at once, unless it has ended: its number may be another's then."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _look(self, options: int) -> int | None:
        if self.returncode is None:
            with contextlib.suppress(ChildProcessError):  # another thread was told of its end, and has noted it
                pid, status = os.waitpid(self.pid, options)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode
