"""Bytes kept in memory because the disk did not take them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swiftfs.fs.unstored import ENTRY_BYTES, Unstored

LIMIT = 4 * (ENTRY_BYTES + 100)
places = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3))


@given(st.lists(st.tuples(places, st.binary(max_size=3000) | st.none()), max_size=60))
def test_no_more_than_the_limit_is_kept_and_it_is_what_was_used_last(
    steps: list[tuple[tuple[str, int], bytes | None]],
) -> None:
    """After any puts and gets: within the bound, nothing but what was put last under its name, and all of what was
    used since as much as fits was put."""
    unstored = Unstored(LIMIT)
    used: dict[tuple[str, int], bytes] = {}
    for place, data in steps:
        if data is None:
            data = unstored.get(*place)
            assert data == used.get(place)
            if data is None:
                continue
        else:
            unstored.put(*place, data)
        used.pop(place, None)
        used[place] = data
        if len(data) + ENTRY_BYTES > LIMIT:
            del used[place]
        while sum(len(one) + ENTRY_BYTES for one in used.values()) > LIMIT:
            del used[next(iter(used))]

        assert unstored.size == sum(len(one) + ENTRY_BYTES for one in used.values()) <= LIMIT
        assert [unstored.holds(*one) for one in used] == [True] * len(used)
