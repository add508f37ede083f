"""Requests of one client: one token, one retry policy, one deadline for each.

What is in memory whole goes over :mod:`swiftfs.swift.connections`, what streams over :mod:`swiftfs.swift.streams`.
Redirects are refused, for ``X-Auth-Token`` would be carried to another host; bodies are taken as they are stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from swiftfs.errors import NotFound, SwiftFSError
from swiftfs.swift import retry, wire
from swiftfs.swift.answer import PIECE, STALL, Answer, Counters
from swiftfs.swift.attempts import Attempts, Retries, within
from swiftfs.swift.auth import Authenticator, Token, authenticator
from swiftfs.swift.body import Body, CountedBody
from swiftfs.swift.connections import Connections
from swiftfs.swift.retry import Verdict
from swiftfs.swift.throttle import Throttle
from swiftfs.swift.tls import tls_of
from swiftfs.swift.translate import status_error

if TYPE_CHECKING:
    from swiftfs.config import Remote
    from swiftfs.swift.rate import RateLimit
    from swiftfs.swift.streams import Streamed, Streams

log = logging.getLogger(__name__)

STALL_SHARE = 0.25
"""Share of a deadline that one stall may use up at the most, so that there is time for another attempt."""
TURNS = 16
"""Turns of the loop between two steps of other work: in so many a request to a host that is near has left."""
INTRODUCTION = 10.0
"""Seconds to wait for the store to have looked at a renewed token."""


@contextlib.asynccontextmanager
async def open_transport(
    remote: Remote, *, connections: int, deadline: float, rate: RateLimit | None = None
) -> AsyncIterator[Transport]:
    """A transport that closes its connections when it is left."""
    tls = tls_of(remote)
    kept = Connections(tls)
    auth = authenticator(remote, kept)
    transport = Transport(tls, kept, auth, connections=connections, deadline=deadline, rate=rate)
    try:
        yield transport
    finally:
        await auth.close()
        await transport.close()


class Transport:
    """Sends requests for one account. ``deadline`` seconds bound each of them with all its retries."""

    def __init__(
        self,
        tls: Callable[[], ssl.SSLContext],
        kept: Connections,
        auth: Authenticator,
        *,
        connections: int,
        deadline: float,
        rate: RateLimit | None = None,
    ) -> None:
        self._rate = rate
        self._tls = tls
        self._most = connections
        self._connections = kept
        self._streams: Streams | None = None
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

    async def close(self) -> None:
        """Close every connection."""
        await self._connections.close()
        if self._streams is not None:
            await self._streams.close()

    def forget_connections(self) -> None:
        """Close the connections that no request is using: an answer came that cannot be meant."""
        self._connections.forget()

    async def get_ready_to_stream(self) -> None:
        """Import what streams need beside the loop, which would stand still at the first of them."""
        await asyncio.to_thread(_streams)

    async def login(self, meanwhile: Iterable[Callable[[], object]] = ()) -> None:
        """Get a token now; what is in ``meanwhile`` is done, one after the other, while Keystone is waited for.

        Raises AuthError, ConfigError, Unavailable, and what ``meanwhile`` raises.
        """
        async with within(self._deadline):
            token = asyncio.create_task(self._auth.token())
            try:
                for step in meanwhile:
                    for _ in range(TURNS):
                        await asyncio.sleep(0)
                    step()
                await token
            finally:
                token.cancel()

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
                    return await self._exchange(method, path, query, headers, body, attempts, limit=limit, stall=stall)
                except SwiftFSError as error:
                    if method == "DELETE" and isinstance(error, NotFound) and attempts.unsure:
                        return Answer(204, {})  # an earlier attempt did it, and its answer was lost
                    await attempts.failed(error)

    @contextlib.asynccontextmanager
    async def body(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[Streamed]:
        """A GET whose body is read piece by piece; retried until its headers are there, not after."""
        attempts = Attempts(self._auth, self._retries)
        async with contextlib.AsyncExitStack() as stack:
            async with within(self._deadline, attempts):
                while True:
                    try:
                        url, sent_headers = await self._addressed(path, None, headers, attempts)
                        streamed = await stack.enter_async_context(
                            self._stream("GET", url, sent_headers, None, attempts, self._stall)
                        )
                        break
                    except SwiftFSError as error:
                        await attempts.failed(error)
            yield streamed

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
        self._counters.requests += 1
        with contextlib.suppress(SwiftFSError, TimeoutError):
            async with asyncio.timeout(INTRODUCTION):
                await self._connections.exchange(
                    "HEAD",
                    token.storage_url,
                    {"X-Auth-Token": token.value},
                    None,
                    limit=PIECE,
                    stall=INTRODUCTION,
                )

    async def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: Body | None,
        attempts: Attempts,
        *,
        limit: int,
        stall: float,
    ) -> Answer:
        """One attempt: a 2xx answer read whole, or it raises."""
        url, sent_headers = await self._addressed(path, query, headers, attempts)
        if self._is_streamed(body):
            async with self._stream(method, url, sent_headers, body, attempts, stall) as streamed:
                return await streamed.whole(limit)
        assert body is None or isinstance(body, bytes)
        epoch = await self._admitted(attempts)
        status = 0
        try:
            answer = await self._connections.exchange(method, url, sent_headers, body, limit=limit, stall=stall)
            status = answer.status
        finally:
            self._leave(epoch, status)
        self._counters.received += len(answer.body)
        self._accept(answer, attempts)
        self._counters.sent += len(body or b"")
        return answer

    @contextlib.asynccontextmanager
    async def _stream(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: Body | None,
        attempts: Attempts,
        stall: float,
    ) -> AsyncIterator[Streamed]:
        """One attempt: yields a 2xx answer with its body unread, or raises."""
        size = 0
        source: CountedBody | None = None
        data: bytes | AsyncIterator[bytes | memoryview] | None = None
        if isinstance(body, bytes):
            size, data = len(body), body
        elif body is not None:
            source = CountedBody(body)
            size, data = body.size, source.pieces()
        if data is not None:
            headers["Content-Length"] = str(size)
        if self._rate is not None:
            data = self._rate.slowed(data, attempts.extend)
        assert not isinstance(data, bytes)
        streams = self._open_streams()
        epoch = await self._admitted(attempts)
        status = 0
        try:
            async with streams.send(
                method, url, headers, data, source=source, stall=stall, counters=self._counters
            ) as streamed:
                status = streamed.status
                if not retry.is_success(status):
                    self._accept(await streamed.whole(PIECE), attempts)
                self._counters.sent += size
                yield streamed
        finally:
            self._leave(epoch, status)

    def _is_streamed(self, body: Body | None) -> bool:
        """Whether ``body`` goes piece by piece: it comes so, or its rate is limited."""
        return bool(body) and (not isinstance(body, bytes) or (self._rate is not None and self._rate.slows))

    def _open_streams(self) -> Streams:
        if self._streams is None:
            self._streams = _streams()(self._tls, self._most)
        return self._streams

    async def _addressed(
        self, path: str, query: Mapping[str, str] | None, headers: Mapping[str, str] | None, attempts: Attempts
    ) -> tuple[str, dict[str, str]]:
        """URL and headers of a request, with the token of now."""
        token = await self._auth.token()
        attempts.token = token
        url = wire.info_url(token.storage_url) if path == wire.INFO else token.storage_url + path
        if query:
            url += "?" + "&".join(f"{key}={wire.quote_query(value)}" for key, value in query.items())
        return url, {"X-Auth-Token": token.value, **(headers or {})}

    async def _admitted(self, attempts: Attempts) -> int:
        """Wait until one more request may be sent, and count it; returns the throttle's epoch."""
        if self._rate is not None:
            await self._rate.request(attempts.extend)
        epoch = await self._throttle.enter()
        self._retries.note_request()
        self._counters.requests += 1
        return epoch

    def _leave(self, epoch: int, status: int) -> None:
        """A request has ended with ``status``; 0: without one."""
        slower = retry.verdict(status) is Verdict.RETRY_SLOWER
        self._throttle.leave(epoch, slower=slower, ok=retry.is_success(status))

    def _accept(self, answer: Answer, attempts: Attempts) -> None:
        """Raise what an answer that is not 2xx means."""
        if not retry.is_success(answer.status):
            attempts.retry_after = retry.parse_retry_after(answer.headers.get("Retry-After"), time.time())
            raise status_error(answer.status, answer.headers, answer.body)


def _streams() -> type[Streams]:
    from swiftfs.swift.streams import Streams

    return Streams
