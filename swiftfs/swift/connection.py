"""One HTTP/1.1 connection for exchanges that are held in memory whole: a request, then its answer.

aiohttp takes three times the CPU that reading a small file and its MD5 take, for streams, redirects, cookies, tracing
and decompression that a request of a few kilobytes has no use for. So what fits into memory goes this way, and what
streams goes over aiohttp. The answers are parsed by httptools, which is llhttp, in its strict mode.
"""

from __future__ import annotations

import asyncio
import math
import select
from typing import TYPE_CHECKING, cast

import httptools
from multidict import CIMultiDict

from swiftfs.swift.answer import PIECE, SENDING_STALL, Answer
from swiftfs.swift.pace import Pace
from swiftfs.swift.translate import (
    broken_answer,
    broken_connection,
    not_taken,
    stalled,
    too_long,
    trickling,
    unreadable,
)

if TYPE_CHECKING:
    from swiftfs.errors import SwiftFSError

HEADERS = 64 * 1024
"""Bytes of an answer's status line and headers at the most: llhttp itself has no bound."""
FRAMING = 8
"""Bytes around each byte of a body at the most: what a server needs that sends it byte by byte in chunks."""
SENDING_LOOKS = 4
"""Looks at what is not sent yet in the time in which it must have shrunk."""
JOINED = 256 * 1024
"""Bytes of a body that is copied behind its headers: cheaper than a second system call."""


class Exchange:
    """The answer to one request as it is parsed: callbacks of llhttp, and what has become of it in ``answer``.

    An answer that is not 2xx counts by its status: when its explanation breaks off or is too long, the rest is done
    without.
    """

    def __init__(
        self, answer: asyncio.Future[Answer], *, bodiless: bool, limit: int, stall: float, paced: bool = True
    ) -> None:
        self.answer = answer
        self.stall = stall
        self.keeps_alive = False
        self.has_surplus = False
        """Whether bytes came that belong to no answer: what follows on this connection cannot be trusted."""
        self._bodiless = bodiless
        self._limit = limit
        self._parser = httptools.HttpResponseParser(self)
        self._pace = Pace(stall if paced else math.inf)
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._before_body = 0
        self._around_body = 0
        self._status = 0
        self._body = bytearray()
        self._complete = False

    def feed(self, data: bytes, waited: float) -> None:
        """Bytes that came after ``waited`` seconds."""
        in_body, before = self._status != 0, len(self._body)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._complete:
                self.has_surplus = True
            else:
                self.fail(unreadable(str(error)))
            return
        if self._complete:
            return
        if not self._status:
            self._before_body += len(data)
            if self._before_body > HEADERS:
                self.fail(unreadable("its headers do not end"))
            return
        if in_body:
            self._around_body += len(data) - (len(self._body) - before)
        if len(self._body) > self._limit:
            self.fail(too_long(self._limit))
        elif self._around_body > HEADERS + FRAMING * len(self._body):
            self.fail(unreadable("what follows its body does not end"))
        elif in_body and self._pace.is_too_slow(waited, len(data)):
            self.fail(trickling())

    def end(self, error: Exception | None) -> None:
        """The connection is closed, by ``error`` or in order (None)."""
        if self._complete:
            return
        if not self._status:
            self.fail(broken_connection("ServerDisconnected" if error is None else type(error).__name__))
        elif error is None and "Content-Length" not in self._headers and "Transfer-Encoding" not in self._headers:
            self._finish()  # RFC 9112, 6.3: such a body ends with its connection
        else:
            self.fail(broken_answer())

    def fail(self, error: SwiftFSError) -> None:
        """There will be no whole answer, because of ``error``."""
        self.keeps_alive = False
        if self._status and not 200 <= self._status < 300:
            del self._body[self._limit :]
            self._finish()
            return
        self._complete = True
        if not self.answer.done():
            self.answer.set_exception(error)

    def close(self) -> None:
        """Nothing more is fed. The parser knows this exchange, and an error that it ended with knows who waited for it:
        unless they part here, all of it stays, with the body, until the interpreter looks for garbage."""
        del self._parser, self.answer

    def _finish(self) -> None:
        self._complete = True
        if not self.answer.done():
            self.answer.set_result(Answer(self._status, self._headers, self._body))

    # Callbacks of llhttp: they must not raise.

    def on_message_begin(self) -> None:
        if self._complete:
            self.has_surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._status:  # a trailer says nothing of what the headers say (RFC 9110, 6.5.1)
            self._headers.add(name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._complete or status < 200:
            return
        self._status = status
        self.keeps_alive = self._parser.should_keep_alive()
        if not 200 <= status < 300:
            self._limit = PIECE
        if self._bodiless:
            self._finish()

    def on_body(self, data: bytes) -> None:
        if self._complete:
            self.has_surplus = True
        else:
            self._body += data

    def on_message_complete(self) -> None:
        if self._complete:
            return
        if not self._status:  # 1xx: the answer is yet to come (RFC 9110, 15.2)
            self._headers = CIMultiDict()
        elif len(self._body) <= self._limit:
            self._finish()


class Connection(asyncio.Protocol):
    """A connection that has one exchange at a time. ``lost`` is done when it is closed on both sides.

    ``below`` is the transport that carries a connection with TLS, None without: asyncio's transport with TLS does not
    count what it has handed on to that one and is not sent yet.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, below: asyncio.WriteTransport | None = None) -> None:
        self._loop = loop
        self._below = below
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._heard = 0.0
        self._left = 0
        self._timer: asyncio.TimerHandle | None = None
        self.lost: asyncio.Future[None] = loop.create_future()
        self.is_usable = False
        """Whether another exchange may begin, as far as the loop has heard."""
        self.idle_since = 0.0
        self._unread = select.poll()

    async def ask(
        self, head: bytes, body: bytes, *, bodiless: bool = False, limit: int = PIECE, stall: float, paced: bool = True
    ) -> Answer:
        """Send a request and return its whole answer, whose body has at most ``limit`` bytes.

        ``bodiless`` is an answer that has no body whatever its headers say (to HEAD). ``stall`` seconds may pass
        without a byte once the request has left, and SENDING_STALL without a byte taken before; an answer that is
        ``paced`` may not trickle either. Raises Unavailable and Truncated. The connection is closed unless the answer
        came whole and nothing came with it; also when the caller is cancelled.
        """
        assert self._transport is not None
        assert self._exchange is None
        self.is_usable = False
        exchange = Exchange(self._loop.create_future(), bodiless=bodiless, limit=limit, stall=stall, paced=paced)
        self._exchange = exchange
        try:
            if len(body) <= JOINED:
                self._transport.write(head + body)
            else:
                self._transport.write(head)
                self._transport.write(body)
            self._heard = self._loop.time()
            self._left = self._unsent()
            self._watch_until(self._heard + (min(stall, self._look_after()) if self._left else stall))
            answer = await exchange.answer
            sound = exchange.keeps_alive and not exchange.has_surplus and not self.lost.done()
            self.is_usable = sound and not self._unsent()
            return answer
        finally:
            self._exchange = None
            exchange.close()
            self.idle_since = self._loop.time()
            if not self.is_usable:
                self.abort()

    def is_quiet(self) -> bool:
        """Whether another exchange may begin, and nothing waits in the socket for the loop's next turn.

        Bytes there would be taken for the answer to the next request, and an end would fail it.
        """
        return self.is_usable and not self._unread.poll(0)

    def abort(self) -> None:
        """Close at once; ``lost`` tells when it is done."""
        self.is_usable = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()

    # Callbacks of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.is_usable = True

    def data_received(self, data: bytes) -> None:
        if self._exchange is None:
            self.abort()  # nobody has asked: it would be taken for the answer to the next request
            return
        now = self._loop.time()
        waited, self._heard = now - self._heard, now
        self._exchange.feed(data, waited)

    def eof_received(self) -> None:
        if self._exchange is not None:
            # With TLS an end may be anybody's who cuts the connection (RFC 9112, 9.8), and asyncio does not tell.
            self._exchange.end(None if self._below is None else ConnectionAbortedError())
        self.abort()  # asyncio would send the rest of the request first

    def connection_lost(self, exc: Exception | None) -> None:
        self.abort()
        if self._exchange is not None:
            self._exchange.end(exc or ConnectionAbortedError())
        if not self.lost.done():
            self.lost.set_result(None)

    def _unsent(self) -> int:
        """Bytes of the request that the kernel does not have yet."""
        assert self._transport is not None
        below = 0 if self._below is None else self._below.get_write_buffer_size()
        return self._transport.get_write_buffer_size() + below

    # The stall timer: one that runs on from exchange to exchange, for arming it anew with every byte would cost more

    def _watch_until(self, when: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._watch)

    def _watch(self) -> None:
        self._timer = None
        exchange = self._exchange
        if exchange is None:
            return
        now = self._loop.time()
        left = self._unsent()
        if left < self._left:
            self._heard = now  # the other side takes it; its end, too, was after the last look
        self._left = left
        due = self._heard + (SENDING_STALL if left else exchange.stall)
        if due > now:
            self._watch_until(min(due, now + self._look_after()) if left else due)
        else:
            exchange.fail(not_taken() if left else stalled())

    def _look_after(self) -> float:
        return SENDING_STALL / SENDING_LOOKS
