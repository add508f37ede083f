"""Ranges of bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.model import ByteRange


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_a_range_is_as_long_as_the_bytes_in_it(start: int, length: int) -> None:
    """The end is not part of it; an empty range is a range, at 0 too."""
    assert len(ByteRange(start, start + length)) == length
    assert len(ByteRange(start, start)) == 0


@pytest.mark.parametrize(("start", "stop"), [(-1, 0), (-1, 5), (1, 0), (5, 4)])
def test_what_is_no_range_is_refused(start: int, stop: int) -> None:
    """Nothing begins before 0 or ends before it begins."""
    with pytest.raises(ValueError, match="not a range"):
        ByteRange(start, stop)


def test_ranges_order_by_their_start() -> None:
    """Sorted, they are in the order of their bytes."""
    assert sorted([ByteRange(5, 6), ByteRange(0, 9), ByteRange(0, 2)]) == [
        ByteRange(0, 2),
        ByteRange(0, 9),
        ByteRange(5, 6),
    ]
