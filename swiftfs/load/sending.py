"""What is known of a large object on its way: its parts, their MD5s as far as they have been read, what has counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from swiftfs.errors import Changed
from swiftfs.load.segments import spans
from swiftfs.model import ByteRange

if TYPE_CHECKING:
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
    """One object in parts of ``segment_size``; ``size`` None shows at its end, and the parts with it."""

    def __init__(self, source: SourceObject, segment_size: int, size: int | None) -> None:
        self.source = source
        self.segment_size = segment_size
        self.size = size
        self.cut = [] if size is None else spans(size, segment_size)
        self.md5s: list[str | None] = [None] * len(self.cut)
        self.distrusted: set[str] = set()
        self.counted: set[int] = set()
        self.inode: str | None = None
        self.moved = 0

    def found(self, number: int, length: int) -> bool:
        """Take note that so many bytes came as part ``number``; whether it is a part.

        Raises Changed when they are not those of an object of known size.
        """
        if self.size is not None:
            if number == len(self.cut) and not length:
                return False
            if number >= len(self.cut) or length != len(self.cut[number]):
                raise Changed("changed while it was read")
            return True
        if length:
            start = number * self.segment_size
            self.cut.append(ByteRange(start, start + length))
            self.md5s.append(None)
        return bool(length)

    def count(self, number: int, tally: Tally) -> None:
        """Count a segment as moved, once."""
        if number not in self.counted:
            self.counted.add(number)
            self.moved += len(self.cut[number])
            tally.moved += len(self.cut[number])
            tally.large[self.source.name] = (self.moved, self.size)
