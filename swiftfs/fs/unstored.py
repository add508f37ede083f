"""Bytes that the cache's disk did not take, the last of them: for the kernel reads a chunk bit by bit.

Pure. Keyed as the cache is, by the bytes of one version, so versions never mix. What comes in was verified by the fetch
process and never leaves memory, so it needs no checksum of its own.
"""

from __future__ import annotations

from collections import OrderedDict

UNSTORED_BYTES = 48 << 20
"""Most that is kept: the chunks, of the default size, of six readers at once. With what both processes take themselves
and the answers on their way that stays about 200 MiB."""
ENTRY_BYTES = 256
"""What an entry takes beside its bytes, about: its key, its number, their places. Small pieces must not hide that."""


class Unstored:
    """At most ``limit`` bytes of chunks and pieces, those used last. ``needed``: the last answer is not on the disk."""

    def __init__(self, limit: int = UNSTORED_BYTES) -> None:
        self._limit = limit
        self._entries: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self.size = 0
        self.needed = False

    def put(self, key: str, number: int, data: bytes) -> None:
        """Keep a chunk, or a piece under the key of pieces; what was used longest ago goes for it."""
        self._drop(key, number)
        if len(data) + ENTRY_BYTES > self._limit:
            return
        self._entries[key, number] = data
        self.size += len(data) + ENTRY_BYTES
        while self.size > self._limit:
            self._drop(*next(iter(self._entries)))

    def get(self, key: str, number: int) -> bytes | None:
        """The bytes of a chunk or piece; None when they are not here."""
        data = self._entries.get((key, number))
        if data is not None:
            self._entries.move_to_end((key, number))
        return data

    def holds(self, key: str, number: int) -> bool:
        """Whether they are here; that is no use of them."""
        return (key, number) in self._entries

    def _drop(self, key: str, number: int) -> None:
        data = self._entries.pop((key, number), None)
        if data is not None:
            self.size -= len(data) + ENTRY_BYTES
