"""When a body is too slow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swiftfs.swift.pace import SLOWEST, Pace


@given(st.lists(st.tuples(st.floats(0, 0.9), st.integers(1, 100)), max_size=100))
def test_a_trickle_is_given_up_within_two_windows(pieces: list[tuple[float, int]]) -> None:
    """However its bytes are spread, a body below the slowest pace is given up before two windows have been waited."""
    pace = Pace(1.0)
    waited = 0.0
    for seconds, size in pieces:
        waited += seconds
        if pace.is_too_slow(seconds, min(size, int(SLOWEST * seconds / 2))):
            break
    assert waited < 2.0


@given(st.lists(st.floats(0, 30), max_size=50))
def test_a_pace_above_the_slowest_is_never_given_up(waits: list[float]) -> None:
    """A body that keeps the pace goes on for ever, also when each of its pieces is waited for longer than a window."""
    pace = Pace(15.0)

    assert not any(pace.is_too_slow(seconds, int(SLOWEST * max(seconds, 15.0)) + 1) for seconds in waits)


def test_exactly_a_kibibyte_a_second_is_fast_enough() -> None:
    """Nothing is decided before a window has been waited; at its end the bytes that came in it decide, and the next
    window begins with nothing."""
    for last, too_slow in ((10 * 1024, False), (10 * 1024 - 1, True)):
        pace = Pace(10.0)
        for _ in range(2):
            assert pace.is_too_slow(9.5, 0) is False
            assert pace.is_too_slow(0.5, last) is too_slow
