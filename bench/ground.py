"""What the mount's benchmark stands on: a local cloud, the front before it, and containers with known bytes."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import os
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import dataset
from bench.errors import BenchError
from bench.front.server import Front, running_front
from bench.machine import program_path, swiftfs_command
from bench.measured import run
from bench.mounted import Mounted, Side, mounted
from swiftfs import localcloud
from swiftfs.localcloud import Cloud, CloudOptions

LOAD_DEADLINE = 3600.0
"""Seconds for one load into the real Swift: the whole of Food-11 takes a quarter of an hour on two slow cores."""
PUT_TIMEOUT = 600.0
BIG = "big.bin"
BIG_SEED = 11


@dataclass(frozen=True, slots=True)
class Loaded:
    """A container whose objects are known: name to size and MD5. All of it is in the front's cache. ``tree`` is a
    directory of the same files, None when there is none."""

    container: str
    objects: Mapping[str, tuple[int, str]]
    tree: Path | None = None

    @property
    def bytes(self) -> int:
        return sum(size for size, _ in self.objects.values())


@dataclass(slots=True)
class Ground:
    """Where sessions run: each gets a directory of its own, which is removed after it."""

    cloud: Cloud
    front: Front
    work: Path
    sessions: Iterator[int]

    @contextlib.contextmanager
    def session(self) -> Iterator[Path]:
        """An empty directory for a mount's cache, index and mountpoint."""
        directory = self.work / f"session{next(self.sessions)}"
        directory.mkdir(parents=True)
        try:
            yield directory
        finally:
            if not os.path.ismount(directory / "mnt"):
                shutil.rmtree(directory, ignore_errors=True)

    @contextlib.contextmanager
    def mount(self, side: Side, container: str, directory: Path | None = None) -> Iterator[Mounted]:
        """A mount of ``container`` through the front, with nothing cached unless ``directory`` holds it."""
        with contextlib.ExitStack() as stack:
            where = directory or stack.enter_context(self.session())
            source = f"{self.front.remote}:{container}"
            yield stack.enter_context(mounted(side, source, self.front.rclone_conf, where))

    def food(self, count: int, mean: int = dataset.FOOD11_MEAN) -> Loaded:
        """A container with ``count`` files like Food-11's, loaded unless it is there."""
        container = f"benchmount-food-{count}-{mean}"
        tree = self.work / container
        objects = dataset.write(dataset.food11_like(count, mean=mean), tree)
        environ = {
            **os.environ, "RCLONE_CONFIG": str(self.cloud.rclone_conf), "PATH": program_path(),
            "XDG_STATE_HOME": str(self.work / "state"),
        }  # fmt: skip
        for words in (("mkdir", f"local:{container}"), ("load", str(tree), f"local:{container}")):
            run(swiftfs_command(*words), environ=environ, deadline=LOAD_DEADLINE)
        self.front.fill(container, objects)
        return Loaded(container, objects, tree)

    def big(self, size: int) -> Loaded:
        """A container with one plain object of ``size`` bytes."""
        container = f"benchmount-big-{size}"
        path = self.work / BIG
        _, md5 = dataset.write_big(path, size, seed=BIG_SEED)
        try:
            _put(self.cloud, self.front.token, f"/{container}", None)
            _put(self.cloud, self.front.token, f"/{container}/{BIG}", path)
        finally:
            path.unlink()
        objects = {BIG: (size, md5)}
        self.front.fill(container, objects)
        return Loaded(container, objects)


@contextlib.contextmanager
def prepared(work: Path, cloud_directory: Path | None) -> Iterator[Ground]:
    """Bring everything up; a cloud of another directory is used as it is and left running, an own one is ended."""
    work.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if cloud_directory is not None:
            cloud = localcloud.load(cloud_directory)
        else:
            own = work / "cloud"
            cloud = localcloud.up(CloudOptions(own), _quiet)
            stack.callback(localcloud.down, own, _quiet)
        front = stack.enter_context(running_front(work / "front", cloud))
        yield Ground(cloud, front, work, itertools.count(1))


def random_blocks(seed: int, size: int, block: int, count: int) -> list[int]:
    """Offsets of ``count`` different blocks of a file."""
    return [number * block for number in random.Random(seed).sample(range(size // block), count)]


def blocks_digest(size: int, offsets: Sequence[int], block: int) -> str:
    """The MD5 of blocks of the large object in the order of ``offsets``, from the seed that it was made of."""
    wanted = sorted(offsets)
    pieces: dict[int, bytes] = {}
    generator = random.Random(BIG_SEED)
    place = 0
    for start in range(0, size, dataset.WRITE_PIECE):
        piece = generator.randbytes(min(dataset.WRITE_PIECE, size - start))
        while place < len(wanted) and wanted[place] < start + len(piece):
            offset = wanted[place]
            pieces[offset] = piece[offset - start : offset - start + block]
            place += 1
    digest = hashlib.md5(usedforsecurity=False)
    for offset in offsets:
        digest.update(pieces[offset])
    return digest.hexdigest()


def _put(cloud: Cloud, token: str, path: str, body: Path | None) -> None:
    account = cloud.storage_url.split("/", 3)[3]
    connection = http.client.HTTPConnection("127.0.0.1", cloud.ports["proxy"], timeout=PUT_TIMEOUT)
    try:
        length = body.stat().st_size if body is not None else 0
        headers = {"X-Auth-Token": token, "Content-Length": str(length)}
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(body.open("rb")) if body is not None else None
            connection.request("PUT", f"/{account}{path}", body=file, headers=headers)
            answer = connection.getresponse()
            said = answer.read()
    finally:
        connection.close()
    if answer.status not in (201, 202):
        raise BenchError(f"PUT {path}: {answer.status} {said[:200]!r}")


def _quiet(line: str) -> None:
    """The cloud's progress is not the benchmark's."""
