"""One page of a container listing: asked for, read, put in order; a page that cannot be read is asked for again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftfs.errors import Changed, Rejected, Truncated
from swiftfs.swift import wire

if TYPE_CHECKING:
    from swiftfs.model import ContainerInfo, ListingEntry, Subdir
    from swiftfs.swift.answer import Answer
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


class Listings:
    """Asks for the listings of one client, and remembers the most names a page that the server lets it ask for."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._refused: int | None = None

    def takes(self, limit: int) -> bool:
        """Whether the server has not refused as many names a page, as far as is known."""
        return self._refused is None or limit < self._refused

    async def ask(self, path: str, query: Mapping[str, str], limit: int) -> Answer:
        """A listing of at most ``limit`` names, of as many as the server likes where it refuses that.

        Swift answers 412 to more than its ``container_listing_limit`` or ``account_listing_limit``, which ``/info``
        need not tell. Raises Rejected for another 412: there is nothing about a listing that could have changed.
        """
        asked = {"limit": str(limit), **query} if self.takes(limit) else query
        try:
            try:
                return await self._transport.request("GET", path, query=asked, limit=LONGEST_PAGE)
            except Changed:
                if asked is query:
                    raise
            answer = await self._transport.request("GET", path, query=query, limit=LONGEST_PAGE)
        except Changed as error:
            raise Rejected("the store refuses this listing", txid=error.txid, status=error.status) from None
        self._refused = limit if self._refused is None else min(limit, self._refused)
        return answer

    async def page(self, path: str, query: Mapping[str, str], limit: int) -> Page:
        """The entries of a container that follow ``query``'s marker, each name once.

        Raises as :meth:`ask`, and Truncated, also when a page repeats itself: asking again would not end that.
        """
        for attempt in range(1, ATTEMPTS + 1):
            answer = await self.ask(path, query, limit)
            try:
                page = wire.parse_listing(answer.body) if answer.status != wire.NO_CONTENT else []
                break
            except Truncated:
                if attempt == ATTEMPTS:
                    raise
                await self._transport.before_resume(attempt)
        return wire.in_order(page, query.get("marker", ""), flat="delimiter" not in query), answer.headers
