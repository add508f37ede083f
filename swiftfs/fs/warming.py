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

from swiftfs.errors import SwiftFSError
from swiftfs.fetch.protocol import WARM, Forget, Want, Wants

if TYPE_CHECKING:
    from swiftfs.cache.reader import Reader as CacheReader
    from swiftfs.fs.file import Fetcher, File
    from swiftfs.index.entry import Entry
    from swiftfs.index.reader import Reader as IndexReader

log = logging.getLogger(__name__)

SLICE = 32
"""Files looked up before readers have their turn: a millisecond or two."""
UNDER_WAY = 512
"""Chunks asked for and not there yet, about: many times what is fetched at once."""
KEPT_PLANS = 32
"""Plans whose figures can be asked for, also after their end."""
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


@dataclass(slots=True)
class _Plan:
    number: int
    entries: Iterator[Entry]
    priority: int
    room: float
    figures: WarmFigures
    under_way: int = 0


@dataclass(slots=True)
class _UnderWay:
    """One file that was asked for."""

    plan: _Plan
    want: Want
    chunks: set[int] = field(default_factory=set)
    failed: bool = False


class Warming:
    """The plans of one mount; :meth:`run` carries them out. ``budget`` is what the cache may hold, in bytes."""

    def __init__(self, tree: Tree, cache: CacheReader, fetcher: Fetcher, budget: int) -> None:
        self._tree = tree
        self._cache = cache
        self._fetcher = fetcher
        self._budget = budget
        self._plans: list[_Plan] = []
        self._figures: OrderedDict[int, WarmFigures] = OrderedDict()
        self._under_way: dict[int, _UnderWay] = {}
        self._chunks_under_way = 0
        self._wake = trio.Event()
        self._number = 0

    def add(self, inos: Sequence[int], priority: int = WARM) -> int:
        """Fetch these files and what is below these directories; returns the plan's number. What a user asks for
        (WARM) goes before what was guessed, and what was asked for last goes first."""
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
        plan = _Plan(self._number, self._walk(list(inos)), priority, self._budget * ROOM, figures)
        self._plans.insert(len(self._plans) if priority == WARM else 0, plan)
        self._figures[self._number] = figures
        if len(self._figures) > KEPT_PLANS:
            self._figures.popitem(last=False)
        self._wake.set()
        return self._number

    def figures(self, number: int) -> WarmFigures | None:
        """How far a plan has come; None for one that is not known (any more)."""
        return self._figures.get(number)

    def cancel(self) -> int:
        """Give up the plans that users asked for; what runs is finished. Returns how many."""
        plans = {id(plan): plan for plan in [*self._plans, *(each.plan for each in self._under_way.values())]}
        given_up = [plan for plan in plans.values() if plan.priority == WARM]
        self._fetcher.ask(Forget(WARM, WARM))
        self._plans = [plan for plan in self._plans if plan.priority != WARM]
        for ino in [ino for ino, each in self._under_way.items() if each.plan.priority == WARM]:
            self._chunks_under_way -= len(self._under_way.pop(ino).chunks)
        for plan in given_up:
            plan.figures.ended = plan.figures.cancelled = True
        self._wake.set()
        return len(given_up)

    def restart(self) -> None:
        """The tree was made anew, with other numbers: every plan is at its end."""
        plans = {id(plan): plan for plan in [*self._plans, *(each.plan for each in self._under_way.values())]}
        for plan in plans.values():
            plan.figures.ended = plan.figures.cancelled = True
        self._plans.clear()
        self._under_way.clear()
        self._chunks_under_way = 0

    def again(self) -> None:
        """The fetch process may have lost what it was asked for: ask once more."""
        wants = [each.want for each in self._under_way.values()]
        if wants:
            self._fetcher.ask(Wants(wants))

    def arrived(self, ino: int, chunk: int, failed: bool = False) -> None:
        """A chunk is in the cache, or could not be fetched."""
        each = self._under_way.get(ino)
        if each is None or chunk not in each.chunks:
            return
        each.chunks.discard(chunk)
        each.failed = each.failed or failed
        self._chunks_under_way -= 1
        self._wake.set()
        if each.chunks:
            return
        del self._under_way[ino]
        figures = each.plan.figures
        if each.failed:
            figures.failed += 1
        else:
            figures.done_files += 1
            figures.done_bytes += each.want.size
        each.plan.under_way -= 1
        self._end_if_done(each.plan)

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
            entries = list(islice(plan.entries, SLICE))
            wants = [want for entry in entries if (want := self._want(plan, entry)) is not None]
        except SwiftFSError as error:
            log.warning("what is to be fetched whole cannot be listed: %s", error)
            plan.figures.failed += 1
            entries = []
        if not entries:
            self._plans.remove(plan)
            self._end_if_done(plan)
            return
        if wants:
            self._fetcher.ask(Wants(wants))

    def _want(self, plan: _Plan, entry: Entry) -> Want | None:
        """What to ask for of one file; None for nothing."""
        figures = plan.figures
        file = self._tree.file_of(entry)
        missing = [chunk for chunk in range(file.chunks) if not self._cache.holds(file.key, chunk)]
        if not missing:
            plan.room -= file.size
            figures.done_files += 1
            figures.done_bytes += file.size
            figures.present += 1
            return None
        if file.size > plan.room:
            figures.left_out += 1
            return None
        plan.room -= file.size
        if entry.ino in self._under_way:
            # Another plan asked for it: it is counted as there, for it will be.
            figures.done_files += 1
            figures.done_bytes += file.size
            return None
        want = file.want(missing[0], missing[-1] + 1, plan.priority)
        self._under_way[entry.ino] = _UnderWay(plan, want, set(missing))
        self._chunks_under_way += len(missing)
        plan.under_way += 1
        return want

    def _end_if_done(self, plan: _Plan) -> None:
        if not plan.under_way and plan not in self._plans:
            plan.figures.ended = True

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
