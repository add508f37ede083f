"""``swiftfs cache`` on a cache that a writer has filled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from fakes.programs import check, run

from swiftfs.cache.writer import Writer

KEYS = tuple(f"{number:032x}" for number in range(1, 4))
SIZE = 5000


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A cache of three whole objects."""
    where = tmp_path / "cache"
    writer = Writer(where, limit=1 << 20)
    for key in KEYS:
        assert writer.store(key, SIZE, 0, os.urandom(SIZE)) is not None
    writer.close()
    return where


def asked(command: str, where: Path, environ: Mapping[str, str] = os.environ) -> dict[str, object]:
    figures: dict[str, object] = json.loads(
        check("swiftfs", "cache", command, "--cache-dir", where, "--json", environ=environ)
    )
    return figures


def test_info_counts_what_is_there_and_evicts_nothing(filled: Path) -> None:
    """A look says how many bytes, files and chunks there are, and they are still there at the second look."""
    first, second = asked("info", filled), asked("info", filled)

    assert (first["bytes"], first["files"], first["chunks"]) == (3 * SIZE, 3, 3)
    assert (second["bytes"], second["reserved"]) == (3 * SIZE, 0)


def test_info_of_a_cache_that_was_never_made_makes_none(tmp_path: Path) -> None:
    """Looking at nothing says nothing is there, and leaves it so."""
    where = tmp_path / "none"

    assert asked("info", where)["bytes"] == 0
    assert not where.exists()


def test_verify_drops_what_is_damaged_and_ends_with_1(filled: Path) -> None:
    """A flipped byte is found, its chunk goes, and the next check is content."""
    damaged = next(path for path in filled.rglob(KEYS[1]))
    content = bytearray(damaged.read_bytes())
    content[SIZE // 2] ^= 1
    damaged.write_bytes(content)

    done = run("swiftfs", "cache", "verify", "--cache-dir", filled, environ=os.environ)

    assert done.code == 1
    assert "3 chunks read, 1 damaged" in done.out
    assert not damaged.exists()
    assert asked("verify", filled) == {"path": str(filled), "chunks": 2, "bad": 0}


def test_clear_leaves_nothing_and_works_beside_a_writer(filled: Path) -> None:
    """All bytes go although somebody has the cache open, and that writer goes on storing."""
    writer = Writer(filled, limit=1 << 20)
    try:
        assert asked("clear", filled)["bytes"] == 3 * SIZE
        assert not [path for key in KEYS for path in filled.rglob(key)]
        assert writer.store(KEYS[0], SIZE, 0, os.urandom(SIZE)) is not None
    finally:
        writer.close()
    assert asked("info", filled)["files"] == 1


def test_the_cache_is_the_one_of_the_environment(filled: Path) -> None:
    """Without --cache-dir it is the directory that a mount would use."""
    environ = {**os.environ, "SWIFTFS_CACHE_DIR": str(filled)}

    assert f"{filled}: {3 * SIZE:,} bytes" in check("swiftfs", "cache", "info", environ=environ)
