"""Fetches whole trees into the cache, a piece at a time, and knows how far it has come.

The tree is walked in slices, so that readers go on between two of them, and no more is under way than a piece: the
fetch process is never sent more than it keeps, and whatever is lost with it is asked for again. What does not fit into
the cache is left out rather than fetched for nothing.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import trio

from swiftfs.errors import SwiftFSError, UsageError
from swiftfs.fetch.protocol import WARM, Forget, Want, Wants

if TYPE_CHECKING:
    from swiftfs.cache.reader import Reader as CacheReader
    from swiftfs.fs.file import Fetcher, File
    from swiftfs.index.entry import Entry
    from swiftfs.index.reader import Reader as IndexReader

log = logging.getLogger(__name__)

SLICE = 32
"""Files, or spans of large ones, looked up before readers have their turn: some milliseconds."""
SPAN = 32
"""Chunks of a large file that are looked up, and asked for, at a time."""
UNDER_WAY = 512
"""Chunks from which on no more are asked for until some are there: many times what is fetched at once."""
KEPT_PLANS = 32
"""Plans that have ended and whose figures can still be asked for."""
MOST_PLANS = 1000
"""Plans that have not ended: what a program asks for that never waits."""
ROOM = 15 / 16
"""Part of the cache that a plan may fill: the rest is reserved in slabs by who writes, see ``cache.budget``."""


class Tree(Protocol):
    """What is needed of the tree."""

    @property
    def index(self) -> IndexReader: ...

    @property
    def is_whole(self) -> bool: ...

    def file_of(self, entry: Entry) -> File: ...


@dataclass(slots=True)
class WarmFigures:
    """How far a plan has come. ``files`` and ``size`` (bytes) are all it is about, ``done_files`` and ``done_bytes``
    what is in the cache now, ``present`` the files that were there before; ``left_out`` files do not fit into it."""

    files: int = 0
    size: int = 0
    done_files: int = 0
    done_bytes: int = 0
    present: int = 0
    failed: int = 0
    left_out: int = 0
    ended: bool = False
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class _Span:
    """Chunks ``[start, stop)`` of a file."""

    file: File
    start: int
    stop: int

    @property
    def is_last(self) -> bool:
        return self.stop == self.file.chunks


@dataclass(slots=True, eq=False)
class _Plan:
    number: int
    spans: Iterator[_Span]
    priority: int
    room: float
    figures: WarmFigures
    left_out: int = 0
    """The file whose spans are passed over because it does not fit."""
    files: dict[int, _UnderWay] = field(default_factory=dict)
    """The files that are asked for, by inode number."""


@dataclass(slots=True)
class _UnderWay:
    """One file of a plan: ``chunks`` are asked for and not there; with ``is_whole`` there are no more to ask for."""

    file: File
    chunks: set[int] = field(default_factory=set)
    is_whole: bool = False
    failed: bool = False


class Warming:
    """The plans of one mount; :meth:`run` carries them out. ``budget`` is what the cache may hold, in bytes."""

    def __init__(self, tree: Tree, cache: CacheReader, fetcher: Fetcher, budget: int) -> None:
        self._tree = tree
        self._cache = cache
        self._fetcher = fetcher
        self._budget = budget
        self._plans: list[_Plan] = []
        self._finishing: list[_Plan] = []
        self._figures: OrderedDict[int, WarmFigures] = OrderedDict()
        self._chunks_under_way = 0
        self._wake = trio.Event()
        self._number = 0

    @property
    def is_full(self) -> bool:
        """Whether no more plans are taken until some have ended."""
        return len(self._plans) + len(self._finishing) >= MOST_PLANS

    def add(self, inos: Sequence[int], priority: int = WARM) -> int:
        """Fetch these files and what is below these directories; returns the plan's number. What a user asks for
        (WARM) goes before what was guessed, and what was asked for last goes first. Raises UsageError when there are
        too many."""
        if self.is_full:
            raise UsageError(f"{MOST_PLANS} warms are under way", hint="wait for them, or give them up with --cancel")
        self._number += 1
        figures = WarmFigures()
        for ino in inos:
            entry = self._tree.index.entry(ino)
            below = self._tree.index.subtree_totals(ino)
            if below is not None:
                figures.files += below.files
                figures.size += below.bytes
            elif entry is not None:
                figures.files += 1
                figures.size += entry.size
        plan = _Plan(self._number, self._spans(list(inos)), priority, self._budget * ROOM, figures)
        self._plans.insert(len(self._plans) if priority == WARM else 0, plan)
        self._figures[self._number] = figures
        ended = [number for number, each in self._figures.items() if each.ended]
        for number in ended[:-KEPT_PLANS]:
            del self._figures[number]
        self._wake.set()
        return self._number

    def figures(self, number: int) -> WarmFigures | None:
        """How far a plan has come; None for one that is not known (any more)."""
        return self._figures.get(number)

    def is_under_way(self, number: int) -> bool:
        """Whether a plan is known and has not ended."""
        figures = self._figures.get(number)
        return figures is not None and not figures.ended

    def drop(self, number: int) -> None:
        """Give up one plan; what was asked for is fetched."""
        for plan in self._plans:
            if plan.number == number:
                plan.figures.cancelled = True
                self._fed(plan)
                return

    def cancel(self) -> int:
        """Give up the plans that users asked for; what runs is finished. Returns how many."""
        given_up = [plan for plan in self._unended() if plan.priority == WARM]
        self._fetcher.ask(Forget(WARM, WARM))
        self._end(given_up)
        self.again()  # a guess may have asked for the same chunks
        self._wake.set()
        return len(given_up)

    def restart(self) -> None:
        """The tree was made anew, with other numbers: every plan is at its end."""
        self._end(self._unended())

    def again(self) -> None:
        """The fetch process may have lost what it was asked for: ask once more."""
        wants = [
            each.file.want(min(each.chunks), max(each.chunks) + 1, plan.priority)
            for plan in self._unended()
            for each in plan.files.values()
            if each.chunks
        ]
        if wants:
            self._fetcher.ask(Wants(wants))

    def arrived(self, ino: int, chunk: int, failed: bool = False) -> None:
        """A chunk is in the cache, or could not be fetched."""
        for plan in self._unended():
            each = plan.files.get(ino)
            if each is None or chunk not in each.chunks:
                continue
            each.chunks.discard(chunk)
            each.failed = each.failed or failed
            self._chunks_under_way -= 1
            self._wake.set()
            self._finish(plan, each)

    async def run(self) -> None:
        """Carry plans out until cancelled."""
        while True:
            while self._plans and self._chunks_under_way < UNDER_WAY:
                self._feed(self._plans[-1])
                await trio.lowlevel.checkpoint()
            self._wake = trio.Event()
            await self._wake.wait()

    def _feed(self, plan: _Plan) -> None:
        """Ask for what is missing of the next files of a plan."""
        wants: list[Want] = []
        try:
            spans = list(islice(plan.spans, SLICE))
            wants = [want for span in spans if (want := self._want(plan, span)) is not None]
        except SwiftFSError as error:
            log.warning("what is to be fetched whole cannot be listed: %s", error)
            plan.figures.failed += 1
            spans = []
        if wants:
            self._fetcher.ask(Wants(wants))
        if not spans:
            self._fed(plan)

    def _fed(self, plan: _Plan) -> None:
        """Nothing more is asked for; the plan ends when all of it has come."""
        self._plans.remove(plan)
        self._finishing.append(plan)
        for each in list(plan.files.values()):
            each.is_whole = True
            self._finish(plan, each)
        self._end_if_done(plan)

    def _want(self, plan: _Plan, span: _Span) -> Want | None:
        """What to ask for of one span; None for nothing."""
        file, figures = span.file, plan.figures
        if plan.left_out == file.ino:
            return None
        missing = [chunk for chunk in range(span.start, span.stop) if not self._cache.holds(file.key, chunk)]
        each = plan.files.get(file.ino)
        if each is None and not missing:
            if span.is_last:
                plan.room -= file.size
                figures.done_files += 1
                figures.done_bytes += file.size
                figures.present += 1
            return None
        if each is None:
            if file.size > plan.room:
                figures.left_out += 1
                plan.left_out = file.ino
                return None
            plan.room -= file.size
            each = plan.files[file.ino] = _UnderWay(file)
        each.chunks.update(missing)
        each.is_whole = span.is_last
        self._chunks_under_way += len(missing)
        self._finish(plan, each)
        return file.want(missing[0], missing[-1] + 1, plan.priority) if missing else None

    def _finish(self, plan: _Plan, each: _UnderWay) -> None:
        """Count a file of which everything has come."""
        if each.chunks or not each.is_whole:
            return
        del plan.files[each.file.ino]
        if each.failed:
            plan.figures.failed += 1
        else:
            plan.figures.done_files += 1
            plan.figures.done_bytes += each.file.size
        self._end_if_done(plan)

    def _end_if_done(self, plan: _Plan) -> None:
        if not plan.files and plan in self._finishing:
            self._finishing.remove(plan)
            plan.figures.ended = True

    def _unended(self) -> list[_Plan]:
        return [*self._plans, *self._finishing]

    def _end(self, plans: Sequence[_Plan]) -> None:
        """End plans before all of them has come."""
        for plan in plans:
            self._chunks_under_way -= sum(len(each.chunks) for each in plan.files.values())
            plan.figures.ended = plan.figures.cancelled = True
        self._plans = [plan for plan in self._plans if plan not in plans]
        self._finishing = [plan for plan in self._finishing if plan not in plans]

    def _spans(self, inos: list[int]) -> Iterator[_Span]:
        for entry in self._walk(inos):
            file = self._tree.file_of(entry)
            for start in range(0, max(1, file.chunks), SPAN):
                yield _Span(file, start, min(start + SPAN, file.chunks))

    def _walk(self, inos: list[int]) -> Iterator[Entry]:
        for ino in inos:
            index = self._tree.index
            entry = index.entry(ino)
            if entry is None:
                continue
            if entry.is_dir:
                yield from index.subtree_files(ino)
            else:
                yield entry
