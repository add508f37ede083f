"""A file of the tree, ready to be read: its version, its keys in the cache, and whom to ask for its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec

from swiftfs.fetch.protocol import DEMAND, Have, HavePieces, Message, Want


class Fetcher(Protocol):
    """What the tree needs of the fetch process. ``deadline`` is how many seconds a request may take, ``restarts`` how
    often another process took the place of one that had ended."""

    @property
    def deadline(self) -> float: ...

    @property
    def restarts(self) -> int: ...

    async def chunk(self, want: Want) -> Have: ...

    async def pieces(self, want: Want) -> list[HavePieces]: ...

    def ask(self, message: Message) -> None: ...


@dataclass(frozen=True, slots=True)
class File:
    """One version of one object, ready to be read. ``pieces_key`` is '' where it is only read by whole chunks."""

    ino: int
    size: int
    key: str
    pieces_key: str
    name: str
    etag: str
    last_modified: int
    kind: int
    chunks: int

    def want(self, first: int, stop: int, priority: int, *, inline: bool = False) -> Want:
        """The message that asks for chunks ``[first, stop)``."""
        return Want(
            self.ino, self.name, self.size, self.etag, self.last_modified, self.kind, first, stop, priority, inline
        )

    def want_pieces(self, first: int, stop: int) -> Want:
        """The message that asks for pieces ``[first, stop)`` of one chunk."""
        return msgspec.structs.replace(self.want(first, stop, DEMAND), pieces=True)
