"""Starting servers that outlive their starter, recognising them later, and ending every one of them.

A process id alone proves nothing: it may have been given to a stranger since. A process belongs to a cloud when its
environment carries the cloud's mark, which workers inherit, or when it is the recorded one: same id, same start time.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from swiftfs.errors import Unavailable
from swiftfs.localcloud.files import PRIVATE_FILE, read_or_none, write_private

# The environment variable that every process of a cloud carries: its value is the cloud's directory.
MARK = "SWIFTFS_LOCALCLOUD"

# Seconds that processes get to end by themselves; then they are killed.
TERM_PATIENCE = 5.0
# Seconds in which the kernel must have ended a killed process; only one stuck in the kernel takes longer.
KILL_PATIENCE = 10.0
STOP_POLL = 0.05


@dataclass(frozen=True, slots=True)
class Process:
    """A started server. `start_time` is in clock ticks since boot; `digest` tells what it was started with."""

    server: str
    pid: int
    start_time: int
    digest: str


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a server: its arguments, its environment, the file for what it prints, and a digest of all that it
    reads at its start."""

    server: str
    argv: Sequence[str]
    environ: Mapping[str, str]
    log: Path
    digest: str


@dataclass(frozen=True, slots=True)
class _Stat:
    ended: bool
    session: int
    start_time: int


def load(path: Path) -> dict[str, Process]:
    """The recorded processes by server name; none when there is no record."""
    text = read_or_none(path)
    return {} if text is None else {entry["server"]: Process(**entry) for entry in json.loads(text)}


def save(path: Path, processes: Iterable[Process]) -> None:
    """Record the processes for the next `load`."""
    write_private(path, json.dumps([asdict(process) for process in processes], indent=1) + "\n")


def start(command: Command, mark: Path) -> Process:
    """Start a server in a session of its own, with no terminal and no input, for the cloud in directory `mark`."""
    log = os.open(command.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        child = subprocess.Popen(
            command.argv, env={**command.environ, MARK: str(mark)}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, cwd="/", umask=0o077,
        )  # fmt: skip
    except OSError as error:
        raise Unavailable(f"{command.server} cannot be started: {error}") from None
    finally:
        os.close(log)
    stat = _stat(child.pid)
    # The server shall outlive this object, which would otherwise warn about it and try to wait for it.
    child.returncode = 0
    if stat is None:
        raise Unavailable(f"{command.server} ended at once (see {command.log})")
    return Process(command.server, child.pid, stat.start_time, command.digest)


def alive(process: Process) -> bool:
    """Whether the recorded process still runs."""
    stat = _stat(process.pid)
    return stat is not None and not stat.ended and stat.start_time == process.start_time


def stop(mark: Path, recorded: Iterable[Process], *, keep: Iterable[Process] = ()) -> int:
    """End every process of the cloud in directory `mark`, workers and such as no record knows included, but for the
    servers to `keep` and their workers; return how many there were.

    Raises Unavailable when one cannot be ended.
    """
    kept = {process.pid for process in keep}
    start_times = {process.pid: process.start_time for process in recorded}

    found: dict[int, int] = {}

    def ours(pid: int) -> bool:
        stat = _stat(pid)
        if stat is None or stat.ended or stat.session in kept:
            return False
        if start_times.get(pid) != stat.start_time and not _is_marked(pid, mark):
            return False
        found[pid] = stat.start_time
        return True

    for number, patience in ((signal.SIGTERM, TERM_PATIENCE), (signal.SIGKILL, KILL_PATIENCE)):
        signalled: set[int] = set()
        give_up = time.monotonic() + patience
        while remaining := [pid for pid in _pids() if ours(pid)]:
            for pid in remaining:
                if pid not in signalled:
                    signalled.add(pid)
                    _send(pid, number, ours)
            if time.monotonic() > give_up:
                break
            time.sleep(STOP_POLL)
            _reap(found)
        else:
            _reap({**start_times, **found})
            return len(found)
    raise Unavailable(f"processes {', '.join(map(str, remaining))} of {mark} cannot be ended")


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _is_marked(pid: int, mark: Path) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # ended meanwhile, or another user's
        return False
    return f"{MARK}={mark}".encode() in environ.split(b"\0")


def _send(pid: int, number: signal.Signals, ours: Callable[[int], bool]) -> None:
    """Signal the very process that `ours` is asked about: the descriptor keeps meaning it if its id is given away."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if ours(pid):
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _reap(start_times: Mapping[int, int]) -> None:
    """Collect those that ended and are this process's own children, so that none stays as a zombie."""
    for pid, start_time in start_times.items():
        stat = _stat(pid)
        if stat is not None and stat.ended and stat.start_time == start_time:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _stat(pid: int) -> _Stat | None:
    """What the kernel says of a process (proc(5)); None when there is none, not even a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything; the fields after it are numbered from 3.
    fields = text.rpartition(")")[2].split()
    return _Stat(ended=fields[0] in "ZX", session=int(fields[3]), start_time=int(fields[19]))
