"""A mount whose kernel does not ask for opens: what it keeps, what it is told anew, and what a mount does without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes.programs import check, tree_of, until, write_tree

from .conftest import Dataset

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]

EPOCHS = 3
STRANGERS = 3
"""Requests of others on this machine that may come among those of one epoch: statfs, say, for each mount there is."""
ROUNDS = 8
"""Changes of one directory that readers list all the time."""


@pytest.fixture
def names(dataset: Dataset) -> Path:
    """A directory of the mount with nothing but the file 'kept', which the kernel has listed."""
    check("swiftfs", "load", write_tree(dataset.work / "first", {"d/kept": b"kept"}), dataset.source,
          environ=dataset.environ)  # fmt: skip
    directory = dataset.mount("--refresh", "off") / "d"
    assert os.listdir(directory) == ["kept"]
    return directory


def fuse_requests(dataset: Dataset, mountpoint: Path) -> int:
    return int(dataset.status(mountpoint)["fuse_requests"])


def requests_of_an_epoch(dataset: Dataset, mountpoint: Path) -> int:
    """The kernel's requests while all is read once more, the least of some epochs: who looks at all mounts asks too."""
    counts = []
    for _ in range(EPOCHS):
        before = fuse_requests(dataset, mountpoint)
        assert tree_of(mountpoint) == tree_of(dataset.tree)
        counts.append(fuse_requests(dataset, mountpoint) - before)
    return min(counts)


def refresh(dataset: Dataset, mountpoint: Path) -> None:
    check("swiftfs", "refresh", mountpoint, environ=dataset.environ)


def test_a_file_costs_the_kernel_one_request_and_later_none(dataset: Dataset) -> None:
    """The first epoch asks for each file's bytes and for nothing else; the second walk, with stat, and the second epoch
    ask for nothing at all."""
    mountpoint = dataset.mount("--refresh", "off")
    paths = [path for path in mountpoint.rglob("*") if path.is_file()]
    with_bytes = sum(path.stat().st_size > 0 for path in paths)
    paths[0].open().close()
    before = dataset.status(mountpoint)
    for path in paths:
        path.read_bytes()
    after = dataset.status(mountpoint)

    assert after["reads"]["reads"] - before["reads"]["reads"] == with_bytes
    assert with_bytes <= after["fuse_requests"] - before["fuse_requests"] <= with_bytes + STRANGERS
    assert requests_of_an_epoch(dataset, mountpoint) == 0


def test_a_kernel_that_asks_for_opens_reads_the_same(dataset: Dataset) -> None:
    """With --no-kernel-tuning every file is opened and released, and the bytes, the listings and the counts of what was
    opened are those of a mount that is not asked."""
    asked, not_asked = (dataset.mount("--refresh", "off", *options) for options in (("--no-kernel-tuning",), ()))
    for mountpoint in (asked, not_asked):
        assert tree_of(mountpoint) == tree_of(dataset.tree)
    reads = [dataset.status(mountpoint)["reads"] for mountpoint in (asked, not_asked)]
    files = len(tree_of(dataset.tree))

    with_bytes = sum(bool(body) for body in tree_of(dataset.tree).values())
    assert all(with_bytes <= read["opens"] <= with_bytes + STRANGERS for read in reads)
    assert requests_of_an_epoch(dataset, asked) >= 2 * files
    assert requests_of_an_epoch(dataset, not_asked) == 0


def test_a_directory_that_the_kernel_keeps_shows_what_a_refresh_found(dataset: Dataset, names: Path) -> None:
    """Names that came, that went, and that became a directory are listed right after each refresh, though nobody looked
    them up before."""
    shown = []
    for number in range(ROUNDS):
        added = write_tree(dataset.work / f"more{number}", {f"d/{number}": b"1", f"d/below{number}/one": b"2"})
        check("swiftfs", "load", added, dataset.source, environ=dataset.environ)
        if number:
            check("swiftfs", "delete", f"{dataset.source}/d/below{number - 1}", environ=dataset.environ)
        refresh(dataset, names.parent)
        shown.append(sorted(os.listdir(names)))

    assert shown == [sorted(["kept", *map(str, range(number + 1)), f"below{number}"]) for number in range(ROUNDS)]
    assert {name: (names / name).is_dir() for name in ("kept", f"below{ROUNDS - 1}")} == {
        "kept": False, f"below{ROUNDS - 1}": True,
    }  # fmt: skip


def test_a_changed_file_is_the_new_one_at_the_next_open(dataset: Dataset, names: Path) -> None:
    """The new one's bytes, though both have the same size; who has the former one open gets ESTALE."""
    assert (names / "kept").read_bytes() == b"kept"
    changed = write_tree(dataset.work / "changed", {"d/kept": b"KEPT"})
    check("swiftfs", "load", changed, dataset.source, environ=dataset.environ)
    with (names / "kept").open("rb") as former:
        refresh(dataset, names.parent)

        assert (names / "kept").read_bytes() == b"KEPT"
        with pytest.raises(OSError, match="Stale file handle"):
            former.read()


def test_a_directory_that_is_gone_is_not_an_empty_one(dataset: Dataset, names: Path) -> None:
    """Who still has it open gets ESTALE and not a list without names."""
    directory = os.open(names, os.O_RDONLY | os.O_DIRECTORY)
    try:
        check("swiftfs", "delete", f"{dataset.source}/d", environ=dataset.environ)
        refresh(dataset, names.parent)

        until(lambda: "d" not in os.listdir(names.parent))
        with pytest.raises(OSError, match="Stale file handle"):
            os.listdir(directory)
    finally:
        os.close(directory)
