"""load.filters and load.globs: rclone's rules, beside the real rclone on a tree of empty files."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swiftfs.cli.filtering import filters_from
from swiftfs.errors import UsageError
from swiftfs.load.filters import Filters, FilterTexts, make_filters, rule_lines

RCLONE = Path(sys.executable).with_name("rclone")


def paths() -> Iterator[str]:
    """Every path of up to three components over a small alphabet; directories have other names than files."""
    for depth in range(3):
        for above in itertools.product(["a", "b", "ab"], repeat=depth):
            for name in ("c", "a.c", "b+c", "[c]"):
                yield "/".join((*above, name))


TREE = sorted(paths())


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("filters")
    for path in TREE:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    return root


def rclone_keeps(tree: Path, options: list[str]) -> list[str] | None:
    """What rclone finds in the tree with these filters; None when it refuses them."""
    done = subprocess.run(
        [RCLONE, "lsf", "-R", "--files-only", "--config", "", *options, tree],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return sorted(done.stdout.splitlines()) if done.returncode == 0 else None


pieces = st.sampled_from(
    ["a", "b", "c", "/", "*", "**", "?", ".", "+", "[ab]", "[^a]", "[a-c]", "\\[", "\\]", "{a,b}", "{ab/,}c", "{*,b}/"]
)
globs = st.builds(
    lambda start, middle, end: start + "".join(middle) + end,
    st.sampled_from(["", "/"]),
    st.lists(pieces, min_size=1, max_size=4),
    st.sampled_from(["", "", "/", "/**"]),
).filter(lambda glob: "***" not in glob)
rules = st.one_of(st.builds(lambda sign, glob: f"{sign} {glob}", st.sampled_from("+-"), globs), st.just("!"))


@settings(max_examples=150, deadline=None)
@given(st.lists(globs, max_size=2), st.lists(globs, max_size=2), st.lists(rules, max_size=4))
@example(["a/c"], [], [])
@example([], ["a/"], [])
@example([], [], ["+ /a/**", "- *"])
@example([], [], ["- a/", "+ a/c", "- **"])
@example([], [], ["+ *.c", "- /*/"])
@example(["*.{c,d}"], ["/b/**"], [])
@example([], ["{{[ab]+}}/*"], [])
def test_filters_keep_what_rclone_keeps(
    tree: Path, include: list[str], exclude: list[str], given_rules: list[str]
) -> None:
    """Whatever globs and rules are given, the files that are kept are those that the real rclone lists."""
    options = [f"--include={one}" for one in include] + [f"--exclude={one}" for one in exclude]
    options += [f"--filter={one}" for one in given_rules]
    filters = make_filters(FilterTexts(include or None, exclude, given_rules))
    assert rclone_keeps(tree, options) == [path for path in TREE if filters.keeps(path)]


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(["include", "exclude", "filter", "files"]), st.lists(globs, max_size=2)))
@example({"include": []})
@example({"exclude": []})
@example({"filter": []})
@example({"files": []})
@example({"include": [], "exclude": ["a/"]})
@example({"include": [], "filter": ["a.c"]})
@example({"include": [], "files": []})
@example({"exclude": [], "files": []})
def test_files_of_filters_keep_what_rclone_keeps(
    tree: Path, tmp_path_factory: pytest.TempPathFactory, files: dict[str, list[str]]
) -> None:
    """Whatever files of filters are given, also empty ones, the files kept are those that the real rclone lists, and
    what it refuses is refused."""
    top = tmp_path_factory.mktemp("lists")
    for kind, lines in files.items():
        sign = "+ " if kind == "filter" else ""
        (top / kind).write_text("# a comment\n\n" + "".join(f"{sign}{line}\n" for line in lines))
    listed = rclone_keeps(tree, [f"--{kind}-from={top / kind}" for kind in files])
    given_files = {f"{kind}_from": (str(top / kind),) for kind in files}
    nothing = dict.fromkeys(("include", "include_from", "exclude", "exclude_from", "rules", "filter_from"), ())
    limits = dict.fromkeys(("min_size", "max_size"))
    try:
        filters = filters_from({**nothing, "files_from": (), **limits, **given_files})
    except UsageError:
        assert listed is None
    else:
        assert listed == [path for path in TREE if filters.keeps(path)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([*TREE, "a/", "/b/c/", "x"]), max_size=4))
def test_files_from_keeps_the_files_it_names(
    tree: Path, tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    """Of the tree exactly the files named are kept, as rclone keeps them, and nothing when none is named."""
    listing = tmp_path_factory.mktemp("list") / "files"
    listing.write_text("# a comment\n" + "".join(f"  {name}\n" for name in names))
    filters = make_filters(FilterTexts(files=rule_lines(listing.read_text())))
    assert rclone_keeps(tree, [f"--files-from={listing}"]) == [path for path in TREE if filters.keeps(path)]


@pytest.mark.parametrize(
    ("least", "most", "size", "kept"),
    [(None, None, 5, True), (5, None, 5, True), (6, None, 5, False), (None, 5, 5, True), (None, 4, 5, False)],
)
def test_sizes_are_limits_that_are_kept(least: int | None, most: int | None, size: int, kept: bool) -> None:
    """A file as large as a limit is kept, one beyond it is not; a path alone is not judged by size."""
    filters = make_filters(FilterTexts(min_size=least, max_size=most))
    assert kept is filters.keeps("a", size)
    assert filters.keeps("a")


def test_without_options_nothing_is_left_out() -> None:
    """No filter keeps every path and says that it does nothing."""
    assert make_filters(FilterTexts()) == Filters()
    assert not Filters().active
    assert Filters().keeps("a/b\nc", 0)


def test_a_newline_in_a_name_is_a_character() -> None:
    """Globs match names with newlines as any others, and do not end before one."""
    keeps = make_filters(FilterTexts(include=["a**d", "x?"])).keeps
    assert keeps("a\nb/c\nd")
    assert keeps("x\n")
    assert not keeps("a\nd\n")


@pytest.mark.parametrize(
    "glob", ["***", "[a", "a]", "{a", "a}", "{{a", "[]", "[^]", "a\\", "\\1", "[z-a]", "[[:alpha:]]", "{{(}}"]
)
def test_a_glob_that_means_nothing_is_refused(glob: str) -> None:
    """A glob that cannot be understood is a usage error that names it, never a pattern that matches something else."""
    with pytest.raises(UsageError, match="filter"):
        make_filters(FilterTexts(exclude=[glob]))


@pytest.mark.parametrize(
    "texts",
    [
        FilterTexts(rules=["a"]),
        FilterTexts(rules=["+ "]),
        FilterTexts(rules=["-  "]),
        FilterTexts(files=["a"], exclude=["b"]),
        FilterTexts(files=[], min_size=1),
    ],
)
def test_contradictions_are_refused(texts: FilterTexts) -> None:
    """A rule without a sign or a glob, and --files-from beside another filter, are usage errors."""
    with pytest.raises(UsageError):
        make_filters(texts)
