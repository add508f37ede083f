"""What is known of a large object on its way: its parts, their MD5s as far as they have been read, what has counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from swiftfs.errors import Changed
from swiftfs.model import ByteRange

if TYPE_CHECKING:
    from swiftfs.load.segments import Cut, Place
    from swiftfs.load.source import OpenedSource, SourceObject
    from swiftfs.load.tally import Tally


class Sequence:
    """A source that is read from its beginning to its end, by whose turn it is."""

    def __init__(self, opened: OpenedSource) -> None:
        self.opened = opened
        self.turn = asyncio.Lock()
        self.number = 0
        self.ended = False


class Sending:
    """One object in parts as ``cut`` says; ``size`` None shows at its end, and the parts with it."""

    def __init__(self, source: SourceObject, cut: Cut, size: int | None) -> None:
        self.source = source
        self.cut = cut
        self.size = size
        self.parts = [] if size is None else cut.spans(size)
        self.md5s: list[str | None] = [None] * len(self.parts)
        self.distrusted: set[str] = set()
        self.counted: set[int] = set()
        self.inode: str | None = None
        self.moved = 0

    def place(self, number: int) -> Place:
        """Of part ``number`` among the segments of its size."""
        return self.cut.place(self.parts[number].start)

    def found(self, number: int, length: int) -> bool:
        """Take note that so many bytes came as part ``number``; whether it is a part.

        Raises Changed when they are not those of an object of known size.
        """
        if self.size is not None:
            if number == len(self.parts) and not length:
                return False
            if number >= len(self.parts) or length != len(self.parts[number]):
                raise Changed("changed while it was read")
            return True
        if length:
            start = number * self.cut.fine
            self.parts.append(ByteRange(start, start + length))
            self.md5s.append(None)
        return bool(length)

    def count(self, number: int, tally: Tally) -> None:
        """Count a segment as moved, once."""
        if number not in self.counted:
            self.counted.add(number)
            self.moved += len(self.parts[number])
            tally.moved += len(self.parts[number])
            tally.large[self.source.name] = (self.moved, self.size)
