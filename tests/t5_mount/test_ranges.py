"""Large objects through a real mount: what the server sends for random, sequential and shared reading."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fakes.large_objects import put_dlo, put_slo
from fakes.programs import check, until, write_tree

if TYPE_CHECKING:
    from swiftfs.config import Remote

    from .conftest import Dataset

MIB = 1 << 20
SIZE = 64 * MIB
FAULTING = """
import mmap, sys
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
    mapped.madvise(mmap.MADV_RANDOM)
    sys.stdout.buffer.write(bytes(mapped[int(place)] for place in sys.argv[2:]))
"""
"""Reads single bytes by page faults, in a process of its own: one that waits in a fault holds up all its threads, and
with --dialect the store answers through one of the tests'."""


@pytest.fixture
def content(dataset: Dataset) -> bytes:
    """The bytes of an object of 64 MiB, which is in the container."""
    made = random.Random(11).randbytes(SIZE)
    more = write_tree(dataset.work / "more", {"big.bin": made})
    check("swiftfs", "load", more, dataset.source, environ=dataset.environ)
    return made


def gets(dataset: Dataset, start: int) -> list[int]:
    """The bytes that the server sent for each GET of the large object since ``start``."""
    return [line.sent for line in dataset.log_since(start) if line.method == "GET" and line.path.endswith("/big.bin")]


def test_random_reads_are_exact_and_sequential_ones_by_chunks(dataset: Dataset, content: bytes) -> None:
    """300 random pages make the server send hardly more than those; then a reading of all costs a GET a chunk."""
    path = dataset.mount() / "big.bin"
    draw = random.Random(5)
    descriptor = os.open(path, os.O_RDONLY)
    start = dataset.log_offset()
    try:
        for _ in range(300):
            offset = draw.randrange(SIZE // 4096) * 4096
            assert os.pread(descriptor, 4096, offset) == content[offset : offset + 4096]
    finally:
        os.close(descriptor)
    assert sum(gets(dataset, start)) <= 1.3 * 300 * 4096
    start = dataset.log_offset()

    assert path.read_bytes() == content
    sent = gets(dataset, start)
    assert sum(sent) <= SIZE + 2 * MIB
    # Pages that are there already split what the kernel asks for in the first chunk.
    assert len([one for one in sent if one > 2 * MIB]) <= SIZE // (8 * MIB)


def test_a_sequential_reading_sends_every_byte_once(dataset: Dataset, content: bytes) -> None:
    """From start to end: one GET for each chunk and a few more at the start, and the object's bytes in all."""
    path = dataset.mount("--streams", "4") / "big.bin"
    start = dataset.log_offset()

    assert path.read_bytes() == content
    sent = gets(dataset, start)
    assert sum(sent) == SIZE
    assert len(sent) <= SIZE // (8 * MIB) + 6


def test_many_readers_each_in_his_own_way_get_the_right_bytes(dataset: Dataset, content: bytes) -> None:
    """Sequential, random and mapped readers of one file at once: all bytes right, none of them sent many times."""
    path = dataset.mount("--chunk-size", "1M", "--streams", "8") / "big.bin"
    start = dataset.log_offset()

    def read_part(number: int) -> bool:
        base = number * 4 * MIB
        with path.open("rb") as file:
            file.seek(base)
            return file.read(4 * MIB) == content[base : base + 4 * MIB]

    def jump(seed: int) -> bool:
        draw = random.Random(seed)
        with path.open("rb", buffering=0) as file:
            places = [draw.randrange(32 * MIB, SIZE - 5000) for _ in range(40)]
            return all(os.pread(file.fileno(), 5000, one) == content[one : one + 5000] for one in places)

    def fault(seed: int) -> bool:
        draw = random.Random(seed)
        places = [draw.randrange(SIZE) for _ in range(40)]
        command = [sys.executable, "-S", "-c", FAULTING, path, *map(str, places)]
        return subprocess.run(command, capture_output=True, check=True).stdout == bytes(content[one] for one in places)

    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(read_part, number) for number in range(4)]
        results += [pool.submit(work, seed) for seed in range(3) for work in (jump, fault)]
        assert all(result.result(timeout=60) for result in results)
    sent = gets(dataset, start)
    assert sum(sent) <= 32 * MIB, sorted(sent)


def test_pieces_are_there_for_the_next_mount(dataset: Dataset, content: bytes) -> None:
    """What was read in pieces is read again by another mount without a request; verify finds it sound."""
    cache: Path = dataset.work / "kept"
    places = [page * 4096 for page in random.Random(6).sample(range(SIZE // 4096), 40)]
    for turn in range(2):
        mountpoint = dataset.mount("--cache-dir", cache)
        with (mountpoint / "big.bin").open("rb", buffering=0) as file:
            for place in places:
                assert os.pread(file.fileno(), 4096, place) == content[place : place + 4096]
        assert dataset.status(mountpoint)["fetch"]["fetched_pieces"] == (40 if turn == 0 else 0)
    check("swiftfs", "cache", "verify", "--cache-dir", cache, environ=dataset.environ)


@pytest.mark.parametrize("put", [put_slo, put_dlo], ids=["slo", "dlo"])
def test_pages_of_a_large_object_of_segments_are_right_and_cost_no_more(
    dataset: Dataset, remote: Remote, put: Callable[[Remote, str, str, Sequence[bytes]], Awaitable[None]]
) -> None:
    """Random pages of an SLO and of a DLO, those across the segments' ends among them, have the object's bytes, and
    the server sends hardly more than those; then the whole reads right."""
    segments = [random.Random(number).randbytes(700_000 + 4096 * number) for number in range(8)]
    whole = b"".join(segments)
    asyncio.run(put(remote, dataset.container, "big.bin", segments))
    path = dataset.mount("--chunk-size", "1M") / "big.bin"
    assert path.stat().st_size == len(whole)
    ends = [sum(len(one) for one in segments[:number]) // 4096 for number in range(1, 8)]
    pages = [*ends, *random.Random(8).sample(range(len(whole) // 4096), 60)]
    start = dataset.log_offset()
    with path.open("rb", buffering=0) as file:
        for page in pages:
            assert os.pread(file.fileno(), 4096, page * 4096) == whole[page * 4096 : (page + 1) * 4096]
    assert 0 < sum(gets(dataset, start)) <= 1.3 * len(pages) * 4096

    assert path.read_bytes() == whole


def test_an_slo_that_was_stored_again_with_the_same_bytes_reads_on(dataset: Dataset, remote: Remote) -> None:
    """An open file of it reads on after the next refresh, where nothing was cached yet."""
    segments = [random.Random(number).randbytes(2 * MIB) for number in range(3)]
    whole = b"".join(segments)
    asyncio.run(put_slo(remote, dataset.container, "again.bin", segments))
    mountpoint = dataset.mount("--chunk-size", "1M", "--prefetch", "off")
    with (mountpoint / "again.bin").open("rb", buffering=0) as file:
        assert os.pread(file.fileno(), 4096, 0) == whole[:4096]
        # Requests are pinned by whole seconds: until the store has given it a later one, nothing has changed for them.
        stored = modified(dataset)
        until(
            lambda: asyncio.run(put_slo(remote, dataset.container, "again.bin", segments)) or modified(dataset) > stored
        )
        check("swiftfs", "refresh", mountpoint, environ=dataset.environ)

        assert os.pread(file.fileno(), 4096, 5 * MIB) == whole[5 * MIB : 5 * MIB + 4096]
    assert (mountpoint / "again.bin").read_bytes() == whole


def modified(dataset: Dataset) -> str:
    """When the large object was stored last, to the second."""
    listed = json.loads(check("swiftfs", "lsjson", dataset.source, environ=dataset.environ))
    return str(next(one["ModTime"] for one in listed if one["Name"] == "again.bin"))[:19]
