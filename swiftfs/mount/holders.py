"""Who keeps a mount busy: processes with an open or mapped file, a working directory or a root in it."""

from __future__ import annotations

import os
from pathlib import Path

MOST_NAMED = 5
"""Processes named in a message."""


def holders(mountpoint: Path) -> list[str]:
    """At most a few of the processes that use ``mountpoint``, as ``name (pid)``; only those we may look at.

    Reads /proc alone and never touches the mount.
    """
    below = f"{mountpoint}/"
    as_in_maps = os.fsencode(below).replace(b"\n", b"\\012")  # the one character that is escaped there
    found = []
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            links = [process / "cwd", process / "root", *(process / "fd").iterdir()]
        except OSError:
            continue
        uses = any(_target(link) == str(mountpoint) or _target(link).startswith(below) for link in links)
        if uses or any(path.startswith(as_in_maps) for path in _mapped(process)):
            try:
                name = (process / "comm").read_text().strip()
            except OSError:
                continue
            found.append(f"{name} ({process.name})")
            if len(found) == MOST_NAMED:
                break
    return found


def _mapped(process: Path) -> list[bytes]:
    """The files that a process has mapped, as its ``maps`` spell them: their descriptors may be closed.

    None where we may not look. ``map_files`` has links to them, but only root may read those.
    """
    try:
        lines = (process / "maps").read_bytes().split(b"\n")
    except OSError:
        return []
    fields = [line.split(maxsplit=5) for line in lines]  # address, permissions, offset, device, inode, path
    return [one[5] for one in fields if len(one) == 6]


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
