"""The scenario of a load that is killed: how much of it the next one sends again, counted by the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import clients
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
