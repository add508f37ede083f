"""The real fetch worker before a slow store: a blocked reader goes first, in counts and not in times."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from swiftfs.cache.writer import Writer
from swiftfs.fetch.jobs import DEMAND_PLACES
from swiftfs.fetch.protocol import DEMAND, NEXT_FILES, READAHEAD, TREE, WARM, Have, Hello, Message, Want, Wants
from swiftfs.fetch.worker import Worker
from swiftfs.index.entry import Totals
from swiftfs.model import ByteRange, ObjectVersion

STREAMS = 16
SIZE = 1000


@dataclass
class Store:
    """GETs that begin at once and end when they are let: ``begun`` has their names in order."""

    begun: list[str] = field(default_factory=list)
    open: dict[str, asyncio.Event] = field(default_factory=dict)

    async def get_ready_to_stream(self) -> None:
        """Nothing has to be got ready."""

    async def get(self, container: str, version: ObjectVersion, span: ByteRange) -> bytes:
        self.begun.append(version.name)
        self.open[version.name] = asyncio.Event()
        await self.open[version.name].wait()
        del self.open[version.name]
        return b"x" * (span.stop - span.start)

    def finish(self, name: str) -> None:
        self.open[name].set()


@dataclass
class Link:
    """The socket to a file system process that is this test."""

    to_worker: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    heard: list[Message] = field(default_factory=list)

    async def receive(self) -> Any:
        return await self.to_worker.get()

    def send(self, message: Message) -> None:
        self.heard.append(message)

    def had(self) -> list[int]:
        """The inodes whose chunks have come."""
        return [message.ino for message in self.heard if isinstance(message, Have)]


class Listed:
    """An index that nobody asks about."""

    path = Path("/none")
    stale = False
    partial = False
    hidden = 0
    drifted = 0

    async def confirm(self) -> bool:
        return True

    def totals(self) -> Totals:
        return Totals(0, 0, 0)


def want(ino: int, priority: int) -> Want:
    return Want(ino, f"f{ino}", SIZE, f"{ino:032x}", 0, 0, 0, 1, priority)


async def turns() -> None:
    """Let the worker do all that it can do now."""
    for _ in range(40):
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_no_job_begins_when_the_mount_has_gone(tmp_path: Path) -> None:
    """What waits is given up with what runs: ending takes no request more, and leaves no task behind."""
    store, link = Store(), Link()
    hello = Hello("r", "c", "", "", "", 1 << 30, 0, 4096, STREAMS, 60.0, None, 1)
    cache = Writer(tmp_path / "cache", limit=1 << 30, chunk_size=4096)
    worker = Worker(hello, link, store, cache, Listed(), "account")  # type: ignore[arg-type]
    running = asyncio.create_task(worker.run())
    await link.to_worker.put(Wants([want(ino, NEXT_FILES) for ino in range(300)]))
    await turns()
    begun = len(store.begun)
    assert begun
    await link.to_worker.put(None)
    await running
    assert len(store.begun) == begun
    assert asyncio.all_tasks() == {asyncio.current_task()}
    cache.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("priority", [READAHEAD, NEXT_FILES, TREE, WARM])
async def test_a_demand_overtakes_all_that_was_asked_for_ahead(tmp_path: Path, priority: int) -> None:
    """With hundreds of wants queued and every place of theirs taken, a reader's GET begins at once and its bytes come
    though none of the others has ended; when places are free again, readers come first still."""
    store, link = Store(), Link()
    hello = Hello("r", "c", "", "", "", 1 << 30, 0, 4096, STREAMS, 60.0, None, 1)
    cache = Writer(tmp_path / "cache", limit=1 << 30, chunk_size=4096)
    worker = Worker(hello, link, store, cache, Listed(), "account")  # type: ignore[arg-type]
    running = asyncio.create_task(worker.run())
    try:
        await link.to_worker.put(Wants([want(ino, priority) for ino in range(300)]))
        await turns()
        before = len(store.begun)
        assert 0 < before <= STREAMS - DEMAND_PLACES

        for ino in range(1000, 1000 + DEMAND_PLACES):
            await link.to_worker.put(want(ino, DEMAND))
        await turns()
        assert store.begun[before:] == [f"f{ino}" for ino in range(1000, 1000 + DEMAND_PLACES)]
        for name in store.begun[before:]:
            store.finish(name)
        await turns()
        assert link.had() == list(range(1000, 1000 + DEMAND_PLACES))

        # More readers than places of theirs: each place that comes free is a reader's until none waits.
        for ino in range(2000, 2000 + 2 * STREAMS):
            await link.to_worker.put(want(ino, DEMAND))
        await turns()
        for _ in range(3 * STREAMS):
            for name in list(store.open):
                store.finish(name)
            await turns()
        readers = [place for place, name in enumerate(store.begun) if int(name[1:]) >= 2000]
        assert len(readers) == 2 * STREAMS
        others_between = [name for name in store.begun[readers[0] : readers[-1]] if int(name[1:]) < 300]
        assert others_between == []
    finally:
        await link.to_worker.put(None)
        for event in store.open.values():
            event.set()
        await running
        cache.close()
