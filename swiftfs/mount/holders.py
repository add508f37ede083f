"""Who keeps a mount busy: processes with an open file, a working directory or a root in it."""

from __future__ import annotations

import os
from pathlib import Path

MOST_NAMED = 5
"""Processes named in a message."""


def holders(mountpoint: Path) -> list[str]:
    """At most a few of the processes that use ``mountpoint``, as ``name (pid)``; only those we may look at.

    Reads link targets in /proc alone and never touches the mount.
    """
    below = f"{mountpoint}/"
    found = []
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            links = [process / "cwd", process / "root", *(process / "fd").iterdir()]
        except OSError:
            continue
        if any(_target(link) == str(mountpoint) or _target(link).startswith(below) for link in links):
            try:
                name = (process / "comm").read_text().strip()
            except OSError:
                continue
            found.append(f"{name} ({process.name})")
            if len(found) == MOST_NAMED:
                break
    return found


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
