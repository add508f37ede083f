"""The kernel's list of mounts, read without touching a mountpoint that may not answer.

Source: proc_pid_mountinfo(5). Its fields escape blank, tab, newline and backslash as three octal digits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FSTYPE = "fuse.swiftfs"
"""What our mounts show as their type; the kernel makes it from ``subtype=swiftfs``."""

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the list: device number ``major:minor``, mountpoint, type and source."""

    device: str
    mountpoint: Path
    fstype: str
    source: str

    @property
    def ours(self) -> bool:
        """Whether swiftfs made it."""
        return self.fstype == FSTYPE


def parse_mountinfo(lines: Iterable[str]) -> list[Mount]:
    """The mounts in the order in which they were made. Lines of another shape are left out."""
    mounts = []
    for line in lines:
        before, separator, after = line.rstrip("\n").partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if separator and len(fields) >= 6 and len(rest) >= 2:
            mounts.append(Mount(fields[2], Path(_unescaped(fields[4])), rest[0], _unescaped(rest[1])))
    return mounts


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def mounts() -> list[Mount]:
    """The mounts that this process sees."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        return parse_mountinfo(lines)


def find_mount(mountpoint: Path) -> Mount | None:
    """The mount on ``mountpoint`` (absolute), the topmost if there are several; None when nothing is mounted there."""
    found = [mount for mount in mounts() if mount.mountpoint == mountpoint]
    return found[-1] if found else None


def real_mountpoint(path: str | os.PathLike[str]) -> Path:
    """``path`` absolute, symbolic links of its parents resolved; the last component is not looked at, for a stale
    mount there does not answer."""
    absolute = Path(os.path.abspath(path))
    return Path(os.path.realpath(absolute.parent)) / absolute.name if absolute.name else absolute
