"""The two clients: their command lines, with the same flags, and the surroundings they are run in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from bench.machine import program_path, swiftfs_command

FLAGS = ("--progress", "--transfers=32", "--checkers=16", "--multi-thread-streams=4", "--fast-list")
"""What courses give rclone for Food-11; swiftfs takes the same, see ``load``."""
OWN_FLAGS = ("--progress",)
"""What its README tells a user of swiftfs: its defaults are the tuned ones."""

REPOSITORY = Path(__file__).resolve().parent.parent


class Side(StrEnum):
    """Who is measured: ``swiftfs`` is ours, ``rclone`` the peer."""

    OURS = "swiftfs"
    THEIRS = "rclone"


SIDES = (Side.OURS, Side.THEIRS)


def load(side: Side, source: str | Path, target: str, flags: Sequence[str] | None = None) -> list[str]:
    """The command that brings a directory into ``remote:container``: with ``flags``, else with each side's own."""
    if side is Side.OURS:
        return swiftfs_command("load", str(source), target, *(OWN_FLAGS if flags is None else flags))
    return ["rclone", "copy", str(source), target, *(FLAGS if flags is None else flags)]


def delete(side: Side, target: str) -> list[str]:
    """The command that deletes every object of ``remote:container``."""
    if side is Side.OURS:
        return swiftfs_command("delete", target)
    return ["rclone", "delete", "--rmdirs", target]


def download_and_load(url: str, archive: Path, directory: Path, target: str) -> list[str]:
    """What is done without swiftfs: the archive to the disk, its files to the disk, the files to the container."""
    script = 'curl -sSf -o "$1" "$2" && unzip -q "$1" -d "$3" && shift 3 && exec rclone copy "$@"'
    return ["sh", "-c", script, "sh", str(archive), url, str(directory), str(directory), target, *FLAGS]


def surroundings(rclone_conf: Path, home: Path) -> Mapping[str, str]:
    """The environment of a run: one remote, and a home of its own, so that no run finds what another one has left."""
    for name in ("run", "tmp"):
        (home / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TERM") if name in os.environ}
    return {
        **kept,
        "PATH": program_path(os.environ.get("PATH")),
        "PYTHONPATH": str(REPOSITORY),
        "RCLONE_CONFIG": str(rclone_conf),
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "XDG_RUNTIME_DIR": str(home / "run"),
    }
