"""How fast a client may be: bytes and requests a second, shared by all its requests.

Each asks for a time to go on at; times are given out in order, so the rate holds over any span, and nobody waits while
the rate is not used up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

Piece = bytes | memoryview

LEAST_PIECE = 1024
MOST_PIECE = 64 * 1024
PIECES_A_SECOND = 64
"""Pieces that a second's bytes are sent in. A server gives a client up that sends nothing for a minute (Swift's
``client_timeout``); so 32 bodies at once are half a second from one piece to the next."""


class RateLimit:
    """Limits of one client; None: no limit. ``clock`` and ``sleep`` in seconds."""

    def __init__(
        self,
        bytes_a_second: float | None,
        requests_a_second: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._bytes = bytes_a_second
        self._requests = requests_a_second
        self._clock = clock
        self._sleep = sleep
        self._next_byte = 0.0
        self._next_request = 0.0

    @property
    def slows(self) -> bool:
        """Whether bodies go piece by piece."""
        return self._bytes is not None

    async def request(self, waited: Callable[[float], None]) -> None:
        """Wait until one more request may be sent; ``waited`` is told the seconds before the wait begins."""
        if self._requests is None:
            return
        now = self._clock()
        turn = max(now, self._next_request)
        self._next_request = turn + 1.0 / self._requests
        if turn > now:
            waited(turn - now)
            await self._sleep(turn - now)

    def slowed(
        self, body: bytes | AsyncIterator[Piece] | None, waited: Callable[[float], None]
    ) -> bytes | AsyncIterator[Piece] | None:
        """``body`` at the rate allowed; ``waited`` is told the seconds of each wait before it begins."""
        if self._bytes is None or not body:
            return body
        return self._pieces(_once(body) if isinstance(body, bytes) else body, self._bytes, waited)

    async def _pieces(
        self, body: AsyncIterator[Piece], rate: float, waited: Callable[[float], None]
    ) -> AsyncIterator[Piece]:
        length = int(min(MOST_PIECE, max(LEAST_PIECE, rate / PIECES_A_SECOND)))
        async for piece in body:
            for first in range(0, len(piece), length):
                part = piece[first : first + length]
                now = self._clock()
                turn = max(now, self._next_byte)
                self._next_byte = turn + len(part) / rate
                if turn > now:
                    waited(turn - now)
                    await self._sleep(turn - now)
                yield part


async def _once(body: bytes) -> AsyncIterator[Piece]:
    yield body
