"""The benchmark's statistics: fair order, honest medians, and blocks of a disturbed machine left out."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.pairs import Pair, bootstrap_interval, order, summarise, void_reason

FEW = 40
"""Bootstrap samples, enough to have two ends: what is asked here does not depend on how sharp they are."""

seconds = st.floats(min_value=0.001, max_value=1000.0)
pairs = st.builds(Pair, seconds, seconds, st.sampled_from([None, None, "noise"]))


@given(blocks=st.integers(1, 20), sides=st.lists(st.text(), min_size=2, max_size=4, unique=True))
def test_order_alternates(blocks: int, sides: list[str]) -> None:
    """Over two blocks every side has stood at every place and its mirror, so a steady drift favours none."""
    for block in range(0, 2 * blocks, 2):
        first, second = order(sides, block), order(sides, block + 1)
        assert first == tuple(sides)
        assert second == first[::-1]


@given(st.lists(pairs, min_size=1, max_size=15))
def test_summary_counts_sound_blocks_only(found: list[Pair]) -> None:
    """The median is that of the blocks that count, and of all of them, said to be provisional, when none does."""
    sound = [pair.ours / pair.theirs for pair in found if pair.void is None]
    every = [pair.ours / pair.theirs for pair in found]
    summary = summarise(found, resamples=FEW)
    assert summary is not None
    assert summary.median == pytest.approx(statistics.median(sound or every))
    assert summary.counted == len(sound or every)
    assert summary.void == len(every) - len(sound)
    assert summary.provisional == (not sound)


@given(st.lists(pairs, min_size=1, max_size=15), st.integers())
def test_interval_holds_the_median(found: list[Pair], seed: int) -> None:
    """The interval lies within the ratios and around their median, and the same seed gives it again."""
    summary = summarise(found, seed=seed, resamples=FEW)
    assert summary is not None
    assert summary.lowest <= summary.low <= summary.median <= summary.high <= summary.highest
    assert summary == summarise(found, seed=seed, resamples=FEW)


@given(st.floats(0.01, 100), st.lists(seconds, min_size=3, max_size=9))
def test_ratio_survives_slow_blocks(factor: float, speeds: list[float]) -> None:
    """A machine that is slower in some blocks than in others changes no ratio."""
    summary = summarise([Pair(factor * speed, speed) for speed in speeds], resamples=FEW)
    assert summary is not None
    assert summary.low == pytest.approx(factor)
    assert summary.high == pytest.approx(factor)


def test_interval_is_tighter_than_the_range() -> None:
    """One wild block among many does not stretch the interval to itself."""
    low, high = bootstrap_interval([1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.01, 0.99, 50.0])
    assert 0.98 <= low <= high < 50.0
    assert low < high


def test_nothing_to_summarise() -> None:
    """Without a ratio there is no summary, and no interval without a value."""
    assert summarise([]) is None
    assert summarise([Pair(1.0, 0.0)]) is None
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval([])


@given(seconds, st.floats(1.0, 1.24))
def test_quiet_blocks_count(before: float, change: float) -> None:
    """A block counts while the fixed work around it differs by less than a quarter and little CPU was stolen."""
    assert void_reason(before, before * change, 0.01) is None
    assert void_reason(before * change, before, 0.01) is None
    assert void_reason(before, before * change * 1.5, 0.01) is not None
    assert void_reason(before, before, 0.06) is not None
    assert void_reason(before, 0.0, 0.0) is not None
