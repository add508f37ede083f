"""Bodies of PUTs: bytes, or pieces that can be opened again for every attempt and must have their promised size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from swiftfs.errors import Changed, SwiftFSError


class StreamBody(Protocol):
    """A body of known ``size`` in bytes that can be opened again for every attempt."""

    @property
    def size(self) -> int: ...

    def open(self) -> AsyncIterator[bytes | memoryview]: ...


Body = bytes | StreamBody


class CountedBody:
    """A streamed body that must have its promised size; its own failure is kept, for aiohttp would wrap it."""

    def __init__(self, body: StreamBody) -> None:
        self._body = body
        self.failure: SwiftFSError | None = None

    async def pieces(self) -> AsyncIterator[bytes | memoryview]:
        left = self._body.size
        try:
            async for piece in self._body.open():
                left -= len(piece)
                if left < 0:
                    raise Changed("the source has grown while it was read")
                yield piece
            if left:
                raise Changed("the source has shrunk while it was read")
        except SwiftFSError as error:
            self.failure = error
            raise
