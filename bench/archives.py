"""The scenario of a zip at a URL: straight into the store, against download, unzip and copy."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from bench import clients, dataset
from bench.blocks import interleave, ratios, runs_of, seen
from bench.clients import SIDES, Side
from bench.errors import MissingProgram
from bench.measured import descendants
from bench.report import Run, Scenario, count_within, plain_figure
from bench.workplace import verify

if TYPE_CHECKING:
    from bench.workplace import Workplace

WALL_GOAL = 0.6
DISK_GOAL = 1024 * 1024
"""Bytes on the disk at any time: a journal fits, a member does not have to."""
BLOCK = 512
"""Bytes of st_blocks (stat(2))."""
NEEDED = ("curl", "unzip")


def zip_at_url(place: Workplace, *, files: int, blocks: int) -> list[Scenario]:
    """A zip of ``files`` files like Food-11's, served by nginx on this machine, into the sink."""
    for program in NEEDED:
        if shutil.which(program) is None:
            raise MissingProgram(f"{program} is not installed: apt-get install {program}")
    store = place.sink
    place.say(f"making a zip of {files} files")
    wanted = dataset.write_zip(dataset.food11_like(files), store.sink.files / "dataset.zip")
    url = f"{store.sink.files_url}/dataset.zip"
    disk: dict[Side, list[int]] = {side: [] for side in SIDES}

    def run(side: Side, block: int) -> Run:
        container = f"bench-zip-{side}"
        store.account.remove(container)
        home = place.home(f"zip-{side}")
        target = f"{store.remote}:{container}"
        if side is Side.OURS:
            argv = clients.load(side, url, target, place.flags)
        else:
            argv = clients.download_and_load(url, home / "dataset.zip", home / "dataset", target)
        empty, most = occupied(home), 0

        def look() -> bool:
            nonlocal most
            most = max(most, occupied(home) - empty)
            return False

        found = place.run(store, side, argv, home, stop_when=look, cwd=home)
        disk[side].append(max(most, occupied(home) - empty))
        verify(store, container, wanted)
        store.account.remove(container)
        shutil.rmtree(home)
        return found

    done = interleave(blocks, run)
    (store.sink.files / "dataset.zip").unlink()
    mib = {side: [value / 2**20 for value in values] for side, values in disk.items()}
    ours = runs_of(done, Side.OURS)
    return [
        Scenario(
            "7-zip",
            f"a zip of {files} files at a URL",
            [
                *ratios(done, WALL_GOAL, None),
                plain_figure("disk, swiftfs", mib[Side.OURS], "MiB", goal=DISK_GOAL / 2**20),
                plain_figure("disk, rclone", mib[Side.THEIRS], "MiB"),
            ],
            [
                count_within("bytes on the disk", max(disk[Side.OURS]), 0, DISK_GOAL),
                count_within("PUT of objects", ours[-1].requests.get("PUT object", 0), files, files),
            ],
            done,
            None,
            seen(done),
        )
    ]


def occupied(top: Path) -> int:
    """Bytes of disk below ``top``, and those of files that were deleted and are still open in a descendant."""
    found = 0
    for directory, _, names in os.walk(top):
        for path in (directory, *(os.path.join(directory, name) for name in names)):
            with contextlib.suppress(OSError):
                found += os.lstat(path).st_blocks * BLOCK
    device = top.stat().st_dev
    for process in descendants(os.getpid())[1:]:
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{process}/fd"):
                found += _unlinked(f"/proc/{process}/fd/{name}", device)
    return found


def _unlinked(path: str, device: int) -> int:
    """Bytes of an open file that has no name any more, on the same device; 0 for anything else."""
    with contextlib.suppress(OSError):
        about = os.stat(path)
        if stat.S_ISREG(about.st_mode) and about.st_nlink == 0 and about.st_dev == device:
            return about.st_blocks * BLOCK
    return 0
