"""Both ends of the socket under a thousand schedules each: every want is answered, and no chunk is fetched twice."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

import pytest
import trio
from fakes.schedules import SEEDS, run_asyncio, run_trio

from swiftfs.cache.names import ChunkRow
from swiftfs.errors import Changed, SwiftFSError, Unavailable
from swiftfs.fetch import protocol
from swiftfs.fetch.client import FetchClient
from swiftfs.fetch.protocol import (
    DEMAND,
    READAHEAD,
    WARM,
    Failed,
    FromFetch,
    Have,
    Hello,
    Ready,
    Refreshed,
    ToFetch,
    Want,
)
from swiftfs.fetch.worker import Worker
from swiftfs.index.entry import Diff, Totals
from swiftfs.model import ByteRange, ObjectVersion

KEPT_WORKER: tuple[int, ...] = ()
KEPT_CLIENT: tuple[int, ...] = ()
"""Seeds that failed once."""
CHUNK, FILES, CHUNKS, STREAMS = 10, 3, 3, 6
DEADLINE = 10.0
HELLO = Hello("local", "c", "", "/i", "/c", 1, 0, CHUNK, STREAMS, DEADLINE, None, 1)
PATIENT = Hello("local", "c", "", "/i", "/c", 1, 0, CHUNK, STREAMS, 10 * DEADLINE, None, 1)
"""For readers who wait for three lives of a fetch process."""


def want(ino: int, first: int, stop: int, priority: int) -> Want:
    return Want(ino, f"f{ino}", CHUNK * CHUNKS, "0" * 32, 0, 0, first, stop, priority)


@dataclass
class Store:
    """The worker's client: every GET takes some turns of the loop, and some fail."""

    draw: random.Random
    under_way: set[tuple[str, int]] = field(default_factory=set)

    async def get(self, container: str, version: ObjectVersion, span: ByteRange) -> bytes:
        chunk = version.name, span.start
        assert chunk not in self.under_way, "the same chunk twice at once"
        self.under_way.add(chunk)
        assert len(self.under_way) <= STREAMS
        try:
            await asyncio.sleep(self.draw.choice([0, 1, 2, 2 * DEADLINE]))
            if self.draw.random() < 0.2:
                raise Changed("another version")
            return bytes(len(span))
        finally:
            self.under_way.discard(chunk)


@dataclass
class ForgetfulCache:
    """The worker's cache: it takes most of what it is given, and forgets."""

    draw: random.Random
    held: dict[tuple[str, int], ChunkRow] = field(default_factory=dict)

    def find(self, key: str, chunk: int) -> ChunkRow | None:
        return self.held.get((key, chunk))

    def store(self, key: str, size: int, chunk: int, data: bytes) -> ChunkRow | None:
        if self.draw.random() < 0.2:
            return None
        if self.draw.random() < 0.2:
            self.held.clear()
        self.held[key, chunk] = ChunkRow(len(data), 1)
        return self.held[key, chunk]

    def drop(self, key: str, chunk: int) -> None:
        self.held.pop((key, chunk), None)

    def flush(self) -> None:
        """Nothing waits here."""


@dataclass
class ScriptedLink:
    """The worker's socket: messages come in at drawn moments; what goes out is kept."""

    draw: random.Random
    messages: list[ToFetch]
    asked: Counter[tuple[int, int]] = field(default_factory=Counter)
    open: dict[tuple[int, int], int] = field(default_factory=dict)
    sent: list[Have | Failed] = field(default_factory=list)
    quiet: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self) -> ToFetch | None:
        await asyncio.sleep(self.draw.choice([0, 0, 1]))
        if self.messages:
            message = self.messages.pop()
            if isinstance(message, Want):
                for chunk in range(message.first, message.stop):
                    if message.priority == DEMAND:
                        self.open[message.ino, chunk] = message.priority
            return message
        while self.open:
            await asyncio.wait_for(self.quiet.wait(), 100 * DEADLINE)
            self.quiet.clear()
        return None

    def send(self, message: FromFetch) -> None:
        if isinstance(message, Have | Failed):
            self.sent.append(message)
            self.open.pop((message.ino, message.chunk), None)
            self.quiet.set()


async def serve(draw: random.Random) -> Worker:
    """A worker that is asked for the same few chunks again and again, by readers and by plans."""
    messages: list[ToFetch] = []
    for _ in range(20):
        first = draw.randrange(CHUNKS)
        messages.append(
            want(draw.randrange(FILES), first, draw.randint(first + 1, CHUNKS), draw.choice([DEMAND, WARM]))
        )
    link, store, cache = ScriptedLink(draw, messages), Store(draw), ForgetfulCache(draw)
    worker = Worker(HELLO, link, store, cache, None, "http://store")  # type: ignore[arg-type]
    housekeeping = asyncio.create_task(worker._housekeeping())
    await worker._messages()
    housekeeping.cancel()
    while worker._tasks or worker._jobs.waiting:  # one that ends may start another
        await asyncio.gather(*worker._tasks)
        if worker._jobs.tick():  # as the housekeeping that has ended did: a warm that yielded to readers goes on
            worker._pump()
    return worker


def test_a_worker_answers_every_demand_and_fetches_nothing_twice_at_once() -> None:
    """Whatever the schedule: one GET for a chunk at a time, an answer for every reader, all places free at the end."""
    for seed in (*KEPT_WORKER, *SEEDS):
        try:
            worker = run_asyncio(seed, serve)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        assert (worker._jobs.running, worker._jobs.waiting, worker._jobs._running_background) == (0, 0, 0), seed


class Outage(Store):
    """Nothing can be had."""

    async def get(self, container: str, version: ObjectVersion, span: ByteRange) -> bytes:
        raise Unavailable("the store is away")


@pytest.mark.parametrize(("priority", "ahead"), [(DEMAND, False), (READAHEAD, True), (WARM, True)])
@pytest.mark.asyncio
async def test_a_failure_says_whether_anybody_had_demanded_it(priority: int, ahead: bool) -> None:
    """What was fetched ahead in vain is nobody's answer: not that of a reader whose demand comes a moment later."""
    draw = random.Random(0)
    link = ScriptedLink(draw, [want(1, 0, 1, priority)])
    worker = Worker(HELLO, link, Outage(draw), ForgetfulCache(draw), None, "http://store")  # type: ignore[arg-type]
    await worker._messages()
    await asyncio.gather(*worker._tasks)

    assert [ahead] == [message.ahead for message in link.sent if isinstance(message, Failed)]


@dataclass
class FakeFetch:
    """Fetch processes as tasks of the same loop: they answer in any order, fail, say nothing, and die."""

    draw: random.Random
    nursery: trio.Nursery
    lives: int = 0
    sending: trio.Lock = field(default_factory=trio.Lock)
    wants: Counter[tuple[int, int, int]] = field(default_factory=Counter)

    def start(self, sock: socket.socket) -> subprocess.Popen[bytes]:
        self.lives += 1
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock.dup()))
        self.nursery.start_soon(self.live, stream, self.lives)
        return cast("subprocess.Popen[bytes]", Ended())

    async def live(self, stream: trio.SocketStream, life: int) -> None:
        unframer = protocol.Unframer()
        async with stream, trio.open_nursery() as nursery:
            with trio.move_on_after(self.draw.choice([3, 1000]) if life < 3 else 1000):
                async for data in stream:
                    for body in unframer.feed(data):
                        message = protocol.decode_to_fetch(body)
                        if isinstance(message, Hello):
                            await stream.send_all(protocol.frame(Ready("http://store", "/i", 1, 0, 5, 0)))
                        elif isinstance(message, Want):
                            self.wants[life, message.ino, message.first] += 1
                            nursery.start_soon(self.answer, stream, message)
            nursery.cancel_scope.cancel()

    async def answer(self, stream: trio.SocketStream, asked: Want) -> None:
        await trio.sleep(self.draw.choice([0, 1, 2, 5]))
        reply: Have | Failed = Have(asked.ino, asked.first, "k", 1, 0)
        if self.draw.random() < 0.2:
            reply = Failed(asked.ino, asked.first, "Changed", "another version")
        # A frame is less than the socket takes, so it is not cut by a cancellation.
        async with self.sending:
            if self.draw.random() < 0.2:  # of the same chunk fetched ahead, before the demand came: not its answer
                vain = Failed(asked.ino, asked.first, "Unavailable", "in vain", ahead=True)
                await stream.send_all(protocol.frame(vain))
            await stream.send_all(protocol.frame(reply))


class Ended:
    """A process that has ended."""

    returncode = 0
    pid = 1

    def wait(self) -> int:
        return 0

    def poll(self) -> int:
        return 0


async def read_all(draw: random.Random) -> None:
    """Readers of a few chunks, some of whom give up, over fetch processes that die."""
    outcomes: list[Have | SwiftFSError | None] = []
    async with trio.open_nursery() as nursery:
        fake = FakeFetch(draw, nursery)
        client = FetchClient(PATIENT, on_have=lambda have: None, on_refreshed=lambda refreshed: None, start=fake.start)
        await nursery.start(client.run)

        async def read(ino: int, patience: float) -> None:
            await trio.sleep(draw.choice([0, 1, 3]))
            with trio.move_on_after(patience) as scope:
                try:
                    outcomes.append(await client.chunk(want(ino, 0, 1, DEMAND)))
                except Changed as error:
                    outcomes.append(error)
            if scope.cancelled_caught:
                outcomes.append(None)

        async with trio.open_nursery() as readers:
            for _ in range(12):
                readers.start_soon(read, draw.randrange(2), draw.choice([0, 1, 1000]))
        assert len(outcomes) == 12
        assert client._pending == {}
        assert not {place: number for place, number in fake.wants.items() if number > 12}
        nursery.cancel_scope.cancel()


@pytest.mark.logs("the fetch process ended")
def test_every_reader_is_answered_whatever_dies() -> None:
    """Whatever the schedule, each reader that stays gets its answer or its error, and those who go leave nothing."""
    for seed in (*KEPT_CLIENT, *SEEDS):
        try:
            run_trio(seed, read_all)
        except BaseException as error:
            raise AssertionError(f"seed {seed}") from error


@dataclass
class SlowIndexer:
    """The worker's indexer: a listing sees the store as it was at some moment between its begin and its end."""

    draw: random.Random
    store: int = 0
    shown: int = 0
    hidden: int = 0
    partial: bool = False
    stale: bool = False

    async def confirm(self) -> bool:
        await asyncio.sleep(self.draw.choice([0, 1]))
        return self.draw.choice([True, False])

    async def rebuild(self) -> Diff:
        await asyncio.sleep(self.draw.choice([0, 1]))
        seen = self.store
        await asyncio.sleep(self.draw.choice([0, 1, 2]))
        self.shown = seen
        self.stale = False
        return Diff(1, 0, 0, 0, 0, 0, 0)

    def totals(self) -> Totals:
        return Totals(self.shown, 0, 0)


async def refresh_after_changes(draw: random.Random) -> None:
    """The store changes and a refresh is asked for, again and again, whatever listing is under way."""
    indexer = SlowIndexer(draw)
    link = ScriptedLink(draw, [])
    expected: dict[int, int] = {}

    def answered(message: FromFetch) -> None:
        assert isinstance(message, Refreshed)
        for number in [number for number in expected if number <= message.answers]:
            assert message.files >= expected.pop(number), f"question {number} was answered by an earlier listing"

    link.send = answered  # type: ignore[method-assign]
    worker = Worker(HELLO, link, Store(draw), ForgetfulCache(draw), indexer, "")  # type: ignore[arg-type]
    listing = asyncio.create_task(worker._refresh())
    for number in range(1, 6):
        await asyncio.sleep(draw.choice([0, 1, 2]))
        indexer.store += 1
        expected[number] = indexer.store
        link.messages = [protocol.Refresh(number)]
        await worker._messages()
    async with asyncio.timeout(100):
        while expected:
            await asyncio.sleep(1)
            assert not listing.done()
    listing.cancel()


def test_a_refresh_is_answered_by_a_listing_that_began_after_it() -> None:
    """Whatever the schedule, who asks for a refresh gets a tree with all that was in the store when they asked."""
    for seed in (*KEPT_WORKER, *SEEDS):
        try:
            run_asyncio(seed, refresh_after_changes)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
