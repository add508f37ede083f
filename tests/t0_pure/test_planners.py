"""Reading ahead in a file, and fetching the files that come next."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.fs.prefetch import LONGEST_WINDOW, Mode, NextFiles, Opened, Pattern, Plan, Planner, WholeTree
from swiftfs.fs.readahead import Readahead

ROOT, TRAINING, EVALUATION = 1, 2, 3


@given(st.integers(1, 64), st.integers(1, 40))
def test_a_sequential_reader_has_every_chunk_asked_for_once(chunks: int, most: int) -> None:
    """Reading from start to end, each chunk after the first is asked for ahead exactly once."""
    window = Readahead(most)
    asked = [number for chunk in range(chunks) for number in window.read(chunk, chunks)]

    assert asked == list(range(1, chunks))


@given(st.integers(1, 8), st.lists(st.integers(0, 99), max_size=80))
def test_readahead_is_bounded_and_inside_the_object(most: int, reads: list[int]) -> None:
    """Whatever is read, at most the window is ahead, and never a chunk that the object does not have."""
    window = Readahead(most)
    for chunk in reads:
        ahead = window.read(chunk, 100)

        assert len(ahead) <= most
        assert all(chunk < number < 100 for number in ahead)


def test_random_reads_ask_for_nothing_ahead() -> None:
    """Jumping about costs only the chunks that are read."""
    window = Readahead(16)
    window.read(50, 1000)

    assert [len(window.read(chunk, 1000)) for chunk in (7, 900, 33, 500)] == [0, 0, 0, 0]


def opens(planner: Planner, inos: list[int], tree: int = TRAINING) -> list[Plan]:
    return [plan for ino in inos if (plan := planner.opened(Opened(ino, (ROOT, tree)))) is not None]


def covered(plans: list[Plan]) -> set[int]:
    return {
        ino for plan in plans if isinstance(plan, NextFiles) for ino in range(plan.ino + 1, plan.ino + 1 + plan.count)
    }


def test_reading_in_order_is_seen_and_the_next_files_are_asked_for() -> None:
    """After a few files in listing order, all that follow are planned before they are opened."""
    planner = Planner()
    files = list(range(100, 1100))
    planned: set[int] = set()
    late = 0
    for ino in files:
        late += ino not in planned
        planned |= covered(opens(planner, [ino]))

    assert late <= 5
    assert planner.pattern is Pattern.ORDERED


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_several_workers_sharing_one_listing_read_in_order_too(workers: int) -> None:
    """Workers that take turns through a listing, a little out of step, still count as reading in order."""
    planner = Planner()
    draw = random.Random(workers)
    files = list(range(100, 1100))
    for start in range(0, len(files), workers):
        batch = files[start : start + workers]
        draw.shuffle(batch)
        files[start : start + workers] = batch
    planned: set[int] = set()
    late = 0
    for ino in files:
        late += ino not in planned
        planned |= covered(opens(planner, [ino]))

    assert late <= 5 + 3 * workers


def test_a_shuffled_epoch_is_seen_and_its_tree_planned_once() -> None:
    """Some dozens of files of one tree in no order mean that the rest of that tree will be read."""
    files = list(range(100, 5000))
    random.Random(1).shuffle(files)

    assert opens(Planner(), files) == [WholeTree(TRAINING)]


def test_two_datasets_read_at_once_are_one_larger_tree() -> None:
    """When training and evaluation are both being read, what holds both is planned."""
    planner = Planner()
    draw = random.Random(2)
    plans = []
    for _ in range(200):
        ino = draw.randrange(100, 9000)
        plan = planner.opened(Opened(ino, (ROOT, TRAINING if ino % 2 else EVALUATION)))
        plans += [plan] if plan else []

    assert WholeTree(ROOT) in plans


def test_a_tree_inside_one_that_was_planned_is_not_planned_again() -> None:
    """What a larger plan covers needs none of its own."""
    planner = Planner()
    draw = random.Random(3)
    for _ in range(200):
        ino = draw.randrange(100, 9000)
        planner.opened(Opened(ino, (ROOT, TRAINING if ino % 2 else EVALUATION)))
    files = list(range(10_001, 19_001, 2))
    draw.shuffle(files)

    assert opens(planner, files) == []


def test_sparse_access_is_left_alone() -> None:
    """The same few files again and again, or a handful of them, plan nothing."""
    draw = random.Random(4)

    assert opens(Planner(), [draw.choice([100, 900, 2500, 7000]) for _ in range(500)]) == []
    assert opens(Planner(), [100, 9000, 400, 7000, 1300]) == []


@given(st.lists(st.integers(2, 10_000), max_size=200))
def test_plans_are_bounded_and_never_behind_the_reader(inos: list[int]) -> None:
    """Whatever is opened, a window is at most the longest one and begins at a file that was opened."""
    planner = Planner()
    for ino in inos:
        plan = planner.opened(Opened(ino, (ROOT,)))
        if isinstance(plan, NextFiles):
            assert 0 < plan.count <= LONGEST_WINDOW
            assert plan.ino in inos


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.ALL])
def test_only_auto_plans_by_what_is_opened(mode: Mode) -> None:
    """With prefetch off nothing is fetched ahead, and with all of it there is nothing left to plan."""
    assert opens(Planner(mode), list(range(100, 400))) == []


def test_a_tree_that_is_too_large_stands_in_no_ones_way() -> None:
    """A tree that was refused is not planned again until it changes, but one below it that fits is."""
    draw = random.Random(1)
    planner = Planner()
    everywhere = [Opened(draw.randrange(10**6), (1, number % 9 + 2)) for number in range(200)]
    assert [plan for plan in map(planner.opened, everywhere) if plan is not None] == [WholeTree(1)]
    planner.refuse(1)
    assert [planner.opened(file) for file in everywhere] == [None] * 200
    below = [Opened(draw.randrange(10**6), (1, 5)) for _ in range(200)]
    assert [plan for plan in map(planner.opened, below) if plan is not None] == [WholeTree(5)]
    planner.forget_trees()
    assert WholeTree(1) in [planner.opened(file) for file in everywhere]
