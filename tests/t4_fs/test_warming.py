"""Whole trees into the cache, beside readers and through losses."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
from fakes.store import MemoryFetcher, ino_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swiftfs.cache.reader import Reader as CacheReader
from swiftfs.cache.writer import Writer
from swiftfs.errors import Unavailable
from swiftfs.fetch.protocol import TREE, WARM, Forget, Message, Wants
from swiftfs.fs.inodes import ROOT
from swiftfs.fs.prefetch import Mode
from swiftfs.fs.vfs import Vfs
from swiftfs.fs.warming import KEPT_PLANS, SLICE, SPAN, UNDER_WAY, WarmFigures, Warming
from swiftfs.index.build import Index
from swiftfs.index.entry import Resolved, Source
from swiftfs.index.reader import Reader as IndexReader
from swiftfs.index.schema import index_path
from swiftfs.model import ListingEntry

ACCOUNT, CONTAINER = "http://store/v1/AUTH_x", "c"
CHUNK = 4096


class Slow(MemoryFetcher):
    """Keeps what it is asked for until it is told to fetch it."""

    def ask(self, message: Message) -> None:
        self.asked.append(message)

    def go_on(self) -> int:
        """Fetch what was asked for since the last time; returns how many wants."""
        asked, self.asked = self.asked, []
        for message in asked:
            super().ask(message)
        self.asked.clear()
        self.cache.flush()
        return sum(len(message.wants) for message in asked if isinstance(message, Wants))


class Place:
    """One tree with its warming."""

    def __init__(self, top: Path, files: dict[str, int], limit: int, kind: type[MemoryFetcher], mode: Mode) -> None:
        self.objects: dict[str, bytes] = {}
        path = index_path(top / "index", Source(ACCOUNT, CONTAINER))
        self.index = Index(path, Source(ACCOUNT, CONTAINER))
        self.add(files)
        self.writer = Writer(top / "cache", limit=limit, chunk_size=CHUNK)
        self.fetcher = kind(ACCOUNT, CONTAINER, self.writer, CHUNK, self.objects)
        self.reader = CacheReader(top / "cache", chunk_size=CHUNK)
        self.vfs = Vfs(
            lambda: IndexReader(path),
            self.reader,
            self.fetcher,
            account=ACCOUNT,
            container=CONTAINER,
            chunk_size=CHUNK,
            streams=8,
            prefetch=mode,
            prefetch_budget=limit,
        )
        self.fetcher.on_have = self.vfs.have
        self.fetcher.on_failed = self.vfs.failed

    def add(self, files: dict[str, int]) -> None:
        """Put more files into the store and the index."""
        for name, size in files.items():
            number = len(self.objects)
            self.objects[name] = (b"%06d" % number * (size // 6 + 1))[:size]
        builder = self.index.builder()
        listed = [
            ListingEntry(name, len(data), hashlib.md5(data).hexdigest(), 0) for name, data in self.objects.items()
        ]
        builder.add([Resolved(entry) for entry in sorted(listed, key=lambda entry: entry.name)])
        builder.finish(len(self.objects))

    @property
    def warming(self) -> Warming:
        return self.vfs.ahead.warming

    def figures(self, number: int) -> WarmFigures:
        figures = self.warming.figures(number)
        assert figures is not None
        return figures

    def close(self) -> None:
        self.vfs.close()
        self.reader.close()
        self.index.close()
        self.writer.close()


Make = Callable[..., Place]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Place] = []

    def place(
        files: dict[str, int],
        *,
        limit: int = 1 << 30,
        kind: type[MemoryFetcher] = MemoryFetcher,
        mode: Mode = Mode.AUTO,
    ) -> Place:
        made.append(Place(tmp_path / str(len(made)), files, limit, kind, mode))
        return made[-1]

    yield place
    for each in made:
        each.close()


async def while_warming(place: Place, act: Callable[[], Awaitable[None]]) -> None:
    """Do ``act`` beside the task that carries plans out."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.warming.run)
        await act()
        nursery.cancel_scope.cancel()


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


@pytest.mark.trio
async def test_a_second_warm_fetches_nothing(make: Make) -> None:
    """Files and directories, in several paths, are fetched once; asked for again, all of it is there."""
    place = make({**{f"d/{number}": 50 for number in range(30)}, "e/a": 3 * CHUNK, "f": 0, "g": 7})

    async def act() -> None:
        first = place.warming.add([ino_of(place.vfs, "d"), ino_of(place.vfs, "e/a"), ino_of(place.vfs, "f")])
        await settle()
        assert place.figures(first) == WarmFigures(32, 1500 + 3 * CHUNK, 32, 1500 + 3 * CHUNK, 1, ended=True)
        assert len(place.fetcher.fetched) == 33
        place.writer.flush()
        second = place.warming.add([ino_of(place.vfs, "d")])
        await settle()
        assert place.figures(second) == WarmFigures(30, 1500, 30, 1500, 30, ended=True)
        assert len(place.fetcher.fetched) == 33

    await while_warming(place, act)


@pytest.mark.trio
async def test_no_more_than_a_piece_is_under_way(make: Make) -> None:
    """A tree of any size is asked for piece by piece, as what was asked for arrives."""
    place = make({f"{number:05}": 10 for number in range(1500)}, kind=Slow)
    assert isinstance(place.fetcher, Slow)
    slow = place.fetcher

    async def act() -> None:
        number = place.warming.add([ROOT])
        pieces = []
        while not place.figures(number).ended:
            await settle()
            pieces.append(slow.go_on())
        assert max(pieces) <= UNDER_WAY + 32
        assert sum(pieces) == len(set(slow.fetched)) == 1500

    await while_warming(place, act)


@pytest.mark.trio
async def test_what_a_fetch_process_lost_is_asked_for_again(make: Make) -> None:
    """Wants that went with a fetch process are sent once more when the next one is ready, and the plan ends."""
    place = make({f"{number:05}": 10 for number in range(100)}, kind=Slow)
    assert isinstance(place.fetcher, Slow)
    slow = place.fetcher

    async def act() -> None:
        number = place.warming.add([ROOT])
        await settle()
        slow.asked.clear()  # the process has died
        place.vfs.refreshed()
        slow.go_on()
        await settle()
        assert place.figures(number).done_files == 100
        assert place.figures(number).ended

    await while_warming(place, act)


@pytest.mark.trio
async def test_files_that_cannot_be_fetched_are_counted(make: Make) -> None:
    """A failure ends its file alone, and the plan."""
    place = make({f"{number}": 10 for number in range(5)})
    place.fetcher.failures["3"] = [Unavailable("down")]

    async def act() -> None:
        number = place.warming.add([ROOT])
        await settle()
        assert (place.figures(number).done_files, place.figures(number).failed) == (4, 1)
        assert place.figures(number).ended

    await while_warming(place, act)


@pytest.mark.trio
async def test_a_warm_is_given_up(make: Make) -> None:
    """Cancelled, nothing more is asked for and the fetch process is told; what was guessed goes on."""
    place = make({f"{tree}/{number:05}": 10 for tree in "ab" for number in range(800)}, kind=Slow)
    assert isinstance(place.fetcher, Slow)
    slow = place.fetcher

    async def act() -> None:
        guessed = place.warming.add([ino_of(place.vfs, "b")], TREE)
        asked = place.warming.add([ino_of(place.vfs, "a")])
        await settle()
        assert place.warming.cancel() == 1
        assert place.figures(asked).cancelled
        assert Forget(WARM, WARM) in slow.asked
        slow.asked.clear()
        await settle()
        while slow.go_on():
            await settle()
        assert {name[0] for name, _ in slow.fetched} == {"b"}
        assert place.figures(guessed).ended
        assert not place.figures(guessed).cancelled

    await while_warming(place, act)


@pytest.mark.trio
async def test_a_file_of_any_number_of_chunks_is_asked_for_in_pieces(make: Make) -> None:
    """The fetch process is never sent more than it keeps, and the file is done when its last chunk is there."""
    place = make({"large": 3 * UNDER_WAY * CHUNK + 1, "small": 5}, kind=Slow)
    assert isinstance(place.fetcher, Slow)
    slow = place.fetcher

    async def act() -> None:
        number = place.warming.add([ROOT])
        most = 0
        while not place.figures(number).ended:
            await settle()
            most = max(
                most, sum(want.stop - want.first for m in slow.asked if isinstance(m, Wants) for want in m.wants)
            )
            assert not place.figures(number).done_files or "large" in {name for name, _ in slow.fetched}
            slow.go_on()
        assert most <= UNDER_WAY + SLICE * SPAN
        assert place.figures(number).done_files == 2
        assert len(slow.fetched) == len(set(slow.fetched)) == 3 * UNDER_WAY + 2

    await while_warming(place, act)


@pytest.mark.trio
async def test_a_file_that_two_warms_ask_for_fails_for_both(make: Make) -> None:
    """Neither counts on the other."""
    place = make({f"{number}": 10 for number in range(5)}, kind=Slow)
    assert isinstance(place.fetcher, Slow)
    place.fetcher.failures["3"] = [Unavailable("down")] * 2

    async def act() -> None:
        numbers = [place.warming.add([ROOT]), place.warming.add([ROOT])]
        await settle()
        place.fetcher.go_on()
        await settle()
        assert [place.figures(number).failed for number in numbers] == [1, 1]
        assert all(place.figures(number).ended for number in numbers)

    await while_warming(place, act)


@pytest.mark.trio
async def test_a_warm_is_known_until_it_has_ended_however_many_come_after_it(make: Make) -> None:
    """And of those that have ended, the last ones."""
    place = make({"a": 10, "b": 10}, kind=Slow)
    assert isinstance(place.fetcher, Slow)

    async def act() -> None:
        first = place.warming.add([ino_of(place.vfs, "a")])
        await settle()
        for _ in range(2 * KEPT_PLANS):
            last = place.warming.add([ino_of(place.vfs, "b")])
            await settle()
            place.fetcher.asked, mine = [], place.fetcher.asked
            place.vfs.ahead.warming.arrived(ino_of(place.vfs, "b"), 0)
            place.fetcher.asked = mine
        assert place.warming.figures(first) is not None
        assert not place.figures(first).ended
        assert place.figures(last).ended
        assert place.warming.figures(first + 1) is None

    await while_warming(place, act)


@pytest.mark.trio
async def test_everything_is_fetched_also_what_failed_or_came_later(make: Make, autojump_clock: trio.abc.Clock) -> None:
    """With prefetch of all a minute brings what the store did not give, and a refresh what is new."""
    place = make({f"{number}": 10 for number in range(5)}, mode=Mode.ALL)
    place.fetcher.failures["3"] = [Unavailable("down")]

    async def keep_house(seconds: int) -> None:
        for _ in range(seconds):
            place.vfs.keep_house()
            await trio.sleep(1)

    async def act() -> None:
        await keep_house(2)
        assert {name for name, _ in place.fetcher.fetched} == set("0124")
        await keep_house(90)
        assert {name for name, _ in place.fetcher.fetched} == set("01234")
        place.add({"5": 10})
        place.vfs.refreshed()
        await keep_house(2)
        assert {name for name, _ in place.fetcher.fetched} == set("012345")

    await while_warming(place, act)


@pytest.mark.trio
@pytest.mark.parametrize("loss", ["cleared", "restarted"])
async def test_a_tree_that_has_lost_some_of_its_files_is_fetched_again(
    make: Make, autojump_clock: trio.abc.Clock, loss: str
) -> None:
    """When readers have to wait for some, a minute later at the soonest, and when the fetch process was another one."""
    files = {f"d/{number:03}": 10 for number in range(200)}
    place = make(files)
    names = [f"d/{(number * 37) % 200:03}" for number in range(200)]

    async def read(some: list[str]) -> None:
        for name in some:
            await place.vfs.read(ino_of(place.vfs, name), 0, 10)
        await settle()
        place.writer.flush()

    async def act() -> None:
        await read(names[:40])
        assert len(place.fetcher.fetched) == 200
        place.writer.clear()
        place.fetcher.fetched.clear()
        if loss == "restarted":
            place.fetcher.restarts += 1
            place.vfs.refreshed()
        else:
            await read(names[40:80])
            assert len(place.fetcher.fetched) == 40
            await trio.sleep(60)
        await read(names[80:120])
        assert len(place.fetcher.fetched) == 200

    await while_warming(place, act)


@pytest.mark.trio
async def test_a_tree_that_is_read_in_no_order_has_one_plan_whatever_changes(make: Make) -> None:
    """A refresh that found nothing new plans nothing; one that did begins the tree anew and does not queue up."""
    place = make({f"d/{number:04}": 10 for number in range(2000)}, kind=Slow)
    assert isinstance(place.fetcher, Slow)
    names = [f"d/{number:04}" for number in range(0, 2000, 37)] * 3

    async def act() -> None:
        for turn, name in enumerate(names):
            place.vfs.ahead.opened(ino_of(place.vfs, name))
            if turn % 40 == 39:
                place.add({f"d/new{turn}": 10})
            place.vfs.refreshed()
            await settle()
            assert sum(map(place.warming.is_under_way, range(1, 100))) <= 2
            place.fetcher.go_on()

    await while_warming(place, act)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 3 * CHUNK), max_size=40), limit=st.integers(0, 30 * CHUNK))
def test_a_warm_ends_within_the_cache_and_evicts_nothing_of_its_own(make: Make, sizes: list[int], limit: int) -> None:
    """For any files and any cache, a warm ends, every file is done, failed or left out, and what is done is there."""
    place = make({f"{number:03}": size for number, size in enumerate(sizes)}, limit=limit)

    async def run() -> None:
        async def act() -> None:
            number = place.warming.add([ROOT])
            await settle()
            figures = place.figures(number)
            assert figures.ended
            assert figures.done_files + figures.failed + figures.left_out == len(sizes) == figures.files
            assert figures.done_bytes <= limit
            place.writer.flush()
            again = place.warming.add([ROOT])
            await settle()
            assert place.figures(again).present == figures.done_files

        await while_warming(place, act)

    trio.run(run)
