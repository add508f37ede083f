"""Asks the fetch process for what will be read next: joins the planners to the tree, the cache and the fetcher.

The planners decide (``prefetch`` from the opens alone, ``order`` from an order that was told); this module finds out
what of their plans is missing in the cache and asks for that. An order comes first: files that are in it are not
guessed about.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import trio

from swiftfs.fetch.protocol import NEXT_FILES, TREE, Forget, Touch, Want, Wants
from swiftfs.fs.inodes import ROOT
from swiftfs.fs.order import Ahead, Order, OrderPlanner, most_bytes_ahead
from swiftfs.fs.prefetch import Mode, NextFiles, Opened, Planner
from swiftfs.fs.warming import Tree, Warming

if TYPE_CHECKING:
    from swiftfs.cache.reader import Reader as CacheReader
    from swiftfs.fs.file import Fetcher, File
    from swiftfs.index.entry import Entry

WANTS_BATCH = 512
"""Wants in one message: a frame of about 100 KB."""
FETCHED_AGAIN = 60.0
"""Seconds after which a tree that was fetched may be gone through once more, when some of it is not there."""
MOST_KEPT = 4096
"""Chunks marked as recent for an order at once: all that it may have ahead, but for a file larger than that."""
KEPT_FILES = 4096
"""Files lately asked for and directories whose ancestors are remembered."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    """The plan by which a whole tree is or was fetched, and when that began, in trio's seconds."""

    plan: int
    since: float


class FetchAhead:
    """Fetching ahead in one mount. ``budget`` is what the cache may hold, in bytes; 0 fetches nothing ahead."""

    def __init__(self, tree: Tree, cache: CacheReader, fetcher: Fetcher, mode: Mode, budget: int) -> None:
        self._tree = tree
        self._cache = cache
        self._fetcher = fetcher
        self._budget = budget
        self._asked: OrderedDict[int, None] = OrderedDict()
        self._ancestors: OrderedDict[int, tuple[int, ...]] = OrderedDict()
        self._trees: dict[int, _Fetched] = {}
        self._restarts = fetcher.restarts
        self._has_changed = False
        self.planner = Planner(mode)
        self.order: OrderPlanner | None = None
        self.warming = Warming(tree, cache, fetcher, budget)

    def opened(self, ino: int) -> None:
        """A file was opened: ask for what comes next. Never waits."""
        if not self._budget:
            return
        if self.order is not None and self.order.knows(ino):
            files: dict[int, File] = {}
            self._ask_in_order(self.order.opened(ino, lambda other: self._is_present(other, files)), files)
        elif self.planner.mode is Mode.AUTO:
            self._guess(ino)

    def follow(self, order: Order) -> None:
        """From now on files will be read in this order; an empty one ends that. Asks for the first of them."""
        if self.order is not None:
            self._forget_next()
        self.order = OrderPlanner(order, self._budget) if len(order) else None
        if self.order is not None and self._budget:
            files: dict[int, File] = {}
            self._ask_in_order(self.order.start(lambda ino: self._is_present(ino, files)), files)

    def replaced(self) -> None:
        """The tree was made anew, with other numbers: what was planned for the old ones is void."""
        self._ancestors.clear()
        self._trees.clear()
        self.order = None
        self.warming.restart()
        self.refreshed(changed=True)

    def refreshed(self, *, changed: bool) -> None:
        """The tree was rebuilt: where anything ``changed`` in it, what was planned may be planned again.

        So it may after the end of a fetch process, which takes along what was not noted yet.
        """
        if changed or self._restarts != self._fetcher.restarts:
            self._restarts = self._fetcher.restarts
            self.planner.forget_trees()
            self._has_changed = True
        self._asked.clear()
        self.warming.again()

    def keep_house(self) -> None:
        """To be called about once a second: begins to fetch everything, where that is wanted, and again what has come
        into the tree since or could not be had."""
        if self.planner.mode is not Mode.ALL or not self._budget or not self._tree.is_whole or self.warming.is_full:
            return
        former = self._trees.get(ROOT)
        figures = self.warming.figures(former.plan) if former is not None else None
        if figures is not None and not self._has_changed:
            has_all = not figures.failed and not figures.cancelled
            if has_all or not self._is_fetched(ROOT):
                return
        self._has_changed = False
        self._fetch_tree(ROOT)

    def missed(self, ino: int) -> None:
        """A reader has to wait for a file: should it be in a tree that was fetched, that has lost some of it."""
        if self.planner.mode is not Mode.AUTO or not self._trees:
            return
        entry = self._tree.index.entry(ino)
        for directory in self._ancestors_of(entry.parent) if entry is not None else ():
            if directory in self._trees and self._is_fetched(directory):
                self.planner.forget_tree(directory)

    def _is_fetched(self, ino: int) -> bool:
        """Whether a tree was gone through, a while ago."""
        tree = self._trees[ino]
        return not self.warming.is_under_way(tree.plan) and trio.current_time() - tree.since >= FETCHED_AGAIN

    def _fetch_tree(self, ino: int) -> None:
        """Fetch what is below a directory, instead of what was begun of that before."""
        if (former := self._trees.get(ino)) is not None:
            self.warming.drop(former.plan)
        self._trees[ino] = _Fetched(self.warming.add([ino], TREE), trio.current_time())

    def _guess(self, ino: int) -> None:
        entry = self._tree.index.entry(ino)
        if entry is None:
            return
        plan = self.planner.opened(Opened(ino, self._ancestors_of(entry.parent)))
        if isinstance(plan, NextFiles):
            if plan.is_first:
                self._asked.clear()  # a new run: what was fetched for the last one may have gone since
            self._ask_for_next(self._within_bytes(self._tree.index.files_after(plan.ino, plan.count)))
        elif plan is not None:
            below = self._tree.index.subtree_totals(plan.ino) if self._tree.is_whole else None
            if below is not None and below.bytes <= self._budget and not self.warming.is_full:
                self._fetch_tree(plan.ino)
            else:
                self.planner.refuse(plan.ino)

    def _is_present(self, ino: int, files: dict[int, File]) -> bool:
        """Whether there is nothing to fetch of a file; puts what is known of it into ``files``."""
        entry = self._tree.index.entry(ino)
        if entry is None:
            return True  # replaced since the order was told: it has another number now
        file = files[ino] = self._tree.file_of(entry)
        return self._has_all(file)

    def _has_all(self, file: File) -> bool:
        return all(self._cache.holds(file.key, chunk) for chunk in range(file.chunks))

    def _ask_in_order(self, ahead: Ahead, files: dict[int, File]) -> None:
        if ahead.moved:
            self._forget_next()
        present = (files[ino] for ino in ahead.present if ino in files)
        kept = list(islice(((file.key, chunk) for file in present for chunk in range(file.chunks)), MOST_KEPT))
        if kept:
            self._fetcher.ask(Touch(kept))  # before what is fetched evicts them
        self._send([files[ino].want(0, files[ino].chunks, NEXT_FILES) for ino in ahead.missing])

    def _forget_next(self) -> None:
        """Have what an order asked for forgotten, and ask again for what a warm wants too: that waited among it."""
        self._fetcher.ask(Forget(NEXT_FILES, NEXT_FILES))
        self.warming.again()

    def _within_bytes(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Those of the next files that may be fetched ahead: large ones would evict each other before they are read."""
        left = most_bytes_ahead(self._budget)
        for number, entry in enumerate(entries):
            left -= entry.size
            if left < 0:
                self.planner.cut(number)
                return entries[:number]
        return entries

    def _ask_for_next(self, entries: Iterable[Entry]) -> None:
        wants: list[Want] = []
        for entry in entries:
            if not entry.size or entry.ino in self._asked:
                continue
            file = self._tree.file_of(entry)
            if not self._has_all(file):
                self._note_asked(entry.ino)
                wants.append(file.want(0, file.chunks, NEXT_FILES))
        self._send(wants)

    def _send(self, wants: list[Want]) -> None:
        for start in range(0, len(wants), WANTS_BATCH):
            self._fetcher.ask(Wants(wants[start : start + WANTS_BATCH]))

    def _note_asked(self, ino: int) -> None:
        """Windows overlap: a file that was asked for lately is not looked at again."""
        self._asked[ino] = None
        if len(self._asked) > KEPT_FILES:
            self._asked.popitem(last=False)

    def _ancestors_of(self, directory: int) -> tuple[int, ...]:
        """The directories from the root down to ``directory``; they never change while their numbers live."""
        known = self._ancestors.get(directory)
        if known is None:
            entry = self._tree.index.entry(directory)
            above = self._ancestors_of(entry.parent) if entry is not None and entry.parent else ()
            known = self._ancestors[directory] = (*above, directory)
            if len(self._ancestors) > KEPT_FILES:
                self._ancestors.popitem(last=False)
        return known
