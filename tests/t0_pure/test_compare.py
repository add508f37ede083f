"""load.plan under the compare modes, and load.mirror: what is sent, skipped, deleted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.errors import TooManyDeletes
from swiftfs.load.filters import Filters, FilterTexts, make_filters
from swiftfs.load.mirror import check_deletes, directories_of, is_doomed
from swiftfs.load.plan import Action, Compare, after_head, is_newer, make_plan
from swiftfs.model import EMPTY_MD5, Kind, ListingEntry, ObjectInfo

MD5 = "0cc175b9c0f1b6a831c399e269772661"


class Local:
    """A source object of three bytes."""

    name = "a"
    size = 3


@pytest.mark.parametrize(
    ("compare", "same_size", "other_size", "large", "missing"),
    [
        (Compare.CONTENT, Action.COMPARE, Action.SEND, Action.ASK, Action.SEND),
        (Compare.SIZE, Action.SKIP, Action.SEND, Action.ASK, Action.SEND),
        (Compare.NAME, Action.SKIP, Action.SKIP, Action.SKIP, Action.SEND),
        (Compare.NOTHING, Action.SEND, Action.SEND, Action.ASK, Action.SEND),
    ],
)
def test_the_mode_decides_what_a_listed_object_needs(
    compare: Compare, same_size: Action, other_size: Action, large: Action, missing: Action
) -> None:
    """Each mode has its own action for an object of the same size, of another, a large one, and none."""
    entries = [
        ListingEntry("a", 3, MD5, 1),
        ListingEntry("a", 4, MD5, 1),
        ListingEntry("a", 0, EMPTY_MD5, 1),
        ListingEntry("b", 3, MD5, 1),
    ]
    steps = [step for entry in entries for step in make_plan([Local()], [entry], compare).steps]
    assert [same_size, other_size, large, missing] == [step.action for step in steps]
    assert [step.there for step in steps] == [True, True, True, False]


@pytest.mark.parametrize(
    ("compare", "plain", "slo"),
    [
        (Compare.CONTENT, Action.COMPARE, Action.SEND),
        (Compare.SIZE, Action.SKIP, Action.SKIP),
        (Compare.NOTHING, Action.SEND, Action.SEND),
    ],
)
def test_the_mode_decides_after_a_head_as_well(compare: Compare, plain: Action, slo: Action) -> None:
    """An object that only a HEAD can tell of is treated by the same mode."""
    infos = [ObjectInfo("a", 3, MD5, 1, kind) for kind in (Kind.PLAIN, Kind.SLO)]
    assert [plain, slo] == [after_head(Local(), info, compare).action for info in infos]


@pytest.mark.parametrize(
    ("own", "uploaded", "file", "newer"),
    [(5, 1, 4, True), (4, 9, 4, False), (3, 9, 4, False), (None, 5, 4, True), (None, 4, 4, False), (5, 5, None, False)],
)
def test_an_objects_own_time_says_what_is_newer(own: int | None, uploaded: int, file: int | None, newer: bool) -> None:
    """The object's own time is compared, that of its upload where it has none; an unknown time is never older."""
    assert newer is is_newer(ObjectInfo("a", 3, MD5, uploaded, Kind.PLAIN, mtime=own), file)


names = st.builds("/".join, st.lists(st.sampled_from("ab"), min_size=1, max_size=3))
entries = st.lists(
    st.builds(
        lambda name, marker: ListingEntry(f"p/{name}/" if marker else f"p/{name}", 0 if marker else 3, MD5, 1),
        names,
        st.booleans(),
    ),
    max_size=12,
    unique_by=lambda entry: entry.name,
)


@given(entries, st.sets(names), st.sampled_from(["", "a", "/b/**", "a/"]))
def test_a_mirror_deletes_what_the_source_lacks_and_nothing_else(
    listed: list[ListingEntry], source: set[str], glob: str
) -> None:
    """Deleted is what is neither in the source, nor a directory of it, nor left out by a filter."""
    filters = make_filters(FilterTexts(exclude=[glob])) if glob else Filters()
    have = {f"p/{name}" for name in source}
    gone = {entry.name for entry in listed if is_doomed(entry, "p/", filters, have, directories_of(have))}
    for entry in listed:
        path = entry.name.removeprefix("p/")
        if path.endswith("/"):
            needed = any(name.startswith(entry.name) for name in have)
            spared = needed or not filters.enters(path.rstrip("/"))
        else:
            spared = entry.name in have or not filters.keeps(path)
        assert spared is (entry.name not in gone)


@pytest.mark.parametrize("name", [".swiftfs/manifest-0.jsonl", "p/.swiftfs/x", ".file-segments/p/a/slo/1/00000000-0"])
def test_what_is_no_part_of_a_dataset_is_never_deleted(name: str) -> None:
    """Manifests and segments in the container survive a mirror of nothing."""
    prefix = "p/" if name.startswith("p/") else ""
    assert not is_doomed(ListingEntry(name, 3, MD5, 1), prefix, Filters(), (), ())


def test_the_limit_of_deletes_is_a_number_that_may_go() -> None:
    """As many deletes as allowed are allowed, one more is refused with rclone's exit code for that."""
    two = [ListingEntry(name, 3, MD5, 1) for name in "ab"]
    check_deletes(two, 2)
    check_deletes(two, None)
    with pytest.raises(TooManyDeletes) as raised:
        check_deletes(two, 1)
    assert raised.value.exit_code == 7
