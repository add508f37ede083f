"""One version of one object as a file, and the port to the fetch process that is asked for its chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from swiftfs.fetch.protocol import Have, Message, Want


class Fetcher(Protocol):
    """What the tree needs of the fetch process."""

    async def chunk(self, want: Want) -> Have: ...

    def ask(self, message: Message) -> None: ...


@dataclass(frozen=True, slots=True)
class File:
    """One version of one object, ready to be read."""

    ino: int
    size: int
    key: str
    name: str
    etag: str
    last_modified: int
    kind: int
    chunks: int

    def want(self, first: int, stop: int, priority: int) -> Want:
        """The message that asks for chunks ``[first, stop)``."""
        return Want(self.ino, self.name, self.size, self.etag, self.last_modified, self.kind, first, stop, priority)
