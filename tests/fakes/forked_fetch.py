"""Real fetch processes that start fast: forked from one that has imported everything, instead of from nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from swiftfs.fetch.serve import WORK, main

_CONTEXT = multiprocessing.get_context("forkserver")


def serve(sock: socket.socket, environ: Mapping[str, str], log: Path) -> None:
    """What a fetch process is: an environment, standard error, a socket, and ``main``."""
    os.environ.clear()
    os.environ.update(environ)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.exit(main(sock.detach()))


def stop() -> None:
    """End the process that the others are forked from, and its companion; the next fork starts them anew."""
    # What multiprocessing's own tests do; it has no public way.
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


@dataclass
class Forked:
    """A child as ``FetchClient`` needs it."""

    process: ForkServerProcess

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self) -> int | None:
        self.process.join()
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()


@dataclass
class Forks:
    """Starts fetch processes with ``environ`` that write what they say to ``log``."""

    environ: Mapping[str, str]
    log: Path
    started: list[int] = field(default_factory=list)

    def __call__(self, sock: socket.socket) -> Forked:
        _CONTEXT.set_forkserver_preload([serve.__module__, *WORK])
        process = _CONTEXT.Process(target=serve, args=(sock, dict(self.environ), self.log))
        process.start()
        forked = Forked(process)
        self.started.append(forked.pid)
        return forked

    def kill(self) -> None:
        """kill -9 of the one that was started last, unless it has ended."""
        os.kill(self.started[-1], signal.SIGKILL)
