"""The tree of one mount against a store that changes, fails and a disk that lies: every read is right or explained."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from fakes.cache_disk import data_bytes, stored_files
from fakes.changing_store import body, md5
from fakes.profiles import Size, sized
from fakes.store import MemoryFetcher, ino_of
from fakes.tree_model import ModelObject
from fakes.tree_model import tree_of as model_tree
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from trio.testing import MockClock

from swiftfs.cache import reader as cache_reader
from swiftfs.cache.names import PIECE_BYTES
from swiftfs.cache.reader import Reader as CacheReader
from swiftfs.cache.writer import Writer
from swiftfs.errors import Changed, Damaged, SwiftFSError, Unavailable
from swiftfs.fs.inodes import ROOT
from swiftfs.fs.prefetch import Mode
from swiftfs.fs.vfs import Vfs
from swiftfs.index.build import Index
from swiftfs.index.entry import Resolved, Source
from swiftfs.index.reader import FIRST_COOKIE
from swiftfs.index.reader import Reader as IndexReader
from swiftfs.index.schema import index_path
from swiftfs.model import ListingEntry

ACCOUNT, CONTAINER = "http://store/v1/AUTH_x", "c"
CHUNK = 4 * PIECE_BYTES
LIMIT = 6 * CHUNK
"""Less than two of the largest objects: eviction is the rule here."""
SIZES = (0, 1, 700, CHUNK, CHUNK + 1, 4 * CHUNK, 5 * CHUNK + 9)
NAMES = ("a", "b", "d/a", "d/b", "d/d/a", "d", "d/", "../a", "d//a")
"""Names that meet, as file and as directory of one path, and some that no tree can show."""

SPANS = st.lists(
    st.tuples(st.integers(0, max(SIZES)), st.one_of(st.integers(1, 2 * PIECE_BYTES), st.integers(1, 3 * CHUNK))),
    min_size=1,
    max_size=4,
)
"""Offset and size of each read through one handle."""


@dataclass(frozen=True)
class Handle:
    """An open file: its inode and the bytes of the version that it stands for."""

    ino: int
    name: str
    content: bytes


class TreeMachine(RuleBasedStateMachine):
    """One mount's file system process over a store in memory; the model is what was listed last."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(cache_reader, "WHOLE_BYTES", CHUNK)
        self.top = Path(tempfile.mkdtemp())
        self.clock = MockClock(autojump_threshold=0)
        self.moment = 0
        self.handles: list[Handle] = []
        self.lately: list[tuple[Handle, int, int]] = []
        self.injected: list[SwiftFSError] = []

    @initialize(prefetch=st.sampled_from([Mode.OFF, Mode.AUTO]), sizes=st.lists(st.sampled_from(SIZES), min_size=9))
    def begin(self, prefetch: Mode, sizes: list[int]) -> None:
        source = Source(ACCOUNT, CONTAINER)
        path = index_path(self.top / "index", source)
        self.index = Index(path, source)
        self.writer = Writer(self.top / "cache", limit=LIMIT, chunk_size=CHUNK, clock=self.later)
        self.store = {name: body(size, 0) for name, size in zip(NAMES, sizes, strict=False)}
        self.fetcher = MemoryFetcher(ACCOUNT, CONTAINER, self.writer, CHUNK, self.store)
        self.list_into_index()
        self.reader = CacheReader(
            self.top / "cache",
            chunk_size=CHUNK,
            open_files=2,
            on_bad=lambda key, chunk: self.vfs.bad(key, chunk),
            on_bad_pieces=lambda key, chunk: self.vfs.bad_pieces(key, chunk),
        )
        self.vfs = Vfs(
            lambda: IndexReader(path),
            self.reader,
            self.fetcher,
            account=ACCOUNT,
            container=CONTAINER,
            chunk_size=CHUNK,
            streams=4,
            prefetch=prefetch,
            prefetch_budget=LIMIT,
        )
        self.fetcher.on_have = self.vfs.have

    def later(self) -> float:
        """The writer's clock: past any pause at every look."""
        self.moment += 10
        return float(self.moment)

    def teardown(self) -> None:
        if hasattr(self, "vfs"):
            self.vfs.close()
            self.reader.close()
            self.writer.close()
            self.index.close()
        shutil.rmtree(self.top)
        self.patch.undo()

    def list_into_index(self) -> None:
        builder = self.index.builder()
        for name in sorted(self.store):
            content = self.store[name]
            self.moment += 1
            listed = ListingEntry(name, len(content), md5(content), self.moment * 10**9)
            builder.add([Resolved(listed)])
        builder.finish(len(self.store))
        self.listed = dict(self.store)

    def shown(self) -> dict[str, bytes]:
        """What the tree must show: the files of the last listing that a tree can have."""
        tree = model_tree({name: ModelObject(size=len(content)) for name, content in self.listed.items()})
        return {name: self.listed[name] for name in tree.files}

    # The store

    @rule(name=st.sampled_from(NAMES), size=st.sampled_from(SIZES), seed=st.integers(0, 2))
    def put(self, name: str, size: int, seed: int) -> None:
        """A new object, another version of one, or the same bytes again."""
        self.store[name] = body(size, seed)

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        self.store.pop(name, None)

    @rule(name=st.sampled_from(NAMES), error=st.sampled_from([Unavailable, Damaged]), times=st.integers(1, 2))
    def fail(self, name: str, error: type[SwiftFSError], times: int) -> None:
        """The next fetches of an object fail."""
        errors = [error("injected") for _ in range(times)]
        self.injected += errors
        self.fetcher.failures[name] = errors

    # The mount

    @rule()
    def refresh(self) -> None:
        self.list_into_index()
        self.vfs.refreshed()

    def opened(self, name: str) -> Handle:
        handle = Handle(ino_of(self.vfs, name), name, self.listed[name])
        self.handles = [*self.handles[-9:], handle]
        return handle

    @rule(data=st.data(), spans=SPANS)
    def open_and_read(self, data: st.DataObject, spans: list[tuple[int, int]]) -> None:
        names = sorted(self.shown())
        if names:
            handle = self.opened(data.draw(st.sampled_from(names)))
            for offset, size in spans:
                self.check_read(handle, offset, size)

    @precondition(lambda self: self.handles)
    @rule(data=st.data(), spans=SPANS)
    def read_on(self, data: st.DataObject, spans: list[tuple[int, int]]) -> None:
        """Through a handle that was opened before."""
        handle = data.draw(st.sampled_from(self.handles))
        for offset, size in spans:
            self.check_read(handle, offset, size)

    def check_read(self, handle: Handle, offset: int, size: int) -> None:
        """I1: a read is the slice of the handle's own version, or an error that the store or the injection explains."""
        self.lately = [*self.lately[-9:], (handle, offset, size)]
        try:
            found = trio.run(self.vfs.read, handle.ino, offset, size, clock=self.clock)
        except Changed:
            is_current = self.shown().get(handle.name) == handle.content and ino_of(self.vfs, handle.name) == handle.ino
            assert self.store.get(handle.name) != handle.content or not is_current
        except SwiftFSError as error:
            if error not in self.injected:
                raise
        else:
            assert found == handle.content[offset : offset + size]

    @rule(clear=st.booleans())
    def keep_house(self, clear: bool) -> None:
        self.vfs.keep_house()
        self.writer.flush()
        if clear:
            self.writer.clear()

    @precondition(lambda self: stored_files(self.top / "cache"))
    @rule(data=st.data(), harm=st.sampled_from(["flip", "flip", "cut", "delete", "delete all"]))
    def damage(self, data: st.DataObject, harm: str) -> None:
        """Harm to files behind the cache's back, and a read of what was harmed.

        A chunk is checked once for each time that its file is opened, so the files are closed first.
        """
        self.reader._close_files(keep=0)
        files = sorted(stored_files(self.top / "cache"))
        one = data.draw(st.sampled_from(files))
        match harm:
            case "flip":
                with one.open("r+b") as file:
                    file.seek(os.lseek(file.fileno(), 0, os.SEEK_DATA))
                    byte = file.read(1)
                    file.seek(-1, os.SEEK_CUR)
                    file.write(bytes([byte[0] ^ 1 << data.draw(st.integers(0, 7))]))
            case "cut":
                os.truncate(one, data.draw(st.integers(0, one.stat().st_size)))
            case "delete":
                one.unlink()
            case "delete all":
                for file in files:
                    file.unlink()
        for read in self.lately:  # the same pieces again, before whole chunks are fetched in their place
            self.check_read(*read)
        for handle in self.handles:
            self.check_read(handle, 0, max(SIZES))

    # What holds after every step

    @invariant()
    def the_tree_is_what_was_listed(self) -> None:
        """I2: names and sizes are those of the last listing, each once."""
        if hasattr(self, "vfs"):
            found = list(self.walk(ROOT, ""))
            assert sorted(found) == sorted((name, len(content)) for name, content in self.shown().items())

    def walk(self, ino: int, above: str) -> list[tuple[str, int]]:
        found = []
        cookie = FIRST_COOKIE
        while page := self.vfs.children(ino, cookie, 2):
            for entry in page:
                path = above + entry.name.decode()
                found += self.walk(entry.ino, path + "/") if entry.is_dir else [(path, entry.size)]
            cookie = page[-1].ino
        return found

    @invariant()
    def the_cache_keeps_its_limit(self) -> None:
        """I3: the cache's files hold no more bytes than they may."""
        assert data_bytes(self.top / "cache") <= LIMIT


TreeMachine.TestCase.settings = sized(Size(60, 30), large=Size(5000, 100))
test_every_read_is_right_or_explained: Callable[[], None] = pytest.mark.row("C2", "C3", "C8", "H5", "H16", "T2", "T6")(
    TreeMachine.TestCase
)
