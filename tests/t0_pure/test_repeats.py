"""What is said of requests that fail again and again."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from swiftfs.fs.repeats import MOST, PAUSE, Repeats


def test_the_same_is_said_once_a_minute_with_what_was_kept_back() -> None:
    """The first at once, then one for each pause, which says how many there were in between; others are not held up."""
    repeats = Repeats()

    assert [repeats.say("a", second) for second in (0.0, 1.0, PAUSE - 1)] == [0, None, None]
    assert repeats.say("b", 2.0) == 0
    assert [repeats.say("a", second) for second in (PAUSE, PAUSE + 1, 9 * PAUSE)] == [2, None, 1]


@given(st.lists(st.tuples(st.integers(0, 3 * MOST), st.floats(0, PAUSE / 10)), max_size=400))
def test_whatever_fails_the_lines_are_few(failures: list[tuple[int, float]]) -> None:
    """No more than so many lines in any pause, the table stays within its bounds, and nothing that is known is said
    twice in one."""
    repeats, now, lines = Repeats(), 0.0, list[tuple[float, int]]()
    for what, later in failures:
        now += later
        if repeats.say(what, now) is not None:
            lines.append((now, what))

    for moment, _ in lines:
        within = Counter(what for at, what in lines if 0 <= at - moment < PAUSE)
        assert within.total() <= MOST + 1
        assert max(within.values()) <= 2  # once among all others, when the table was full
    assert len(repeats._said) <= MOST


def test_beyond_its_table_all_others_are_one() -> None:
    """A million files that fail at once are a hundred lines, one more for the rest, and a count a minute later."""
    repeats = Repeats()

    said = [what for what in range(10 * MOST) if repeats.say(what, 0.0) is not None]

    assert said == list(range(MOST + 1))
    assert repeats.say("another", PAUSE / 2) is None
    assert repeats.say(MOST - 1, PAUSE) == 0
