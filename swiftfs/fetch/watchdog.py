"""Notices that the file system process answers no more, and ends its FUSE connection so that readers do not hang.

A reader whose request a stopped or deadlocked process holds cannot be killed; only the end of the connection frees it.
The fetch process asks for a sign of life every few seconds. Time counts only while this process runs itself, a tick at
a time: after a suspended laptop, or with both processes stopped, the other side gets its time anew.
"""

from __future__ import annotations

import logging
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

TICKS = 20
"""Ticks in the patience: what one late tick can err by is a twentieth."""
DEADLINES = 2.0
"""The patience in deadlines. A loop that turns answers within milliseconds, however busy its readers keep it: each of
its requests has a deadline, and no step between two awaits takes long."""
LEAST_PATIENCE = 30.0
"""Seconds of the patience at the least. That a deadline is short says how long a reader waits for the store, not how
long a disk or a machine out of memory may hold up a process, which must not be killed for that."""
CONNECTIONS = Path("/sys/fs/fuse/connections")
_MOUNTINFO = re.compile(r"\d+ \d+ \d+:(\d+) \S+ (\S+) .* - fuse\.swiftfs ")


@dataclass(slots=True)
class Watchdog:
    """Counts for how many ticks in a row nothing was heard."""

    silent: int = 0

    def heard(self) -> None:
        """A sign of life has come."""
        self.silent = 0

    def tick(self) -> bool:
        """One more tick has passed; whether it is time to give the other process up."""
        self.silent += 1
        return self.silent > TICKS


def patience(deadline: float) -> float:
    """Seconds of silence after which a process is given up."""
    return max(DEADLINES * deadline, LEAST_PATIENCE)


def tick_seconds(deadline: float) -> float:
    """How long a tick is."""
    return patience(deadline) / TICKS


def connection_of(mountinfo: str, mountpoint: str) -> int | None:
    """The FUSE connection of our mount on ``mountpoint``, from the text of proc_pid_mountinfo(5); None without one.

    It is the minor number of the mount's device; the last line counts, for that mount is on top.
    """
    found = None
    for line in mountinfo.splitlines():
        match = _MOUNTINFO.match(line)
        if match and _unescaped(match[2]) == mountpoint:
            found = int(match[1])
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def give_up(process: int, mountpoint: str) -> None:
    """Abort the connection, where fusectl is mounted and we may, and end the wedged process, which does the same.

    ``process`` must be our parent still: its number is then not another's. It is ended in any case: what it holds is
    no use to anybody, and its mount can only be made anew when it is gone.
    """
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        connection = connection_of(mountinfo, mountpoint)
        if connection is not None:
            (CONNECTIONS / str(connection) / "abort").write_text("1")
    except OSError as error:
        log.info("the FUSE connection could not be aborted by itself: %s", error)
    if os.getppid() == process:
        os.kill(process, signal.SIGKILL)
