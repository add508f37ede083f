"""A real mount that is told in which order its files will be read."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
from fakes.programs import check, run, write_tree

from swiftfs.fs.order import FILES_AHEAD
from swiftfs.localcloud.access_log import AccessLine

from .conftest import Dataset

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]

PATIENCE = 30.0
"""Seconds for some hundred small files to arrive."""


@pytest.fixture
def many(dataset: Dataset) -> list[str]:
    """300 more files in the container, in a shuffled order."""
    draw = random.Random(9)
    files = {f"many/{number % 7}/{number:03}.bin": draw.randbytes(2000) for number in range(300)}
    write_tree(dataset.tree, files)
    check("swiftfs", "load", dataset.tree, f"local:{dataset.container}", environ=dataset.environ)
    names = list(files)
    draw.shuffle(names)
    return names


def until_idle(dataset: Dataset, mountpoint: Path, fetched: int) -> None:
    """Wait until ``fetched`` chunks have come and nothing is under way."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        fetch = dataset.status(mountpoint)["fetch"]
        if fetch["fetched_chunks"] >= fetched and not fetch["waiting"] and not fetch["running"]:
            return
    raise AssertionError(f"{fetch}")


def gets(lines: list[AccessLine], container: str) -> list[str]:
    """The objects that were fetched, in the order of the log."""
    return [
        unquote(line.path).split(f"/{container}/", 1)[1]
        for line in lines
        if line.method == "GET" and ".bin" in line.path
    ]


def test_an_order_in_a_file_is_fetched_ahead_of_the_reader(dataset: Dataset, many: list[str]) -> None:
    """Before the first open the order's first files are there, and those alone; read to the end, each was fetched
    once and the reader waited for none."""
    told = dataset.work / "order.txt"
    told.write_text("\n".join([*many, "", "no/such/file", ""]))
    start = dataset.log_offset()
    mountpoint = dataset.mount("--prefetch", "order", "--order-file", told, "--refresh", "off")
    until_idle(dataset, mountpoint, FILES_AHEAD)
    assert sorted(gets(dataset.log_since(start), dataset.container)) == sorted(many[:FILES_AHEAD])

    for place, name in enumerate(many):
        if place == FILES_AHEAD // 2:
            until_idle(dataset, mountpoint, len(many))
        assert (mountpoint / name).read_bytes() == (dataset.tree / name).read_bytes()

    assert sorted(gets(dataset.log_since(start), dataset.container)) == sorted(many)
    status = dataset.status(mountpoint)
    assert status["reads"]["misses"] == 0
    assert status["prefetch"]["mode"] == "order"
    assert status["prefetch"]["order"] == {"files": 300, "position": 300, "bytes_ahead": 0}


def test_a_program_hands_an_order_over(dataset: Dataset, many: list[str]) -> None:
    """While mounted, an order comes from standard input, with absolute names too; the next one takes its place."""
    start = dataset.log_offset()
    mountpoint = dataset.mount("--prefetch", "order", "--refresh", "off")
    assert dataset.status(mountpoint)["prefetch"]["order"] is None
    first = [os.fspath(mountpoint / name) for name in many[:20]]

    done = run("swiftfs", "order", mountpoint, "-", environ=dataset.environ, stdin="\n".join([*first, "nobody", ""]))
    assert (done.code, done.out) == (0, "an order of 20 files (1 not in the mount)\n")
    until_idle(dataset, mountpoint, 20)
    assert sorted(gets(dataset.log_since(start), dataset.container)) == sorted(many[:20])

    done = run("swiftfs", "order", mountpoint, "-", environ=dataset.environ, stdin="\n".join(many[10:40]))
    assert (done.code, done.out, done.err) == (0, "an order of 30 files\n", "")
    until_idle(dataset, mountpoint, 40)
    assert sorted(gets(dataset.log_since(start), dataset.container)) == sorted(many[:40])


def test_a_warm_of_several_paths_is_watched_to_its_end(dataset: Dataset, many: list[str]) -> None:
    """``warm --wait`` fetches each file at or below its paths once, and says so in words and as JSON; a second one
    finds them there, a path that does not exist is an error, and --cancel answers without a warm too."""
    start = dataset.log_offset()
    mountpoint = dataset.mount("--prefetch", "off", "--refresh", "off")
    paths = ["many/1", "many/2", "many/3/003.bin"]
    wanted = sorted(name for name in many if name.startswith(("many/1/", "many/2/")) or name == paths[2])
    size = 2000 * len(wanted)

    done = run("swiftfs", "warm", mountpoint, *paths, "--wait", "--use-json-log", environ=dataset.environ)

    assert (done.code, done.out) == (
        0, f"{len(wanted)} files, {size:,} bytes in the cache; 0 were there before\n",
    )  # fmt: skip
    last = json.loads(done.err.splitlines()[-1])["stats"]
    assert (last["done_files"], last["done_bytes"], last["ended"]) == (len(wanted), size, True)
    assert sorted(gets(dataset.log_since(start), dataset.container)) == wanted
    again = check("swiftfs", "warm", mountpoint, *paths, "--wait", environ=dataset.environ)
    assert again.endswith(f"{len(wanted)} were there before\n")
    assert run("swiftfs", "warm", mountpoint, "no/such", environ=dataset.environ).code == 2
    assert check("swiftfs", "warm", mountpoint, "--cancel", environ=dataset.environ) == "gave up 0\n"
    assert sorted(gets(dataset.log_since(start), dataset.container)) == wanted


def test_an_order_needs_a_mount_and_a_mode_that_takes_it(dataset: Dataset, tmp_path: Path) -> None:
    """Without a mount the command says so; with --prefetch off an order file is a contradiction."""
    told = tmp_path / "order.txt"
    told.write_text("a\n")
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()

    assert run("swiftfs", "order", nowhere, told, environ=dataset.environ).code != 0
    options = ["--prefetch", "off", "--order-file", told]
    refused = run("swiftfs", "mount", dataset.source, nowhere, *options, environ=dataset.environ)
    assert refused.code == 2
    assert "--order-file" in refused.err
