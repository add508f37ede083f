"""Interleaved blocks: both sides run in each, in alternating order, between two looks at the machine's speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.clients import SIDES, Side
from bench.machine import watched
from bench.pairs import Pair, order
from bench.report import Block, Figure, Run, ratio_figure

Measure = Callable[[Run], float]


def interleave(
    number: int,
    run: Callable[[Side, int], Run],
    *,
    prepare: Callable[[Side, int], None] | None = None,
    sides: Sequence[Side] = SIDES,
) -> list[Block]:
    """``number`` blocks of ``run(side, block)``; ``prepare`` comes before each run and is not measured."""
    blocks = []
    for block in range(number):
        runs = []
        with watched() as state:
            for side in order(sides, block):
                if prepare is not None:
                    prepare(side, block)
                runs.append(run(side, block))
        blocks.append(Block(runs, state.quietness))
    return blocks


def pairs(blocks: Sequence[Block], measure: Measure) -> list[Pair]:
    """One pair of each block, void where the machine was not itself."""
    found = []
    for block in blocks:
        values = {run.side: measure(run) for run in block.runs}
        void = block.quietness.void if block.quietness is not None else None
        found.append(Pair(values[Side.OURS], values[Side.THEIRS], void))
    return found


def runs_of(blocks: Sequence[Block], side: Side) -> list[Run]:
    """One side's runs, in the order of the blocks."""
    return [run for block in blocks for run in block.runs if run.side == side]


def wall(run: Run) -> float:
    """Seconds from start to end, the client's own start-up included."""
    return run.measured.wall


def cpu(run: Run) -> float:
    """CPU seconds of the client and its descendants."""
    return run.measured.cpu


def peak_rss(run: Run) -> float:
    """Bytes of memory at the most."""
    return float(run.measured.peak_rss)


def total(run: Run) -> int:
    """Requests of the store; logins and ``/info`` are not."""
    return sum(number for what, number in run.requests.items() if what not in {"POST token", "GET info"})


def ratios(blocks: Sequence[Block], wall_goal: float | None, cpu_goal: float | None) -> list[Figure]:
    """Wall and CPU time in units of the peer's."""
    found = (
        ratio_figure("wall", pairs(blocks, wall), goal=wall_goal),
        ratio_figure("CPU", pairs(blocks, cpu), goal=cpu_goal),
    )
    return [figure for figure in found if figure is not None]


def seen(blocks: Sequence[Block]) -> list[str]:
    """Absolute values of the last block: not to be compared with other runs, but good to know."""
    return [
        f"{run.side}: {run.measured.wall:.2f} s, {run.measured.cpu:.2f} s of CPU, "
        f"{run.measured.peak_rss / 2**20:.0f} MiB, {total(run)} requests"
        for side in SIDES
        for run in runs_of(blocks, side)[-1:]
    ]
