"""load.plan: what each object needs, from the source and one listing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.load.plan import MAX_NAME, MAX_OBJECT, Action, after_head, make_plan, refusal, wanted
from swiftfs.model import EMPTY_MD5, Kind, ListingEntry, ObjectInfo

MD5 = "0cc175b9c0f1b6a831c399e269772661"


@dataclass(frozen=True)
class Local:
    """A source object that is only planned."""

    name: str
    size: int


def entry(
    name: str, size: int, etag: str = MD5, content_type: str = "image/jpeg", slo: str | None = None
) -> ListingEntry:
    return ListingEntry(name, size, etag, 1, content_type, slo)


names = st.text(min_size=1, max_size=4)
sizes = st.integers(min_value=0, max_value=5)
locals_ = st.lists(st.builds(Local, names, sizes), max_size=12)
listings = st.lists(
    st.builds(
        entry, names, sizes, st.sampled_from([MD5, EMPTY_MD5]), st.sampled_from(["image/jpeg", "application/directory"])
    ),
    max_size=12,
    unique_by=lambda one: one.name,
)


@given(locals_, listings)
def test_every_source_object_is_planned_once_or_is_a_clash(objects: list[Local], listed: list[ListingEntry]) -> None:
    """No source object is lost: each is a step or a clash with an earlier one of its name."""
    plan = make_plan(objects, listed)
    assert sorted((one.name, one.size) for one in objects) == sorted(
        [(step.source.name, step.source.size) for step in plan.steps] + [(one.name, one.size) for one in plan.clashes]
    )
    steps = list(plan.steps)
    assert len(plan.steps) == len({step.source.name for step in steps})
    assert list(plan.steps.handed_over()) == steps
    assert len(plan.steps) == 0


@given(locals_, listings)
def test_only_equal_sizes_are_hashed(objects: list[Local], listed: list[ListingEntry]) -> None:
    """A file is hashed for comparison only when a plain object of its name and size is listed."""
    entries = {one.name: one for one in listed}
    for step in make_plan(objects, listed).steps:
        there = entries.get(step.source.name)
        if step.action is Action.COMPARE:
            assert there is not None
            assert (there.size, there.etag) == (step.source.size, step.etag)
        if there is None:
            assert step.action is Action.SEND


@pytest.mark.parametrize(
    ("listed", "action"),
    [
        (entry("a", 3), Action.COMPARE),
        (entry("a", 4), Action.SEND),
        (entry("b", 3), Action.SEND),
        (entry("a", 0, EMPTY_MD5), Action.ASK),
        (entry("a", 327, EMPTY_MD5), Action.ASK),
        (entry("a", 3, MD5, slo=MD5), Action.ASK),
        (entry("a", 0, EMPTY_MD5, "application/directory"), Action.SEND),
    ],
)
def test_the_action_follows_from_the_listing(listed: ListingEntry, action: Action) -> None:
    """Each kind of listing entry leads to its own action for a file of three bytes."""
    (step,) = make_plan([Local("a", 3)], [listed]).steps
    assert action is step.action


@pytest.mark.parametrize(
    ("kind", "size", "action"),
    [
        (Kind.PLAIN, 3, Action.COMPARE),
        (Kind.PLAIN, 4, Action.SEND),
        (Kind.SLO, 3, Action.SEND),
        (Kind.DLO, 3, Action.SEND),
    ],
)
def test_a_head_settles_what_the_listing_cannot_tell(kind: Kind, size: int, action: Action) -> None:
    """After a HEAD a plain object of the same size is compared, and anything else is sent."""
    assert action is after_head(Local("a", 3), ObjectInfo("a", size, MD5, 1, kind)).action


@given(listings, st.sets(names))
def test_only_the_sources_names_are_kept_of_a_listing(listed: list[ListingEntry], known: set[str]) -> None:
    """Of a listing page only entries with a name of the source are kept."""
    assert [one for one in listed if one.name in known] == wanted(listed, known)


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("a", MAX_OBJECT, None),
        ("a", MAX_OBJECT + 1, "more than"),
        ("ä" * (MAX_NAME // 2), 0, None),
        ("ä" * (MAX_NAME // 2) + "a", 0, "1,025 bytes"),
        ("\udcff", 0, "UTF-8"),
        ("", 0, "empty"),
        ("a\0", 0, "NUL"),
    ],
)
def test_what_swift_cannot_store_is_refused(name: str, size: int, said: str | None) -> None:
    """Names and sizes beyond Swift's limits are refused with the reason, those at the limit are not."""
    reason = refusal(name, size)
    assert (said is None) == (reason is None)
    assert said is None or said in str(reason)


def test_an_empty_file_is_not_a_directory_marker() -> None:
    """A marker that another tool left under an empty file's name is replaced, though its bytes are the same."""
    (step,) = make_plan([Local("a", 0)], [entry("a", 0, EMPTY_MD5, "application/directory")]).steps
    assert Action.SEND is step.action
