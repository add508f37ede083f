"""Requests over aiohttp: one token, one retry policy, one deadline for each.

Redirects are refused, since aiohttp would carry ``X-Auth-Token`` to another host; bodies are taken as they are stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from swiftfs import __version__
from swiftfs.errors import (
    ConfigError,
    DeadlineExceeded,
    NotFound,
    SwiftFSError,
    Truncated,
    Unavailable,
)
from swiftfs.swift import retry, wire
from swiftfs.swift.auth import Authenticator, Token, authenticator
from swiftfs.swift.body import Body, CountedBody
from swiftfs.swift.connector import Connector
from swiftfs.swift.pace import SLOWEST, Pace
from swiftfs.swift.retry import Verdict
from swiftfs.swift.throttle import Throttle
from swiftfs.swift.translate import CONNECT_TIMEOUT, status_error, translated

if TYPE_CHECKING:
    from swiftfs.config import Remote
    from swiftfs.swift.rate import RateLimit

log = logging.getLogger(__name__)

STALL = 15.0
"""Seconds without a byte after which a connection is given up and the request sent again on another."""
STALL_SHARE = 0.25
"""Share of a deadline that one stall may use up at the most, so that there is time for another attempt."""
INTRODUCTION = 10.0
"""Seconds to wait for the store to have looked at a renewed token."""
KEEP_ALIVE = 20.0
"""Seconds an idle connection is kept: below the 30 to 75 s of common servers, so that we close first."""
READ_BUFFER = 256 * 1024
"""Bytes aiohttp may hold of one body before it stops reading: a whole Food-11 image fits."""
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
    body: bytes = b""
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


@contextlib.asynccontextmanager
async def open_transport(
    remote: Remote, *, connections: int, deadline: float, rate: RateLimit | None = None
) -> AsyncIterator[Transport]:
    """A transport that closes its connections when it is left."""
    connector = Connector(limit=connections, keepalive_timeout=KEEP_ALIVE, ssl=_tls(remote), ttl_dns_cache=60)
    session = aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=READ_BUFFER,
        skip_auto_headers={"User-Agent", "Accept-Encoding", "Accept", "Content-Type"},
        headers={"User-Agent": f"swiftfs/{__version__}", "Accept-Encoding": "identity"},
    )
    # aiohttp sends a request again by itself when a kept connection turns out closed: uncounted, and with a streamed
    # body that is read up already.
    session._retry_connection = False
    auth = authenticator(remote)
    async with session:
        try:
            yield Transport(session, auth, connections=connections, deadline=deadline, rate=rate)
        finally:
            await auth.close()


def _tls(remote: Remote) -> ssl.SSLContext | bool:
    if remote.verify is True:
        return True
    if remote.verify is False:
        log.warning("certificates are not checked for %s: anybody on the way can read and change the data", remote.name)
        return False
    try:
        return ssl.create_default_context(cafile=remote.verify)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot read the CA file {remote.verify}: {error}") from None


class Transport:
    """Sends requests for one account. ``deadline`` seconds bound each of them with all its retries."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        auth: Authenticator,
        *,
        connections: int,
        deadline: float,
        rate: RateLimit | None = None,
    ) -> None:
        self._rate = rate
        self._session = session
        self._auth = auth
        self._throttle = Throttle(connections)
        self._budget = retry.RetryBudget()
        self._deadline = deadline
        self._stall = min(STALL, deadline * STALL_SHARE)
        self._counters = Counters()
        auth.introduce = self._introduce

    @property
    def counters(self) -> Counters:
        """Counts so far."""
        self._counters.logins = self._auth.logins
        return self._counters

    async def login(self) -> None:
        """Get a token now. Raises AuthError, ConfigError, Unavailable."""
        async with _within(self._deadline):
            await self._auth.token()

    async def storage_url(self) -> str:
        """The account's URL as the catalogue gives it."""
        return (await self._auth.token()).storage_url

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        limit: int = PIECE,
        extra_time: float = 0.0,
        extra_silence: float | None = None,
    ) -> Answer:
        """One request and its whole answer of at most ``limit`` bytes; a 2xx, or it raises.

        ``extra_time`` seconds are added to the deadline for work that takes long by its size, and ``extra_silence``
        seconds to the stall timer, which runs from the last byte of the body; None: as many.
        """
        attempts = _Attempts(self)
        stall = self._stall + (extra_time if extra_silence is None else extra_silence)
        async with _within(self._deadline + extra_time, attempts):
            while True:
                try:
                    async with self._send(method, path, query, headers, body, attempts, stall) as response:
                        content = await self._read(response, limit, stall)
                        return Answer(response.status, response.headers, content)
                except SwiftFSError as error:
                    if method == "DELETE" and isinstance(error, NotFound) and attempts.unsure:
                        return Answer(204, {})  # an earlier attempt did it, and its answer was lost
                    await attempts.failed(error)

    @contextlib.asynccontextmanager
    async def body(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        """A GET whose body is read piece by piece; retried until its headers are there, not after."""
        attempts = _Attempts(self)
        async with contextlib.AsyncExitStack() as stack:
            async with _within(self._deadline, attempts):
                while True:
                    try:
                        response = await stack.enter_async_context(
                            self._send("GET", path, None, headers, None, attempts, self._stall)
                        )
                        break
                    except SwiftFSError as error:
                        await attempts.failed(error)
            yield Answer(
                response.status, response.headers, _response=response, _counters=self._counters, _stall=self._stall
            )

    async def before_resume(self, fruitless: int) -> None:
        """Wait until a body that broke off may be continued; ``fruitless`` resumes before this one got no byte.

        Raises DeadlineExceeded when other retries leave it no place.
        """
        async with _within(self._deadline):
            await asyncio.sleep(retry.pause(fruitless, random.random()) if fruitless else 0)
            await self._take_retry()

    async def _introduce(self, token: Token) -> None:
        """Show a renewed token to the store once before all transfers come with it at the same moment.

        A store asks Keystone about every token that it does not know yet: with 64 transfers under way that would be 64
        questions at once, and on a slow Keystone the token's life is over before they are answered. The outcome does
        not matter here.
        """
        limit = aiohttp.ClientTimeout(total=INTRODUCTION, sock_connect=CONNECT_TIMEOUT)
        self._counters.requests += 1
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self._session.head(
                URL(token.storage_url, encoded=True),
                headers={"X-Auth-Token": token.value},
                allow_redirects=False,
                timeout=limit,
            ):
                pass

    async def _take_retry(self) -> None:
        """Wait for the budget to allow one more retry; the caller's deadline bounds it."""
        while wait := self._budget.take(time.monotonic()):  # noqa: ASYNC110 (time frees the budget, no task does)
            await asyncio.sleep(wait)
        self._counters.retries += 1

    @contextlib.asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: Body | None,
        attempts: _Attempts,
        stall: float,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One attempt: yields a 2xx answer with its body unread, or raises."""
        token = await self._auth.token()
        attempts.token = token
        url = wire.info_url(token.storage_url) if path == wire.INFO else token.storage_url + path
        if query:
            url += "?" + "&".join(f"{key}={_quote_query(value)}" for key, value in query.items())
        sent_headers = {"X-Auth-Token": token.value, **(headers or {})}
        source: CountedBody | None = None
        data: bytes | AsyncIterator[bytes | memoryview] | None = None
        if isinstance(body, bytes):
            data = body
        elif body is not None:
            source = CountedBody(body)
            data = source.pieces()
            sent_headers["Content-Length"] = str(body.size)
        if self._rate is not None:
            await self._rate.request(attempts.extend)
            if isinstance(data, bytes):
                sent_headers["Content-Length"] = str(len(data))
            data = self._rate.slowed(data, attempts.extend)
        epoch = await self._throttle.enter()
        self._budget.note_request(time.monotonic())
        self._counters.requests += 1
        slower = ok = False
        try:
            with translated():
                try:
                    response = await self._session.request(
                        method,
                        URL(url, encoded=True),
                        data=data,
                        headers=sent_headers,
                        allow_redirects=False,
                        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=stall),
                    )
                except Exception:
                    if source is not None and source.failure is not None:
                        raise source.failure from None
                    raise
            async with response:
                if 200 <= response.status < 300:
                    ok = True
                    self._counters.sent += len(body) if isinstance(body, bytes) else body.size if body else 0
                    yield response
                    return
                slower = retry.verdict(response.status) is Verdict.RETRY_SLOWER
                explanation = b""
                with contextlib.suppress(SwiftFSError):
                    explanation = await self._read(response, PIECE, stall)
                attempts.retry_after = retry.parse_retry_after(response.headers.get("Retry-After"), time.time())
                raise status_error(response.status, response.headers, explanation)
        finally:
            self._throttle.leave(epoch, slower=slower, ok=ok)

    async def _read(self, response: aiohttp.ClientResponse, limit: int, stall: float) -> bytes:
        """The whole body of at most ``limit`` bytes. Raises Truncated for a longer one."""
        pieces: list[bytes] = []
        size = 0
        pace = Pace(stall)
        while piece := await _piece(response, pace):
            size += len(piece)
            if size > limit:
                raise Truncated(f"the answer is longer than {limit} bytes")
            pieces.append(piece)
        self._counters.received += size
        return b"".join(pieces)


async def _piece(response: aiohttp.ClientResponse, pace: Pace) -> bytes:
    """What has come of a body since the last call; nothing at its end. Raises Unavailable when it trickles."""
    begun = time.monotonic()
    with translated():
        piece = await response.content.readany()
    if piece and pace.is_too_slow(time.monotonic() - begun, len(piece)):
        raise Unavailable(f"the store sends fewer than {SLOWEST} bytes a second")
    return piece


class _Attempts:
    """The attempts of one request: raises when there is no sense in another one, else waits for its turn."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._number = 0
        self._refused = False
        self.token: Token | None = None
        self.retry_after: float | None = None
        self.last: SwiftFSError | None = None
        self.unsure = False
        """Whether the store may have done what an attempt asked for although it failed."""
        self.limit: asyncio.Timeout | None = None

    def extend(self, seconds: float) -> None:
        """Put the deadline off by what the call has to wait for its rate."""
        if seconds and self.limit is not None and (when := self.limit.when()) is not None:
            self.limit.reschedule(when + seconds)

    async def failed(self, error: SwiftFSError) -> None:
        """Take note of a failed attempt; returns when the next one may start, or raises ``error``."""
        transport = self._transport
        self._number += 1
        self.last = error
        self.unsure = self.unsure or error.status is None or error.status >= 500
        retry_after, self.retry_after = self.retry_after, None
        verdict = _verdict(error, self.token)
        if verdict is Verdict.LOGIN and self.token is not None and not (self._refused and self._is_alive()):
            # A token whose life was over says nothing; of the others, the second one refused is meant seriously.
            self._refused = self._refused or self._is_alive()
            await transport._auth.refused(self.token)
            transport._counters.retries += 1
            return
        if verdict in {Verdict.FAIL, Verdict.LOGIN}:
            raise error
        pause = retry.pause(self._number, random.random(), retry_after)
        log.debug("attempt %d failed, again in %.2f s: %s", self._number, pause, error)
        await asyncio.sleep(pause)
        await transport._take_retry()
        self._refused = False

    def _is_alive(self) -> bool:
        """Whether the token just refused should still have been good."""
        return self.token is not None and not self.token.has_expired(time.monotonic())


def _verdict(error: SwiftFSError, token: Token | None) -> Verdict:
    if error.status is not None:
        if error.status == 403 and token is not None and token.renew_at is not None:
            # Ceph RGW answers 403 to some expired tokens (rclone #2018): one past its renewal time is worth a login.
            return Verdict.LOGIN if time.monotonic() >= token.renew_at else Verdict.FAIL
        return retry.verdict(error.status)
    return Verdict.RETRY if isinstance(error, Unavailable | Truncated) else Verdict.FAIL


@contextlib.asynccontextmanager
async def _within(seconds: float, attempts: _Attempts | None = None) -> AsyncIterator[None]:
    """Bound a call in time; raises DeadlineExceeded with the last failure as its reason."""
    limit = asyncio.timeout(seconds)
    if attempts is not None:
        attempts.limit = limit
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        last = attempts.last if attempts is not None else None
        reason = f": {last.message}" if last is not None else ""
        raise DeadlineExceeded(
            f"no success within {seconds:.0f} s{reason}", txid=last.txid if last is not None else None
        ) from None


def _quote_query(value: str) -> str:
    from urllib.parse import quote

    return quote(value, safe="")
