"""One command, run to its end and measured: wall time, CPU time and memory of it and all its descendants.

CPU comes from wait4(2), which adds up every descendant that was waited for. Memory is sampled from VmHWM, the kernel's
own high-water mark of each process, because ru_maxrss also carries what the starting process occupied before exec.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import CommandFailed

SAMPLE_EVERY = 0.02
"""Seconds between two looks: the marks only grow, so a look misses what a process does in its last 20 ms at most."""

OUTPUT_KEPT = 64 * 1024
"""Bytes of a command's output that are kept, from the end."""

KIB = 1024


@dataclass(frozen=True, slots=True)
class Measured:
    """How a command ran. Times in seconds, ``cpu`` is user and system of the whole tree, ``peak_rss`` in bytes: the
    largest sum of its processes' high-water marks. ``code`` is negative for the signal that ended it. ``stopped`` is
    True when ``stop_when`` had it killed."""

    argv: tuple[str, ...]
    wall: float
    cpu: float
    peak_rss: int
    code: int
    output: str
    stopped: bool = False


def run(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str],
    cwd: Path | None = None,
    deadline: float = 600.0,
    must: Sequence[int] | None = (0,),
    stop_when: Callable[[], bool] | None = None,
) -> Measured:
    """Run ``argv`` (found by the PATH of ``environ``), output to a file, in a session of its own.

    ``stop_when`` is asked between samples; once it says True the whole session gets SIGKILL. Raises CommandFailed when
    the exit code is not among ``must`` (None: any will do), and after ``deadline`` seconds, with the session killed.
    """
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = _start(argv, environ, cwd, output.fileno())
        pid = process.pid
        stopped = False
        peak = 0
        try:
            while True:
                peak = max(peak, tree_peak(pid))
                ended, status, usage = os.wait4(pid, os.WNOHANG)
                wall = time.monotonic() - started
                if ended:
                    break
                if wall > deadline:
                    raise CommandFailed(f"{argv[0]} did not end within {deadline:.0f} s: {_tail(output.fileno())}")
                if stop_when is not None and not stopped and stop_when():
                    stopped = True
                    _kill(pid)
                _pause(pid)
        except BaseException:
            _kill(pid)
            process.wait()
            raise
        code = process.returncode = os.waitstatus_to_exitcode(status)
        text = _tail(output.fileno())
    if must is not None and code not in must and not stopped:
        raise CommandFailed(f"{' '.join(argv)} ended with {code}: {text[-2000:]}")
    return Measured(
        tuple(argv), wall, usage.ru_utime + usage.ru_stime, max(peak, _beyond_own(usage)), code, text, stopped
    )


def tree_peak(pid: int) -> int:
    """The sum of the high-water marks, in bytes, of a process and its descendants that live now; 0 when it is gone."""
    return sum(_high_water(process) for process in descendants(pid))


def descendants(pid: int) -> list[int]:
    """A process and everything below it, as far as it lives."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found.extend(int(word) for word in children.read_text().split())
    return found


def _start(argv: Sequence[str], environ: Mapping[str, str], cwd: Path | None, output: int) -> subprocess.Popen[bytes]:
    """The command, once it is no longer a copy of this process: until then its high-water mark would be ours."""
    where = shutil.which(argv[0], path=environ.get("PATH"))
    if where is None:
        raise CommandFailed(f"{argv[0]} is not installed")
    return subprocess.Popen(
        argv,
        executable=where,
        env=environ,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def _pause(pid: int) -> None:
    """Sleep until the next look, or until the process ends: its wall time must not be rounded up to a look."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            select.select([descriptor], [], [], SAMPLE_EVERY)
        finally:
            os.close(descriptor)


def _high_water(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * KIB
    except (OSError, IndexError):
        pass
    return 0


def _beyond_own(usage: resource.struct_rusage) -> int:
    """ru_maxrss in bytes where it cannot stem from this process before exec, else 0."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage.ru_maxrss * KIB if usage.ru_maxrss > own else 0


def _kill(pid: int) -> None:
    """SIGKILL to the whole session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _tail(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, OUTPUT_KEPT, max(0, size - OUTPUT_KEPT)).decode(errors="replace")
