"""Run a mount in the background and report its real result.

The command forks before any event loop, thread or TLS exists; the child tells over a pipe whether the mount answers or
why it does not, and only then does the command end. libfuse's own daemonize cannot report that (README.daemonize).
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Protocol

from swiftfs import errors
from swiftfs.errors import DeadlineExceeded, SwiftFSError, Unavailable, printable

READY = b"ready"
LONGEST_REPORT = 64 * 1024
"""Bytes of a report: one error message."""


class Serve(Protocol):
    """Serves a mount until it ends; calls ``ready`` once it answers."""

    def __call__(self, ready: Callable[[], None]) -> None: ...


def in_background(serve: Serve, *, log_file: Path, patience: float) -> int:
    """Start ``serve`` in a child process of its own session and return its pid once it is ready.

    The child writes what it has to say to ``log_file`` (made with mode 0600). Raises the child's own error when it
    cannot serve, and DeadlineExceeded after ``patience`` seconds, the child having been ended.
    """
    log_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    report, child_report = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(report)
        _child(serve, child_report, log_file)
    os.close(child_report)
    try:
        said = _wait_for_report(report, time.monotonic() + patience)
    except DeadlineExceeded:
        os.kill(pid, signal.SIGTERM)
        raise
    finally:
        os.close(report)
    if said == READY:
        return pid
    os.waitpid(pid, 0)
    raise _reported(said, log_file)


def _child(serve: Serve, report: int, log_file: Path) -> NoReturn:
    """The background process; ends with os._exit so that nothing of the parent's runs twice."""
    status = 1
    try:
        os.setsid()
        os.chdir("/")
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        reported = False

        def ready() -> None:
            nonlocal reported
            reported = True
            os.write(report, READY)
            os.close(report)

        try:
            serve(ready)
            status = 0
        except SwiftFSError as error:
            status = error.exit_code
            if reported:
                print(f"swiftfs: error: {error}", file=sys.stderr, flush=True)
            else:
                text = json.dumps({"error": type(error).__name__, "message": error.message, "hint": error.hint})
                os.write(report, text.encode()[:LONGEST_REPORT])
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _wait_for_report(report: int, deadline: float) -> bytes:
    """What the child says, b'' when it ended without a word."""
    said = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([report], [], [], left)[0]:
            raise DeadlineExceeded("the mount did not become ready in time", hint="its log file says more")
        piece = os.read(report, LONGEST_REPORT)
        said += piece
        if not piece or said == READY:
            return said


def _reported(said: bytes, log_file: Path) -> SwiftFSError:
    if not said:
        return Unavailable("the mount's process ended before it was ready", hint=f"see {printable(str(log_file))}")
    fields = json.loads(said)
    kind = getattr(errors, fields["error"], SwiftFSError)
    error: SwiftFSError = kind(fields["message"], hint=fields["hint"])
    return error
