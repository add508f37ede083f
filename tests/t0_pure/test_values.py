"""The values of a load's options: sizes, rates and modes, meant as rclone means them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from swiftfs.cli.load import load
from swiftfs.cli.load_options import options_from
from swiftfs.cli.parameters import BANDWIDTH, KIB_SIZE, LIMIT, SIZE
from swiftfs.errors import UsageError

RCLONE = Path(sys.executable).with_name("rclone")


@pytest.mark.parametrize("text", ["3", "1.5", "3b", "3B", "3k", "1.5K", "3Ki", "3KiB", "2M", "0.5g", "1T", "1TiB"])
def test_a_size_is_as_many_bytes_as_to_rclone(tmp_path: Path, text: str) -> None:
    """The real rclone's --max-size lets a file of so many bytes pass, and none that has one more."""
    size = KIB_SIZE.convert(text, None, None)
    for name, length in (("fits", size), ("more", size + 1)):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, length)
    listed = subprocess.run(
        [RCLONE, "lsf", "--config", "", f"--max-size={text}", tmp_path], capture_output=True, text=True, timeout=60
    )
    assert (listed.returncode, listed.stdout) == (0, "fits\n")


def test_a_number_without_a_unit_is_kib_where_rclone_has_the_option() -> None:
    """Every size of load is, and bytes are what a size of swiftfs's own is; the largest units are known."""
    assert [LIMIT.convert("5", None, None), KIB_SIZE.convert("5", None, None), SIZE.convert("5", None, None)] == [
        5 << 10,
        5 << 10,
        5,
    ]
    assert [SIZE.convert(text, None, None) for text in ("2P", "1.5Pi", "1E")] == [2 << 50, 3 << 49, 1 << 60]
    assert LIMIT.convert("off", None, None) is None
    sizes = [one for one in load.params if one.type is SIZE]
    assert sizes == []


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10", 10 << 10),
        ("1.5M", 3 << 19),
        ("10M:1M", 10 << 20),
        ("10M:off", 10 << 20),
        ("off:1M", None),
        ("off", None),
        ("0", 0),
    ],
)
def test_a_rate_is_that_of_sending(text: str, rate: int | None) -> None:
    """Of two rates the first counts, for a load only sends."""
    assert rate == BANDWIDTH.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("08:00,512k 19:00,10M", "timetable"),
        ("Mon-08:00,512", "timetable"),
        ("10M:x", "not a size"),
        (":1M", "not a size"),
        ("-1", "not a size"),
    ],
)
def test_what_is_no_rate_is_refused(text: str, said: str) -> None:
    """A timetable, and anything that rclone would not take, is an error that says so."""
    with pytest.raises(click.BadParameter, match=said):
        BANDWIDTH.convert(text, None, None)


def test_any_number_of_deletes_is_asked_for_as_with_rclone() -> None:
    """``--max-delete -1``, rclone's default, is understood."""
    context = load.make_context("load", ["a", "b:c", "--max-delete", "-1"])
    assert options_from(context.params).max_delete is None


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--size-only", "--checksum"], "exclude each other"),
        (["--update", "--ignore-times"], "--update and --ignore-times exclude each other"),
        (["--update", "--ignore-existing"], "--update and --ignore-existing exclude each other"),
        (["--update", "--manifest"], "which --update does not do"),
        (["--size-only", "--manifest"], "which --size-only does not do"),
    ],
)
def test_options_that_contradict_each_other_are_refused(flags: list[str], said: str) -> None:
    """Which of two modes was meant is not guessed, and no manifest is written of what was not compared."""
    context = load.make_context("load", ["a", "b:c", *flags])
    with pytest.raises(UsageError, match=said):
        options_from(context.params)
