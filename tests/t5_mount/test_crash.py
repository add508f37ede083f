"""kill -9 of a mount's processes at drawn requests of its first epoch: afterwards every byte is right."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from fakes.fault_proxy import Fault, FaultProxy, Kill
from fakes.profiles import timeout
from fakes.programs import check, mount_status, through, tree_of, until, write_tree

from swiftfs.cache.writer import Writer
from swiftfs.localcloud import Cloud
from swiftfs.mount.preflight import probe

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]

FETCH_ROUNDS, MOUNT_ROUNDS = 12, 8

CONTAINER = "mount-crash"
CHUNK = 64 * 1024
OPTIONS = ("--daemon", "--recover", "--chunk-size", str(CHUNK), "--streams", "8", "--refresh", "off")
SEEDED = 50
"""The first seed: each round draws its moment from one of its own."""
FILES = 50
MOMENTS = FILES - 5
"""A kill comes at one of as many requests, or the epoch might have fewer: each file but an empty one takes one."""
HANGS = 240.0
"""Seconds after which a reader is taken to hang."""


@pytest.fixture
def proxy(cloud: Cloud) -> Iterator[FaultProxy]:
    with FaultProxy(cloud.storage_url) as running:
        yield running


def content() -> dict[str, bytes]:
    """Small files, and some of several chunks."""
    draw = random.Random(7)
    return {f"d{number % 5}/{number}.bin": draw.randbytes(number * 3000) for number in range(FILES)}


class Reader(threading.Thread):
    """Reads every file once, as an epoch does; ``wrong`` names those with other bytes, ``errors`` counts errnos."""

    def __init__(self, mountpoint: Path, files: dict[str, bytes], names: list[str]) -> None:
        super().__init__()
        self.mountpoint, self.files, self.names = mountpoint, files, names
        self.wrong: list[str] = []
        self.errors: list[int | None] = []

    def run(self) -> None:
        for name in self.names:
            try:
                with (self.mountpoint / name).open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    if file.read() != self.files[name]:
                        self.wrong.append(name)
            except OSError as error:
                self.errors.append(error.errno)


def ended(pid: int) -> None:
    """Wait until a process has ended by itself."""
    until(lambda: not os.path.exists(f"/proc/{pid}/exe"))


def damaged(cache: Path, *, clear: bool = False) -> int:
    """Chunks that ``swiftfs cache verify`` would find damaged; then the cache is emptied, if asked for."""
    writer = Writer(cache, limit=None)
    try:
        bad = writer.verify().bad
        if clear:
            writer.clear()
        return bad
    finally:
        writer.close()


def rows(cache: Path) -> int:
    """Chunks and pieces that the cache's table has."""
    writer = Writer(cache, limit=None)
    try:
        return writer.info().chunks
    finally:
        writer.close()


@pytest.mark.timeout(timeout())
@pytest.mark.row("P2", "P6", "C3")
def test_a_killed_mount_comes_back_with_every_byte_right(cloud: Cloud, proxy: FaultProxy, tmp_path: Path) -> None:
    """Twenty kills at drawn requests, while chunks are fetched and written, of the fetch process and of the file system
    process: readers get right bytes or an error at once, the cache is never damaged, a dead mount is replaced, and then
    all is there."""
    files = content()
    environ = through(cloud, proxy.url, tmp_path)
    check("swiftfs", "load", write_tree(tmp_path / "tree", files), f"local:{CONTAINER}", environ=environ)
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    whole = {os.fsencode(name): body for name, body in files.items()}
    cache = tmp_path / "cache"
    mount = ("swiftfs", "mount", f"local:{CONTAINER}", mountpoint, *OPTIONS, "--cache-dir", cache)
    kinds = ["fetch_pid"] * FETCH_ROUNDS + ["pid"] * MOUNT_ROUNDS
    random.Random(SEEDED).shuffle(kinds)
    check(*mount, environ=environ)
    try:
        for number, kind in enumerate(kinds):
            draw = random.Random(SEEDED + number)
            status = mount_status(mountpoint, environ=environ)
            names = draw.sample(sorted(files), len(files))
            readers = [Reader(mountpoint, files, names[half::2]) for half in range(2)]
            kill = Kill(partial(os.kill, status[kind], signal.SIGKILL))
            with proxy.broken(Fault(kill, "GET", r"\.bin$", skip=draw.randrange(MOMENTS))):
                for reader in readers:
                    reader.start()
                for reader in readers:
                    reader.join(HANGS)
                    assert not reader.is_alive(), "a reader hangs"
                    assert reader.wrong == []
                assert proxy.played() == 1, "it was not killed"
            errors = {code for reader in readers for code in reader.errors}
            if kind == "pid":
                assert errors <= {errno.ENOTCONN, errno.ECONNABORTED}
                until(lambda: probe(mountpoint) == errno.ENOTCONN)
                ended(status["fetch_pid"])
                assert damaged(cache) == 0
                check(*mount, environ=environ)
            else:
                assert errors == set()
            assert tree_of(mountpoint) == whole
            # A cache that is cleared under a writer keeps rows that were not written yet: their bytes are gone.
            until(lambda: rows(cache) >= sum(-(-len(body) // CHUNK) for body in files.values()))
            assert damaged(cache, clear=True) == 0
        check("swiftfs", "umount", mountpoint, environ=environ)
    finally:
        subprocess.run(["fusermount3", "-uzq", mountpoint], check=False)
