"""load.transform: where files belong, decided before anything moves."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.errors import UsageError
from swiftfs.load.member import unsafe
from swiftfs.load.transform import FOOD11, PRESETS, Move, Rules, check_targets, make_rule, parse_rules, plan_moves

EXAMPLE = Path(__file__).parents[2] / "examples" / "food11" / "food11-rules.toml"

components = st.text(st.sampled_from("ab_0123456789."), min_size=1, max_size=6).filter(
    lambda text: text not in {".", ".."}
)
paths = st.lists(components, min_size=1, max_size=3).map("/".join)
food = st.builds(
    "{}/{}_{}.jpg".format,
    st.sampled_from(["training", "validation", "evaluation"]),
    st.integers(0, 12),
    st.integers(0, 999),
)
trees = st.lists(st.one_of(paths, food), unique=True, max_size=20)


@pytest.mark.parametrize(
    ("preset", "path", "target"),
    [
        ("food11", "training/3_17.jpg", "training/class_03/3_17.jpg"),
        ("food11", "evaluation/10_0.jpg", "evaluation/class_10/10_0.jpg"),
        ("food11", "validation/11_0.jpg", "validation/11_0.jpg"),
        ("food11", "training/class_03/3_17.jpg", "training/class_03/3_17.jpg"),
        ("food11", "other/3_17.jpg", "other/3_17.jpg"),
        ("food11", "README", "README"),
        ("imagefolder-by-prefix", "train/cat_001.jpg", "train/cat/cat_001.jpg"),
        ("imagefolder-by-prefix", "train/cat/cat_001.jpg", "train/cat/cat_001.jpg"),
        ("imagefolder-by-prefix", "cat/cat_001.jpg", "cat/cat_001.jpg"),
        ("imagefolder-by-prefix", "cat_001.jpg", "cat_001.jpg"),
    ],
)
def test_presets_move_what_they_promise(preset: str, path: str, target: str) -> None:
    """Each preset moves the files it is made for and leaves every other path alone."""
    assert target == PRESETS[preset].target(path)


@given(trees, st.sampled_from(sorted(PRESETS)))
def test_a_second_run_has_nothing_to_do(tree: list[str], preset: str) -> None:
    """After the moves of a plan, a plan over the moved tree is empty and holds as many files."""
    rules = PRESETS[preset]
    try:
        moves = {move.source: move.target for move in plan_moves(rules, tree)}
    except UsageError:
        return
    moved = [moves.get(path, path) for path in tree]
    assert len(tree) == len(set(moved))
    assert plan_moves(rules, moved) == ()


@given(trees)
def test_no_target_is_unsafe_and_no_two_are_equal(tree: list[str]) -> None:
    """Whatever a plan moves ends at a safe path of its own."""
    try:
        moves = plan_moves(FOOD11, tree)
    except UsageError:
        return
    assert len(moves) == len({move.target for move in moves})
    assert {None} >= {unsafe(move.target) for move in moves}


def test_the_example_file_is_the_preset() -> None:
    """examples/food11/food11-rules.toml says exactly what the preset food11 does."""
    assert parse_rules(tomllib.loads(EXAMPLE.read_text()), str(EXAMPLE)) == FOOD11


def test_two_sources_with_one_target_are_an_error() -> None:
    """Two files that would become one are refused, both named."""
    rules = Rules((make_rule(r"[ab]/(?P<name>.+)", "c/{name}"),))
    with pytest.raises(UsageError, match=r"a/x and b/x would both become c/x"):
        plan_moves(rules, ["a/x", "b/x"])


def test_a_file_that_stays_is_not_overwritten() -> None:
    """A target that is another file's place is refused."""
    rules = Rules((make_rule(r"a/(?P<name>.+)", "c/{name}"),))
    with pytest.raises(UsageError, match=r"would both become c/x"):
        plan_moves(rules, ["a/x", "c/x"])


def test_a_file_cannot_become_a_directory() -> None:
    """A target below another file is refused."""
    with pytest.raises(UsageError, match="where b is a file"):
        check_targets([("a/x", "y"), ("a", "b")])


def test_rules_that_never_rest_are_an_error() -> None:
    """A rule whose target it would move again is refused, for a second run would never find it in place."""
    rules = Rules((make_rule(r"(?P<name>.+)", "x/{name}"),))
    with pytest.raises(UsageError, match="from there to x/x/a"):
        plan_moves(rules, ["a"])


@pytest.mark.parametrize("replacement", ["../{n}", "/{n}", "a//{n}", "./{n}", "{n}\\x", ".swiftfs-partial/{n}", ""])
def test_targets_outside_are_an_error(replacement: str) -> None:
    """A replacement cannot lead out of the directory or to a name that is none."""
    with pytest.raises(UsageError, match="would move a to"):
        plan_moves(Rules((make_rule("(?P<n>a)", replacement),)), ["a"])


@pytest.mark.parametrize(
    ("pattern", "replacement", "said"),
    [
        ("(", "x", "pattern"),
        ("(?P<n>a)", "{m}", "no group 'm'"),
        ("(?P<n>a)", "{n.__class__}", "no group"),
        ("(?P<n>a)", "{n[0]}", "no group"),
        ("(?P<n>a)", "{0}", "no group"),
        ("(?P<n>a)", "{n!r}", "written"),
        ("(?P<n>a)", "{n:>9999999999}", "written"),
        ("(?P<n>a)", "{n", "replacement"),
    ],
)
def test_rules_that_cannot_be_read_say_why(pattern: str, replacement: str, said: str) -> None:
    """A wrong pattern or replacement is refused when it is read, with the reason."""
    with pytest.raises(UsageError, match=said):
        make_rule(pattern, replacement)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"rule": []},
        {"rule": 3},
        {"rule": [3]},
        {"rule": [{"pattern": "a"}]},
        {"rules": []},
        {"rule": [{"pattern": "a", "replacement": 3}]},
        {"rule": [{"pattern": "a", "replacement": "b", "x": 1}]},
    ],
)
def test_a_document_that_is_no_rules_is_refused(document: dict[str, object]) -> None:
    """A TOML document of another shape is refused and named."""
    with pytest.raises(UsageError, match="rules\\.toml"):
        parse_rules(document, "rules.toml")


def test_a_number_format_needs_a_number() -> None:
    """{cls:02d} of text that is no number is an error that names the file."""
    with pytest.raises(UsageError, match="'x' in a/x is not a number"):
        plan_moves(Rules((make_rule(r"a/(?P<cls>.)", "b/{cls:02d}"),)), ["a/x"])


@given(st.integers(0, 10**6), st.integers(1, 9))
def test_numbers_are_filled_as_python_does(number: int, width: int) -> None:
    """{n:0Nd} gives what Python's format gives, also for digits with leading zeros."""
    rule = make_rule(r"a/(?P<n>\d+)", f"b/{{n:0{width}d}}")
    assert f"b/{number:0{width}d}" == rule.target(f"a/0{number}")


def test_moves_keep_the_order_of_the_paths() -> None:
    """A plan names its moves in the order of the files."""
    assert (
        Move("training/0_1.jpg", "training/class_00/0_1.jpg"),
        Move("training/1_0.jpg", "training/class_01/1_0.jpg"),
    ) == plan_moves(FOOD11, ["training/0_1.jpg", "training/1_0.jpg"])
