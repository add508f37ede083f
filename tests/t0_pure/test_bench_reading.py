"""What readers of the mount's benchmark read, and what is made of what they saw."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import dataset
from bench.errors import BenchError
from bench.front.log import NOTHING
from bench.ground import BIG_SEED, blocks_digest, random_blocks
from bench.mounted import RCLONE, RCLONE_BEST, SWIFTFS
from bench.reading import Phase, check_bytes, epoch_jobs, phase
from bench.sessions import Session, Together, at_most, cpu, pairs, ratios, wall


@given(st.sets(st.text(min_size=1, max_size=5), max_size=40), st.integers(1, 8), st.integers() | st.none())
def test_an_epoch_deals_every_file_once(names: set[str], readers: int, seed: int | None) -> None:
    """Whatever the seed, each file is read by exactly one reader; the same seed deals the same way."""
    jobs = epoch_jobs(list(names), readers, seed)
    assert len(jobs) == readers
    assert sorted(name for job in jobs for name in job["names"]) == sorted(names)
    assert jobs == epoch_jobs(sorted(names), readers, seed)


def test_epochs_differ_and_in_order_means_sorted() -> None:
    """Another seed is another order; none is the listing's."""
    names = [f"{number:03d}" for number in range(50)]
    assert epoch_jobs(names, 1, 1) != epoch_jobs(names, 1, 2)
    assert epoch_jobs(names[::-1], 1, None)[0]["names"] == names


def test_wrong_and_missing_bytes_end_the_run() -> None:
    """A digest that differs or is not there raises, the right ones do not."""
    expected = {"a": (1, "aa"), "b": (1, "bb")}
    right = Phase("bytes", 1, 1, 1, 2, 2, NOTHING, digests={"a": "aa", "b": "bb"})
    check_bytes(right, expected)
    for digests in ({"a": "aa", "b": "xx"}, {"a": "aa"}):
        with pytest.raises(BenchError, match="wrong bytes: b"):
            check_bytes(Phase("bytes", 1, 1, 1, 2, 2, NOTHING, digests=digests), expected)


def test_several_readers_are_one_phase_from_the_first_start_to_the_last_end() -> None:
    """Wall spans all of them, files, bytes and CPU add up."""
    rows = [
        {"started": 10.0, "ended": 12.0, "cpu": 0.5, "files": 2, "bytes": 20, "seconds": [0.1, 0.3]},
        {"started": 9.5, "ended": 11.0, "cpu": 0.25, "files": 1, "bytes": 5, "seconds": [0.2]},
    ]
    found = phase("epoch 1", rows, 1.5, NOTHING)
    assert (found.wall, found.cpu, found.reader_cpu, found.files, found.bytes) == (2.5, 1.5, 0.75, 3, 25)
    assert (found.percentile(0.0), found.percentile(0.99)) == (0.1, 0.3)


def test_random_blocks_are_different_and_their_digest_is_that_of_the_file(tmp_path: Path) -> None:
    """The truth about the large object is made from its seed, without the file."""
    size = 9 * 1024 * 1024 + 4096
    dataset.write_big(tmp_path / "big", size, seed=BIG_SEED)
    offsets = random_blocks(5, size, 4096, 50)
    assert len(set(offsets)) == 50
    whole = (tmp_path / "big").read_bytes()
    wanted = hashlib.md5(b"".join(whole[offset : offset + 4096] for offset in offsets), usedforsecurity=False)
    assert blocks_digest(size, offsets, 4096) == wanted.hexdigest()


def test_pairs_are_ours_over_the_peer_of_the_same_block() -> None:
    """Each ratio is made inside its block, and has the goal that is set against its peer."""
    draw = random.Random(1)
    blocks = []
    for _ in range(3):
        sessions = {}
        pace = draw.uniform(1, 5)
        for side, share in ((SWIFTFS, 1.0), (RCLONE, 2.0), (RCLONE_BEST, 4.0)):
            one = Phase("epoch 1", pace * share, pace * share * 2, 0, 1, 1, NOTHING)
            sessions[side.name] = Session(side, {"epoch 1": one})
        blocks.append(Together(sessions, None))
    assert [round(pair.ratio or 0, 6) for pair in pairs(blocks, RCLONE, wall("epoch 1"))] == [0.5] * 3
    course, best = ratios("CPU", blocks, cpu("epoch 1"), goals=at_most(0.5, 0.2))
    assert (round(course.value, 6), course.goal, course.met) == (0.5, 0.5, True)
    assert (round(best.value, 6), best.goal, best.met) == (0.25, 0.2, False)
    assert [figure.goal for figure in ratios("CPU", blocks, cpu("epoch 1"), goals=at_most(0.3))] == [0.3, 0.3]
    assert [figure.goal for figure in ratios("CPU", blocks, cpu("epoch 1"))] == [None, None]
