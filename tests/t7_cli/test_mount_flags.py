"""What ``swiftfs mount`` takes on its command line and what it refuses, without mounting anything."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from swiftfs.cache.names import PIECE_BYTES
from swiftfs.cache.writer import Writer
from swiftfs.cli.mount import _settings, mount
from swiftfs.cli.parameters import CHUNK_UNIT, LEAST_CHUNK, MOST_CHUNK
from swiftfs.fetch.protocol import LONGEST_FRAME
from swiftfs.fs.unstored import UNSTORED_BYTES

PLACES = ["local:c", "/mnt"]


def parsed(*words: str) -> dict[str, Any]:
    """The values that a command line gives. Raises UsageError."""
    return mount.make_context("mount", [*PLACES, *words]).params


@pytest.mark.parametrize("value", ["0", "1", "4095", "63K", "100000", "33M", "1G"])
def test_a_size_that_no_chunk_can_have_is_refused(value: str) -> None:
    """Nothing, less than is worth a request, parts of a page, more than a message holds: one line says what may be."""
    with pytest.raises(click.UsageError, match="a multiple of 4K from 64K to 32M") as caught:
        parsed("--chunk-size", value)
    assert len(caught.value.format_message().splitlines()) == 1


@pytest.mark.parametrize(
    ("value", "size"), [("64K", LEAST_CHUNK), ("1M", 1 << 20), ("10M", 10 << 20), ("32M", MOST_CHUNK)]
)
def test_sizes_that_a_chunk_can_have_are_taken(value: str, size: int) -> None:
    """Both bounds are among them."""
    assert size == parsed("--chunk-size", value)["chunk_size"]


def test_every_chunk_is_whole_pieces_and_fits_where_it_may_have_to_go() -> None:
    """What the bounds rest on in other rooms."""
    assert CHUNK_UNIT == PIECE_BYTES
    assert (LEAST_CHUNK % PIECE_BYTES, MOST_CHUNK % PIECE_BYTES) == (0, 0)
    assert min(LONGEST_FRAME, UNSTORED_BYTES) > MOST_CHUNK


@pytest.mark.parametrize("value", ["0", "0s", "0m0s", "off"])
def test_no_time_at_all_is_off(value: str) -> None:
    """For --refresh and --deadline, as for rclone's --poll-interval and --timeout."""
    given = parsed("--refresh", value, "--timeout", value)

    assert (given["refresh"], given["deadline"]) == (None, None)


def test_a_cache_that_has_grown_makes_the_next_mounts_limit_no_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --cache-size, what the cache took from the free disk counts as free for it."""
    config = tmp_path / "rclone.conf"
    config.write_text("[local]\ntype = swift\nauth = http://127.0.0.1:1/v3\nuser = u\nkey = k\ntenant = t\n")
    config.chmod(0o600)
    monkeypatch.setenv("RCLONE_CONFIG", str(config))
    held, free = 1 << 20, 20 << 30

    def limit(disk_free: int) -> int:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=disk_free))
        return _settings("local:c", tmp_path, parsed("--cache-dir", str(tmp_path / "cache"))).cache_size

    before = limit(free)
    writer = Writer(tmp_path / "cache", limit=before)
    writer.store("0" * 32, held, 0, bytes(held))
    writer.close()

    assert limit(free - held) == before == free // 10
