"""The record of slow reads: bounded, sorted, forgetful."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swiftfs.fs.slowest import KEPT, SPAN, Slowest, Wait

seconds = st.floats(0, 60)


def wait(took: float, at: float = 1.0) -> Wait:
    return Wait(took, at, "a", 0)


@given(st.lists(seconds, max_size=50))
def test_the_longest_waits_are_kept_longest_first(took: list[float]) -> None:
    """Of any number of reads in one span the longest are reported, in order, and no more than the bound."""
    slowest = Slowest()
    for each in took:
        slowest.note(wait(each))

    assert [found.seconds for found in slowest.report(1.0)] == sorted(took, reverse=True)[:KEPT]


def test_a_slow_start_is_forgotten_after_two_spans() -> None:
    """What was slow is still seen one span later, and no more after two."""
    slowest = Slowest()
    slowest.note(wait(50.0, at=1000.0))
    slowest.note(wait(1.0, at=1000.0 + SPAN))

    assert [found.seconds for found in slowest.report(1000.0 + SPAN)] == [50.0, 1.0]
    slowest.note(wait(2.0, at=1000.0 + 2 * SPAN))
    assert [found.seconds for found in slowest.report(1000.0 + 2 * SPAN)] == [2.0, 1.0]
    assert slowest.report(1000.0 + 5 * SPAN) == []
