"""A fetch process, its index and its cache against a real store that changes, behind a proxy that breaks things."""

from __future__ import annotations

import os
import re
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio
from fakes.cache_disk import data_bytes, stored_files
from fakes.drawn_faults import LISTING_FAULTS, READ_FAULTS, REFUSED, WHOLE_READ_FAULTS, Drawn
from fakes.fault_proxy import Fault, RepeatPage, header
from fakes.fetch_side import FetchSide
from fakes.forked_fetch import Forks, stop
from fakes.programs import until
from fakes.store_machine import (
    HARMS,
    IS_LONG,
    PICKS,
    SIZE_NUMBERS,
    Place,
    StoreMachine,
    harm,
    place_of,
    run_machine,
    sizes,
)
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from swiftfs.cache import reader as cache_reader
from swiftfs.config import Remote
from swiftfs.errors import AuthError, Changed, SwiftFSError, Unavailable
from swiftfs.fetch.protocol import Hello, Status
from swiftfs.fs.inodes import ROOT
from swiftfs.fs.prefetch import Mode
from swiftfs.index.reader import FIRST_COOKIE
from swiftfs.localcloud import Cloud
from swiftfs.model import Kind, ObjectVersion

pytestmark = pytest.mark.cloud

BUDGET = 300.0
"""Seconds after which no batch is begun: a busy machine makes fewer of them."""
BATCHES, BATCH, LONG = 5, 10, 500
"""Each batch has a seed of its own, and this many examples; a long run is one batch."""
CHUNK = 4096
LIMIT = 6 * CHUNK
"""Less than two of the largest objects: eviction is the rule here."""
STREAMS = 6
DEADLINE = 12.0
"""Seconds for a chunk; a stall is given up after a quarter of them."""
LATE = 30.0
"""Seconds by which a deadline may be missed on a busy machine."""
SPARE_DESCRIPTORS = 16
"""Beyond those at the start and one for each stream: kept connections, and files of tables that come and go."""
EXPECTED_LINES = re.compile(
    r"\S+ \S+ WARNING swiftfs\.(cache\.\S+: the cache .* (cannot be written|was damaged)"
    r"|fetch\.indexer: \d+ objects cannot be shown as files"
    r"|fetch\.worker: the container could not be listed)"
)
SPANS = st.lists(st.tuples(st.integers(0, max(sizes(CHUNK))), st.integers(1, 3 * CHUNK)), min_size=1, max_size=4)
"""Offset and size of each read that is made at once."""


@dataclass(frozen=True, slots=True)
class Handle:
    """An open file: its inode, which object's version that is, and the bytes."""

    ino: int
    name: str
    version: ObjectVersion
    content: bytes


class FetchMachine(StoreMachine):
    """One mount's two halves over a part of a real container."""

    CONTAINER = "fetch-machine"
    SIZES = sizes(CHUNK)

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.handles: list[Handle] = []
        self.logins_before: int | None = None

    @initialize(numbers=st.lists(SIZE_NUMBERS, min_size=3, max_size=3))
    def begin(self, numbers: list[int]) -> None:
        self.top = Path(tempfile.mkdtemp())
        self.stack.callback(shutil.rmtree, self.top)
        patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(cache_reader, "WHOLE_BYTES", CHUNK)
        self.open_store(numbers)
        self.log = self.top / "log"
        self.forks = Forks(self.place.environ, self.log)
        hello = Hello(
            remote="local",
            container=self.CONTAINER,
            prefix=self.prefix,
            index_dir=str(self.top / "index"),
            cache_dir=str(self.top / "cache"),
            cache_size=LIMIT,
            cache_min_free=0,
            chunk_size=CHUNK,
            streams=STREAMS,
            deadline=DEADLINE,
            refresh=None,
            parent=os.getpid(),
        )
        self.side = self.stack.enter_context(FetchSide(hello, self.forks, Mode.OFF))
        self.base = self.descriptors()

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.forks.started[-1]}/fd"))

    # The mount

    @rule()
    def refresh(self) -> None:
        """I2: after a refresh the tree is what the store holds."""
        begun = time.monotonic()
        answer = self.side.call(self.side.client.refresh)
        assert time.monotonic() - begun < DEADLINE + LATE
        assert answer.error is None
        self.check_tree()

    def check_tree(self) -> None:
        if self.store.harmed:
            return  # what a DLO is without a segment is the store's business
        found = {path: (ino, size) for path, ino, size in self.side.call(self.walk)}
        shown = self.store.shown()
        assert {path: size for path, (_, size) in found.items()} == {
            path: len(version.content) for path, version in shown.items()
        }
        for path, (ino, _) in found.items():
            assert self.side.call(self.version, ino).etag == shown[path].etag

    async def walk(self, ino: int = ROOT, above: str = "") -> list[tuple[str, int, int]]:
        found = []
        cookie = FIRST_COOKIE
        while page := self.side.vfs.children(ino, cookie, 2):
            for entry in page:
                path = above + entry.name.decode()
                found += await self.walk(entry.ino, path + "/") if entry.is_dir else [(path, entry.ino, entry.size)]
            cookie = page[-1].ino
        return found

    async def version(self, ino: int) -> ObjectVersion:
        version = self.side.vfs._index.version(ino)
        assert version is not None
        return version

    def opened(self, pick: int) -> Handle | None:
        """One more open file, or one that was opened before. What there is depends on the processes' timing, so it is
        picked by a number: what hypothesis draws must not."""
        files = self.side.call(self.walk)
        which, is_old = divmod(pick, 2)
        if self.handles and (not files or is_old):
            return self.handles[which % len(self.handles)]
        if not files:
            return None
        path, ino, _ = files[which % len(files)]
        version = self.side.call(self.version, ino)
        content = self.store.ever.get((path, version.etag))
        if content is None:
            assert path in self.store.harmed or version.kind is Kind.DLO, f"{path} was never {version.etag}"
            return None
        handle = Handle(ino, path, version, content)
        self.handles = [*self.handles[-9:], handle]
        return handle

    @rule(pick=PICKS, spans=SPANS)
    def read(self, pick: int, spans: list[tuple[int, int]]) -> None:
        handle = self.opened(pick)
        if handle is not None:
            with self.proxy.broken():
                self.check_reads(handle, spans)

    @rule(pick=PICKS, spans=SPANS, fault=READ_FAULTS)
    def read_through_a_fault(self, pick: int, spans: list[tuple[int, int]], fault: Drawn) -> None:
        handle = self.opened(pick)
        if handle is not None:
            self.break_and_read(handle, spans, fault)

    @rule(pick=PICKS, fault=WHOLE_READ_FAULTS)
    def read_whole_through_a_fault(self, pick: int, fault: Drawn) -> None:
        handle = self.opened(pick)
        if handle is not None and handle.version.kind is Kind.PLAIN and len(handle.content) <= CHUNK:
            self.break_and_read(handle, [(0, CHUNK)], fault)

    def break_and_read(self, handle: Handle, spans: list[tuple[int, int]], fault: Drawn) -> None:
        path = re.escape(f"/{self.CONTAINER}/{self.store.prefix}{handle.name}") + "$"
        with self.proxy.broken(Fault(fault.action, "GET", path, count=fault.count)):
            self.check_reads(handle, spans, fault)

    @rule(fault=LISTING_FAULTS)
    def refresh_through_a_fault(self, fault: Drawn) -> None:
        begun = time.monotonic()
        which = "marker=" if fault.action == RepeatPage() else "limit="
        with self.proxy.broken(Fault(fault.action, "GET", which, count=fault.count)):
            answer = self.side.call(self.side.client.refresh)
            played = self.proxy.played()
        assert time.monotonic() - begun < DEADLINE + LATE
        if answer.error is None:
            self.check_tree()
        else:
            assert played, answer.error
            assert fault.error is not None or self.refuses_twice(fault), answer.error

    def check_reads(self, handle: Handle, spans: list[tuple[int, int]], fault: Drawn | None = None) -> None:
        """I1, I6, I7: each read is the slice of the handle's version or an error that is explained; in time, and with
        no more requests than retries explain."""
        retries = self.status().retries
        begun = time.monotonic()
        results = self.side.call(self.read_at_once, handle.ino, spans)
        assert time.monotonic() - begun < DEADLINE + LATE
        played = self.proxy.played()
        for (offset, size), found in zip(spans, results, strict=True):
            if isinstance(found, bytes):
                assert found == handle.content[offset : offset + size]
            elif handle.name in self.store.harmed:
                continue  # any error explains itself
            elif isinstance(found, Changed):
                injected = fault is not None and played and fault.error is Changed
                assert injected or not self.is_current(handle), found
            elif fault is not None and fault.error is not None and played:
                assert isinstance(found, fault.error), found
            elif isinstance(found, AuthError):
                assert fault is not None, found
                assert self.refuses_twice(fault), found
            else:
                raise AssertionError(found)
        if handle.name not in self.store.harmed:
            self.check_requests(handle, self.status().retries - retries)

    def refuses_twice(self, fault: Drawn) -> bool:
        """Whether a request may have been refused with the revoked token and by the fault, too: that is meant."""
        return self.logins_before is not None and fault.action == REFUSED

    def check_requests(self, handle: Handle, retries: int) -> None:
        """I6; a busy machine may make the client retry by itself, so its own count is what explains."""
        asked: dict[int, int] = {}
        for seen in self.proxy.seen:
            if seen.method == "GET" and seen.target.endswith(f"/{self.store.prefix}{handle.name}"):
                start = int(re.sub(r"bytes=(\d+)-.*", r"\1", header(seen.headers, "Range") or "bytes=0-"))
                asked[start // CHUNK] = asked.get(start // CHUNK, 0) + 1
        # Chunks that evict each other are asked for again, by whoever reads them.
        again = 1 if len(handle.content) <= CHUNK else 3
        assert all(number <= again + retries for number in asked.values()), asked

    def is_current(self, handle: Handle) -> bool:
        """Whether the store still has what the handle is open for, and the index says so."""
        now = self.store.now.get(handle.name)
        if now is None or now.etag != handle.version.etag or handle.name in self.store.harmed:
            return False
        return handle.version.kind is not Kind.DLO and any(ino == handle.ino for _, ino, _ in self.side.call(self.walk))

    async def read_at_once(self, ino: int, spans: list[tuple[int, int]]) -> list[bytes | SwiftFSError]:
        results: list[bytes | SwiftFSError] = [b""] * len(spans)

        async def read(number: int, offset: int, size: int) -> None:
            try:
                results[number] = await self.side.vfs.read(ino, offset, size)
            except SwiftFSError as error:
                results[number] = error

        async with trio.open_nursery() as nursery:
            for number, span in enumerate(spans):
                nursery.start_soon(read, number, *span)
        return results

    # The disk

    @rule(pick=PICKS, bit=st.integers(0, 7), how=st.sampled_from(HARMS))
    def damage(self, pick: int, bit: int, how: str) -> None:
        """Harm to files behind the cache's back, and a read of what was harmed."""
        self.side.call(self.close_files)
        files = sorted(stored_files(self.top / "cache"))
        if not files:
            return
        harm(self.top / "cache", files[pick % len(files)], how, pick, bit)
        for handle in self.handles[-3:]:
            with self.proxy.broken():
                self.check_reads(handle, [(0, max(self.SIZES))])

    async def close_files(self) -> None:
        """A chunk is checked once for each time that its file is opened."""
        self.side.reader._close_files(keep=0)

    @rule(pick=PICKS, spans=SPANS)
    def read_with_a_full_disk(self, pick: int, spans: list[tuple[int, int]]) -> None:
        """No file of the fetch process can grow; reads go on."""
        handle = self.opened(pick)
        if handle is None:
            return
        pid = self.forks.started[-1]
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        try:
            with self.proxy.broken():
                self.check_reads(handle, spans)
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)

    @rule()
    def keep_house(self) -> None:
        self.side.call(self.house)

    async def house(self) -> None:
        self.side.vfs.keep_house()

    # The process and its token

    @rule(pick=PICKS, spans=SPANS, late=st.floats(0, 0.05))
    def kill_under_a_read(self, pick: int, spans: list[tuple[int, int]], late: float) -> None:
        """The reads of a fetch process that is killed are served by the next one."""
        handle = self.opened(pick)
        if handle is None:
            return

        async def read() -> list[bytes | SwiftFSError]:
            async with trio.open_nursery() as nursery:

                async def kill() -> None:
                    await trio.sleep(late)
                    self.forks.kill()

                nursery.start_soon(kill)
                return await self.read_at_once(handle.ino, spans)

        restarts = self.side.client.restarts
        with self.proxy.broken():
            for (offset, size), found in zip(spans, self.side.call(read), strict=True):
                if isinstance(found, bytes):
                    assert found == handle.content[offset : offset + size]
                else:
                    assert not self.is_current(handle), found
        self.status()
        assert self.side.client.restarts == restarts + 1
        self.keep_house()  # as once a second; the new process may have made a removed cache anew
        self.base = self.descriptors()
        self.logins_before = None

    @rule()
    def revoke_the_token(self) -> None:
        """The token that the fetch process uses is good for nothing from now on."""
        with self.proxy.broken():
            self.side.call(self.side.client.refresh)
        self.revoke(self.tokens_seen()[-1])
        self.logins_before = self.status().logins

    # What holds after every step

    def status(self) -> Status:
        """What the fetch process says of itself, once it answers."""

        def answer() -> Status | None:
            try:
                return self.side.call(self.side.client.status)
            except Unavailable:
                return None

        status = until(answer, 3 * DEADLINE + LATE)
        assert status is not None
        return status

    @invariant()
    def it_comes_to_rest_within_its_limits(self) -> None:
        """I3: nothing is left running or open, and the cache holds no more than it may."""
        if not hasattr(self, "base"):
            return

        def at_rest() -> Status | None:
            status = self.status()
            return None if status.running or status.waiting else status

        status = until(at_rest, DEADLINE + LATE, self.status)
        assert status is not None
        if self.logins_before is not None and status.logins > self.logins_before:
            self.logins_before = None
        assert status.cache_bytes <= LIMIT
        assert data_bytes(self.top / "cache") <= LIMIT
        assert self.side.client._pending == {}
        assert len(self.side.client._questions) == 0
        assert self.descriptors() <= self.base + STREAMS + SPARE_DESCRIPTORS

    @invariant()
    def it_says_nothing_unexpected(self) -> None:
        """I4, I5: every line that the process wrote is known, and no line holds a secret."""
        if not hasattr(self, "base"):
            return
        said = self.log.read_text()
        assert self.secrets_in(said) == []
        assert [line for line in said.splitlines() if not EXPECTED_LINES.match(line)] == []


@pytest.fixture
def place(cloud: Cloud, remote: Remote, tmp_path: Path) -> Iterator[Place]:
    with place_of(cloud, remote, tmp_path, FetchMachine.CONTAINER) as place:
        try:
            yield place
        finally:
            stop()


@pytest.mark.timeout(0 if IS_LONG else 900)
@pytest.mark.row("C1", "C2", "C3", "C5", "C8", "H1", "H5", "H16", "N5", "N6", "N9", "O1")
@pytest.mark.logs("the fetch process ended|cannot be written|could not be listed|cannot be shown")
def test_every_read_is_right_or_explained(place: Place) -> None:
    """Whatever the store, the wire, the disk and kill -9 do, I1 to I7 hold after every step."""
    run_machine(partial(FetchMachine, place), batches=BATCHES, batch=BATCH, long=LONG, budget=BUDGET)
