"""Read parts of one version of an http(s) URL's content, each part retried and continued where it broke off.

The first answer pins the version by its validator, and every later request carries it: a server that has another
version by then sends the whole, and that is an error, never a mixture. Redirects are followed anew each time, for where
they lead may expire.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftfs.errors import Changed, Rejected, Truncated, Unavailable
from swiftfs.load.download import (
    CONTENT_RANGE,
    PIECE,
    Patience,
    Pause,
    Validator,
    check_status,
    opened,
    shown_url,
)

if TYPE_CHECKING:
    import aiohttp

HASHED = 16 * 1024 * 1024
"""Bytes asked for at once when all of them are hashed."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The last bytes of a URL's content, from ``start`` on, and what pins the version they are of."""

    known: Validator
    start: int
    body: bytes

    @property
    def size(self) -> int:
        """Bytes of the whole content."""
        return self.start + len(self.body)


class RangedURL:
    """One version of what is at ``url``."""

    def __init__(self, session: aiohttp.ClientSession, known: Validator, *, pause: Pause = asyncio.sleep) -> None:
        assert known.size is not None
        self._session = session
        self._known = known
        self._pause = pause
        self.size = known.size

    async def fetch(self, start: int, stop: int) -> list[bytes]:
        """The bytes from ``start`` to before ``stop`` in pieces.

        Raises Changed when the URL has another version by now, NotFound, Forbidden, Rejected, Truncated, Unavailable.
        """
        pieces: list[bytes] = []
        patience = Patience(self._pause)
        have = 0
        while start + have < stop:
            before = have
            try:
                await self._attempt(start + have, stop, pieces)
            except (Unavailable, Truncated) as error:
                have = sum(map(len, pieces))
                await patience.failed(error, fruitful=have > before)
            else:
                have = sum(map(len, pieces))
        return pieces

    async def sha256(self) -> str:
        """The SHA-256 of the whole, which is read once for it and not kept. Raises as :meth:`fetch`."""
        found = hashlib.sha256()
        for start in range(0, self.size, HASHED):
            for piece in await self.fetch(start, min(start + HASHED, self.size)):
                found.update(piece)
        return found.hexdigest()

    async def _attempt(self, start: int, stop: int, pieces: list[bytes]) -> None:
        url = self._known.url
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if self._known.if_range:
            headers["If-Range"] = self._known.if_range
        async with opened(self._session, url, headers) as response:
            if response.status in {200, 416} or (response.status == 206 and not self._same(response, start)):
                raise Changed(f"{shown_url(url)} changed while it was read", hint="run it again")
            check_status(response.status, url)
            left = stop - start
            async for piece in response.content.iter_chunked(PIECE):
                left -= len(piece)
                if left < 0:
                    raise Rejected(f"{shown_url(url)}: the server sends more than was asked for")
                pieces.append(piece)
        if left:
            raise Truncated(f"{shown_url(url)} broke off {left:,} bytes before byte {stop:,}")

    def _same(self, response: aiohttp.ClientResponse, start: int) -> bool:
        """Whether a 206 is the range that was asked for, of the version that is known."""
        match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != start or match[2] not in {"*", str(self.size)}:
            return False
        found = response.headers.get("ETag")
        return found is None or self._known.etag is None or found == self._known.etag


async def fetch_tail(
    session: aiohttp.ClientSession, url: str, size: int, *, pause: Pause = asyncio.sleep
) -> Tail | None:
    """The last ``size`` bytes, fewer when there are no more; None when the server answers no ranges.

    Raises as :meth:`RangedURL.fetch`.
    """
    patience = Patience(pause)
    while True:
        try:
            return await _tail(session, url, size)
        except (Unavailable, Truncated) as error:
            await patience.failed(error, fruitful=False)


async def _tail(session: aiohttp.ClientSession, url: str, size: int) -> Tail | None:
    async with opened(session, url, {"Range": f"bytes=-{size}"}) as response:
        check_status(response.status, url)
        match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status != 206 or match is None or match[2] == "*":
            return None
        start, total = int(match[1]), int(match[2])
        if start != max(0, total - size):
            return None  # not the end that was asked for
        try:
            body = await response.content.readexactly(total - start)
        except asyncio.IncompleteReadError:
            raise Truncated(f"{shown_url(url)} broke off") from None
    known = Validator(url, response.headers.get("ETag"), response.headers.get("Last-Modified"), total)
    return Tail(known, start, body)
