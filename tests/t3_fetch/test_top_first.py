"""fetch.indexer: a container that takes long to list is shown from its top, and trusted only when it is whole."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import itertools
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Container
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes.memory_swift import TOP, MemorySwift
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftfs.errors import LocalFileError, Truncated, Unavailable
from swiftfs.fetch import indexer as indexer_module
from swiftfs.fetch import protocol
from swiftfs.fetch import worker as worker_module
from swiftfs.fetch.indexer import Indexer
from swiftfs.fetch.manifest import manifest_name
from swiftfs.fetch.pinned import PinnedIndexer
from swiftfs.fetch.protocol import Hello, Message, Ready, Refreshed
from swiftfs.fetch.worker import Worker
from swiftfs.index.entry import ROOT_INO, Diff, Entry, Totals
from swiftfs.index.reader import Reader
from swiftfs.model import ListingEntry
from swiftfs.swift.listing import Top

NAMES = ("a", "d/1", "d/2", "e/f/3", "z")
"""Objects of a container of which a page has fewer."""

PLACE = ("https://store.test/v1/AUTH_a", "c")
"""Account and container."""
HELLO = Hello("r", "c", "", "", "", 1 << 30, 0, 4096, 16, 60.0, None, 1)


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four names are what one request lists."""
    monkeypatch.setattr(indexer_module, "ONE_PAGE", 4)


def store_of(*names: str) -> MemorySwift:
    store = MemorySwift(page=4)
    store.held["c"] = {}
    for name in names:
        store.alter("c", name, b"aa")
    return store


@contextlib.asynccontextmanager
async def prepared(store: MemorySwift, directory: Path, prefix: str = "") -> AsyncIterator[Indexer]:
    store.log.clear()
    indexer = Indexer(store, directory, *PLACE, prefix)  # type: ignore[arg-type]
    try:
        await indexer.prepare()
        yield indexer
    finally:
        indexer.close()


def shown(indexer: Indexer, directory: int = ROOT_INO) -> dict[bytes, Entry]:
    with contextlib.closing(Reader(indexer.path)) as reader:
        return {entry.name: entry for entry in reader.children(directory, 0, 1000)}


def is_whole(indexer: Indexer) -> bool:
    with contextlib.closing(Reader(indexer.path)) as reader:
        return reader.meta().complete


@pytest.mark.asyncio
async def test_the_names_on_top_are_shown_before_all_is_listed(tmp_path: Path) -> None:
    """Files with their sizes and directories; what is below comes with the listing, and what was shown keeps its
    inodes. All of it takes the listing's requests and the one for the top."""
    store = store_of(*NAMES)
    async with prepared(store, tmp_path) as indexer:
        assert indexer.partial
        assert not is_whole(indexer)
        before = shown(indexer)
        assert {name: entry.is_dir for name, entry in before.items()} == {
            b"a": False, b"d": True, b"e": True, b"z": False,
        }  # fmt: skip
        assert before[b"a"].size == 2

        await indexer.rebuild()
        assert not indexer.partial
        assert is_whole(indexer)
        after = shown(indexer)
        assert {name: entry.ino for name, entry in before.items()} == {name: entry.ino for name, entry in after.items()}
        assert list(shown(indexer, after[b"d"].ino)) == [b"1", b"2"]
        assert store.log.count(("GET", "c", TOP)) == 1
        assert len(store.log) == 1 + 3  # two pages and the empty one; no HEAD


@pytest.mark.asyncio
async def test_more_names_on_top_than_one_request_tells_are_listed_at_once(tmp_path: Path) -> None:
    """A flat container has no top that is worth showing first."""
    store = store_of(*NAMES)
    store.top = 4
    async with prepared(store, tmp_path) as indexer:
        assert not indexer.partial
        assert is_whole(indexer)


@pytest.mark.asyncio
async def test_a_listing_that_would_take_longer_than_readers_wait_is_not_left_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of very many names the mount answers when it has all."""
    monkeypatch.setattr(indexer_module, "LISTED_IN_A_SECOND", 4 / 60)
    async with prepared(store_of(*NAMES), tmp_path) as indexer:
        assert not indexer.partial


@pytest.mark.asyncio
async def test_a_top_that_was_left_alone_is_not_trusted_by_the_next_mount(tmp_path: Path) -> None:
    """A mount that ended before all was listed: the next one begins again, and lists."""
    store = store_of(*NAMES)
    async with prepared(store, tmp_path) as first:
        assert first.partial
    store.alter("c", "new", b"aa")
    async with prepared(store, tmp_path) as second:
        assert second.partial
        assert b"new" in shown(second)
        await second.rebuild()
        assert is_whole(second)
    async with prepared(store, tmp_path) as third:
        assert not third.partial
        assert store.log == [("HEAD", "c", "")]


@pytest.mark.asyncio
async def test_a_top_never_takes_the_place_of_a_whole_tree(tmp_path: Path) -> None:
    """Two mounts begin with nothing; the slower one finds what the other has listed, and shows that."""
    store = store_of(*NAMES)
    async with prepared(store, tmp_path) as first:

        class Late(MemorySwift):
            async def list_top(self, container: str, *, prefix: str = "") -> Top:
                top = await super().list_top(container, prefix=prefix)
                await first.rebuild()
                return top

        second = Indexer(Late(page=4, held=store.held), first.path.parents[1], *PLACE, "")  # type: ignore[arg-type]
        await second.prepare()
        second.close()
        assert not second.partial
        assert is_whole(second)
        assert list(shown(second, shown(second)[b"d"].ino)) == [b"1", b"2"]


@pytest.mark.asyncio
async def test_a_listing_that_fails_leaves_the_top_and_can_be_tried_again(tmp_path: Path) -> None:
    """Nothing half is shown, and nothing is left running."""
    store = store_of(*NAMES)
    async with prepared(store, tmp_path) as indexer:
        before = shown(indexer)

        def down(method: str, container: str, name: str) -> None:
            raise Unavailable("down")

        store.faults.append(down)
        with pytest.raises(Unavailable):
            await indexer.rebuild()
        assert indexer.partial
        assert shown(indexer) == before
        assert asyncio.all_tasks() == {asyncio.current_task()}
        store.faults.clear()
        await indexer.rebuild()
        assert is_whole(indexer)


@pytest.mark.asyncio
async def test_a_store_that_cannot_tell_its_top_is_listed_as_a_whole(tmp_path: Path) -> None:
    """What is wrong with that one listing costs nothing but the haste."""
    store = store_of(*NAMES)

    def broken(method: str, container: str, name: str) -> None:
        if name == TOP:
            raise Truncated("the listing is out of order")

    store.faults.append(broken)
    async with prepared(store, tmp_path) as indexer:
        assert not indexer.partial
        assert is_whole(indexer)


@pytest.mark.asyncio
async def test_a_disk_that_cannot_keep_a_long_listing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an error that nobody foresaw: the process lives on, and the tree stays as it was."""

    async def full(*_: object, **__: object) -> AsyncIterator[list[ListingEntry]]:
        raise OSError(errno.ENOSPC, "No space left on device")
        yield []

    monkeypatch.setattr(indexer_module, "SPLIT_FROM", 5)
    monkeypatch.setattr(indexer_module, "list_split", full)
    async with prepared(store_of(*NAMES), tmp_path) as indexer:
        with pytest.raises(LocalFileError, match="No space left"):
            await indexer.rebuild()
        assert indexer.partial


components = st.sampled_from(["a", "b", "c.d", "a-", "A", "..", "", "x" * 300, ".swiftfs", "d\0"])


@pytest.mark.logs("cannot be shown as files")
@settings(max_examples=60, deadline=None)
@given(st.sets(st.lists(components, min_size=1, max_size=3).map("/".join).filter(bool), min_size=5, max_size=12))
def test_what_is_shown_first_is_what_is_listed_later(names: set[str]) -> None:
    """Whatever the names: none comes later, and what is of the same kind later keeps its inode. Only a directory of
    which nothing can be shown goes, or makes room for a file that it hid."""

    async def run(directory: Path) -> tuple[dict[bytes, Entry], dict[bytes, Entry]]:
        async with prepared(store_of(*names), directory) as indexer:
            assert indexer.partial
            before = shown(indexer)
            await indexer.rebuild()
            return before, shown(indexer)

    with tempfile.TemporaryDirectory() as directory:
        before, after = asyncio.run(run(Path(directory)))
    assert after.keys() <= before.keys()
    same = {name for name, entry in after.items() if entry.is_dir == before[name].is_dir}
    assert {name: after[name].ino for name in same} == {name: before[name].ino for name in same}
    assert all(before[name].is_dir for name in before.keys() - same)


@dataclass
class Flaky:
    """An index whose first listing fails."""

    path: Path = Path("/none")
    stale: bool = False
    partial: bool = True
    hidden: int = 0
    drifted: int = 0
    listings: int = 0

    async def confirm(self) -> bool:
        return True

    async def rebuild(self) -> Diff:
        self.listings += 1
        if self.listings == 1:
            raise Unavailable("down")
        self.partial = False
        return Diff(1, 3, 0, 0, 0, 0, 0)

    def totals(self) -> Totals:
        return Totals(3, 0, 0)


@dataclass
class Link:
    """The socket to a file system process that says nothing."""

    heard: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self) -> None:
        await self.ended.wait()

    def send(self, message: Message) -> None:
        if not isinstance(message, protocol.AskAlive):
            self.heard.put_nowait(message)


def failing(
    store: MemorySwift, requests: Container[int], error: Callable[[], Exception] = lambda: Unavailable("down")
) -> None:
    """Of the requests for pages of a listing from now on, those numbered so fail."""
    numbers = itertools.count(1)

    def fail(method: str, container: str, name: str) -> None:
        if method == "GET" and not name and next(numbers) in requests:
            raise error()

    store.faults.append(fail)


class Idle:
    """A store and a cache that nobody asks for anything."""

    async def get_ready_to_stream(self) -> None:
        """Nothing has to be got ready."""

    def flush(self) -> None:
        """Nothing was stored."""


@pytest.mark.asyncio
@pytest.mark.logs("the container could not be listed")
async def test_a_first_listing_that_fails_is_tried_again_though_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers wait for it, also where the container is never listed again by itself."""
    monkeypatch.setattr(worker_module, "LIST_AGAIN", 0.01)
    indexer, link = Flaky(), Link()
    worker = Worker(HELLO, link, Idle(), Idle(), indexer, "account")  # type: ignore[arg-type]
    running = asyncio.create_task(worker.run())
    heard = [await link.heard.get() for _ in range(3)]
    assert [type(message) for message in heard] == [Ready, Refreshed, Refreshed]
    assert [message.error for message in heard[1:] if isinstance(message, Refreshed)] == ["down", None]
    link.ended.set()
    await running
    assert indexer.listings == 2


@pytest.mark.asyncio
@pytest.mark.logs("unexpected error while the container was listed")
async def test_an_error_that_nobody_foresaw_costs_a_listing_and_not_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither when the end of the first listing is asked for nor later; readers go on, and it is tried again."""
    monkeypatch.setattr(worker_module, "LIST_AGAIN", 0.01)
    store = store_of("a")
    failing(store, (2, 3), lambda: ZeroDivisionError("nobody foresaw this"))
    async with prepared(store, tmp_path) as indexer:
        assert await until_listed(indexer) == ["unexpected ZeroDivisionError", None]


async def until_listed(indexer: Indexer) -> list[str | None]:
    """What a mount is told of listings until one succeeds: their errors."""
    link = Link()
    worker = Worker(HELLO, link, Idle(), Idle(), indexer, "account")  # type: ignore[arg-type]
    running = asyncio.create_task(worker.run())
    assert isinstance(await link.heard.get(), Ready)
    errors: list[str | None] = []
    while not errors or errors[-1] is not None:
        heard = await link.heard.get()
        assert isinstance(heard, Refreshed)
        errors.append(heard.error)
    link.ended.set()
    await running
    return errors


@pytest.mark.asyncio
@pytest.mark.logs("the container could not be listed")
async def test_a_tree_that_is_out_of_date_is_listed_until_that_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large container that has changed since it was saved is shown as it was. Though its first listings fail, and it
    is never listed by itself, it is made fresh."""
    monkeypatch.setattr(worker_module, "LIST_AGAIN", 0.01)
    monkeypatch.setattr(indexer_module, "LIST_FIRST", 1)
    store = store_of("a")
    async with prepared(store, tmp_path):
        pass
    store.alter("c", "b", b"bb")
    async with prepared(store, tmp_path) as indexer:
        assert indexer.stale
        failing(store, (1, 2))
        assert await until_listed(indexer) == ["down", "down", None]
        assert not indexer.stale
        assert list(shown(indexer)) == [b"a", b"b"]


@pytest.mark.asyncio
@pytest.mark.logs("the container could not be listed")
async def test_a_tree_that_is_not_proven_is_listed_until_that_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the end of the first listing comes nor the listing after it: another one follows though nobody asks."""
    monkeypatch.setattr(worker_module, "LIST_AGAIN", 0.01)
    store = store_of("a")
    failing(store, (2, 3))
    async with prepared(store, tmp_path) as indexer:
        assert await until_listed(indexer) == ["down", None]
        assert not indexer.stale


@pytest.mark.asyncio
@pytest.mark.logs("the container could not be listed")
async def test_a_pinned_version_is_compared_until_that_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has drifted since the tree was saved is found out at every mount, also when the first listing fails."""
    monkeypatch.setattr(worker_module, "LIST_AGAIN", 0.01)
    store = store_of("a")
    (entry,) = [entry async for page in store.list_objects("c") for entry in page]
    line = {"name": "a", "size": entry.size, "md5": entry.etag, "mtime": 0}
    body = json.dumps(line).encode() + b"\n"
    digest = hashlib.sha256(body).hexdigest()
    store.alter("c", manifest_name(digest), body)
    for failures in ((), (1,)):
        indexer = PinnedIndexer(store, tmp_path, *PLACE, "", digest)  # type: ignore[arg-type]
        try:
            await indexer.prepare()
            assert indexer.stale == bool(failures)
            if failures:
                failing(store, failures)
                assert await until_listed(indexer) == ["down", None]
            else:
                assert await indexer.confirm()
            assert not indexer.stale
        finally:
            indexer.close()
