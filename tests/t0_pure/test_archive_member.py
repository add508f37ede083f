"""load.member: which names and claims of an archive's members pass."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from swiftfs.load.member import Budget, Limits, common_top, normal, stripped, unsafe

awkward = st.text(st.sampled_from("./\\:Ca\0ä \n"), max_size=12)


@given(st.one_of(awkward, st.text(max_size=30)))
@example("..")
@example("a/..")
def test_a_name_that_passes_stays_below_its_directory(name: str) -> None:
    """Joined to a directory and normalised, a name that passes lies below it and is spelt the same."""
    if unsafe(name) is None:
        assert f"/root/{name}" == posixpath.normpath(posixpath.join("/root", name))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/abs",
        "../x",
        "a/../../x",
        "a/..",
        ".",
        "./a",
        "a//b",
        "a/",
        "C:\\x",
        "C:/x",
        "a\\b",
        "a\0b",
        "\udcff",
        "a" * 256,
        "/".join(["a" * 200] * 6),
        ".swiftfs-partial/x",
        ".swiftfs-partial",
    ],
)
def test_names_that_could_harm_are_refused(name: str) -> None:
    """Every name of the table is refused with a reason."""
    assert unsafe(name)


@pytest.mark.parametrize("name", ["a", "a/b", "-x", "a b", "a\nb", "ä/日本", "...", "a/...", "..a", "~", "a" * 255])
def test_odd_names_that_do_no_harm_pass(name: str) -> None:
    """A name that is merely odd is not refused."""
    assert unsafe(name) is None


@pytest.mark.parametrize(
    ("name", "result"),
    [("./a", "a"), ("././a/", "a"), ("a/", "a"), ("a", "a"), ("/", "/"), ("../a", "../a"), ("./", "")],
)
def test_how_archivers_write_names_is_evened_out(name: str, result: str) -> None:
    """A leading ./ and a final slash go, everything else stays."""
    assert result == normal(name)


@pytest.mark.parametrize(
    ("paths", "top"),
    [
        (["a/b", "a/c/d"], "a"),
        (["a/b", "c/d"], None),
        (["a/b", "c"], None),
        (["a"], None),
        ([], None),
    ],
)
def test_the_common_top_is_one_directory_with_everything(paths: list[str], top: str | None) -> None:
    """Only a directory that holds every path is common."""
    assert top == common_top(paths)


@given(st.lists(st.text(st.sampled_from("ab"), min_size=1), min_size=1, max_size=5), st.integers(0, 6))
def test_stripping_takes_leading_components(parts: list[str], count: int) -> None:
    """What is left are the components after the first ``count``, or nothing."""
    assert ("/".join(parts[count:]) or None) == stripped("/".join(parts), count)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3))), st.integers(1, 10), st.integers(1, 100))
def test_a_budget_never_admits_more_than_its_limits(claims: list[tuple[int, int]], members: int, total: int) -> None:
    """However many members claim whatever, those admitted keep every limit."""
    budget = Budget(Limits(members=members, member_size=50, total_size=total, ratio=10, ratio_from=20))
    admitted = [claim for claim in claims if budget.admit(*claim) is None]
    assert len(admitted) <= members
    assert sum(size for size, _ in admitted) <= total
    assert all(size <= 50 for size, _ in admitted)
    assert all(size < 20 or size <= compressed * 10 for size, compressed in admitted)
