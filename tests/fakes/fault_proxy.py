"""A proxy in front of a real store or Keystone that breaks what it is told to break, and nothing else.

It runs in a thread of its own with its own loop, so that tests on any loop and programs in other processes can go
through it. Without a fault the bytes of requests and answers pass as they are; ``test_fault_proxy.py`` shows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import urlsplit

Headers = tuple[tuple[str, str], ...]
PATIENCE = 60.0
"""Seconds the server behind may take for one answer: the machine may be busy."""


def header(headers: Headers, name: str) -> str | None:
    """The first value of a header."""
    return next((value for key, value in headers if key.lower() == name.lower()), None)


def without(headers: Headers, *names: str) -> Headers:
    """``headers`` less those named."""
    gone = {name.lower() for name in names}
    return tuple(pair for pair in headers if pair[0].lower() not in gone)


@dataclass(frozen=True, slots=True)
class Request:
    """One request; ``wire`` is its body as it came, chunk framing included."""

    method: str
    target: str
    headers: Headers
    wire: bytes = b""

    @property
    def body(self) -> bytes:
        """The body without framing."""
        return _unchunked(self.wire) if _is_chunked(self.headers) else self.wire

    def raw(self) -> bytes:
        return _head(f"{self.method} {self.target} HTTP/1.1", self.headers) + self.wire

    def edited(self, *, target: str | None = None, body: bytes | None = None, drop: tuple[str, ...] = ()) -> Request:
        """This request with another target or body, less some headers."""
        headers, wire = without(self.headers, *drop), self.wire
        if body is not None:
            wire = body
            headers = (*without(headers, "content-length", "transfer-encoding"), ("Content-Length", str(len(body))))
        return replace(self, target=self.target if target is None else target, headers=headers, wire=wire)


@dataclass(frozen=True, slots=True)
class Response:
    """One answer; ``wire`` is its body as it came, chunk framing included."""

    status: int
    reason: str
    headers: Headers
    wire: bytes = b""
    of_head: bool = False

    @property
    def body(self) -> bytes:
        """The body without framing."""
        return _unchunked(self.wire) if _is_chunked(self.headers) else self.wire

    def head(self) -> bytes:
        return _head(f"HTTP/1.1 {self.status} {self.reason}", self.headers)

    def with_headers(self, *, drop: tuple[str, ...] = (), **values: str) -> Response:
        """This answer with headers replaced (underscores stand for dashes) and dropped."""
        names = {name.replace("_", "-"): value for name, value in values.items()}
        return replace(self, headers=(*without(self.headers, *names, *drop), *names.items()))

    def with_body(self, body: bytes) -> Response:
        """This answer with another body and the length of that."""
        headers = (*without(self.headers, "content-length", "transfer-encoding"), ("Content-Length", str(len(body))))
        return replace(self, headers=headers, wire=b"" if self.of_head else body)


def answer(status: int, body: bytes = b"", **headers: str) -> Response:
    """An answer of the proxy's own; underscores in header names stand for dashes."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Response(status, "Made Up", (*named, ("Content-Length", str(len(body)))), body)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that reached the proxy, the name of the action that broke it, and its body's bytes.

    ``at`` is when it had come whole, in seconds of a clock that only goes forward; ``seconds`` is how long its answer
    took, None until then.
    """

    method: str
    target: str
    headers: Headers
    action: str | None
    size: int = 0
    seconds: float | None = None
    at: float = 0.0


class Gone(Exception):
    """The client's connection is over."""


Forward = Callable[[Request], Awaitable[Response]]


@dataclass(slots=True)
class Exchange:
    """One request and the ways to answer it."""

    request: Request
    forward: Forward
    memory: dict[str, Response]
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, response: Response) -> None:
        await self.send(response.head() + (b"" if self.request.method == "HEAD" else response.wire))

    async def send_part(self, size: int) -> bytes:
        """Pass the request on, and of the answer its head and ``size`` bytes, all if negative; returns the others."""
        response = await self.forward(self.request)
        size = len(response.wire) if size < 0 else size
        await self.send(response.head() + response.wire[:size])
        return response.wire[size:]

    def reset(self) -> None:
        """End the connection with a RST. Raises Gone."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        raise Gone

    async def hold(self) -> None:
        """Say nothing until the client has gone. Raises Gone."""
        while await self._reader.read(65536):
            pass
        raise Gone


class Action(Protocol):
    """What happens to a request instead of being passed on."""

    async def play(self, exchange: Exchange) -> None: ...


@dataclass(frozen=True, slots=True)
class Reset:
    """RST after ``after`` bytes of the body: None before the headers, -1 after the last byte."""

    after: int | None = None

    async def play(self, exchange: Exchange) -> None:
        if self.after is not None:
            await exchange.send_part(self.after)
        exchange.reset()


@dataclass(frozen=True, slots=True)
class Swallow:
    """The server does what it is asked; the answer is lost, with a RST or (``hold``) in silence."""

    hold: bool = False

    async def play(self, exchange: Exchange) -> None:
        await exchange.forward(exchange.request)
        if self.hold:
            await exchange.hold()
        exchange.reset()


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing more after ``after`` bytes of the body; None: no answer at all, and the server is not asked."""

    after: int | None = None

    async def play(self, exchange: Exchange) -> None:
        if self.after is not None:
            await exchange.send_part(self.after)
        await exchange.hold()


@dataclass(frozen=True, slots=True)
class Trickle:
    """``piece`` bytes of the body every ``pause`` seconds."""

    piece: int = 1
    pause: float = 0.1

    async def play(self, exchange: Exchange) -> None:
        wire = await exchange.send_part(0)
        for start in range(0, len(wire), self.piece):
            await exchange.send(wire[start : start + self.piece])
            await asyncio.sleep(self.pause)


@dataclass(frozen=True, slots=True)
class Truncate:
    """Only ``keep`` bytes of the body; ``honest`` says so in Content-Length, else the connection ends too early."""

    keep: int
    honest: bool = False

    async def play(self, exchange: Exchange) -> None:
        if not self.honest:
            await exchange.send_part(self.keep)
            raise Gone
        response = await exchange.forward(exchange.request)
        await exchange.answer(response.with_body(response.body[: self.keep]))


@dataclass(frozen=True, slots=True)
class Kill:
    """``kill`` ends the client while its request is there; nobody is answered. ``done``: the server does it all the
    same."""

    kill: Callable[[], object]
    done: bool = False

    async def play(self, exchange: Exchange) -> None:
        await asyncio.to_thread(self.kill)
        if self.done:
            await exchange.forward(exchange.request)
        raise Gone


@dataclass(frozen=True, slots=True)
class Extra:
    """``data`` after the body, beyond what Content-Length says."""

    data: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

    async def play(self, exchange: Exchange) -> None:
        await exchange.answer(await exchange.forward(exchange.request))
        await exchange.send(self.data)


@dataclass(frozen=True, slots=True)
class Endless:
    """The body in chunks, without the last one: the connection ends where the end should have been told."""

    async def play(self, exchange: Exchange) -> None:
        response = await exchange.forward(exchange.request)
        body = response.body
        chunked = response.with_headers(drop=("Content-Length",), Transfer_Encoding="chunked")
        await exchange.send(chunked.head() + f"{len(body):x}\r\n".encode() + body + b"\r\n")
        raise Gone


@dataclass(frozen=True, slots=True)
class HangUp:
    """A whole answer that promises to keep the connection, which is then closed."""

    async def play(self, exchange: Exchange) -> None:
        await exchange.answer(await exchange.forward(exchange.request))
        raise Gone


@dataclass(frozen=True, slots=True)
class FlipBit:
    """One bit of the body's byte ``at`` is the other one; an answer without a body is as it was."""

    at: int

    async def play(self, exchange: Exchange) -> None:
        response = await exchange.forward(exchange.request)
        body = bytearray(response.body)
        if body:
            body[self.at % len(body)] ^= 1
        await exchange.answer(response.with_body(bytes(body)))


@dataclass(frozen=True, slots=True)
class SetHeader:
    """The answer has ``value`` for a header; None: it lacks it."""

    name: str
    value: str | None

    async def play(self, exchange: Exchange) -> None:
        response = await exchange.forward(exchange.request)
        pairs = () if self.value is None else ((self.name, self.value),)
        await exchange.answer(replace(response, headers=(*without(response.headers, self.name), *pairs)))


@dataclass(frozen=True, slots=True)
class IgnoreRange:
    """The whole object and 200 for a GET with a Range."""

    async def play(self, exchange: Exchange) -> None:
        await exchange.answer(await exchange.forward(exchange.request.edited(drop=("range",))))


@dataclass(frozen=True, slots=True)
class Status:
    """Another status, made up; the server is not asked."""

    status: int
    retry_after: str | None = None
    body: bytes = b"made up"
    headers: Headers = ()

    async def play(self, exchange: Exchange) -> None:
        made = answer(self.status, b"" if self.status == 204 else self.body)
        more = () if self.retry_after is None else (("Retry-After", self.retry_after),)
        await exchange.answer(replace(made, headers=(*made.headers, *self.headers, *more)))


def redirect(status: int, location: str) -> Status:
    """A redirect to ``location``, which must not be followed."""
    return Status(status, headers=(("Location", location),))


@dataclass(frozen=True, slots=True)
class RepeatPage:
    """The first page of a listing again, whatever the marker."""

    async def play(self, exchange: Exchange) -> None:
        path = urlsplit(exchange.request.target).path
        first = exchange.memory.get(path)
        await exchange.answer(first or await exchange.forward(exchange.request))


@dataclass(frozen=True, slots=True)
class EditPage:
    """A listing page whose rows are what ``edit`` makes of them."""

    edit: Callable[[list[dict[str, Any]]], Any]

    async def play(self, exchange: Exchange) -> None:
        response = await exchange.forward(exchange.request)
        edited = self.edit(json.loads(response.body or b"[]"))
        body = edited if isinstance(edited, bytes) else json.dumps(edited).encode()
        await exchange.answer(replace(response, status=200, reason="OK").with_body(body))


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """``call`` runs, in another thread, before the request is passed on: a change between two requests."""

    call: Callable[[], object]

    async def play(self, exchange: Exchange) -> None:
        await asyncio.to_thread(self.call)
        await exchange.answer(await exchange.forward(exchange.request))


@dataclass(slots=True)
class Together:
    """Holds requests until ``count`` of them are here, or for ``patience`` seconds; then each is ``then``'s, or passes.

    ``most`` is how many were here at once. Whoever says that fewer than ``count`` come waits that long to see it.
    """

    count: int
    then: Action | None = None
    patience: float = PATIENCE
    most: int = 0
    _here: int = 0
    _all_here: asyncio.Event = field(default_factory=asyncio.Event)

    async def play(self, exchange: Exchange) -> None:
        self._here += 1
        self.most = max(self.most, self._here)
        if self._here >= self.count:
            self._all_here.set()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.patience):
                    await self._all_here.wait()
        finally:
            self._here -= 1
        if self.then is not None:
            await self.then.play(exchange)
        else:
            await exchange.answer(await exchange.forward(exchange.request))


@dataclass(frozen=True, slots=True)
class Fault:
    """``action`` for the requests with ``method`` (None: any) and a target in which ``path`` is found.

    The first ``skip`` of them pass, then ``count`` are broken (None: all).
    """

    action: Action
    method: str | None = None
    path: str = ""
    skip: int = 0
    count: int | None = 1

    def fits(self, request: Request) -> bool:
        return self.method in {None, request.method} and re.search(self.path, request.target) is not None


class Dialect(Protocol):
    """Another server's manners: answers a request by what the server behind says to other ones."""

    async def speak(self, request: Request, forward: Forward) -> Response: ...


@dataclass(slots=True)
class FaultProxy:
    """Use it with ``with``. ``upstream`` is the URL of what is behind; ``url`` is the same through the proxy."""

    upstream: str
    dialect: Dialect | None = None
    tls: ssl.SSLContext | None = None
    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    in_flight: int = 0
    """Requests that have come whole and whose answer has not gone."""
    _faults: list[tuple[Fault, list[int]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _memory: dict[str, Response] = field(default_factory=dict)
    _connections: set[asyncio.Task[None]] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _server: asyncio.Server | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The upstream's URL with the proxy's address."""
        scheme = "http" if self.tls is None else "https"
        return urlsplit(self.upstream)._replace(scheme=scheme, netloc=f"127.0.0.1:{self.port}").geturl()

    def __enter__(self) -> FaultProxy:
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy")
        self._thread.start()
        self.up()
        return self

    def __exit__(self, *exc: object) -> None:
        self.down()
        self._call(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        assert self._thread is not None
        self._thread.join()
        self._loop.close()

    def up(self) -> None:
        """Listen."""
        self._call(self._listen())

    def down(self) -> None:
        """Refuse connections and break those that there are."""
        self._call(self._close())

    @contextlib.contextmanager
    def broken(self, *faults: Fault) -> Iterator[list[Seen]]:
        """The faults hold inside; yields the list that the requests seen from now on go to."""
        with self._lock:
            self.seen = []
            self._faults = [(fault, [0, 0]) for fault in faults]
        try:
            yield self.seen
        finally:
            with self._lock:
                self._faults = []

    def inject(self, fault: Fault) -> bool:
        """The fault holds from now on, beside nothing else; whether the one before has been played.

        What was seen is forgotten: for runs of many minutes.
        """
        with self._lock:
            played = any(counts[1] for _, counts in self._faults)
            self.seen = []
            self._faults = [(fault, [0, 0])]
        return played

    def clear(self) -> None:
        """No fault holds."""
        with self._lock:
            self._faults = []

    def played(self) -> int:
        """How many requests were broken since the last ``broken`` began."""
        return sum(seen.action is not None for seen in self.seen)

    def rest(self) -> None:
        """Wait until every request that has come is answered, and all that was to be sent has been sent."""
        limit = time.monotonic() + PATIENCE
        while self.in_flight:
            assert time.monotonic() < limit, "requests are still being answered"
            time.sleep(0.005)

    def settle(self) -> None:
        """Wait until every connection is over, once the clients have gone: nothing is on its way to the server."""
        self._call(self._settled())

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _settled(self) -> None:
        if self._connections:
            await asyncio.wait(self._connections)

    def _take(self, request: Request) -> Action | None:
        with self._lock:
            for fault, counts in self._faults:
                if not fault.fits(request):
                    continue
                if counts[0] < fault.skip:
                    counts[0] += 1
                elif fault.count is None or counts[1] < fault.count:
                    counts[1] += 1
                    return fault.action
            return None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        writer.transport.set_write_buffer_limits(0)
        try:
            async for request in _requests(reader, writer):
                action = self._take(request)
                played = type(action).__name__ if action else None
                seen, place, begun = self.seen, len(self.seen), self._loop.time()
                seen.append(Seen(request.method, request.target, request.headers, played, len(request.body), at=begun))
                exchange = Exchange(request, self._forward, self._memory, reader, writer)
                self.in_flight += 1
                try:
                    if action is not None:
                        await action.play(exchange)
                    else:
                        await exchange.answer(await self._forward(request))
                    seen[place] = replace(seen[place], seconds=self._loop.time() - begun)
                finally:
                    self.in_flight -= 1
        except (Gone, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _forward(self, request: Request) -> Response:
        if self.dialect is not None:
            response = await self.dialect.speak(request, self._ask)
        else:
            response = await self._ask(request)
        if request.method == "GET" and "marker=" not in request.target:
            self._memory[urlsplit(request.target).path] = response
        return response

    async def _ask(self, request: Request) -> Response:
        parts = urlsplit(self.upstream)
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                writer.write(request.raw())
                return await _read_response(reader, request.method)
            finally:
                writer.close()


async def _requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> AsyncIterator[Request]:
    """The requests of one connection, until it ends. A promised body is asked for: the store would do the same."""
    while True:
        first, headers = _parse(await reader.readuntil(b"\r\n\r\n"))
        method, target, _ = first.split(" ", 2)
        if (header(headers, "expect") or "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            headers = without(headers, "expect")
        yield Request(method, target, headers, await _read_body(reader, headers, to_end=False))
        if (header(headers, "connection") or "").lower() == "close":
            return


async def _read_response(reader: asyncio.StreamReader, method: str) -> Response:
    status = 100
    while status < 200:
        first, headers = _parse(await reader.readuntil(b"\r\n\r\n"))
        status = int(first.split(" ", 2)[1])
    reason = first.split(" ", 2)[-1]
    bodiless = method == "HEAD" or status in {204, 304}
    wire = b"" if bodiless else await _read_body(reader, headers, to_end=True)
    return Response(status, reason, headers, wire, of_head=method == "HEAD")


async def _read_body(reader: asyncio.StreamReader, headers: Headers, *, to_end: bool) -> bytes:
    if _is_chunked(headers):
        pieces = []
        while True:
            size = await reader.readuntil(b"\r\n")
            length = int(size.split(b";")[0], 16)
            pieces += [size, await reader.readexactly(length + 2)]
            if length == 0:
                return b"".join(pieces)
    length_text = header(headers, "content-length")
    if length_text is not None:
        return await reader.readexactly(int(length_text))
    return await reader.read() if to_end else b""


def _parse(head: bytes) -> tuple[str, Headers]:
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    return first, tuple((name, value.strip()) for name, value in pairs)


def _head(first: str, headers: Headers) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _is_chunked(headers: Headers) -> bool:
    return (header(headers, "transfer-encoding") or "").lower() == "chunked"


def _unchunked(wire: bytes) -> bytes:
    body = b""
    while wire:
        size, _, wire = wire.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        body, wire = body + wire[:length], wire[length + 2 :]
    return body
