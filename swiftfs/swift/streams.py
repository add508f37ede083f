"""Bodies that are sent or read piece by piece, over aiohttp.

Nothing is sent twice behind our back, no answer is another request's, and none of aiohttp's errors goes further.

Its errors' ``repr`` holds the request's headers and so the token (aiohttp 3.14, ``ClientResponseError.request_info``).
Bytes beyond an answer's end would be taken for the answer to the next request, and every later one would come one
request late. aiohttp looks for them when a connection is given back, not when it is taken up (3.14).

Imported when the first of them is needed: aiohttp takes longer to import than a small load takes to begin.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import select
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from swiftfs import __version__
from swiftfs.errors import Rejected, SwiftFSError
from swiftfs.swift.answer import SENDING_STALL, Answer, Counters
from swiftfs.swift.connections import KEEP_ALIVE, NAME_LIFE
from swiftfs.swift.pace import Pace
from swiftfs.swift.translate import (
    CONNECT_TIMEOUT,
    UNUSABLE_URL,
    broken_answer,
    broken_connection,
    not_taken,
    stalled,
    too_late_to_connect,
    too_long,
    trickling,
    unreachable,
    unreadable,
    untrusted,
)

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from swiftfs.swift.body import CountedBody

READ_BUFFER = 256 * 1024
"""Bytes aiohttp may hold of one body before it stops reading: a whole Food-11 image fits."""


class Streams:
    """Requests of one client over at most ``connections`` connections of aiohttp's; to be closed."""

    def __init__(self, tls: Callable[[], ssl.SSLContext], connections: int) -> None:
        self._tls = tls
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=connections, keepalive_timeout=KEEP_ALIVE, ttl_dns_cache=int(NAME_LIFE)),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_BUFFER,
            skip_auto_headers={"User-Agent", "Accept-Encoding", "Accept", "Content-Type"},
            headers={"User-Agent": f"swiftfs/{__version__}", "Accept-Encoding": "identity"},
        )
        # aiohttp sends a request again by itself when a kept connection turns out closed: uncounted, and with a
        # streamed body that is read up already.
        self._session._retry_connection = False

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    @contextlib.asynccontextmanager
    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: AsyncIterator[bytes | memoryview] | None,
        *,
        source: CountedBody | None,
        stall: float,
        counters: Counters,
    ) -> AsyncIterator[Streamed]:
        """Send a request; its answer, of whatever status, with its body unread.

        Raises what ``source`` has failed with, which aiohttp wraps, instead of aiohttp's error.
        """
        sending = _Sending()
        with _translated(source), sending:
            async with sending.limit:
                response = await self._session.request(
                    method,
                    URL(url, encoded=True),
                    data=None if data is None else sending.pieces(data),
                    headers=headers,
                    allow_redirects=False,
                    ssl=self._tls() if url.startswith("https:") else True,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=stall),
                )
        async with response:
            # What answers a request that works long may come a blank at a time.
            yield Streamed(
                response.status, response.headers, response, counters, stall if method == "GET" else math.inf
            )


class _Sending:
    """Gives a request up when the other side does not take a piece of its body for too long.

    A piece has a MiB at the most, and who takes less than that in a minute will not be done by the deadline. aiohttp's
    own timer runs from the last piece on.
    """

    def __init__(self) -> None:
        self.limit = asyncio.timeout(None)
        self._is_over = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._is_over = True
        if kind is TimeoutError and self.limit.expired():
            raise not_taken() from None

    async def pieces(self, data: AsyncIterator[bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
        """The pieces of ``data``; the time to make one does not count."""
        loop = asyncio.get_running_loop()
        async for piece in data:
            self._bound(loop.time() + SENDING_STALL)
            yield piece
            self._bound(None)

    def _bound(self, when: float | None) -> None:
        if not self._is_over:  # an answer may come before all was sent
            self.limit.reschedule(when)


@dataclass(slots=True)
class Streamed:
    """An answer whose body is read piece by piece."""

    status: int
    headers: Mapping[str, str]
    _response: aiohttp.ClientResponse = field(repr=False)
    _counters: Counters = field(repr=False)
    _window: float

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises Truncated or Unavailable when it breaks off, stalls or trickles."""
        pace = Pace(self._window)
        while piece := await self._piece(pace):
            self._counters.received += len(piece)
            yield piece

    async def whole(self, limit: int) -> Answer:
        """The answer with its body of at most ``limit`` bytes. Raises as :meth:`pieces`, and Truncated for a longer
        one; an answer that is not 2xx counts by its status, with as much of its body as came."""
        body = bytearray()
        try:
            async for piece in self.pieces():
                body += piece
                if len(body) > limit:
                    raise too_long(limit)
        except SwiftFSError:
            if 200 <= self.status < 300:
                raise
        return Answer(self.status, self.headers, body)

    async def _piece(self, pace: Pace) -> bytes:
        """What has come of the body since the last call; nothing at its end."""
        begun = time.monotonic()
        with _translated():
            piece = await self._response.content.readany()
        if piece and pace.is_too_slow(time.monotonic() - begun, len(piece)):
            raise trickling()
        return piece


class _Connector(aiohttp.TCPConnector):
    """As aiohttp's, less the connections that cannot be trusted."""

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        for protocol, _ in self._conns.get(key, ()):
            if protocol.should_close or _has_unread(protocol.transport):
                protocol.close()  # what is closed is passed over
        return await super()._get(key, traces)


def _has_unread(transport: asyncio.BaseTransport | None) -> bool:
    """Whether bytes, or its end, wait in a connection's socket that the loop has not seen yet."""
    held = None if transport is None else transport.get_extra_info("socket")
    if held is None or held.fileno() < 0:
        return True
    waiting = select.poll()
    waiting.register(held.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


@contextlib.contextmanager
def _translated(source: CountedBody | None = None) -> Iterator[None]:
    """Turn aiohttp's errors into ours, leaving behind what may hold the token."""
    try:
        with _source_first(source):
            yield
    except aiohttp.ClientConnectorCertificateError as error:
        raise untrusted(error.host, error.port or 0, error.certificate_error) from None
    except aiohttp.ClientConnectorSSLError as error:
        raise untrusted(error.host, error.port or 0, error.os_error) from None
    except TimeoutError as error:
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            raise too_late_to_connect() from None
        if isinstance(error, aiohttp.ServerTimeoutError):
            raise stalled() from None
        raise
    except aiohttp.ClientConnectorError as error:
        raise unreachable(error.host, error.port or 0, error.os_error) from None
    except aiohttp.ClientPayloadError:
        raise broken_answer() from None
    except aiohttp.ClientResponseError as error:
        raise unreadable(error.message) from None
    except aiohttp.InvalidURL:
        raise Rejected(UNUSABLE_URL) from None
    except (aiohttp.ClientConnectionError, ConnectionError) as error:
        raise broken_connection(type(error).__name__) from None


@contextlib.contextmanager
def _source_first(source: CountedBody | None) -> Iterator[None]:
    try:
        yield
    except Exception:
        if source is not None and source.failure is not None:
            raise source.failure from None
        raise
