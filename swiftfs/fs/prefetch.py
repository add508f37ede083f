"""Which files come next: a pure planner that sees files being opened and answers with what to fetch ahead.

Three ways of reading, told apart by the opens alone:

- *in order*: files follow each other in listing order, as an evaluation with ``shuffle=False`` reads them. The next
  files of the listing are fetched ahead, the window doubling up to a limit while the order holds.
- *shuffled*: many different files of one tree in no order, as a training epoch reads them. The rest of that tree is
  worth fetching, if it fits the budget.
- *sparse*: anything else. Nothing is fetched ahead.

A file is known here by its inode number. Numbers are given out in listing order, with gaps, so "follows" means "a
little larger"; where a dataset was changed bit by bit the order is seen less often, and nothing worse happens.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import StrEnum

FIRST_WINDOW = 16
"""Files ahead once the order is seen: little is lost when the reader stops."""
LONGEST_WINDOW = 256
"""Files ahead at the most: at 72 KB a file about 18 MB, several seconds of reading for one reader."""
ORDERLY = 3
"""Opens that must have followed each other before the order counts as seen."""
STRIDE = 16
"""How far apart two opens may be and still follow each other: several readers share one listing."""
SHUFFLED = 24
"""Different files that must have been opened, out of the last ``RECENT`` opens, to count as an epoch."""
RECENT = 32
"""Opens that are looked back on."""
SHARE = 0.75
"""Share of the recent files that a tree must hold to be the one that is read: two may be read at once."""


class Mode(StrEnum):
    """What ``--prefetch`` asks for."""

    AUTO = "auto"
    ALL = "all"
    OFF = "off"
    ORDER = "order"


class Pattern(StrEnum):
    """What the recent opens look like."""

    SPARSE = "sparse"
    ORDERED = "ordered"
    SHUFFLED = "shuffled"


@dataclass(frozen=True, slots=True)
class Opened:
    """One file was opened: its inode number and those of the directories above it, the root first."""

    ino: int
    ancestors: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NextFiles:
    """Fetch what is missing of the ``count`` files that follow the file ``ino`` in listing order; ``is_first`` for the
    first of a run."""

    ino: int
    count: int
    is_first: bool = False


@dataclass(frozen=True, slots=True)
class WholeTree:
    """Fetch what is missing of the tree below the directory ``ino``."""

    ino: int


Plan = NextFiles | WholeTree


@dataclass(slots=True)
class Planner:
    """Sees opens, gives plans. One per mount."""

    mode: Mode = Mode.AUTO
    pattern: Pattern = Pattern.SPARSE
    _recent: deque[Opened] = field(default_factory=lambda: deque(maxlen=RECENT))
    _run: int = 0
    _window: int = 0
    _furthest: int = 0
    _planned_at: int = 0
    _trees: set[int] = field(default_factory=set)
    _too_large: set[int] = field(default_factory=set)

    def opened(self, file: Opened) -> Plan | None:
        """What to fetch because ``file`` was opened now; None for nothing new."""
        if self.mode is not Mode.AUTO:
            return None
        self._recent.append(file)
        ahead = file.ino - self._furthest
        if 0 < ahead <= STRIDE:
            self._run += 1
            self._furthest = file.ino
        elif not -STRIDE <= ahead <= 0:
            # Within the stride it is one of several readers of one listing that is a little behind.
            self._run = 0
            self._window = 0
            self._furthest = file.ino
        if self._run >= ORDERLY:
            self.pattern = Pattern.ORDERED
            return self._next_files()
        return self._whole_tree()

    def cut(self, count: int) -> None:
        """No more than ``count`` files of the last window could be asked for, for these are enough bytes."""
        self._window = max(1, count)

    def refuse(self, ino: int) -> None:
        """The tree below ``ino`` is too large to be fetched; one below it may not be."""
        self._trees.discard(ino)
        self._too_large.add(ino)

    def forget_tree(self, ino: int) -> None:
        """What was planned of the tree below ``ino`` may be planned again."""
        self._trees.discard(ino)

    def forget_trees(self) -> None:
        """The tree has changed: what was planned may be planned again."""
        self._trees.clear()
        self._too_large.clear()

    def _next_files(self) -> NextFiles | None:
        """Fill the window when half of it has been read."""
        if self._window and self._furthest - self._planned_at < self._window // 2:
            return None
        is_first = not self._window
        self._window = min(max(FIRST_WINDOW, self._window * 2), LONGEST_WINDOW)
        self._planned_at = self._furthest
        return NextFiles(self._furthest, self._window, is_first)

    def _whole_tree(self) -> WholeTree | None:
        if any(directory in self._trees for directory in self._recent[-1].ancestors):
            return None  # as for nearly every open of an epoch: what follows takes twenty microseconds
        files = {file.ino: file.ancestors for file in self._recent}
        self.pattern = Pattern.SPARSE
        if len(files) < SHUFFLED:
            return None
        holders = Counter(directory for ancestors in files.values() for directory in ancestors)
        depth = {directory: level for ancestors in files.values() for level, directory in enumerate(ancestors)}
        tree = max(
            (level, directory) for directory, level in depth.items() if holders[directory] >= SHARE * len(files)
        )[1]
        self.pattern = Pattern.SHUFFLED
        above = next(ancestors for ancestors in files.values() if tree in ancestors)
        if tree in self._too_large or any(each in self._trees for each in above[: above.index(tree) + 1]):
            return None
        self._trees.add(tree)
        return WholeTree(tree)
