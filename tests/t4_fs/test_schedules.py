"""The file system process under a thousand schedules: eviction against read, forget against lookup."""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyfuse3
import pytest
import trio
from fakes.schedules import SEEDS, run_trio
from fakes.store import MemoryFetcher

from swiftfs.cache import reader as cache_reader
from swiftfs.cache.reader import Reader as CacheReader
from swiftfs.cache.writer import Writer
from swiftfs.fs import fuse
from swiftfs.fs.fuse import Operations
from swiftfs.fs.inodes import ROOT
from swiftfs.fs.prefetch import Mode
from swiftfs.fs.vfs import Vfs
from swiftfs.fs.view import View
from swiftfs.index.build import Index
from swiftfs.index.entry import Resolved, Source
from swiftfs.index.reader import Reader as IndexReader
from swiftfs.index.schema import index_path
from swiftfs.model import ListingEntry

KEPT_READS: tuple[int, ...] = (21,)
KEPT_LOOKUPS: tuple[int, ...] = ()
"""Seeds that failed once."""
ACCOUNT, CONTAINER = "http://store/v1/AUTH_x", "c"
CHUNK = 4096
LIMIT = 3 * CHUNK
OBJECTS = {name: random.Random(name).randbytes(size) for name, size in (("a", 900), ("b", 2 * CHUNK), ("c", 5 * CHUNK))}


class SlowFetcher(MemoryFetcher):
    """Answers come some turns of the loop after they were made."""

    draw: random.Random

    async def chunk(self, want):  # type: ignore[no-untyped-def]
        await trio.sleep(self.draw.choice([0, 1, 2]))
        have = await super().chunk(want)
        await trio.sleep(self.draw.choice([0, 0, 1]))
        return have


@dataclass
class Tree:
    """A mounted tree in memory; one for all seeds, for to open an index takes as long as a schedule."""

    vfs: Vfs
    fetcher: SlowFetcher
    writer: Writer
    index: Index
    now: float = 0.0

    def rebuild(self, objects: dict[str, bytes]) -> None:
        builder = self.index.builder()
        for name in sorted(objects):
            builder.add([Resolved(ListingEntry(name, len(objects[name]), md5(objects[name]), 0))])
        builder.finish(len(objects))


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def top() -> Iterator[Path]:
    """A directory in memory: thousands of commits would wait for a disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as made:
        yield Path(made)


@pytest.fixture
def tree(top: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tree]:
    monkeypatch.setattr(cache_reader, "WHOLE_BYTES", 1024)
    source = Source(ACCOUNT, CONTAINER)
    path = index_path(top / "index", source)
    index = Index(path, source)
    writer = Writer(top / "cache", limit=LIMIT, chunk_size=CHUNK)
    fetcher = SlowFetcher(ACCOUNT, CONTAINER, writer, CHUNK, OBJECTS)
    made = Tree(None, fetcher, writer, index)  # type: ignore[arg-type]
    made.rebuild(OBJECTS)
    reader = CacheReader(top / "cache", chunk_size=CHUNK, open_files=2, on_bad=lambda *at: made.vfs.bad(*at))
    made.vfs = Vfs(
        lambda: IndexReader(path),
        reader,
        fetcher,
        account=ACCOUNT,
        container=CONTAINER,
        chunk_size=CHUNK,
        streams=4,
        prefetch=Mode.OFF,
        prefetch_budget=LIMIT,
    )
    fetcher.on_have = made.vfs.have
    yield made
    made.vfs.close()
    reader.close()
    writer.close()
    index.close()


def test_eviction_never_shows_in_a_read(tree: Tree) -> None:
    """Whatever the schedule, readers of more than the cache holds get their bytes while chunks go under them."""

    async def main(draw: random.Random) -> None:
        tree.fetcher.draw = draw
        tree.writer.clear()

        async def read() -> None:
            for _ in range(3):
                name = draw.choice("abc")
                entry = tree.vfs.child(ROOT, name.encode())
                assert entry is not None
                offset, size = draw.randrange(5 * CHUNK), draw.randint(1, CHUNK)
                found = await tree.vfs.read(entry.ino, offset, size)
                assert found == OBJECTS[name][offset : offset + size]

        async def keep_house() -> None:
            for _ in range(4):
                await trio.sleep(draw.choice([0, 1]))
                tree.vfs.keep_house()
                draw.choice([tree.writer.flush, tree.writer.clear])()

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(read)
            nursery.start_soon(keep_house)

    for seed in (*KEPT_READS, *SEEDS):
        try:
            run_trio(seed, main)
        except BaseException as error:
            raise AssertionError(f"seed {seed}") from error


def test_what_the_kernel_holds_is_known_and_told_of(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the schedule, an inode that the kernel has looked up more often than it forgot is known; and when it
    leaves the tree the kernel is told, so that in the end it holds nothing that is not in the tree."""
    told: list[int] = []
    monkeypatch.setattr(pyfuse3, "invalidate_inode", told.append)
    monkeypatch.setattr(pyfuse3, "invalidate_entry", lambda parent, name: None)

    async def main(draw: random.Random) -> None:
        operations = Operations(tree.vfs, View(0, 0))
        held: Counter[int] = Counter()
        told.clear()

        async def look_up() -> None:
            for _ in range(6):
                await trio.sleep(draw.choice([0, 1]))
                attributes = await operations.lookup(ROOT, draw.choice([b"a", b"b", b"c"]), None)  # type: ignore[arg-type]
                if attributes.st_ino:
                    held[attributes.st_ino] += 1

        async def forget() -> None:
            for _ in range(6):
                await trio.sleep(draw.choice([0, 1]))
                given = [(ino, draw.randint(1, count)) for ino, count in held.items() if count and draw.random() < 0.5]
                held.subtract(dict(given))
                await operations.forget(given)

        async def refresh() -> None:
            for _ in range(2):
                await trio.sleep(draw.choice([0, 1, 3]))
                tree.rebuild({name: draw.choice([b"1", b"2", b"3"]) for name in draw.sample("abc", 2)})
                await trio.sleep(draw.choice([0, 1]))
                changes = tree.vfs.refreshed()
                await fuse.invalidate(tree.vfs, operations.inodes, changes)

        async with trio.open_nursery() as nursery:
            for task in (look_up, look_up, forget, refresh):
                nursery.start_soon(task)
        holds = [ino for ino, count in held.items() if count]
        assert sorted(operations.inodes.known()) == sorted(holds)
        shown = {entry.ino for entry in tree.vfs.children(ROOT, 0, 9)}
        assert {ino for ino in holds if ino not in shown} <= set(told)

    for seed in (*KEPT_LOOKUPS, *SEEDS):
        try:
            run_trio(seed, main)
        except BaseException as error:
            raise AssertionError(f"seed {seed}") from error
