"""Statistics of interleaved pairs: in which order to run, which blocks are void, the median ratio and how sure it is.

Times of one machine at two moments cannot be compared, so every block runs both sides and only ratios inside blocks
count. Blocks alternate A B, B A, A B …: a machine that slows down or speeds up steadily then favours neither side. No
I/O here.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

CALIBRATION_TOLERANCE = 0.25
"""How much the fixed work before and after a block may differ, as a share of the faster: beyond it the machine changed
its speed inside the block (the same loop took 387 to 800 ms of CPU time on a host that looked idle)."""

STEAL_TOLERANCE = 0.05
"""Share of a block's CPU ticks that the hypervisor may have taken away."""

RESAMPLES = 2_000
"""Bootstrap samples: the 2.5 % quantile of so many rests on 50 of them."""

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Pair:
    """One block: the same measure of both sides, in the same unit; ``void`` says why the block does not count."""

    ours: float
    theirs: float
    void: str | None = None

    @property
    def ratio(self) -> float | None:
        """Ours in units of theirs; None when theirs is zero."""
        return self.ours / self.theirs if self.theirs > 0 else None


@dataclass(frozen=True, slots=True)
class Summary:
    """What the pairs say: median of their ratios, smallest and largest, and the bootstrap interval of the median.

    ``counted`` pairs went in, ``void`` is how many blocks were void. When all were, they are summarised nevertheless
    and the summary is ``provisional``: a figure of a noisy machine is shown as one, not hidden.
    """

    median: float
    lowest: float
    highest: float
    low: float
    high: float
    counted: int
    void: int
    provisional: bool


def order(sides: Sequence[T], block: int) -> tuple[T, ...]:
    """The order of ``sides`` in block number ``block`` (from 0): as given, and reversed in every second one."""
    return tuple(sides) if block % 2 == 0 else tuple(reversed(sides))


def void_reason(before: float, after: float, steal: float) -> str | None:
    """Why a block does not count, from the seconds of the fixed work around it and the share of stolen ticks."""
    if before <= 0 or after <= 0:
        return "no calibration"
    apart = max(before, after) / min(before, after) - 1
    if apart > CALIBRATION_TOLERANCE:
        return f"the machine's speed changed by {apart:.0%}"
    if steal > STEAL_TOLERANCE:
        return f"{steal:.0%} of the CPU was stolen"
    return None


def summarise(pairs: Sequence[Pair], *, seed: int = 0, resamples: int = RESAMPLES) -> Summary | None:
    """The median ratio of the blocks that count, with its spread; None when no pair has a ratio."""
    sound = [pair.ratio for pair in pairs if pair.void is None and pair.ratio is not None]
    every = [pair.ratio for pair in pairs if pair.ratio is not None]
    used = sound or every
    if not used:
        return None
    low, high = bootstrap_interval(used, seed=seed, resamples=resamples)
    void = sum(1 for pair in pairs if pair.void is not None and pair.ratio is not None)
    return Summary(statistics.median(used), min(used), max(used), low, high, len(used), void, provisional=not sound)


def bootstrap_interval(values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> tuple[float, float]:
    """The percentile bootstrap interval of the median (95 %), the same for the same values and seed.

    With one value both ends are that value. Raises ValueError for none.
    """
    if not values:
        raise ValueError("no values")
    generator = random.Random(seed)
    medians = sorted(statistics.median(generator.choices(values, k=len(values))) for _ in range(resamples))
    cut = int(resamples * (1 - CONFIDENCE) / 2)
    return medians[cut], medians[-1 - cut]
