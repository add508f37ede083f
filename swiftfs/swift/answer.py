"""Answers of the store as they are read: whole, or piece by piece, given up when they stall or trickle."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from swiftfs.errors import Truncated, Unavailable
from swiftfs.swift.pace import SLOWEST, Pace
from swiftfs.swift.translate import translated

if TYPE_CHECKING:
    import aiohttp

STALL = 15.0
"""Seconds without a byte after which a connection is given up and the request sent again on another."""
PIECE = 1024 * 1024
"""Most bytes handed over at once, and of an error's body that is read to keep its connection."""


@dataclass(slots=True)
class Counters:
    """What one client has done: requests to the store (retries included), body bytes, retries and logins."""

    requests: int = 0
    sent: int = 0
    received: int = 0
    retries: int = 0
    logins: int = 0


@dataclass(slots=True)
class Answer:
    """Status and headers of an answer; ``body`` when it was read whole, else :meth:`pieces` gives it."""

    status: int
    headers: Mapping[str, str]
    body: bytes | bytearray = b""
    _response: aiohttp.ClientResponse | None = field(default=None, repr=False)
    _counters: Counters | None = field(default=None, repr=False)
    _stall: float = STALL

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises Truncated or Unavailable when it breaks off, stalls or trickles."""
        assert self._response is not None
        assert self._counters is not None
        pace = Pace(self._stall)
        while piece := await _piece(self._response, pace):
            self._counters.received += len(piece)
            yield piece


async def read_whole(response: aiohttp.ClientResponse, limit: int, stall: float, counters: Counters) -> bytearray:
    """The whole body of at most ``limit`` bytes. Raises Truncated for a longer one."""
    body = bytearray()  # pieces and their sum would be twice as much
    pace = Pace(stall)
    while piece := await _piece(response, pace):
        body += piece
        if len(body) > limit:
            raise Truncated(f"the answer is longer than {limit} bytes")
    counters.received += len(body)
    return body


async def _piece(response: aiohttp.ClientResponse, pace: Pace) -> bytes:
    """What has come of a body since the last call; nothing at its end. Raises Unavailable when it trickles."""
    begun = time.monotonic()
    with translated():
        piece = await response.content.readany()
    if piece and pace.is_too_slow(time.monotonic() - begun, len(piece)):
        raise Unavailable(f"the store sends fewer than {SLOWEST} bytes a second")
    return piece
