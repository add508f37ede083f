"""What a soak's samples are taken for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from soak_figures import FEWEST_SAMPLES, MEMORY_SLACK, Record, fit, judged, recovery, table

FINITE = st.floats(-1e6, 1e6)


@given(FINITE, FINITE, st.lists(st.integers(0, 5000), min_size=2, unique=True))
def test_a_line_is_found_again(slope: float, base: float, seconds: list[int]) -> None:
    """Points on a line give its slope, and its growth from the first to the last."""
    points = [(float(second), base + slope * second) for second in sorted(seconds)]
    line = fit(points)
    assert line.slope == pytest.approx(slope, rel=1e-6, abs=1e-3)
    assert line.growth == pytest.approx(points[-1][1] - points[0][1], rel=1e-6, abs=1)


def record(**series: list[tuple[float, float]]) -> Record:
    return Record(1.0, 1, 20.0, series={"fetch": series}, slowest=1.0, slowest_what="read of x")


def failures(one: Record) -> list[str]:
    return list(judged(one)["failed"])


def test_what_grows_fails_and_what_grew_at_the_start_does_not() -> None:
    """A leak all through the run is told by its process and kind; a cache that fills in the first minute is not."""
    steady = [(float(second), 50e6) for second in range(0, 600, 5)]
    filling = [(second, value * min(1.0, second / 100)) for second, value in steady]
    leaking = [(second, value + second * MEMORY_SLACK / 200) for second, value in steady]
    assert failures(record(memory=steady)) == failures(record(memory=filling)) == []
    assert ["fetch: memory" in one for one in failures(record(memory=leaking))] == [True]
    files = [(second, 20 + second / 20) for second, _ in steady]
    assert ["fetch: files" in one for one in failures(record(files=files))] == [True]


def test_growth_over_few_samples_is_not_judged() -> None:
    """A run that was too short for a line of ten samples fails nothing by it; one sample more does."""
    leaking = [(float(second), second * MEMORY_SLACK) for second in range(FEWEST_SAMPLES)]
    assert failures(record(memory=leaking[:-1])) == []
    assert len(failures(record(memory=leaking))) == 1


def test_a_late_request_a_wrong_byte_and_a_slow_recovery_fail() -> None:
    """Each is named, in the figures and in the page's table."""
    one = record()
    one.slowest = 22.5
    one.wrong = ["a.jpg: version None"]
    one.speeds = {second: 0 if 20 <= second < 45 else 1000 for second in range(70)}
    one.down = (20.0, 30.0)
    found = failures(one)
    assert [any(word in each for each in found) for word in ("wrong bytes", "read of x", "after the outage")] == [
        True
    ] * 3
    assert any("**failed" in line for line in table(judged(one)))


def test_a_recovery_is_counted_from_the_end_of_the_outage() -> None:
    """The first full window counts; reads that never come back are infinitely late; a run too short tells nothing."""
    speeds = {second: 0 if 20 <= second < 34 else 1000 for second in range(70)}
    assert recovery(speeds, (20.0, 30.0)) == 4.0
    assert recovery({**speeds, **dict.fromkeys(range(30, 70), 100)}, (20.0, 30.0)) == math.inf
    assert recovery(dict.fromkeys(range(35), 1000), (20.0, 30.0)) is None
    assert recovery(speeds, None) is None
