"""A listing may be cut in two anywhere, and a cut never loses a name."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from swiftfs.model import Subdir
from swiftfs.swift.split import LAST_CHARACTER, first_cuts, marker_before, midpoint

CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0", max_codepoint=ord(LAST_CHARACTER))
NAMES = st.text(st.sampled_from("ab/~\x7f\x01é\U0010fffd") | CHARACTERS, min_size=1, max_size=6)


@given(NAMES | st.just(""), NAMES)
@example("training/class_00/9", "training/class_01/")
@example("a", "b")
def test_a_midpoint_lies_strictly_between(one: str, other: str) -> None:
    """Whichever characters the names have; and the two encodings are in the same order."""
    after, before = sorted((one, other))
    if after == before:
        return
    cut = midpoint(after, before)
    if cut is not None:
        assert after < cut < before
        assert after.encode() < cut.encode() < before.encode()


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_numbered_names_can_always_be_cut_while_many_are_left(low: int, more: int) -> None:
    """As datasets have them: ``000123.jpg``."""
    after, before = f"t/{low:08d}.jpg", f"t/{low + more + 20:08d}.jpg"
    assert midpoint(after, before) is not None


@given(NAMES, NAMES)
def test_the_marker_before_a_name_comes_before_it(name: str, other: str) -> None:
    """So the name itself is listed; and no name that is larger is left out."""
    assert marker_before(name) < name
    if other >= name:
        assert marker_before(name) < other


@given(st.lists(NAMES, unique=True, max_size=30), st.integers(1, 10))
def test_first_cuts_are_names_in_order_each_once(names: list[str], parts: int) -> None:
    """And never the first name: there would be nothing before it."""
    listed = [Subdir(name) for name in sorted(names)]
    cuts = first_cuts(listed, parts)
    assert cuts == sorted(set(cuts))
    assert len(cuts) <= parts - 1
    assert not listed or listed[0].name not in cuts
