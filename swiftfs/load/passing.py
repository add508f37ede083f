"""A member of an archive that goes by: read once, into memory as far as it may, or segment by segment."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from swiftfs.errors import Changed, Interrupted
from swiftfs.load.held import HeldObject
from swiftfs.load.reading import PIECE

if TYPE_CHECKING:
    from swiftfs.load.archive import MemberReader

UNSIZED = 16 * 1024 * 1024
"""Bytes from which on a member that does not tell its size is sent in segments: what is held of it until then is
memory beside theirs."""


class Openable(Protocol):
    """A member that can be read; see ``archive.Member``."""

    @property
    def mtime(self) -> int | None: ...

    def open(self) -> AbstractContextManager[MemberReader]: ...


class PassingObject:
    """A member too large to be held, to be read once and before anything else of its archive.

    ``claimed`` is its size, None where that shows at its end; ``size`` what is known of it so far.
    """

    def __init__(self, name: str, mtime: int | None, claimed: int | None, growing: Growing) -> None:
        self.name = name
        self.mtime = mtime
        self.claimed = claimed
        self._growing = growing
        self._opened = False

    @property
    def size(self) -> int:
        """Bytes: what it claims, else what has come."""
        return self._growing.size if self.claimed is None else self.claimed

    def open(self) -> Growing:
        """Its only reading. Raises Changed when it was read before."""
        if self._opened:
            raise Changed("can be read only once on its way from a URL")
        self._opened = True
        return self._growing

    def exhaust(self) -> None:
        """Read to its end what nobody needs, for its size and its CRC. Raises ArchiveError."""
        opened = self.open()
        while opened.read(PIECE):
            pass

    def close(self) -> None:
        """Let go of it."""
        self._growing.close()


class Growing:
    """A member that is being read: what has been taken into memory of it, and what is still to come.

    Also the reading of a member that is too large for memory; see ``source.OpenedSource``.
    """

    def __init__(self, name: str, member: Openable, halted: threading.Event) -> None:
        self.name = name
        self.mtime = member.mtime
        self.size = 0
        self._halted = halted
        self._opened: AbstractContextManager[MemberReader] = member.open()
        self._stream = self._opened.__enter__()
        self._pieces: list[bytes] = []
        self._closed = False

    def fill(self, most: int) -> bool:
        """Take it into memory, ``most`` bytes of it and one more that tells; whether all of it is there.

        Raises ArchiveError.
        """
        while self.size <= most:
            if self._halted.is_set():
                raise Interrupted("stopped while the archive was read")
            piece = self._stream.read(min(PIECE, most - self.size) or 1)
            if not piece:
                return True
            self._pieces.append(piece)
            self.size += len(piece)
        return False

    def held(self) -> HeldObject:
        """What was taken as an object."""
        return HeldObject(self.name, self.mtime, self._pieces)

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes, what was taken first. Raises ArchiveError."""
        if self._halted.is_set():
            raise Interrupted("stopped while the archive was read")
        if self._pieces:
            piece = self._pieces.pop(0)
            if len(piece) > size:
                self._pieces.insert(0, piece[size:])
            return piece[:size]
        piece = self._stream.read(size)
        self.size += len(piece)
        return piece

    def settle(self) -> None:
        """What was read is judged by its CRC."""

    def close(self) -> None:
        """Let go of it; the archive skips what was not read."""
        self._pieces.clear()
        if self._closed:
            return
        self._closed = True
        self._opened.__exit__(None, None, None)
