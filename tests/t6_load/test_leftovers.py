"""Segments of killed loads whose files have gone: removed by the next complete run, unless an object needs them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from fakes.memory_swift import MemorySwift

from swiftfs.errors import Unavailable
from swiftfs.load.journal import Journal
from swiftfs.load.progress import Silent
from swiftfs.load.report import outcome_error
from swiftfs.load.run import LoadRequest, load_directory
from swiftfs.load.segments import LargePolicy
from swiftfs.load.source import DirectorySource
from swiftfs.model import Limits

SEGMENT = 1000


class Killed(BaseException):
    """What a kill -9 is to the process: nothing after it happens."""


async def no_pause(_: float) -> None:
    return


def load(memory: MemorySwift, root: Path, journal: Path) -> None:
    kept = Journal(journal)
    request = LoadRequest(DirectorySource(str(root)), "c", large=LargePolicy(cutoff=SEGMENT + 1, streams=2))
    try:
        assert (
            outcome_error(asyncio.run(load_directory(memory, request, Silent(), pause=no_pause, journal=kept))) is None
        )
    finally:
        kept.close()


def kill_before_manifest(memory: MemorySwift, root: Path, journal: Path) -> None:
    def die(method: str, *_: str) -> None:
        if method == "MANIFEST":
            raise Killed

    memory.faults.append(die)
    with pytest.raises((Killed, BaseExceptionGroup)):
        load(memory, root, journal)
    memory.faults.remove(die)


@pytest.fixture
def memory() -> MemorySwift:
    return MemorySwift(info=Limits(max_file_size=SEGMENT, max_segments=50), held={"c": {}})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "big").write_bytes(os.urandom(7 * SEGMENT))
    return root


def test_segments_of_a_file_that_has_gone_are_removed(memory: MemorySwift, root: Path, tmp_path: Path) -> None:
    """Killed before the manifest, then the file is removed: the next load removes the segments, the one after that
    asks nothing about them."""
    kill_before_manifest(memory, root, tmp_path / "j")
    assert len(memory.held["c_segments"]) == 7
    (root / "big").unlink()
    load(memory, root, tmp_path / "j")
    assert memory.held["c_segments"] == {}
    memory.log.clear()
    load(memory, root, tmp_path / "j")
    assert {method for method, _, _ in memory.log} == {"GET"}


def test_segments_that_the_object_in_the_store_needs_stay(memory: MemorySwift, root: Path, tmp_path: Path) -> None:
    """The file has gone, its object's older version is there: that keeps its segments, the killed version's go."""
    load(memory, root, tmp_path / "j")
    needed = {one.name for one in memory.manifests["c", "big"]}
    (root / "big").write_bytes(os.urandom(5 * SEGMENT))
    kill_before_manifest(memory, root, tmp_path / "j")
    assert set(memory.held["c_segments"]) > needed
    (root / "big").unlink()
    load(memory, root, tmp_path / "j")
    assert set(memory.held["c_segments"]) == needed


def test_a_container_that_keeps_old_versions_keeps_their_segments(
    memory: MemorySwift, root: Path, tmp_path: Path
) -> None:
    """Replaced, killed on the way, and gone from the source: what was stored once can be read in the archive, and
    nothing is owed, for when the container keeps no versions any more the archive is still there."""
    load(memory, root, tmp_path / "j")
    memory.versioned.add("c")
    first = set(memory.held["c_segments"])
    (root / "big").write_bytes(os.urandom(5 * SEGMENT))
    kill_before_manifest(memory, root, tmp_path / "j")
    load(memory, root, tmp_path / "j")
    (root / "big").write_bytes(b"small")
    load(memory, root, tmp_path / "j")
    (root / "big").unlink()
    load(memory, root, tmp_path / "j")
    assert (len(first), len(memory.held["c_segments"])) == (7, 12)
    memory.versioned.clear()
    load(memory, root, tmp_path / "j")
    assert len(memory.held["c_segments"]) == 12


@pytest.mark.logs("are still there")
@pytest.mark.parametrize("readable", [True, False])
def test_segments_stay_when_nobody_can_tell_whether_they_are_needed(
    memory: MemorySwift, root: Path, tmp_path: Path, readable: bool
) -> None:
    """A manifest that cannot be read, or a store that does not answer for it, leaves all as it is, and owed."""
    load(memory, root, tmp_path / "j")
    (root / "big").write_bytes(os.urandom(5 * SEGMENT))
    kill_before_manifest(memory, root, tmp_path / "j")
    held = set(memory.held["c_segments"])
    (root / "big").unlink()
    memory.readable = readable

    def silent(method: str, container: str, name: str) -> None:
        if readable and (method, name) == ("HEAD", "big"):
            raise Unavailable("no answer")

    memory.faults.append(silent)
    load(memory, root, tmp_path / "j")
    assert set(memory.held["c_segments"]) == held
    memory.faults.clear()
    memory.readable = True
    load(memory, root, tmp_path / "j")
    assert set(memory.held["c_segments"]) == {one.name for one in memory.manifests["c", "big"]}
