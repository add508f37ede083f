"""The scenario of a load that is killed: how much of it the next one sends again, counted by the server."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from bench import clients, dataset
from bench.blocks import interleave, runs_of
from bench.clients import SIDES, Side
from bench.errors import BenchError
from bench.report import Run, Scenario, count_within, plain_figure
from bench.workplace import verify

if TYPE_CHECKING:
    from bench.workplace import Workplace

KILLED_AT = 0.8
"""Share of the bytes that the server has when the client gets SIGKILL."""
GOAL = 0.25
"""Share of the bytes that the second run sends at the most: the rest, and what was under way."""
TRANSFERS = ("--transfers=4", "--checkers=4", "--fast-list")
DELAY = 20
"""Few transfers and a slow server, so that there is a time at which four fifths have arrived and the rest has not."""
LARGE_FLAGS = ("--bwlimit=100M",)
"""Bytes a second of the large file, for the same reason."""


def killed(place: Workplace, *, files: int, blocks: int) -> list[Scenario]:
    """Kill a load of ``files`` files at 80 % of its bytes with SIGKILL, run it again."""
    store = place.sink
    top, wanted = place.files(files)
    whole = sum(size for size, _ in wanted.values())

    def run(side: Side, block: int) -> Run:
        container = f"bench-killed-{side}"
        store.account.remove(container)
        home = place.home(f"killed-{side}")
        argv = clients.load(side, top, f"{store.remote}:{container}", TRANSFERS)
        first = place.run(store, side, argv, home, stop_when=lambda: store.sink.counts().received >= KILLED_AT * whole)
        if not first.measured.stopped or first.measured.code == 0:
            raise BenchError(f"{side} was done before it could be killed: give it more files")
        second = place.run(store, side, argv, home)
        verify(store, container, wanted)
        store.account.remove(container)
        return second

    place.sink.sink.set_delay(DELAY)
    try:
        done = interleave(blocks, run)
    finally:
        place.sink.sink.set_delay(0)
    again = {side: [run.received / whole for run in runs_of(done, side)] for side in SIDES}
    return [
        Scenario(
            "6-killed",
            f"killed at {KILLED_AT:.0%} of {files} files, run again",
            [
                plain_figure("bytes sent again, swiftfs", again[Side.OURS], "of all", goal=GOAL),
                plain_figure("bytes sent again, rclone", again[Side.THEIRS], "of all"),
            ],
            [count_within("bytes sent again", runs_of(done, Side.OURS)[-1].received, 0, int(GOAL * whole))],
            done,
        )
    ]


def killed_large(place: Workplace, *, size: int, blocks: int) -> list[Scenario]:
    """Kill a load of one file of ``size`` bytes at 80 % of them with SIGKILL, run it again.

    Ours alone: rclone sends such a file in one piece, and again from its beginning.
    """
    store = place.sink
    top = place.directory / "data" / "killed-big"
    dataset.write_big(top / "big.bin", size)
    container = "bench-killed-big"

    def run(side: Side, block: int) -> Run:
        for one in (container, f"{container}_segments"):
            store.account.remove(one)
        home = place.home("killed-big")
        argv = clients.load(side, top, f"{store.remote}:{container}", (*clients.OWN_FLAGS, *LARGE_FLAGS))
        first = place.run(store, side, argv, home, stop_when=lambda: store.sink.counts().received >= KILLED_AT * size)
        if not first.measured.stopped or first.measured.code == 0:
            raise BenchError(f"{side} was done before it could be killed: give it a larger file")
        second = place.run(store, side, argv, home)
        _verify_segments(place, container, top / "big.bin")
        return second

    done = interleave(blocks, run, sides=(Side.OURS,))
    again = [run.received / size for run in runs_of(done, Side.OURS)]
    return [
        Scenario(
            "6-killed-big",
            f"killed at {KILLED_AT:.0%} of a file of {size >> 20} MiB, run again",
            [plain_figure("bytes sent again, swiftfs", again, "of all", goal=GOAL)],
            [count_within("bytes sent again", runs_of(done, Side.OURS)[-1].received, 0, int(GOAL * size))],
            done,
        )
    ]


def _verify_segments(place: Workplace, container: str, path: Path) -> None:
    """Raises BenchError unless the object has the file's size and its segments, of which the sink keeps no more than
    their MD5s, are the file's bytes and all of them."""
    left = path.stat().st_size
    listed = place.sink.account.listing(container)
    if [size for size, _ in listed.values()] != [left]:
        raise BenchError(f"{container} does not hold the file: {listed}")
    with path.open("rb") as file:
        for name, (size, md5) in place.sink.account.listing(f"{container}_segments").items():
            segment_size, number = name.rsplit("/", 2)[1:]
            file.seek(int(segment_size) * int(number.partition("-")[0]))
            if hashlib.md5(file.read(size), usedforsecurity=False).hexdigest() != md5:
                raise BenchError(f"{name} has other bytes than the file")
            left -= size
    if left:
        raise BenchError(f"the segments in {container}_segments lack {left} bytes")
