"""A mount of one side under measurement: started in the foreground, watched from /proc, unmounted and waited for.

CPU, memory and descriptors are those of the mount's process and all below it, so that swiftfs's two processes count
together. Readers are other processes and do not count.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import CommandFailed
from bench.machine import program_path, swiftfs_command
from bench.measured import KIB, descendants, tree_peak

MOUNT_DEADLINE = 300.0
"""Seconds for a mount to answer: a first listing of a million names is part of it."""
END_DEADLINE = 60.0
POLL = 0.005
TICK = os.sysconf("SC_CLK_TCK")
STAT_UTIME = 11
"""Fields of /proc/PID/stat behind the name: utime, stime, and both of the children that were waited for (proc(5))."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mount works: ``source`` is REMOTE:CONTAINER, ``cache`` its own cache directory."""

    source: str
    mountpoint: Path
    cache: Path


@dataclass(frozen=True, slots=True)
class Side:
    """One client with one set of flags."""

    name: str
    command: Callable[[Place], list[str]]
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a mount's processes: resident, and what is theirs alone."""

    resident: int
    private: int


def _swiftfs(*flags: str) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        return swiftfs_command(
            "mount", place.source, str(place.mountpoint), "--allow-other", "--cache-dir", str(place.cache), *flags
        )

    return command


def _rclone(*flags: str) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        return [
            "rclone", "mount", place.source, str(place.mountpoint), "--read-only", "--allow-other",
            "--cache-dir", str(place.cache), *flags,
        ]  # fmt: skip

    return command


SWIFTFS = Side("swiftfs", _swiftfs("--refresh", "off"), ours=True)
"""Defaults, but for the listing every five minutes, which would make counts depend on how long a run takes."""
RCLONE = Side("rclone", _rclone())
"""The course's command line; in the foreground, because a daemon's CPU cannot be waited for."""
RCLONE_BEST = Side(
    "rclone-best",
    _rclone(
        "--vfs-cache-mode", "full", "--use-server-modtime", "--no-checksum", "--attr-timeout", "1h",
        "--dir-cache-time", "1h", "--vfs-refresh", "--vfs-read-chunk-streams", "16",
    ),
)  # fmt: skip
"""The best flags that were found."""


LOCAL = Side("local disk", lambda place: [])
"""The same tree in a directory of this machine: what no mount can beat."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a mount's processes ended: CPU seconds of all of them by wait4(2), and the exit code."""

    cpu: float
    code: int


class Mounted:
    """A running mount. ``first_name`` is seconds from the command to the first name that a listing gave."""

    def __init__(self, side: Side, place: Place, environ: Mapping[str, str], log: Path) -> None:
        self.side = side
        self.place = place
        self.top = place.mountpoint
        self.argv = tuple(side.command(place))
        self.ended: Ended | None = None
        self._environ = dict(environ)
        self._log = log
        with log.open("wb") as said:
            self.started = time.monotonic()
            self._process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=self._environ, start_new_session=True
            )
        self.first_name = 0.0

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu(self) -> float:
        """CPU seconds so far of the process and everything below it; in ticks of the kernel's clock (10 ms)."""
        return sum(_cpu(process) for process in descendants(self.pid))

    def memory(self) -> Memory:
        """What the processes hold now."""
        found = [_rollup(process) for process in descendants(self.pid)]
        return Memory(
            sum(row.get("Rss", 0) for row in found),
            sum(row.get("Private_Clean", 0) + row.get("Private_Dirty", 0) for row in found),
        )

    def peak(self) -> int:
        """The sum of the processes' high-water marks, in bytes."""
        return tree_peak(self.pid)

    def descriptors(self) -> int:
        """Open files of the processes."""
        return sum(_open_files(process) for process in descendants(self.pid))

    def status(self) -> dict[str, Any]:
        """What ``swiftfs status --json`` says; for our side only."""
        done = self.swiftfs("status", str(self.top), "--json")
        found: dict[str, Any] = json.loads(done)
        return found

    def swiftfs(self, *words: str) -> str:
        """Run a command of swiftfs beside the mount and return its output. Raises CommandFailed."""
        done = subprocess.run(
            swiftfs_command(*words), env=self._environ, capture_output=True, timeout=MOUNT_DEADLINE, check=False
        )
        if done.returncode != 0:
            raise CommandFailed(f"swiftfs {' '.join(words)}: {done.stderr.decode(errors='replace')[-500:]}")
        return done.stdout.decode()

    def end(self) -> Ended:
        """Unmount and wait. Raises CommandFailed when it does not end; it is killed then."""
        if self.ended is not None:
            return self.ended
        limit = time.monotonic() + END_DEADLINE
        while _is_mounted(self.top):
            done = subprocess.run(["fusermount3", "-u", str(self.top)], capture_output=True, timeout=20, check=False)
            if done.returncode != 0 and time.monotonic() > limit:
                self._kill()
                raise CommandFailed(f"cannot unmount {self.top}: {done.stderr.decode(errors='replace')}")
            if done.returncode != 0:
                time.sleep(POLL)
        while True:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > limit:
                self._kill()
                raise CommandFailed(f"{self.argv[0]} does not end: {self._said()}")
            time.sleep(POLL)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self.ended = Ended(_seconds(usage), self._process.returncode)
        return self.ended

    def abandon(self) -> None:
        """End it somehow, after an error."""
        with contextlib.suppress(Exception):
            self.end()
        if self.ended is None:
            subprocess.run(["fusermount3", "-u", "-z", str(self.top)], capture_output=True, timeout=20, check=False)
            self._kill()

    def wait_for_name(self) -> None:
        """Take the time of the first name. Raises CommandFailed when the mount ends before, or at its deadline."""
        give_up = self.started + MOUNT_DEADLINE
        while not _is_mounted(self.top):
            if self._process.poll() is not None:
                raise CommandFailed(f"{' '.join(self.argv)} ended with {self._process.returncode}: {self._said()}")
            if time.monotonic() > give_up:
                self._kill()
                raise CommandFailed(f"{' '.join(self.argv)} does not mount: {self._said()}")
            time.sleep(POLL)
        try:
            with os.scandir(self.top) as names:
                next(names)
        except OSError as error:
            raise CommandFailed(f"{' '.join(self.argv)} does not answer: {error.strerror}; {self._said()}") from None
        self.first_name = time.monotonic() - self.started

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        if self._process.returncode is None:
            self._process.wait(END_DEADLINE)

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-1000:]


@contextlib.contextmanager
def mounted(side: Side, source: str, rclone_conf: Path, work: Path) -> Iterator[Mounted]:
    """Mount ``source`` with everything of its own below ``work`` (a second mount there finds what the first left)."""
    home = work / "home"
    for directory in (home, work / "mnt"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("OS_", "RCLONE_", "SWIFTFS_", "XDG_"))
    }
    environ |= {
        "PATH": program_path(os.environ.get("PATH")),
        "HOME": str(home),
        "RCLONE_CONFIG": str(rclone_conf),
    }
    with tempfile.TemporaryDirectory(prefix="swiftfs-run-") as run:  # a socket's path has 107 bytes at the most
        place = Place(source, work / "mnt", work / "cache")
        mount = Mounted(side, place, environ | {"XDG_RUNTIME_DIR": run}, work / "mount.log")
        try:
            mount.wait_for_name()
            yield mount
            mount.end()
        finally:
            mount.abandon()


def drop_from_memory(directory: Path) -> None:
    """Have the kernel forget the pages of every file below ``directory``; dirty ones are written first."""
    for top, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                descriptor = os.open(os.path.join(top, name), os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(descriptor)


def _is_mounted(path: Path) -> bool:
    text = str(path).encode()
    with open("/proc/self/mountinfo", "rb") as file:
        return any(line.split()[4] == text for line in file)


def _cpu(pid: int) -> float:
    try:
        fields: Sequence[bytes] = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return sum(int(word) for word in fields[STAT_UTIME : STAT_UTIME + 4]) / TICK


def _rollup(pid: int) -> dict[str, int]:
    found = {}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            key, _, value = line.partition(":")
            found[key] = int(value.split()[0]) * KIB
    return found


def _open_files(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def _seconds(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime
