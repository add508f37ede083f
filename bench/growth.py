"""The scenario of growth: memory and CPU time over the number of files, up to a hundred thousand."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from bench import clients
from bench.blocks import interleave, runs_of, seen
from bench.clients import SIDES, Side
from bench.plot import Curve
from bench.report import Figure, Run, Scenario, count, plain_figure
from bench.workplace import verify

if TYPE_CHECKING:
    from bench.report import Block
    from bench.workplace import Workplace

MEMORY_GOAL = 150.0
"""MiB of resident memory at the most, whatever is loaded."""
PER_FILE_GOAL = 400.0
"""Bytes of memory for each more file: its name, size, MD5 and time."""


def memory(place: Workplace, *, sizes: Sequence[int], peer: bool) -> list[Scenario]:
    """Load each number of tiny files once; ``peer`` says whether rclone loads them too."""
    found: list[Scenario] = []
    peaks: dict[int, int] = {}
    for files in sizes:
        block = _one(place, files, peer=peer)
        ours = runs_of([block], Side.OURS)[0]
        peaks[files] = ours.measured.peak_rss
        found.append(
            Scenario(
                f"8-{files}",
                f"{files} tiny files",
                [
                    plain_figure(f"peak memory, {run.side}", [run.measured.peak_rss / 2**20], "MiB", goal=goal)
                    for run in block.runs
                    for goal in [MEMORY_GOAL if run.side == Side.OURS else None]
                ],
                [count("PUT of objects", ours.requests.get("PUT object", 0), files)],
                [block],
                files,
                seen([block]),
            )
        )
    if len(sizes) > 1:
        found.append(Scenario("8-growth", "memory for each more file", [per_file(peaks)]))
    return found


def per_file(peaks: dict[int, int]) -> Figure:
    """Bytes of memory for each file beyond the fewest; its spread is the least and the most between two neighbours."""
    sizes = sorted(peaks)
    steps = [(peaks[more] - peaks[less]) / (more - less) for less, more in pairwise(sizes)]
    slope = (peaks[sizes[-1]] - peaks[sizes[0]]) / (sizes[-1] - sizes[0])
    return Figure("memory for a file", slope, min(steps), max(steps), "B", PER_FILE_GOAL)


def curves(scenarios: Sequence[Scenario]) -> list[Curve]:
    """CPU seconds over the number of files, of every scenario with a size and of both sides."""
    found = []
    for side in SIDES:
        points = [
            (float(scenario.size), run.measured.cpu)
            for scenario in scenarios
            if scenario.ident.startswith("8-") and scenario.size is not None
            for run in runs_of(scenario.blocks, side)
        ]
        if points:
            found.append(Curve(f"{side}: CPU, s", points))
            memory_points = [
                (float(scenario.size), run.measured.peak_rss / 2**20)
                for scenario in scenarios
                if scenario.ident.startswith("8-") and scenario.size is not None
                for run in runs_of(scenario.blocks, side)
            ]
            found.append(Curve(f"{side}: memory, MiB", memory_points))
    return found


def _one(place: Workplace, files: int, *, peer: bool) -> Block:

    store = place.sink
    top, wanted = place.files(files, tiny=True)

    def run(side: Side, block: int) -> Run:
        container = f"bench-growth-{side}"
        store.account.remove(container)
        home = place.home(f"growth-{side}")
        found = place.run(store, side, clients.load(side, top, f"{store.remote}:{container}", place.flags), home)
        verify(store, container, wanted)
        store.account.remove(container)
        shutil.rmtree(home)
        return found

    block = interleave(1, run, sides=SIDES if peer else (Side.OURS,))[0]
    place.forget(f"tiny-{files}")
    return block
