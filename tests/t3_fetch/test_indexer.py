"""fetch.indexer: when a mount may begin with the tree that an earlier one has saved, and when it has to list."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.memory_swift import TOP, MemorySwift

from swiftfs.errors import ContainerNotFound, LocalFileError, Unavailable
from swiftfs.fetch import indexer as indexer_module
from swiftfs.fetch.indexer import Indexer
from swiftfs.index.reader import Reader
from swiftfs.index.schema import discard
from swiftfs.model import ListingEntry

pytestmark = pytest.mark.asyncio


class EndlessSwift(MemorySwift):
    """The empty page that ends a listing comes when ``end`` is set."""

    def __init__(self, page: int) -> None:
        super().__init__(page=page)
        self.end = asyncio.Event()
        self.waiting = asyncio.Event()

    async def list_objects(self, container: str, *, prefix: str = "") -> AsyncIterator[list[ListingEntry]]:
        async for page in super().list_objects(container, prefix=prefix):
            yield page
        self.waiting.set()
        await self.end.wait()


async def store_of(*names: str) -> MemorySwift:
    store = MemorySwift()
    await store.create_container("c")
    for name in names:
        store.alter("c", name, b"aa")
    return store


@contextlib.asynccontextmanager
async def prepared(store: MemorySwift, directory: Path, prefix: str = "") -> AsyncIterator[Indexer]:
    """What a mount starts with; the requests before it are forgotten."""
    store.log.clear()
    indexer = Indexer(store, directory, "https://store.test/v1/AUTH_a", "c", prefix)  # type: ignore[arg-type]
    try:
        await indexer.prepare()
        yield indexer
    finally:
        indexer.close()


def names_in(indexer: Indexer) -> list[bytes]:
    reader = Reader(indexer.path)
    try:
        return [entry.name for entry in reader.children(1, 0, 100)]
    finally:
        reader.close()


def listings(store: MemorySwift) -> int:
    return sum(1 for method, _, name in store.log if method == "GET" and not name)


async def test_a_container_that_is_as_it_was_is_not_listed_again(tmp_path: Path) -> None:
    """Equal headers: the saved tree is shown, for the price of one HEAD."""
    store = await store_of("a", "b")
    async with prepared(store, tmp_path) as first:
        assert not first.stale
        assert await first.confirm()
        assert listings(store) == 2
    async with prepared(store, tmp_path) as second:
        assert not second.stale
        assert names_in(second) == [b"a", b"b"]
        assert await second.confirm()
    assert store.log == [("HEAD", "c", "")]


async def test_a_listing_of_all_that_the_headers_count_is_shown_before_its_end_has_come(tmp_path: Path) -> None:
    """Pages with every name: the mount answers; the empty page behind them comes after. A mount that ended before it
    came has proven nothing to the next one."""
    store = EndlessSwift(page=2)
    await store.create_container("c")
    for name in ("a", "b", "c"):
        store.alter("c", name, b"aa")
    async with prepared(store, tmp_path) as first:
        assert names_in(first) == [b"a", b"b", b"c"]
    store.end.set()
    async with prepared(store, tmp_path) as second:
        assert listings(store) == 3
        assert await second.confirm()
    async with prepared(store, tmp_path):
        assert listings(store) == 0


async def test_a_page_is_asked_for_while_the_one_before_it_is_taken_up(tmp_path: Path) -> None:
    """The store's next answer is on its way while the index is written: neither waits for the other."""
    store = await store_of("a", "b")
    store.page = 1
    asked = []
    async with prepared(store, tmp_path) as indexer:
        taken_up = indexer._add

        async def add(*page: object) -> None:
            await asyncio.sleep(0)
            asked.append(listings(store))
            await taken_up(*page)  # type: ignore[arg-type]

        indexer._add = add  # type: ignore[method-assign]
        store.log.clear()
        await indexer.rebuild()
    assert asked == [2, 3]


async def test_a_slow_listing_does_not_undo_what_another_mount_has_listed_since(tmp_path: Path) -> None:
    """A listing has passed a name, which is then uploaded and listed by another mount: it stays, also when the slow one
    ends; and the slow one has the next upload."""
    store = EndlessSwift(page=2)
    await store.create_container("c")
    for name in ("a", "c"):
        store.alter("c", name, b"aa")
    store.end.set()
    quick_store = MemorySwift(held=store.held)
    async with prepared(store, tmp_path) as slow, prepared(quick_store, tmp_path) as quick:
        store.end.clear()
        store.waiting.clear()
        listing = asyncio.create_task(slow.rebuild())
        await store.waiting.wait()
        store.alter("c", "b", b"aa")
        await quick.rebuild()
        store.end.set()
        assert (await listing).outrun
        assert names_in(slow) == [b"a", b"b", b"c"]
        store.alter("c", "d", b"aa")
        assert (await slow.rebuild()).added == 1


async def test_a_deleted_index_is_made_anew_by_the_next_refresh(tmp_path: Path) -> None:
    """Also with the directory that it was in, and one that another mount has made meanwhile is taken."""
    store = await store_of("a")
    async with prepared(store, tmp_path) as first:
        shutil.rmtree(tmp_path)
        await first.rebuild()
        assert names_in(first) == [b"a"]
        discard(first.path)
        async with prepared(store, tmp_path):
            pass
        file = first.path.stat()
        store.alter("c", "b", b"")
        await first.rebuild()
        assert names_in(first) == [b"a", b"b"]
        assert file.st_ino == first.path.stat().st_ino


async def test_an_index_that_is_deleted_while_it_is_rebuilt_is_said(tmp_path: Path) -> None:
    """Nobody is told of a tree that no reader can open, and what to do is said; then it is there."""
    store = EndlessSwift(page=2)
    await store.create_container("c")
    store.alter("c", "a", b"aa")
    store.end.set()
    async with prepared(store, tmp_path) as indexer:
        store.end.clear()
        store.waiting.clear()
        listing = asyncio.create_task(indexer.rebuild())
        await store.waiting.wait()
        discard(indexer.path)
        store.end.set()
        with pytest.raises(LocalFileError, match="made anew"):
            await listing
        await indexer.rebuild()
        assert names_in(indexer) == [b"a"]


async def test_a_listing_that_breaks_off_leaves_nothing_running(tmp_path: Path) -> None:
    """What was asked for ahead is given up, and the tree stays as it was."""
    store = await store_of("a", "b")
    async with prepared(store, tmp_path) as indexer:
        assert await indexer.confirm()

        async def fails(*page: object) -> None:
            raise LocalFileError("the disk is full")

        indexer._add = fails  # type: ignore[method-assign]
        with pytest.raises(LocalFileError):
            await indexer.rebuild()
        assert len(asyncio.all_tasks()) == 1
        assert names_in(indexer) == [b"a", b"b"]


async def test_a_page_beyond_what_the_headers_count_has_the_container_listed_again(tmp_path: Path) -> None:
    """Headers that lag behind hide nothing for longer than one more listing."""
    store = await store_of("a", "b", "z")
    store.page = 2
    late = store.held["c"]["z"]

    def lagging(method: str, container: str, name: str) -> None:
        if name == TOP:
            store.held["c"].pop("z", None)
        elif method == "GET" and not name:
            store.held["c"]["z"] = late

    store.faults.append(lagging)
    async with prepared(store, tmp_path) as first:
        assert names_in(first) == [b"a", b"b"]
        assert not await first.confirm()
        await first.rebuild()
        assert names_in(first) == [b"a", b"b", b"z"]


async def test_an_end_that_cannot_be_asked_for_has_the_container_listed_again(tmp_path: Path) -> None:
    """The tree that is shown stays, and is not taken for proven."""
    store = await store_of("a")

    store.page = 1
    asked = 0

    def at_the_end(method: str, container: str, name: str) -> None:
        nonlocal asked
        asked += method == "GET" and not name
        if asked > 1:
            raise Unavailable("down")

    store.faults.append(at_the_end)
    async with prepared(store, tmp_path) as first:
        assert not await first.confirm()
        assert names_in(first) == [b"a"]


async def test_a_container_that_is_missing_is_said_and_leaves_nothing_running(tmp_path: Path) -> None:
    """Headers and first page are asked for together, and both say so."""
    with pytest.raises(ContainerNotFound):
        async with prepared(MemorySwift(), tmp_path):
            pass
    assert len(asyncio.all_tasks()) == 1


async def test_a_container_with_other_counts_is_listed_before_the_mount_answers(tmp_path: Path) -> None:
    """One object more: the tree that the mount begins with has it."""
    store = await store_of("a")
    async with prepared(store, tmp_path):
        pass
    store.alter("c", "b", b"")
    async with prepared(store, tmp_path) as second:
        assert names_in(second) == [b"a", b"b"]
        assert not second.stale


async def test_a_large_container_with_other_counts_is_listed_behind_the_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing that takes long is not waited for: the saved tree is shown, and known to be out of date."""
    store = await store_of("a")
    async with prepared(store, tmp_path):
        pass
    store.alter("c", "b", b"bb")
    monkeypatch.setattr(indexer_module, "LIST_FIRST", 1)
    async with prepared(store, tmp_path) as second:
        assert second.stale
        assert names_in(second) == [b"a"]
        await second.rebuild()
        assert names_in(second) == [b"a", b"b"]


async def test_a_listing_that_lagged_behind_the_headers_is_not_trusted_by_the_next_mount(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The headers count a name that the listing does not have yet: said loudly, and the next mount lists again."""
    store = await store_of("a", "b")
    late = store.held["c"].pop("b")

    def between(method: str, container: str, name: str) -> None:
        if method == "GET" and not name:
            store.held["c"].pop("b", None)
        elif name == TOP:
            store.held["c"]["b"] = late

    store.faults.append(between)
    async with prepared(store, tmp_path) as first:
        assert names_in(first) == [b"a"]
    assert "the listing of c has 1 names, but its headers count 2" in caplog.text
    store.faults.clear()
    store.held["c"]["b"] = late
    async with prepared(store, tmp_path) as second:
        assert names_in(second) == [b"a", b"b"]


async def test_a_part_of_a_container_is_judged_by_the_headers_of_the_whole(tmp_path: Path) -> None:
    """With a prefix the listing has fewer names than the headers count: that alone is no reason to list again."""
    store = await store_of("d/a", "e/b")
    async with prepared(store, tmp_path, "d") as first:
        assert names_in(first) == [b"a"]
    async with prepared(store, tmp_path, "d"):
        assert listings(store) == 0
    store.alter("c", "d/c", b"cc")
    async with prepared(store, tmp_path, "d") as third:
        assert names_in(third) == [b"a", b"c"]
