"""Replays traces of opens against the planners, with a model of the store and of the cache, and counts.

The planners and the fetch process's order of work are the real ones; modelled are readers (each opens a file, waits for
its bytes, works on them), the store (a fetch takes a round trip and a share of the bandwidth) and the cache (least
recently used files go first). Times are milliseconds, sizes bytes. Nothing here reads a clock or a network, and a trace
gives the same figures each time.
"""

from __future__ import annotations

import heapq
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import click

from swiftfs.fetch.jobs import Job, Jobs
from swiftfs.fetch.protocol import DEMAND, NEXT_FILES, TREE, Want
from swiftfs.fs.order import Order, OrderPlanner, most_bytes_ahead
from swiftfs.fs.prefetch import Mode, NextFiles, Opened, Planner

ROOT, TRAINING, EVALUATION = 1, 2, 3
FILE = 72_000
"""Bytes of a file: Food-11's mean."""
FIRST_INO = 100


@dataclass(frozen=True, slots=True)
class World:
    """The store, the cache and the readers of a trace. ``round_trip`` and ``work`` in ms, ``rate`` in bytes a ms.

    ``work`` is what all readers together take for a file: training goes at one pace however many workers read for it.
    """

    round_trip: float = 20.0
    rate: float = 100_000.0
    streams: int = 32
    cache: int = 1 << 30
    work: float = 2.0


@dataclass(frozen=True, slots=True)
class Trace:
    """Files by inode number with the directory that each is in, and what each reader opens, in its order. ``told`` is
    the order that the mount is told, None for none."""

    name: str
    trees: dict[int, int]
    readers: tuple[tuple[int, ...], ...]
    told: tuple[int, ...] | None = None
    mode: Mode = Mode.AUTO
    world: World = field(default_factory=World)


@dataclass(slots=True)
class Figures:
    """What came of a trace. ``hits``: opens whose bytes were there. ``wasted``: bytes that were fetched ahead and never
    read. ``lost``: files fetched ahead and evicted unread. ``time`` in ms."""

    opens: int = 0
    hits: int = 0
    requests: int = 0
    fetched: int = 0
    wasted: int = 0
    lost: int = 0
    time: float = 0.0

    @property
    def hit_rate(self) -> float:
        """Share of the opens whose bytes were there."""
        return self.hits / self.opens if self.opens else 0.0


class _Run:
    """One trace being replayed."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._world = trace.world
        self._files = sorted(trace.trees)
        self._cache: OrderedDict[int, bool] = OrderedDict()  # whether it was read since it was fetched
        self._jobs = Jobs(trace.world.streams)
        self._planner = Planner(trace.mode)
        self._order: OrderPlanner | None = None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        self._blocked: dict[int, list[int]] = {}
        self._places = [0] * len(trace.readers)
        self._now = 0.0
        self._work = trace.world.work * len(trace.readers)
        self.figures = Figures()

    def run(self) -> Figures:
        if self._trace.told is not None:
            self._order = OrderPlanner(Order.of(self._trace.told, [FILE] * len(self._trace.told)), self._world.cache)
            self._want(self._order.start(self._cache.__contains__).missing, NEXT_FILES)
        if self._trace.mode is Mode.ALL:
            self._want(self._files, TREE)
        for reader in range(len(self._trace.readers)):
            # They do not begin together: a loader starts its workers one after another.
            self._at(self._now + reader * self._world.work, lambda reader=reader: self._open(reader))  # type: ignore[misc]
        while self._events:
            self._now, _, event = heapq.heappop(self._events)
            event()
        self.figures.time = self._now
        self.figures.wasted += FILE * sum(not was_read for was_read in self._cache.values())
        return self.figures

    def _at(self, moment: float, event: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (moment, self._sequence, event))

    def _open(self, reader: int) -> None:
        files = self._trace.readers[reader]
        if self._places[reader] == len(files):
            return
        ino = files[self._places[reader]]
        self._places[reader] += 1
        self.figures.opens += 1
        present = ino in self._cache
        self._plan(ino)
        if present:
            self.figures.hits += 1
            self._read(ino, reader)
        else:
            self._blocked.setdefault(ino, []).append(reader)
            self._want([ino], DEMAND)

    def _read(self, ino: int, reader: int) -> None:
        if ino in self._cache:
            self._cache[ino] = True
            self._cache.move_to_end(ino)
        self._at(self._now + self._work, lambda: self._open(reader))

    def _plan(self, ino: int) -> None:
        if self._order is not None and self._order.knows(ino):
            ahead = self._order.opened(ino, self._cache.__contains__)
            if ahead.moved:
                self._jobs.forget(NEXT_FILES, NEXT_FILES)
            for other in ahead.present:
                self._cache.move_to_end(other)
            self._want(ahead.missing, NEXT_FILES)
            return
        plan = self._planner.opened(Opened(ino, (ROOT, self._trace.trees[ino])))
        if isinstance(plan, NextFiles):
            fit = most_bytes_ahead(self._world.cache) // FILE
            if fit < plan.count:
                self._planner.cut(fit)
            self._want([other for other in self._files if other > plan.ino][: min(plan.count, fit)], NEXT_FILES)
        elif plan is not None:
            tree = [other for other in self._files if plan.ino in (ROOT, self._trace.trees[other])]
            if len(tree) * FILE <= self._world.cache:
                self._want(tree, TREE)

    def _want(self, inos: Sequence[int], priority: int) -> None:
        for ino in inos:
            if ino not in self._cache:
                self._jobs.add(Want(ino, str(ino), FILE, "", 0, 0, 0, 1, priority))
        while (job := self._jobs.take()) is not None:
            self._fetch(job)

    def _fetch(self, job: Job) -> None:
        taken = self._world.round_trip + FILE / self._world.rate * self._jobs.running
        self._at(self._now + taken, lambda: self._arrived(job))

    def _arrived(self, job: Job) -> None:
        self._jobs.done(job)
        ino = job.want.ino
        self.figures.requests += 1
        self.figures.fetched += FILE
        self._cache[ino] = False
        for reader in self._blocked.pop(ino, []):
            self._read(ino, reader)
        while len(self._cache) * FILE > self._world.cache:
            _, was_read = self._cache.popitem(last=False)
            if not was_read:
                self.figures.lost += 1
                self.figures.wasted += FILE
        self._want([], TREE)


def replay(trace: Trace) -> Figures:
    """The figures of a trace."""
    return _Run(trace).run()


def dataset(count: int, tree: int = TRAINING, first: int = FIRST_INO) -> dict[int, int]:
    """``count`` files of one tree, numbered as a first listing numbers them."""
    return dict.fromkeys(range(first, first + count), tree)


def dealt(files: Sequence[int], workers: int, batch: int) -> tuple[tuple[int, ...], ...]:
    """The files of each worker when batches go round, as PyTorch's DataLoader deals them."""
    return tuple(
        tuple(ino for at in range(worker * batch, len(files), workers * batch) for ino in files[at : at + batch])
        for worker in range(workers)
    )


def drawn(files: Sequence[int], seed: int) -> list[int]:
    """The files shuffled."""
    shuffled = list(files)
    random.Random(seed).shuffle(shuffled)
    return shuffled


def traces() -> dict[str, Trace]:
    """The traces by name."""
    files = dataset(3000)
    inos = list(files)
    small = World(cache=600 * FILE)
    found = [
        Trace("in order, 1 reader", files, (tuple(inos),)),
        Trace("in order, 4 workers", files, dealt(inos, 4, 1)),
        *(
            Trace(f"shuffled, {workers} workers", files, dealt(drawn(inos, workers), workers, 32))
            for workers in (1, 2, 4, 8)
        ),
        Trace("two epochs, shuffled", files, dealt(drawn(inos, 1) + drawn(inos, 2), 4, 32)),
        Trace("two epochs, small cache", files, dealt(drawn(inos, 1) + drawn(inos, 2), 4, 32), world=small),
        Trace("sparse", files, ((*drawn(inos, 3)[:20], *drawn(inos, 3)[:20]),)),
        _two_datasets(),
        Trace("fetched whole", files, (tuple(drawn(inos, 1)),), mode=Mode.ALL),
        Trace("nothing ahead", files, (tuple(drawn(inos, 1)),), mode=Mode.OFF),
        *(_ordered(f"order told, {workers} workers", inos, drawn(inos, 1), workers, World()) for workers in (1, 4, 8)),
        _ordered("order told, small cache", inos, drawn(inos, 1), 4, small),
        _ordered("order told, two epochs, small cache", inos, drawn(inos, 1) + drawn(inos, 2), 4, small),
        _deviating("order told, begun in the middle", inos, drawn(inos, 1), (1500, 3000)),
        _deviating("order told, a jump ahead and back", inos, drawn(inos, 1), (0, 500), (2000, 2500), (500, 1000)),
        _deviating("order told, a hundred strays", inos, drawn(inos, 1), *_strays()),
        Trace("another order was told", files, (tuple(drawn(inos, 2)),), tuple(drawn(inos, 1)), Mode.ORDER),
    ]
    return {trace.name: trace for trace in found}


def _ordered(name: str, inos: list[int], order: list[int], workers: int, world: World) -> Trace:
    return Trace(name, dict.fromkeys(inos, TRAINING), dealt(order, workers, 32), tuple(order), Mode.ORDER, world)


def _deviating(name: str, inos: list[int], order: list[int], *spans: tuple[int, int]) -> Trace:
    read = tuple(ino for start, stop in spans for ino in order[start:stop])
    return Trace(name, dict.fromkeys(inos, TRAINING), (read,), tuple(order), Mode.ORDER)


def _strays() -> list[tuple[int, int]]:
    """Every twenty files in the order, one of the last hundred."""
    return [span for at in range(100) for span in ((at * 20, at * 20 + 20), (2999 - at, 3000 - at))]


def _two_datasets() -> Trace:
    training, evaluation = dataset(2000), dataset(1000, EVALUATION, 5000)
    readers = (*dealt(drawn(list(training), 1), 4, 32), tuple(evaluation))
    return Trace("two datasets at once", {**training, **evaluation}, readers)


@click.command()
@click.option("--only", default="", help="Traces whose name holds this.")
def command(only: str) -> None:
    """Replay traces of opens against the prefetch planners and show what came of them.

    \b
    Example:
      python -m bench simulate --only order
    """
    click.echo(f"{'trace':38} {'opens':>6} {'hits':>7} {'requests':>9} {'wasted MB':>10} {'lost':>5} {'seconds':>8}")
    for name, trace in traces().items():
        if only in name:
            came = replay(trace)
            click.echo(
                f"{name:38} {came.opens:6} {came.hit_rate:7.1%} {came.requests:9} {came.wasted / 1e6:10.1f} "
                f"{came.lost:5} {came.time / 1000:8.2f}"
            )


if __name__ == "__main__":
    command()
