"""Requests over aiohttp: one token, one retry policy, one deadline for each.

Redirects are refused, since aiohttp would carry ``X-Auth-Token`` to another host; bodies are taken as they are stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from swiftfs.errors import NotFound, SwiftFSError
from swiftfs.swift import retry, wire
from swiftfs.swift.answer import PIECE, STALL, Answer, Counters, read_whole
from swiftfs.swift.attempts import Attempts, Retries, within
from swiftfs.swift.auth import Authenticator, Login, Token, authenticator
from swiftfs.swift.body import Body, CountedBody
from swiftfs.swift.connector import open_session
from swiftfs.swift.retry import Verdict
from swiftfs.swift.throttle import Throttle
from swiftfs.swift.translate import CONNECT_TIMEOUT, status_error, translated

if TYPE_CHECKING:
    from swiftfs.config import Remote
    from swiftfs.swift.rate import RateLimit

log = logging.getLogger(__name__)

STALL_SHARE = 0.25
"""Share of a deadline that one stall may use up at the most, so that there is time for another attempt."""
INTRODUCTION = 10.0
"""Seconds to wait for the store to have looked at a renewed token."""


@contextlib.asynccontextmanager
async def open_transport(
    remote: Remote, *, connections: int, deadline: float, rate: RateLimit | None = None, login: Login | None = None
) -> AsyncIterator[Transport]:
    """A transport that closes its connections when it is left. ``login`` is one that is under way; None has one made
    when it is needed."""
    auth = authenticator(remote, login)
    async with open_session(remote, connections) as session:
        try:
            yield Transport(session, auth, connections=connections, deadline=deadline, rate=rate)
        finally:
            await auth.close()


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
        self._retries = Retries()
        self._deadline = deadline
        self._stall = min(STALL, deadline * STALL_SHARE)
        self._counters = Counters()
        auth.introduce = self._introduce

    @property
    def counters(self) -> Counters:
        """Counts so far."""
        self._counters.logins = self._auth.logins
        self._counters.retries = self._retries.number
        return self._counters

    async def login(self) -> None:
        """Get a token now. Raises AuthError, ConfigError, Unavailable."""
        async with within(self._deadline):
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
        attempts = Attempts(self._auth, self._retries)
        stall = self._stall + (extra_time if extra_silence is None else extra_silence)
        async with within(self._deadline + extra_time, attempts):
            while True:
                try:
                    async with self._send(method, path, query, headers, body, attempts, stall) as response:
                        content = await read_whole(response, limit, stall, self._counters)
                        return Answer(response.status, response.headers, content)
                except SwiftFSError as error:
                    if method == "DELETE" and isinstance(error, NotFound) and attempts.unsure:
                        return Answer(204, {})  # an earlier attempt did it, and its answer was lost
                    await attempts.failed(error)

    @contextlib.asynccontextmanager
    async def body(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        """A GET whose body is read piece by piece; retried until its headers are there, not after."""
        attempts = Attempts(self._auth, self._retries)
        async with contextlib.AsyncExitStack() as stack:
            async with within(self._deadline, attempts):
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
        async with within(self._deadline):
            await asyncio.sleep(retry.pause(fruitless, random.random()) if fruitless else 0)
            await self._retries.take()

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

    @contextlib.asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: Body | None,
        attempts: Attempts,
        stall: float,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One attempt: yields a 2xx answer with its body unread, or raises."""
        token = await self._auth.token()
        attempts.token = token
        url = wire.info_url(token.storage_url) if path == wire.INFO else token.storage_url + path
        if query:
            url += "?" + "&".join(f"{key}={wire.quote_query(value)}" for key, value in query.items())
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
        self._retries.note_request()
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
                explanation = bytearray()
                with contextlib.suppress(SwiftFSError):
                    explanation = await read_whole(response, PIECE, stall, self._counters)
                attempts.retry_after = retry.parse_retry_after(response.headers.get("Retry-After"), time.time())
                raise status_error(response.status, response.headers, explanation)
        finally:
            self._throttle.leave(epoch, slower=slower, ok=ok)
