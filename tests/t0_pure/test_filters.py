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

from swiftfs.load.filters import FilterTexts, make_filters

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
    filters = make_filters(FilterTexts(include, exclude, given_rules))
    assert rclone_keeps(tree, options) == [path for path in TREE if filters.keeps(path)]
