"""A tree of which only the names on top are known: who looks below waits for the listing, nobody else does."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import trio.testing
from fakes.store import MemoryFetcher

from swiftfs.cache.reader import Reader as CacheReader
from swiftfs.cache.writer import Writer
from swiftfs.errors import DeadlineExceeded, SwiftFSError
from swiftfs.fs.inodes import ROOT
from swiftfs.fs.prefetch import Mode
from swiftfs.fs.vfs import Vfs
from swiftfs.index.build import Index
from swiftfs.index.entry import Change, Resolved, Source
from swiftfs.index.reader import Reader
from swiftfs.index.schema import discard
from swiftfs.model import ListingEntry
from swiftfs.mount.ordering import Ordering
from swiftfs.mount.warmer import Warmer

CHUNK = 4096


@dataclass
class Half:
    """A mounted tree and the index behind it, which can be made whole."""

    vfs: Vfs
    index: Index

    def make_whole(self, *names: str) -> None:
        builder = self.index.builder()
        builder.add([Resolved(ListingEntry(name, 1, "e" * 32, 1)) for name in sorted(names)])
        builder.finish(len(names))


@pytest.fixture
def half(tmp_path: Path) -> Iterator[Half]:
    """The file ``a`` and the directory ``d`` are known."""
    with contextlib.ExitStack() as stack:
        index = Index(tmp_path / "index.db", Source("http://store/v1/A", "c"))
        stack.callback(index.close)
        builder = index.builder()
        builder.add([Resolved(ListingEntry("a", 1, "e" * 32, 1)), Resolved(ListingEntry("d/", 0, "", 1))])
        assert builder.finish_top()
        writer = Writer(tmp_path / "cache", limit=1 << 30, chunk_size=CHUNK)
        stack.callback(writer.close)
        reader = CacheReader(
            tmp_path / "cache", chunk_size=CHUNK, on_bad=lambda *_: None, on_bad_pieces=lambda *_: None
        )
        stack.callback(reader.close)
        vfs = Vfs(
            lambda: Reader(index.path),
            reader,
            MemoryFetcher("http://store/v1/A", "c", writer, CHUNK, {}),
            account="http://store/v1/A",
            container="c",
            chunk_size=CHUNK,
            streams=4,
            prefetch=Mode.OFF,
            prefetch_budget=1 << 30,
        )
        stack.callback(vfs.close)
        yield Half(vfs, index)


async def text(piece: bytes, after: trio.Event | None = None) -> AsyncIterator[bytes]:
    """The text of an order, which comes ``after`` something has happened."""
    if after is not None:
        await after.wait()
    yield piece


def ino_of(vfs: Vfs, name: bytes) -> int:
    entry = vfs.child(ROOT, name)
    assert entry is not None
    return entry.ino


@pytest.mark.trio
async def test_what_is_on_top_is_known_at_once_and_what_is_below_when_all_is_listed(
    half: Half, autojump_clock: trio.abc.Clock
) -> None:
    """The root never waits; a directory's names are waited for, and then they are all there under the same inode."""
    directory = ino_of(half.vfs, b"d")
    assert not half.vfs.is_whole
    await half.vfs.known(ROOT)
    found: list[bytes] = []

    async def look() -> None:
        await half.vfs.known(directory)
        found.extend(entry.name for entry in half.vfs.children(directory, 0, 10))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await trio.testing.wait_all_tasks_blocked()
        assert found == []
        half.make_whole("a", "d/1", "d/2")
        half.vfs.refreshed()
    assert found == [b"1", b"2"]
    assert half.vfs.is_whole


@pytest.mark.trio
async def test_a_listing_that_takes_too_long_is_an_error_at_the_deadline(
    half: Half, autojump_clock: trio.abc.Clock
) -> None:
    """A reader waits no longer than for anything else, and a refresh that finds no whole tree frees nobody."""
    began = trio.current_time()
    half.vfs.refreshed()
    with pytest.raises(DeadlineExceeded, match="has not been listed within"):
        await half.vfs.known(ino_of(half.vfs, b"d"))
    assert trio.current_time() - began >= 1


@pytest.mark.trio
async def test_the_kernel_is_told_of_changes_on_top_alone(half: Half) -> None:
    """It has been told of no other names. The next refresh tells of all."""
    directory, file = ino_of(half.vfs, b"d"), ino_of(half.vfs, b"a")
    half.make_whole("b", "d/1", "d/2")
    changes = half.vfs.refreshed()
    assert changes is not None
    assert set(changes) == {Change(ROOT, b"a", file), Change(ROOT, b"b", None)}

    half.make_whole("b", "d/1", "d/2", "d/3")
    assert half.vfs.refreshed() == (Change(directory, b"3", None),)


@pytest.mark.trio
async def test_a_warm_and_an_order_wait_for_the_whole_tree(half: Half, autojump_clock: trio.abc.Clock) -> None:
    """Both are about names that are not known yet."""
    counts: list[object] = []

    async def warm() -> None:
        counts.append((await Warmer(half.vfs).command({"paths": ["d"]}))["files"])

    async def order() -> None:
        counts.append((await Ordering(half.vfs, Path("/mnt")).take(text(b"d/1\nd/2\n")))["names"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(warm)
        nursery.start_soon(order)
        await trio.testing.wait_all_tasks_blocked()
        assert counts == []
        half.make_whole("a", "d/1", "d/2")
        half.vfs.refreshed()
    assert counts == [2, 2]


@pytest.mark.trio
async def test_a_warm_that_waits_for_the_tree_can_be_given_up(half: Half) -> None:
    """As one that fetches can; it says so, and nothing is fetched for it later."""
    warmer = Warmer(half.vfs)
    said: list[str] = []

    async def warm() -> None:
        try:
            await warmer.command({"paths": ["d"]})
        except SwiftFSError as error:
            said.append(error.message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(warm)
        await trio.testing.wait_all_tasks_blocked()
        assert await warmer.command({"cancel": True}) == {"cancelled": 1}
    assert said == ["it was given up before the container had been listed"]
    half.make_whole("a", "d/1")
    half.vfs.refreshed()
    assert half.vfs.ahead.warming.cancel() == 0


@pytest.mark.trio
async def test_the_order_that_was_told_last_counts_whichever_is_read_first(half: Half) -> None:
    """One that takes longer, or that had to wait for the tree, does not come back over it."""
    half.make_whole("a", "d/1", "d/2")
    half.vfs.refreshed()
    ordering = Ordering(half.vfs, Path("/mnt"))
    is_told = trio.Event()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ordering.take, text(b"a\nd/1\nd/2\n", after=is_told))
        await trio.testing.wait_all_tasks_blocked()
        await ordering.take(text(b"d/2\n"))
        is_told.set()
    status = ordering.status()
    assert status is not None
    assert status["files"] == 1

    await ordering.take(text(b"a\nd/1\n"))
    status = ordering.status()
    assert status is not None
    assert status["files"] == 2


@pytest.mark.trio
async def test_an_index_that_is_made_anew_takes_nothing_away_before_it_is_whole(half: Half) -> None:
    """The file was lost and another process begins again with the top: the tree stays until there is a whole one."""
    half.make_whole("a", "d/1")
    half.vfs.refreshed()
    directory = ino_of(half.vfs, b"d")
    discard(half.index.path)
    with contextlib.closing(Index(half.index.path, half.index.source)) as again:
        builder = again.builder()
        builder.add([Resolved(ListingEntry("d/", 0, "", 1))])
        assert builder.finish_top()
        assert half.vfs.refreshed() == ()
        assert [entry.name for entry in half.vfs.children(directory, 0, 10)] == [b"1"]

        builder = again.builder()
        builder.add([Resolved(ListingEntry(name, 1, "e" * 32, 1)) for name in ("d/1", "d/2")])
        builder.finish(2)
        assert half.vfs.refreshed() is None
        assert [entry.name for entry in half.vfs.children(ino_of(half.vfs, b"d"), 0, 10)] == [b"1", b"2"]


@pytest.mark.trio
async def test_an_index_that_was_damaged_can_be_left_behind(half: Half) -> None:
    """Inodes of the former file are forgotten by the kernel though nothing says any more where they were."""
    half.make_whole("a", *(f"d/{number:05}" for number in range(20_000)))
    half.vfs.refreshed()
    directory = ino_of(half.vfs, b"d")
    known = [entry.ino for entry in half.vfs.children(directory, 0, 20_000)]
    with half.index.path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (half.index.path.stat().st_size - 8192))
    discard(half.index.path)
    with contextlib.closing(Index(half.index.path, half.index.source)) as again:
        builder = again.builder()
        builder.add([Resolved(ListingEntry("b", 1, "e" * 32, 1))])
        builder.finish(1)
        assert half.vfs.refreshed() is None
        assert [half.vfs.place(ino) for ino in known[:: len(known) // 10]]
