"""One page of a container listing: asked for, read, put in order; a page that cannot be read is asked for again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftfs.errors import Truncated
from swiftfs.swift import wire

if TYPE_CHECKING:
    from swiftfs.model import ContainerInfo, ListingEntry, Subdir
    from swiftfs.swift.transport import Transport

ATTEMPTS = 3
"""Times a page is asked for when what comes is no listing: one page lost costs a mount its whole refresh."""
LONGEST_PAGE = 16 * 1024 * 1024
"""Bytes that a page may have: 10,000 entries with long names stay below."""


Page = tuple[list["ListingEntry | Subdir"], Mapping[str, str]]
"""The entries of a page, and the headers that came with it."""

TOP_LIMIT = 1000
"""Names on top of a container that one request may tell: with more, all of it is listed as soon."""


@dataclass(frozen=True, slots=True)
class Top:
    """A container and the names on top of it; ``names`` is None when they are more than one request tells."""

    info: ContainerInfo
    names: list[ListingEntry | Subdir] | None


async def listing_page(transport: Transport, path: str, query: Mapping[str, str]) -> Page:
    """The entries that follow ``query``'s marker, each name once. Raises Truncated, also when a page repeats itself:
    asking again would not end that."""
    for attempt in range(1, ATTEMPTS + 1):
        answer = await transport.request("GET", path, query=query, limit=LONGEST_PAGE)
        try:
            page = wire.parse_listing(answer.body) if answer.status != wire.NO_CONTENT else []
            break
        except Truncated:
            if attempt == ATTEMPTS:
                raise
            await transport.before_resume(attempt)
    return wire.in_order(page, query.get("marker", ""), flat="delimiter" not in query), answer.headers
