"""The tree as files, without a kernel and without a network."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pyfuse3
import pytest
import trio
from fakes.cache_disk import stored_files
from fakes.store import MemoryFetcher, ino_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swiftfs.cache.directory import CacheDirectory
from swiftfs.cache.names import PIECE_BYTES
from swiftfs.cache.pause import PAUSE
from swiftfs.cache.reader import Reader as CacheReader
from swiftfs.cache.writer import Writer
from swiftfs.errors import Changed, DeadlineExceeded, NotFound, Unavailable
from swiftfs.fetch.protocol import Bad, Have, Touch, Want, Wants
from swiftfs.fs.fuse import Operations
from swiftfs.fs.inodes import ROOT
from swiftfs.fs.order import Order
from swiftfs.fs.prefetch import Mode
from swiftfs.fs.vfs import Vfs
from swiftfs.fs.view import View
from swiftfs.index.build import Index
from swiftfs.index.entry import Resolved, Source
from swiftfs.index.reader import Reader as IndexReader
from swiftfs.index.schema import discard, index_path
from swiftfs.model import Kind, ListingEntry, ObjectInfo

ACCOUNT, CONTAINER = "http://store/v1/AUTH_x", "c"
CHUNK = 4096


@dataclass
class Tree:
    """A mounted tree in memory: the vfs, what stands behind it, and the way to change the store."""

    vfs: Vfs
    fetcher: MemoryFetcher
    index: Index

    def replace(self, objects: dict[str, bytes], moment: int = 0) -> None:
        """Make the store hold ``objects`` and rebuild the index from it."""
        self.fetcher.objects = objects
        builder = self.index.builder()
        builder.add([Resolved(listed(name, objects[name], moment)) for name in sorted(objects)])
        builder.finish(len(objects))


def listed(name: str, content: bytes, moment: int = 0) -> ListingEntry:
    return ListingEntry(name, len(content), hashlib.md5(content).hexdigest(), moment)


@pytest.fixture
def make_tree(tmp_path: Path) -> Iterator[object]:
    closing = []

    def make(
        objects: dict[str, bytes],
        *,
        limit: int = 1 << 30,
        mode: Mode = Mode.OFF,
        budget: int = 1 << 30,
        chunk_size: int = CHUNK,
    ) -> Tree:
        top = tmp_path / str(len(closing))
        source = Source(ACCOUNT, CONTAINER)
        path = index_path(top / "index", source)
        index = Index(path, source)
        writer = Writer(top / "cache", limit=limit, chunk_size=chunk_size)
        fetcher = MemoryFetcher(ACCOUNT, CONTAINER, writer, chunk_size, objects)
        builder = index.builder()
        builder.add([Resolved(listed(name, objects[name])) for name in sorted(objects)])
        builder.finish(len(objects))
        bad: list[tuple[str, int]] = []
        reader = CacheReader(
            top / "cache",
            chunk_size=chunk_size,
            on_bad=lambda key, chunk: bad.append((key, chunk)),
            on_bad_pieces=lambda key, chunk: fetcher.ask(Bad(key, chunk, pieces=True)),
        )
        vfs = Vfs(
            lambda: IndexReader(path),
            reader,
            fetcher,
            account=ACCOUNT,
            container=CONTAINER,
            chunk_size=chunk_size,
            streams=8,
            prefetch=mode,
            prefetch_budget=budget,
        )
        fetcher.on_have = vfs.have
        fetcher.on_failed = vfs.failed
        closing.extend([vfs.close, reader.close, index.close, writer.close])
        return Tree(vfs, fetcher, index)

    yield make
    for close in closing:
        close()


def body(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.trio
async def test_a_file_reads_as_its_object(make_tree) -> None:  # type: ignore[no-untyped-def]
    """Every slice of a file is the slice of its object, at and across the edges of chunks and past its end."""
    content = body(3 * CHUNK + 17)
    tree = make_tree({"a/b.bin": content})
    ino = ino_of(tree.vfs, "a/b.bin")
    for offset in (0, 1, CHUNK - 1, CHUNK, 2 * CHUNK + 5, len(content) - 1, len(content), len(content) + 9):
        for size in (0, 1, CHUNK, CHUNK + 1, len(content) + 100):
            assert await tree.vfs.read(ino, offset, size) == content[offset : offset + size]


@pytest.mark.trio
async def test_a_chunk_is_fetched_once(make_tree) -> None:  # type: ignore[no-untyped-def]
    """A second reading takes everything from the cache."""
    objects = {f"f{number}": body(CHUNK + number, number) for number in range(20)}
    tree = make_tree(objects)
    for _ in range(2):
        for name, content in objects.items():
            assert await tree.vfs.read(ino_of(tree.vfs, name), 0, len(content)) == content

    assert sorted(set(tree.fetcher.fetched)) == sorted(tree.fetcher.fetched)


@pytest.mark.trio
async def test_reading_goes_on_when_the_cache_takes_nothing(make_tree) -> None:  # type: ignore[no-untyped-def]
    """Without room on the disk bytes come straight from the store, and they are the right ones."""
    content = body(5 * CHUNK)
    tree = make_tree({"a": content}, limit=0)

    assert await tree.vfs.read(ino_of(tree.vfs, "a"), 100, 3 * CHUNK) == content[100 : 100 + 3 * CHUNK]


@pytest.mark.trio
async def test_a_chunk_that_is_damaged_at_once_is_fetched_again(make_tree, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A file that is harmed before its row is written is fetched anew, not promised again."""
    tree = make_tree({"a": b"right"})
    assert await tree.vfs.read(ino_of(tree.vfs, "a"), 0, 5) == b"right"
    for file in stored_files(tmp_path / "0" / "cache"):
        file.write_bytes(b"wrong")

    assert await tree.vfs.read(ino_of(tree.vfs, "a"), 0, 5) == b"right"


@pytest.mark.trio
@pytest.mark.row("C5")
@pytest.mark.logs("cannot be written")
async def test_a_cache_that_was_removed_is_begun_anew_and_followed(make_tree, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """What does not find its place comes from the store; a second later each object is fetched once and is cached."""
    objects = {f"f{number}": body(100, number) for number in range(10)}
    tree = make_tree(objects)
    await tree.vfs.read(ino_of(tree.vfs, "f0"), 0, 100)
    shutil.rmtree(tmp_path / "0" / "cache")
    assert await tree.vfs.read(ino_of(tree.vfs, "f1"), 0, 100) == objects["f1"]
    await trio.sleep(PAUSE)
    for name in list(objects)[2:] * 2:
        assert await tree.vfs.read(ino_of(tree.vfs, name), 0, 100) == objects[name]

    assert [name for name, _ in tree.fetcher.fetched] == list(objects)
    assert len(stored_files(tmp_path / "0" / "cache")) == 8


@pytest.mark.trio
@pytest.mark.row("P12")
async def test_a_chunk_that_cannot_be_opened_just_now_is_read_and_stays(make_tree, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Without a descriptor for the cache's files the bytes come from the store, and what is cached is not dropped."""
    chunk, content = 8 * PIECE_BYTES, body(40 * PIECE_BYTES)
    tree = make_tree({"a": b"right", "large": content}, chunk_size=chunk)
    reads = [("a", 0, 5), ("large", 3 * PIECE_BYTES, 10), ("large", chunk, 2 * chunk)]
    for name, start, size in reads:
        await tree.vfs.read(ino_of(tree.vfs, name), start, size)
    tree.vfs._cache._close_files(keep=0)

    def refuse(self: CacheDirectory, key: str, extent: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(CacheDirectory, "open_to_read", refuse)
        for name, start, size in reads:
            right = b"right" if name == "a" else content[start : start + size]
            assert await tree.vfs.read(ino_of(tree.vfs, name), start, size) == right

    assert [message for message in tree.fetcher.asked if isinstance(message, Bad)] == []


@pytest.mark.trio
async def test_a_failure_of_the_store_reaches_the_reader_and_passes(make_tree) -> None:  # type: ignore[no-untyped-def]
    """An error ends that read alone; the next one finds the store well again."""
    tree = make_tree({"a": b"x" * 10})
    tree.fetcher.failures["a"] = [Unavailable("down")]
    with pytest.raises(Unavailable):
        await tree.vfs.read(ino_of(tree.vfs, "a"), 0, 10)

    assert await tree.vfs.read(ino_of(tree.vfs, "a"), 0, 10) == b"x" * 10


@pytest.mark.trio
async def test_an_object_that_is_gone_is_stale_and_asks_for_a_refresh(make_tree) -> None:  # type: ignore[no-untyped-def]
    """Listed and then deleted: the open file is stale, which is remembered so that the tree is listed again."""
    tree = make_tree({"a": b"x" * 10})
    tree.fetcher.failures["a"] = [NotFound("gone")]
    with pytest.raises(Changed):
        await tree.vfs.read(ino_of(tree.vfs, "a"), 0, 10)

    assert tree.vfs.changed


@pytest.mark.trio
async def test_a_replaced_object_is_another_inode(make_tree) -> None:  # type: ignore[no-untyped-def]
    """After a refresh the name stands for the new version, while the old inode never shows a byte of it."""
    tree = make_tree({"a": b"old" * 10, "b": b"same"})
    old, same = ino_of(tree.vfs, "a"), ino_of(tree.vfs, "b")
    assert await tree.vfs.read(old, 0, 100) == b"old" * 10

    tree.replace({"a": b"new!" * 10, "b": b"same"}, moment=1)
    changes = tree.vfs.refreshed()

    assert changes is not None
    assert {(change.name, change.old_ino) for change in changes} == {(b"a", old)}
    assert ino_of(tree.vfs, "b") == same
    assert await tree.vfs.read(ino_of(tree.vfs, "a"), 0, 100) == b"new!" * 10
    assert await tree.vfs.read(old, 0, 100) == b"old" * 10


@pytest.mark.trio
async def test_a_large_object_that_was_stored_again_with_the_same_bytes_goes_on(make_tree) -> None:  # type: ignore[no-untyped-def]
    """After a refresh the same inode is read under the new time, by pages and by chunks; that is no new opening."""
    content = body(64 * CHUNK, 7)
    etag = hashlib.md5(content).hexdigest()
    tree = make_tree({"big": content}, chunk_size=16 * CHUNK)

    def store(moment: int) -> None:
        tree.fetcher.stored["big"] = moment
        builder = tree.index.builder()
        info = ObjectInfo("big", len(content), etag, moment, Kind.SLO)
        builder.add([Resolved(ListingEntry("big", len(content), etag, moment, slo_etag=etag), info)])
        builder.finish(1)

    store(10**9)
    tree.vfs.refreshed()
    ino = ino_of(tree.vfs, "big")
    page = slice(50 * CHUNK, 51 * CHUNK)
    assert await tree.vfs.read(ino, page.start, CHUNK) == content[page]

    store(2 * 10**9)
    with pytest.raises(Changed):
        await tree.vfs.read(ino, 20 * CHUNK, CHUNK)
    assert tree.vfs.refreshed() == ()

    assert ino_of(tree.vfs, "big") == ino
    for start, size in [(20, 1), (40, 1), (32, 16), (1, 62)]:
        assert await tree.vfs.read(ino, start * CHUNK, size * CHUNK) == content[start * CHUNK :][: size * CHUNK]
    assert tree.vfs.counters.opens == 1


@pytest.mark.trio
async def test_an_index_made_anew_mixes_no_numbers(make_tree, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """When the index is deleted under a mount and made anew by another, no old number stands for another file: what
    was open is stale, the kernel is told every name that it knows, and new lookups find the right bytes."""
    tree = make_tree({"b": body(100, 1), "c": body(100, 2)})
    old = {name: ino_of(tree.vfs, name) for name in "bc"}
    for ino in old.values():
        await tree.vfs.read(ino, 0, 100)
    path = index_path(tmp_path / "0" / "index", Source(ACCOUNT, CONTAINER))
    tree.index.close()
    discard(path)
    tree.index = Index(path, Source(ACCOUNT, CONTAINER))
    try:
        tree.replace({name: body(100, number) for number, name in enumerate("abc")})
        assert tree.vfs.refreshed() is None
        assert {tree.vfs.place(ino) for ino in old.values()} == {(ROOT, b"b"), (ROOT, b"c")}
        for number, name in enumerate("abc"):
            ino = ino_of(tree.vfs, name)
            assert ino not in old.values()
            assert await tree.vfs.read(ino, 0, 100) == body(100, number)
        for ino in old.values():
            with pytest.raises(Changed):
                await tree.vfs.read(ino, 0, 100)
        assert tree.vfs.refreshed() == ()
    finally:
        tree.index.close()


@pytest.mark.trio
async def test_the_next_files_are_there_before_they_are_opened(make_tree) -> None:  # type: ignore[no-untyped-def]
    """Reading in listing order, all but the first few files are found in the cache."""
    objects = {f"d/{number:04}.jpg": body(100, number) for number in range(200)}
    tree = make_tree(objects, mode=Mode.AUTO)
    for name, content in objects.items():
        ino = ino_of(tree.vfs, name)
        assert await tree.vfs.read(ino, 0, 1000) == content

    assert tree.vfs.counters.misses <= 5
    assert len(tree.fetcher.fetched) == 200


@pytest.mark.trio
async def test_nothing_is_fetched_ahead_that_the_cache_cannot_hold(make_tree) -> None:  # type: ignore[no-untyped-def]
    """A tree larger than the budget is not warmed as a whole, however it is read."""
    objects = {f"{number:04}.jpg": body(100, number) for number in range(400)}
    tree = make_tree(objects, mode=Mode.AUTO, budget=1000)
    names = list(objects)
    random.Random(5).shuffle(names)
    for name in names[:100]:
        await tree.vfs.read(ino_of(tree.vfs, name), 0, 100)

    assert not [message for message in tree.fetcher.asked if isinstance(message, Wants)]


@pytest.mark.trio
@pytest.mark.parametrize("budget", [36_000, 24_000, 8000])
async def test_large_files_in_order_are_fetched_ahead_as_far_as_the_cache_has_room(make_tree, budget: int) -> None:  # type: ignore[no-untyped-def]
    """No more than a third of it is ahead of the reader, who waits for none but the first; nothing is fetched ahead
    that is larger than that."""
    objects = {f"{number:03}.tar": body(4000, number) for number in range(100)}
    tree = make_tree(objects, mode=Mode.AUTO, limit=budget, budget=budget)
    names = list(objects)
    for number, name in enumerate(names):
        await tree.vfs.read(ino_of(tree.vfs, name), 0, 100)
        ahead = {name for name, _ in tree.fetcher.fetched} - set(names[: number + 1])
        assert len(ahead) * 4000 <= budget // 3

    assert tree.vfs.counters.misses == (4 if budget // 3 >= 4000 else 100)
    assert len(tree.fetcher.fetched) == 100


@pytest.mark.trio
async def test_a_read_has_one_deadline_however_often_its_chunk_is_lost(  # type: ignore[no-untyped-def]
    make_tree, autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer comes in time, and what it brought is evicted before the reader's turn."""
    tree = make_tree({"a": body(1000)})
    fetch = tree.fetcher.chunk

    async def late(want: Want) -> Have:
        await trio.sleep(tree.fetcher.deadline * 0.8)
        have = await fetch(want)
        tree.fetcher.cache.drop(have.key, have.chunk)
        tree.fetcher.cache.flush()
        return have

    monkeypatch.setattr(tree.fetcher, "chunk", late)
    began = trio.current_time()
    with pytest.raises(DeadlineExceeded):
        await tree.vfs.read(ino_of(tree.vfs, "a"), 0, 100)
    assert trio.current_time() - began == pytest.approx(tree.fetcher.deadline)


def told(tree: Tree, names: list[str]) -> Order:
    entries = [tree.vfs.entry(ino_of(tree.vfs, name)) for name in names]
    return Order.of([entry.ino for entry in entries], [entry.size for entry in entries])


@pytest.mark.trio
@pytest.mark.parametrize("limit", [1 << 30, 3000 * 60])
async def test_an_order_is_fetched_ahead_and_nothing_of_it_twice(make_tree, limit: int) -> None:  # type: ignore[no-untyped-def]
    """Read in an order that was told no open waits, and each file is fetched once an epoch at the most, also where
    the cache holds a tenth of them and the next epoch finds some of its files there."""
    objects = {f"d/{number:04}.jpg": body(3000, number) for number in range(600)}
    tree = make_tree(objects, mode=Mode.ORDER, limit=limit, budget=limit)
    for epoch in range(2):
        names = list(objects)
        random.Random(epoch).shuffle(names)
        before = len(tree.fetcher.fetched)
        tree.vfs.ahead.follow(told(tree, names))
        for at, name in enumerate(names):
            ino = ino_of(tree.vfs, name)
            assert await tree.vfs.read(ino, 0, 3000) == objects[name]
            if not at % 8:
                tree.vfs.keep_house()
        fetched = tree.fetcher.fetched[before:]
        assert len(set(fetched)) == len(fetched)

    assert tree.vfs.counters.misses == 0
    if limit == 1 << 30:
        assert len(tree.fetcher.fetched) == 600


@pytest.mark.trio
async def test_an_order_ends_guessing_and_an_empty_one_ends_the_order(make_tree) -> None:  # type: ignore[no-untyped-def]
    """Files of an order are not guessed about; what is asked for comes from the order alone, until there is none."""
    objects = {f"{number:04}.jpg": body(100, number) for number in range(300)}
    tree = make_tree(objects, mode=Mode.AUTO)
    names = list(objects)
    tree.vfs.ahead.follow(told(tree, names[::-1][:260]))
    for name in names[100:104]:
        await tree.vfs.read(ino_of(tree.vfs, name), 0, 100)
    assert sorted(name for name, _ in tree.fetcher.fetched) == names[40:]

    tree.vfs.ahead.follow(Order.of([], []))
    for name in names[:4]:
        await tree.vfs.read(ino_of(tree.vfs, name), 0, 100)
    assert sorted({name for name, _ in tree.fetcher.fetched}) == [*names[:20], *names[40:]]


@pytest.mark.trio
async def test_what_was_read_is_told_once_a_second(make_tree) -> None:  # type: ignore[no-untyped-def]
    """Recency goes to the fetch process in one message, not one for each read, and names the chunks that were read."""
    tree = make_tree({"a": b"1", "b": body(3 * CHUNK)})
    for _ in range(3):
        await tree.vfs.read(ino_of(tree.vfs, "a"), 0, 1)
        await tree.vfs.read(ino_of(tree.vfs, "b"), 2 * CHUNK, 1)
    tree.vfs.keep_house()
    tree.vfs.keep_house()

    touches = [message for message in tree.fetcher.asked if isinstance(message, Touch)]
    assert [sorted(chunk for _, chunk in message.chunks) for message in touches] == [[0, 2]]


@pytest.mark.trio
async def test_a_read_that_gets_no_answer_ends_at_its_deadline(make_tree, autojump_clock) -> None:  # type: ignore[no-untyped-def]
    """A store that never answers costs a reader the deadline and no more."""
    tree = make_tree({"a": b"1"})
    tree.fetcher.hang = trio.Event()
    start = trio.current_time()
    with pytest.raises(Unavailable):
        await tree.vfs.read(ino_of(tree.vfs, "a"), 0, 1)

    assert trio.current_time() - start == pytest.approx(tree.fetcher.deadline)


@pytest.mark.trio
async def test_the_kernels_second_read_waits_for_no_second_deadline(make_tree, autojump_clock) -> None:  # type: ignore[no-untyped-def]
    """After a read that ended at its deadline the same read fails at once; a while later it asks the store again."""
    tree = make_tree({"a": b"1", "b": b"2"})
    tree.fetcher.hang = trio.Event()
    with pytest.raises(Unavailable):
        await tree.vfs.read(ino_of(tree.vfs, "a"), 0, 1)
    start = trio.current_time()
    with pytest.raises(Unavailable):
        await tree.vfs.read(ino_of(tree.vfs, "a"), 0, 1)
    assert trio.current_time() == start

    tree.fetcher.hang = None
    assert await tree.vfs.read(ino_of(tree.vfs, "b"), 0, 1) == b"2"
    await trio.sleep(1)
    assert await tree.vfs.read(ino_of(tree.vfs, "a"), 0, 1) == b"1"


@pytest.mark.trio
async def test_however_many_readers_were_late_none_waits_for_a_second_deadline(make_tree, autojump_clock) -> None:  # type: ignore[no-untyped-def]
    """When a store goes away under many readers, the kernel's second read fails at once for each of them."""
    tree = make_tree({f"{number}": body(10, number) for number in range(100)})
    tree.fetcher.hang = trio.Event()
    inos = [ino_of(tree.vfs, f"{number}") for number in range(100)]

    async def read(ino: int) -> None:
        with pytest.raises(Unavailable):
            await tree.vfs.read(ino, 0, 1)

    start = trio.current_time()
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            for ino in inos:
                nursery.start_soon(read, ino)
    assert trio.current_time() - start == pytest.approx(tree.fetcher.deadline)


@pytest.mark.trio
async def test_a_read_over_several_chunks_has_one_deadline(make_tree, autojump_clock) -> None:  # type: ignore[no-untyped-def]
    """Chunks that each come late enough do not add up to a read that takes longer than it may."""
    tree = make_tree({"a": body(3 * CHUNK)})
    tree.fetcher.hang = trio.Event()
    tree.fetcher.ask = lambda message: None  # nothing comes ahead of the reader
    start = trio.current_time()

    async def answer_late() -> None:
        while True:
            await trio.sleep(0.6 * tree.fetcher.deadline)
            late, tree.fetcher.hang = tree.fetcher.hang, trio.Event()
            late.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_late)
        with pytest.raises(DeadlineExceeded, match="not read within 60 s"):
            await tree.vfs.read(ino_of(tree.vfs, "a"), 0, 3 * CHUNK)
        nursery.cancel_scope.cancel()
    assert trio.current_time() - start == pytest.approx(tree.fetcher.deadline)


# Large objects


LARGE_CHUNK = 256 << 10


@pytest.mark.trio
async def test_random_reads_fetch_what_they_ask_for_and_once(make_tree) -> None:  # type: ignore[no-untyped-def]
    """Pages read in no order are fetched as pages, and a second reading of them asks the store for nothing."""
    content = body(16 * LARGE_CHUNK + 77)
    tree = make_tree({"a": content}, chunk_size=LARGE_CHUNK)
    ino = ino_of(tree.vfs, "a")
    offsets = [page * 4096 for page in random.Random(2).sample(range(len(content) // 4096), 150)]
    for offset in offsets:
        assert await tree.vfs.read(ino, offset, 4096) == content[offset : offset + 4096]
    fetched = list(tree.fetcher.fetched_spans)
    for offset in offsets:
        assert await tree.vfs.read(ino, offset + 5, 4000) == content[offset + 5 : offset + 4005]

    assert sum(stop - start for _, start, stop in fetched) <= 1.3 * 150 * 4096
    assert tree.fetcher.fetched_spans == fetched


@pytest.mark.trio
async def test_a_sequential_reading_fetches_every_byte_once(make_tree) -> None:  # type: ignore[no-untyped-def]
    """From start to end: one request for each chunk, a few more at the start, and no byte twice or left in pieces."""
    content = body(9 * LARGE_CHUNK + 77)
    tree = make_tree({"a": content}, chunk_size=LARGE_CHUNK)
    ino = ino_of(tree.vfs, "a")
    for offset in range(0, len(content), 32 << 10):
        assert await tree.vfs.read(ino, offset, 32 << 10) == content[offset : offset + (32 << 10)]

    spans = sorted((start, stop) for _, start, stop in tree.fetcher.fetched_spans)
    assert (spans[0][0], spans[-1][1]) == (0, len(content))
    assert all(one[1] == other[0] for one, other in pairwise(spans))
    assert len(spans) <= 10 + 3
    assert tree.fetcher.cache.info().bytes == len(content)


@pytest.mark.trio
async def test_a_damaged_piece_is_fetched_again(make_tree, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Harm to a cached piece costs a request and is never shown, whether its row is written or not."""
    content = body(4 * LARGE_CHUNK)
    for written, directory in ((False, "0"), (True, "4")):
        tree = make_tree({"a": content}, chunk_size=LARGE_CHUNK)
        ino = ino_of(tree.vfs, "a")
        place = 2 * LARGE_CHUNK + 8192
        assert await tree.vfs.read(ino, place, 4096) == content[place : place + 4096]
        if written:
            tree.fetcher.cache.flush()
        (file,) = stored_files(tmp_path / directory / "cache")
        with file.open("r+b") as opened:
            opened.seek(8192)
            opened.write(b"harm")

        assert await tree.vfs.read(ino, place, 4096) == content[place : place + 4096]
        assert len(tree.fetcher.fetched_spans) == 2


@pytest.mark.trio
async def test_pieces_need_no_cache_to_be_read(make_tree) -> None:  # type: ignore[no-untyped-def]
    """Without room on the disk random reads get their bytes from the message."""
    content = body(4 * LARGE_CHUNK)
    tree = make_tree({"a": content}, chunk_size=LARGE_CHUNK, limit=0)
    for place in (3 * LARGE_CHUNK - 20_000, 300_001, LARGE_CHUNK - 10):
        assert await tree.vfs.read(ino_of(tree.vfs, "a"), place, 9000) == content[place : place + 9000]


@pytest.mark.trio
async def test_a_large_object_that_is_gone_or_late_fails_its_random_reads_alike(make_tree, autojump_clock) -> None:  # type: ignore[no-untyped-def]
    """Pieces end as chunks do: stale when the version is gone, at the deadline when nothing answers, and once."""
    tree = make_tree({"a": body(4 * LARGE_CHUNK)}, chunk_size=LARGE_CHUNK)
    tree.fetcher.failures["a"] = [NotFound("gone")]
    with pytest.raises(Changed):
        await tree.vfs.read(ino_of(tree.vfs, "a"), 500_000, 10)
    assert tree.vfs.changed

    tree.fetcher.hang = trio.Event()
    start = trio.current_time()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await tree.vfs.read(ino_of(tree.vfs, "a"), 700_000, 10)
    assert trio.current_time() - start == pytest.approx(tree.fetcher.deadline)


@pytest.mark.trio
async def test_without_a_cache_a_small_file_is_fetched_once_however_it_is_read(make_tree) -> None:  # type: ignore[no-untyped-def]
    """The kernel reads a chunk bit by bit: what the disk did not take is in memory for the next bit, under its version
    alone."""
    content, other = body(100_000, 1), body(100_000, 2)
    tree = make_tree({"a": content}, chunk_size=LARGE_CHUNK, limit=0)
    for _ in range(2):
        for start in range(0, len(content), CHUNK):
            assert await tree.vfs.read(ino_of(tree.vfs, "a"), start, CHUNK) == content[start : start + CHUNK]
    assert tree.fetcher.fetched == [("a", 0)]

    tree.replace({"a": other}, moment=1)
    tree.vfs.refreshed()
    assert await tree.vfs.read(ino_of(tree.vfs, "a"), 0, CHUNK) == other[:CHUNK]


@pytest.mark.trio
async def test_without_a_cache_a_large_file_is_sent_once(make_tree) -> None:  # type: ignore[no-untyped-def]
    """Read from start to end, whatever the length of a read: every byte once, and nothing ahead in vain."""
    content = body(5 * LARGE_CHUNK + 123)
    for length in (CHUNK, 32 * CHUNK, 256 * CHUNK):
        tree = make_tree({"a": content}, chunk_size=LARGE_CHUNK, limit=0, mode=Mode.AUTO)
        for start in range(0, len(content), length):
            assert await tree.vfs.read(ino_of(tree.vfs, "a"), start, length) == content[start : start + length]

        spans = sorted((start, stop) for _, start, stop in tree.fetcher.fetched_spans)
        assert sum(stop - start for start, stop in spans) == len(content), spans


@pytest.mark.trio
async def test_when_the_disk_has_room_again_bytes_go_there(make_tree) -> None:  # type: ignore[no-untyped-def]
    """What is fetched after that is on the disk, and files are fetched ahead again."""
    objects = {f"f{number}": body(CHUNK + number, number) for number in range(20)}
    tree = make_tree(objects, mode=Mode.AUTO)
    store = tree.fetcher.cache.store
    tree.fetcher.cache.store = lambda *_: None
    for number in (0, 1, 2):
        await tree.vfs.read(ino_of(tree.vfs, f"f{number}"), 0, CHUNK)
    assert not [one for one in tree.fetcher.asked if isinstance(one, Wants)]
    tree.fetcher.cache.store = store
    for number in (3, 4, 5, 6):
        await tree.vfs.read(ino_of(tree.vfs, f"f{number}"), 0, CHUNK)

    assert [one for one in tree.fetcher.asked if isinstance(one, Wants)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 3 * CHUNK), min_size=1, max_size=4),
    reads=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3 * CHUNK), st.integers(0, 3 * CHUNK)), max_size=25),
    limit=st.sampled_from([0, CHUNK, 3 * CHUNK, 1 << 30]),
    chunk_size=st.sampled_from([CHUNK, 2 * CHUNK]),
)
@pytest.mark.logs("cannot be written")
def test_every_read_is_right_whatever_the_cache_holds(
    make_tree, sizes: list[int], reads: list[tuple[int, int, int]], limit: int, chunk_size: int
) -> None:  # type: ignore[no-untyped-def]
    """For any files, any reads and any size of the cache, each read is the object's own slice."""
    objects = {f"f{number}": body(size, number) for number, size in enumerate(sizes)}
    tree = make_tree(objects, limit=limit, chunk_size=chunk_size)

    async def read_all() -> None:
        for number, offset, size in reads:
            name = f"f{number % len(sizes)}"
            assert await tree.vfs.read(ino_of(tree.vfs, name), offset, size) == objects[name][offset : offset + size]

    trio.run(read_all)


@pytest.mark.trio
@pytest.mark.logs("a request failed with ESTALE")
async def test_a_reader_that_tries_again_and_again_fills_no_log(make_tree, caplog) -> None:  # type: ignore[no-untyped-def]
    """Each of its requests ends with the errno and is counted; one line says why."""
    tree = make_tree({"a": b"1"})
    operations = Operations(tree.vfs, View(0, 0))
    for _ in range(1000):
        with pytest.raises(pyfuse3.FUSEError) as failed:
            await operations.read(1 << 40, 0, 1)
        assert failed.value.errno == errno.ESTALE

    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "a request failed with ESTALE: the file has changed or gone since it was opened"
    ]
    assert tree.vfs.counters.errors == 1000
