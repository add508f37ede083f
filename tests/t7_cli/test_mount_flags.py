"""What ``swiftfs mount`` takes on its command line and what it refuses, without mounting anything."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from fakes.programs import BIN

from swiftfs.cache.names import PIECE_BYTES
from swiftfs.cache.writer import Writer
from swiftfs.cli.app import _general_options
from swiftfs.cli.mount import _settings, mount
from swiftfs.cli.parameters import CHUNK_UNIT, LEAST_CHUNK, MOST_CHUNK
from swiftfs.cli.rclone_mount import FLAGS, Answer
from swiftfs.errors import ConfigError, UsageError
from swiftfs.fetch.protocol import LONGEST_FRAME
from swiftfs.fs.unstored import UNSTORED_BYTES
from swiftfs.mount.settings import MountSettings

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


@pytest.fixture
def settings_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., MountSettings]:
    """Makes the settings that a command line means."""
    config = tmp_path / "rclone.conf"
    config.write_text("[local]\ntype = swift\nauth = http://127.0.0.1:1/v3\nuser = u\nkey = k\ntenant = t\n")
    config.chmod(0o600)
    monkeypatch.setenv("RCLONE_CONFIG", str(config))

    def settings(*words: str) -> MountSettings:
        return _settings("local:c", tmp_path, parsed("--cache-dir", str(tmp_path / "cache"), *words))

    return settings


def test_a_cache_that_has_grown_makes_the_next_mounts_limit_no_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings_of: Callable[..., MountSettings]
) -> None:
    """Without --cache-size, what the cache took from the free disk counts as free for it."""
    held, free = 1 << 20, 20 << 30

    def limit(disk_free: int) -> int:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=disk_free))
        return settings_of().cache_size

    before = limit(free)
    writer = Writer(tmp_path / "cache", limit=before)
    writer.store("0" * 32, held, 0, bytes(held))
    writer.close()

    assert limit(free - held) == before == free // 10


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"])
def test_no_mount_trusts_a_directory_that_anybody_may_write_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings_of: Callable[..., MountSettings], variable: str
) -> None:
    """Neither its cache nor its socket nor its index lies where others could have put theirs."""
    ours = tmp_path / "home" / "swiftfs"
    ours.mkdir(parents=True)
    ours.chmod(0o777)
    monkeypatch.setenv(variable, str(ours.parent))

    with pytest.raises(ConfigError, match=f"anybody may write to the directory {ours}"):
        settings_of("--cache-dir", str(ours / "chunks"))


def test_a_path_that_is_no_text_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings_of: Callable[..., MountSettings]
) -> None:
    """A mountpoint, a cache and a state directory have to be UTF-8; the error shows which is not, and is a line."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    shown = rf"{tmp_path}/\\udcff.* is not valid UTF-8"

    with pytest.raises(UsageError, match=f"mountpoint {shown}"):
        _settings("local:c", odd, parsed())
    with pytest.raises(UsageError, match=f"cache directory {shown}"):
        settings_of("--cache-dir", str(odd))
    monkeypatch.setenv("XDG_STATE_HOME", str(odd))
    with pytest.raises(UsageError, match=f"state directory {shown}"):
        settings_of()
    assert not odd.exists()


def rclones_flags() -> dict[str, bool]:
    """Every flag of ``rclone mount`` and every general one that has to do with it; whether a value follows it."""
    said = {
        word: subprocess.run([BIN / "rclone", *words], capture_output=True, text=True, check=True).stdout
        for word, words in {"mount": ["mount", "--help"], "general": ["help", "flags"]}.items()
    }
    sections = re.split(r"\(flag group (\w+)\):\n", said["general"])
    of_others = {"Copy", "Sync", "Check", "Backend"}
    texts = [text for group, text in zip(sections[1::2], sections[2::2], strict=True) if group not in of_others]
    lines = re.findall(r"^ +(?:-\w, )?--([\w-]+)( \S.*?)?(?:  |$)", "\n".join([said["mount"], *texts]), re.MULTILINE)
    no_value = {"", " Tristate", " count", " rclone size"}  # the last is how rclone prints a quoted word of the help
    return {name: kind not in no_value for name, kind in lines}


def test_every_flag_of_rclone_mount_is_known() -> None:
    """Each is taken or refused by name, and those that have a value in rclone have one here."""
    options = {
        name.removeprefix("--"): not (option.is_flag or option.count)
        for option in [*mount.params, *_general_options(log_file=False)]
        if isinstance(option, click.Option)
        for name in option.opts
    }
    theirs = rclones_flags()
    assert len(theirs) > 150
    del theirs["help"]
    assert {name: options.get(name) for name in theirs} == theirs
    assert FLAGS.keys() <= theirs.keys() | {"links"}


class Kept(logging.Handler):
    """Keeps the level and the text of each message."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((record.levelno, record.getMessage()))


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    """What the flags say, however the command line that they stand on sets up the log."""
    logger = logging.getLogger("swiftfs.cli.rclone_mount")
    monkeypatch.setattr(logger, "propagate", False)
    handler = Kept()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_of_rclones_is_answered_as_the_table_says(name: str, kept: Kept) -> None:
    """A note, a warning or one line of refusal, each with the flag's name and the reason; without the flag, nothing."""
    flag = FLAGS[name]
    words = [f"--{name}", "1"] if flag.has_value else [f"--{name}"]
    if flag.answer is Answer.REFUSED:
        with pytest.raises(UsageError, match=re.escape(f"--{name} ")) as caught:
            parsed(*words)
        assert flag.text in str(caught.value)
    else:
        assert parsed(*words) == parsed()
        assert [(flag.answer.value, f"--{name}: {flag.text}")] == kept.said


def test_what_would_change_what_is_shown_is_refused() -> None:
    """Filters, and whatever decides who is trusted or let in."""
    refused = {name for name, flag in FLAGS.items() if flag.answer is Answer.REFUSED}

    assert {"include", "exclude", "filter", "files-from", "max-size", "min-age"} < refused
    assert {"ca-cert", "no-check-certificate", "client-cert", "metrics-user", "metrics-pass"} < refused


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], (None, None, 32)),
        (["--vfs-cache-max-size", "off", "--vfs-cache-min-free-space", "off"], (None, None, 32)),
        (["--vfs-cache-max-size", "1024", "--vfs-cache-min-free-space", "2"], (1 << 20, 2048, 32)),
        (["--vfs-cache-max-size", "20G", "--vfs-cache-min-free-space", "1M"], (20 << 30, 1 << 20, 32)),
        (["--vfs-read-chunk-streams", "0"], (None, None, 32)),
        (["--vfs-read-chunk-streams", "8"], (None, None, 8)),
    ],
)
def test_rclones_sizes_and_streams_mean_what_they_mean_there(
    words: list[str], expected: tuple[int | None, int | None, int], settings_of: Callable[..., MountSettings]
) -> None:
    """A number without a unit is KiB; ``off``, and 0 streams, are as if nothing was said."""
    plain = settings_of()
    size, free, streams = expected
    said = settings_of(*words)

    assert (said.cache_min_free, said.streams) == (free or plain.cache_min_free, streams)
    assert size is None or size == said.cache_size
    assert size is not None or abs(plain.cache_size - said.cache_size) <= plain.cache_size // 10
