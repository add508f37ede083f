"""The text of an order, made into files: one name a line, as a stream, whatever its length.

Names are paths below the mountpoint, or absolute ones that begin with it: a program hands over what it will open. Blank
lines and names that are no file of the tree are counted and left out.
"""

from __future__ import annotations

import os
from array import array
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from swiftfs.fs.inodes import ROOT
from swiftfs.fs.order import Order
from swiftfs.index.entry import Entry

LONGEST_NAME = 4096
"""Bytes of a line at the most: PATH_MAX of Linux. A longer one is no file's name."""
MOST_NAMES = 2_000_000
"""Names of an order at the most, 21 bytes of memory each: ImageNet has 1.3 million files."""
KEPT_DIRECTORIES = 4096
"""Directories whose number is remembered while names are looked up."""

Child = Callable[[int, bytes], Entry | None]
"""The entry of a name in a directory; None when there is none."""


@dataclass(slots=True)
class OrderCounts:
    """What the lines of an order were: ``names`` are in it; ``left_out`` came after the most that it may hold."""

    names: int = 0
    unknown: int = 0
    blank: int = 0
    left_out: int = 0

    def text(self) -> str:
        """In words."""
        extras = [
            (self.unknown, "not in the mount"),
            (self.blank, "blank"),
            (self.left_out, f"beyond the first {MOST_NAMES:,}"),
        ]
        said = [f"{count:,} {what}" for count, what in extras if count]
        return f"an order of {self.names:,} files" + (f" ({', '.join(said)})" if said else "")

    def as_dict(self) -> dict[str, int]:
        """As figures."""
        return asdict(self)


class OrderText:
    """Takes the bytes of an order as they come. ``child`` looks names up; ``mountpoint`` is what absolute names begin
    with."""

    def __init__(self, child: Child, mountpoint: Path, *, most: int = MOST_NAMES) -> None:
        self._child = child
        self._top = os.fsencode(mountpoint).rstrip(b"/") + b"/"
        self._most = most
        self._rest = b""
        self._too_long = False
        self._inos = array("Q")
        self._sizes = array("Q")
        self._directories: OrderedDict[bytes, int | None] = OrderedDict({b"": ROOT})
        self.counts = OrderCounts()

    def feed(self, data: bytes) -> None:
        """The next bytes; give some thousands at a time, for every name is looked up before this returns."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > LONGEST_NAME:
            self._rest = b""
            self._too_long = True

    def end(self) -> None:
        """Nothing follows: the last line may lack its end."""
        if self._rest or self._too_long:
            self._line(self._rest)
            self._rest = b""

    def order(self) -> Order:
        """The order, after its end. Takes a second for a million names; looks nothing up, so any thread may do it."""
        return Order.of(self._inos, self._sizes)

    def _line(self, line: bytes) -> None:
        too_long, self._too_long = self._too_long, False
        if too_long or len(line) > LONGEST_NAME:
            self.counts.unknown += 1
        elif not line.strip():
            self.counts.blank += 1
        elif len(self._inos) >= self._most:
            self.counts.left_out += 1
        else:
            file = self._file(line)
            if file is None:
                self.counts.unknown += 1
            else:
                self.counts.names += 1
                self._inos.append(file.ino)
                self._sizes.append(file.size)

    def _file(self, name: bytes) -> Entry | None:
        path, _, last = name.removeprefix(self._top).removeprefix(b"./").rpartition(b"/")
        directory = self._directory(path)
        entry = self._child(directory, last) if directory is not None and last else None
        return entry if entry is not None and not entry.is_dir else None

    def _directory(self, path: bytes) -> int | None:
        unknown = []
        while path not in self._directories:  # a loop: a line may have thousands of slashes
            unknown.append(path)
            path = path.rpartition(b"/")[0]
        ino = self._directories[path]
        for below in reversed(unknown):
            last = below.rpartition(b"/")[2]
            entry = self._child(ino, last) if ino is not None and last else None
            ino = entry.ino if entry is not None and entry.is_dir else None
            self._directories[below] = ino
            if len(self._directories) > KEPT_DIRECTORIES:
                oldest = next(known for known in self._directories if known)
                del self._directories[oldest]
        return ino
