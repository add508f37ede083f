"""What HEADs tell of many objects at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from swiftfs.errors import NotFound

if TYPE_CHECKING:
    from swiftfs.model import ListingEntry, ObjectInfo

HEADS_AT_ONCE = 32
"""HEAD requests at once: as many as a client has connections unless it is told otherwise."""


class Heading(Protocol):
    """What this needs of a store: a method of ``swift.client.Client``."""

    async def head(self, container: str, name: str) -> ObjectInfo: ...


async def heads(store: Heading, container: str, entries: Sequence[ListingEntry]) -> dict[str, ObjectInfo]:
    """What a HEAD says of each of ``entries``, by name, without those that are gone since they were listed.

    Raises what a HEAD raises.
    """
    places = asyncio.Semaphore(HEADS_AT_ONCE)

    async def head(entry: ListingEntry) -> ObjectInfo | None:
        async with places:
            try:
                return await store.head(container, entry.name)
            except NotFound:
                return None

    infos = await asyncio.gather(*(head(entry) for entry in entries))
    return {entry.name: info for entry, info in zip(entries, infos, strict=True) if info is not None}
