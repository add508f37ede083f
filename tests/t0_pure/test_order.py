"""Following an order that was told, and reading one from text."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from swiftfs.fs.order import BUDGET_SHARE, FILES_AHEAD, FIRST_WINDOW, Ahead, Order, OrderPlanner
from swiftfs.fs.order_names import LONGEST_NAME, OrderText
from swiftfs.index.entry import Entry
from swiftfs.model import Kind

PLENTY = 1 << 40


@dataclass
class Reading:
    """A planner and a cache that holds everything it was told to fetch."""

    planner: OrderPlanner
    present: set[int] = field(default_factory=set)
    fetched: list[int] = field(default_factory=list)

    def take(self, ahead: Ahead) -> Ahead:
        assert not self.present & set(ahead.missing)
        self.fetched += ahead.missing
        self.present |= set(ahead.missing)
        return ahead

    def start(self) -> None:
        self.take(self.planner.start(self.present.__contains__))

    def open(self, ino: int) -> bool:
        """Open a file; whether its bytes were there."""
        hit = ino in self.present
        self.take(self.planner.opened(ino, self.present.__contains__))
        self.present.add(ino)
        return hit


def shuffled(count: int, seed: int = 1) -> list[int]:
    inos = list(range(100, 100 + count))
    random.Random(seed).shuffle(inos)
    return inos


def reading(inos: list[int], *, size: int = 100, budget: int = PLENTY) -> Reading:
    return Reading(OrderPlanner(Order.of(inos, [size] * len(inos)), budget))


def test_an_order_that_is_kept_never_makes_a_reader_wait() -> None:
    """Read as told, every file is there when it is opened, was fetched once, and in the order."""
    inos = shuffled(2000)
    files = reading(inos)
    files.start()

    assert all(files.open(ino) for ino in inos)
    assert files.fetched == inos


def test_no_more_than_the_window_is_ahead() -> None:
    """Before the first open the window's files are fetched and no other, and a reader that stops pulls no more."""
    inos = shuffled(2000)
    files = reading(inos)
    files.start()
    assert files.fetched == inos[:FILES_AHEAD]

    for ino in inos[:500]:
        files.open(ino)
    assert len(files.fetched) <= 500 + FILES_AHEAD


@pytest.mark.parametrize(("workers", "batch"), [(1, 32), (4, 32), (8, 32), (8, 128)])
def test_workers_share_one_order(workers: int, batch: int) -> None:
    """Workers that each read whole batches keep the planner ahead of all of them."""
    inos = shuffled(8000)
    files = reading(inos)
    files.start()
    draw = random.Random(workers)
    queues = [
        [ino for at in range(first * batch, 8000, workers * batch) for ino in inos[at : at + batch]]
        for first in range(workers)
    ]
    hits = 0
    while any(queues):
        queue = draw.choice([queue for queue in queues if queue])
        hits += files.open(queue.pop(0))

    assert hits >= 8000 - max(batch, 2 * workers)
    assert len(set(files.fetched)) == len(files.fetched)


def test_a_file_that_is_opened_twice_changes_nothing() -> None:
    """Programs that open each file once to look and once to read are followed as others are."""
    inos = shuffled(1000)
    files = reading(inos)
    files.start()

    assert all(files.open(ino) for ino in inos for _ in range(2))


def test_one_stray_open_moves_nothing() -> None:
    """A single file opened far from the readers leads to no fetch there."""
    inos = shuffled(5000)
    files = reading(inos)
    files.start()
    for ino in inos[:50]:
        files.open(ino)
    before = len(files.fetched)
    files.open(inos[4000])

    assert len(files.fetched) == before
    assert files.planner.position == 50


@pytest.mark.parametrize(("leaves", "returns"), [(1000, 3000), (3000, 500), (1000, 1300)])
def test_after_a_deviation_it_goes_on_where_the_reader_is(leaves: int, returns: int) -> None:
    """A reader that jumps in the order waits for a few files there and for none after them."""
    inos = shuffled(5000)
    files = reading(inos)
    files.start()
    for ino in inos[:leaves]:
        files.open(ino)
    files.present.clear()  # so that going back finds nothing by chance

    missed = [at for at in range(returns, returns + 600) if not files.open(inos[at])]

    assert len(missed) <= 4
    assert missed == list(range(returns, returns + len(missed)))


def test_a_moved_reader_ends_what_was_planned_elsewhere() -> None:
    """The plan that follows a jump says that earlier ones are not needed, and is a small one."""
    inos = shuffled(5000)
    files = reading(inos)
    files.start()
    plans = [files.planner.opened(ino, files.present.__contains__) for ino in inos[3000:3004]]

    assert [plan.moved for plan in plans] == [False, False, False, True]
    assert plans[-1].missing == tuple(inos[3004 : 3004 + FIRST_WINDOW])


def test_a_second_epoch_in_the_same_order_is_followed_too() -> None:
    """Read to its end and begun again, with nothing left in the cache, the order holds again after a few files."""
    inos = shuffled(1000)
    files = reading(inos)
    files.start()
    for ino in inos:
        files.open(ino)
    files.present.clear()

    assert sum(files.open(ino) for ino in inos) >= 1000 - 4


def test_a_file_may_stand_in_an_order_again() -> None:
    """An order drawn with replacement is followed, and a file that is there is not fetched again."""
    draw = random.Random(5)
    inos = [draw.randrange(100, 400) for _ in range(2000)]
    files = reading(inos)
    files.start()

    assert all(files.open(ino) for ino in inos)
    assert len(set(files.fetched)) == len(files.fetched)


def test_files_outside_the_order_change_nothing() -> None:
    """An open of a file that was not told leads to nothing."""
    files = reading(shuffled(100))

    assert files.planner.opened(7, files.present.__contains__) == Ahead()
    assert not files.planner.knows(7)


def test_a_file_larger_than_the_caches_share_is_not_fetched_ahead() -> None:
    """It would evict what is read before it; the files after it are fetched once it is being read."""
    planner = OrderPlanner(Order.of([1, 2, 3, 4], [10, 900, 10, 10]), 300)

    assert planner.start(lambda ino: False).missing == (1,)
    assert planner.opened(1, lambda ino: False).missing == ()
    assert planner.opened(2, lambda ino: False).missing == (3, 4)


class OrderMachine(RuleBasedStateMachine):
    """Readers that keep the order, lag, jump and stray, over files of any size and a cache that loses some."""

    def __init__(self) -> None:
        super().__init__()
        self.present: set[int] = set()
        self.asked: list[int] = []
        self.planner: OrderPlanner | None = None

    @precondition(lambda self: self.planner is None)
    @rule(
        files=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 50)), max_size=200),
        budget=st.integers(0, 3000),
    )
    def told(self, files: list[tuple[int, int]], budget: int) -> None:
        sizes = dict(files)
        self.sizes = sizes
        self.inos = [ino for ino, _ in files]
        self.planner = OrderPlanner(Order.of(self.inos, [sizes[ino] for ino in self.inos]), budget)
        self.take(self.planner.start(self.present.__contains__))

    @precondition(lambda self: self.planner is not None)
    @rule(steps=st.integers(1, 40), start=st.one_of(st.none(), st.integers(0, 200)))
    def read(self, steps: int, start: int | None) -> None:
        assert self.planner is not None
        place = self.planner.position if start is None else start
        for ino in self.inos[place : place + steps]:
            self.open(ino)

    @precondition(lambda self: self.planner is not None)
    @rule(ino=st.integers(1, 70))
    def open(self, ino: int) -> None:
        assert self.planner is not None
        self.take(self.planner.opened(ino, self.present.__contains__))
        self.present.add(ino)

    @rule(ino=st.integers(1, 60))
    def evict(self, ino: int) -> None:
        self.present.discard(ino)

    def take(self, ahead: Ahead) -> None:
        assert self.planner is not None
        assert not set(ahead.missing) & self.present
        assert set(ahead.present) <= self.present
        first = {ino: place for place, ino in reversed(list(enumerate(self.inos))) if place >= self.planner.base}
        places = [first[ino] for ino in ahead.missing if ino in first]
        if len(set(self.inos)) == len(self.inos):
            assert places == sorted(places)
        assert sum(self.sizes[ino] for ino in ahead.missing) <= self.planner.budget // BUDGET_SHARE
        assert len(ahead.missing) <= 2 * FILES_AHEAD
        self.present |= set(ahead.missing)

    @invariant()
    def the_window_is_kept(self) -> None:
        planner = self.planner
        if planner is not None:
            assert planner.bytes_ahead <= planner.budget // BUDGET_SHARE
            assert planner.planned - planner.position <= FILES_AHEAD
            assert 0 <= planner.base <= planner.position <= len(self.inos)


TestOrderMachine = OrderMachine.TestCase


@given(st.lists(st.integers(0, 50), max_size=200))
def test_places_are_found(inos: list[int]) -> None:
    """For any order, the places of each file are all its places, from any of them on."""
    order = Order.of(inos, [1] * len(inos))
    for ino in range(51):
        for least in range(0, len(inos) + 1, 7):
            expected = [place for place, other in enumerate(inos) if other == ino]
            after = [place for place in expected if place >= least]
            assert list(order.places(ino, least)) == (after or expected[-1:])[:64]


def child(parent: int, name: bytes) -> Entry | None:
    """A tree of two directories: 1 the root, 2 ``d``, 3 ``d/e``."""
    directories = {(1, b"d"): 2, (2, b"e"): 3}
    files = {(1, b"a.jpg"): 10, (2, b"b.jpg"): 11, (3, b"\xc3\xa9 c.jpg"): 12}
    at = (parent, name)
    ino = directories.get(at) or files.get(at)
    if ino is None:
        return None
    return Entry(ino, parent, name, at in directories, ino * 100, "", 0, Kind.PLAIN, 1, 0)


LINES = st.sampled_from(
    [
        *(b"a.jpg", b"./d/b.jpg", b"/mnt/x/d/e/\xc3\xa9 c.jpg", b"d/e/\xc3\xa9 c.jpg"),
        *(b"", b"  ", b"d", b"d/", b"no", b"no/a.jpg", b"a.jpg/b", b"/other/a.jpg", b"x" * (LONGEST_NAME + 5)),
    ]
)


@given(st.lists(LINES, max_size=30), st.integers(1, 5000), st.booleans())
def test_an_order_is_read_as_it_comes(lines: list[bytes], cut: int, ends: bool) -> None:
    """However the text is cut, each line is a file of the tree, a blank one, or unknown, and all are counted."""
    known = {b"a.jpg": 10, b"./d/b.jpg": 11, b"/mnt/x/d/e/\xc3\xa9 c.jpg": 12, b"d/e/\xc3\xa9 c.jpg": 12}
    data = b"\n".join(lines) + (b"\n" if ends and lines else b"")
    text = OrderText(child, Path("/mnt/x"))
    for start in range(0, len(data), cut):
        text.feed(data[start : start + cut])
    text.end()
    order = text.order()

    expected = [known[line] for line in lines if line in known]
    assert list(order.inos) == expected
    assert order.bytes_between(0, len(order)) == 100 * sum(expected)
    blank = sum(not line.strip() for line in lines) - (not ends and bool(lines) and lines[-1] == b"")
    assert text.counts.names == len(expected)
    assert text.counts.blank == blank
    assert text.counts.unknown == sum(bool(line.strip()) and line not in known for line in lines)


def test_an_order_is_bounded() -> None:
    """Names beyond the most that an order may hold are counted and left out; the first ones are followed."""
    text = OrderText(child, Path("/mnt/x"), most=3)
    text.feed(b"a.jpg\n" * 10)

    text.end()
    assert list(text.order().inos) == [10, 10, 10]
    assert text.counts.left_out == 7
    assert text.counts.text() == "an order of 3 files (7 beyond the first 2,000,000)"


def test_a_line_without_an_end_takes_no_memory() -> None:
    """A stream that never ends its line is not kept."""
    text = OrderText(child, Path("/mnt/x"))
    for _ in range(100):
        text.feed(b"x" * LONGEST_NAME)
        assert len(text._rest) <= LONGEST_NAME
    text.feed(b"\na.jpg")

    text.end()
    assert list(text.order().inos) == [10]
    assert text.counts.unknown == 1


@pytest.mark.parametrize("line", [b"/" * 4000 + b"x", b"d/" * 2000 + b"x", b"x/" * 2000])
def test_a_line_of_thousands_of_slashes_is_no_name(line: bytes) -> None:
    """However deep a name in an order goes, it is looked up or counted as unknown."""
    text = OrderText(child, Path("/mnt/x"))
    text.feed(line + b"\n")
    text.end()
    assert (text.counts.names, text.counts.unknown) == (0, 1)
