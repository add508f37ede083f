"""load.figures: numbers for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.load.figures import count_text, duration_text, noun_text, size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (99_960_000, "100 MB"),
        (999_600_000, "1.0 GB"),
        (132_000_000, "132 MB"),
        (5 * 10**18, "5000 PB"),
    ],
)
def test_sizes_are_short(size: int, text: str) -> None:
    """A size has a decimal unit and at most three digits before it, up to petabytes."""
    assert text == size_text(size)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (10.24, "10.2 s"), (59.96, "1m00s"), (185, "3m05s"), (7380, "2h03m")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    """A duration shows no more than two units."""
    assert text == duration_text(seconds)


@given(st.integers(0, 10**20))
def test_sizes_stay_short(size: int) -> None:
    """No size below a thousand petabytes needs more than eight characters."""
    assert len(size_text(size)) <= 8 or size >= 999.5 * 10**15


def test_counts_agree_with_their_nouns() -> None:
    """One file, several files, thousands with commas."""
    assert [
        count_text(1797),
        noun_text(1, "file"),
        noun_text(0, "file"),
        noun_text(1797, "file"),
    ] == ["1,797", "1 file", "0 files", "1,797 files"]
