"""Exchanges over connections of our own: no answer is cut short, mixed up with another, or waited for without end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.errors import Rejected, SwiftFSError, Truncated, Unavailable
from swiftfs.swift import connection as connection_module
from swiftfs.swift import connections as connections_module
from swiftfs.swift import streams as streams_module
from swiftfs.swift.answer import Answer, Counters
from swiftfs.swift.connection import HEADERS, Exchange
from swiftfs.swift.connections import Connections
from swiftfs.swift.streams import Streams

BODY = bytes(range(256)) * 8
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Empty:\r\nX-Trans-Id: tx1\r\n\r\n" % len(BODY) + BODY
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Trans-Id: tx1\r\n\r\n"
    + b"%x\r\n" % 1000
    + BODY[:1000]
    + b"\r\n%x\r\n" % (len(BODY) - 1000)
    + BODY[1000:]
    + b"\r\n0\r\n\r\n"
)
CONTINUED = b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n" + LENGTH
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\nX-Trans-Id: tx1\r\n\r\n" + BODY
CLOSING = LENGTH.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
LOWER = LENGTH.replace(b"Content-Length", b"content-length")
FRAMED = [LENGTH, LOWER, CHUNKED, CONTINUED]
NO_TOKEN = {"X-Auth-Token": "t"}
HUGE = bytes(24 << 20)
"""More than the buffers of a socket hold."""


def parsed(
    *pieces: bytes, closed: bool = False, bodiless: bool = False, limit: int = 1 << 20
) -> tuple[Exchange, Answer | SwiftFSError | None]:
    """The exchange after ``pieces``, and what came of it; None: nothing yet."""
    loop = asyncio.new_event_loop()
    future: asyncio.Future[Answer] = loop.create_future()
    exchange = Exchange(future, bodiless=bodiless, limit=limit, stall=15.0)
    for piece in pieces:
        exchange.feed(piece, 0.0)
    if closed:
        exchange.end(None)
    loop.close()
    if not future.done():
        return exchange, None
    error = future.exception()
    assert error is None or isinstance(error, SwiftFSError)
    return exchange, error or future.result()


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    """``raw`` in pieces."""
    edges = sorted({0, len(raw), *(place % len(raw) for place in places)})
    return [raw[start:stop] for start, stop in itertools.pairwise(edges)]


@given(st.sampled_from(FRAMED), st.lists(st.integers(0, 10_000), max_size=12))
def test_however_an_answer_is_cut_into_packets_it_is_the_same(raw: bytes, places: list[int]) -> None:
    exchange, answer = parsed(*cut(raw, places))
    assert isinstance(answer, Answer)
    assert (answer.status, bytes(answer.body), answer.headers["x-trans-id"]) == (200, BODY, "tx1")
    assert "X-Early" not in answer.headers
    assert exchange.keeps_alive
    assert not exchange.has_surplus


@given(st.sampled_from(FRAMED), st.data())
def test_an_answer_that_ends_early_is_never_taken_for_whole(raw: bytes, data: st.DataObject) -> None:
    stop = data.draw(st.integers(0, len(raw) - 1))
    _, outcome = parsed(*[piece for piece in [raw[:stop]] if piece], closed=True)
    assert isinstance(outcome, Truncated | Unavailable)


@given(st.sampled_from(FRAMED), st.binary(min_size=1, max_size=40), st.booleans())
def test_bytes_after_an_answer_are_noticed_and_are_not_part_of_it(raw: bytes, more: bytes, together: bool) -> None:
    exchange, answer = parsed(*([raw + more] if together else [raw, more]))
    assert isinstance(answer, Answer)
    assert bytes(answer.body) == BODY
    # Line ends alone may follow an answer (RFC 9112, 2.2: to be ignored); everything else is somebody else's.
    assert exchange.has_surplus or not more.strip(b"\r\n")


def test_a_trailer_is_no_header_and_has_an_end() -> None:
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
    _, answer = parsed(start + b"ETag: another\r\n\r\n")
    assert isinstance(answer, Answer)
    assert (bytes(answer.body), "ETag" in answer.headers) == (b"abc", False)
    for more in (b"X: y\r\n" * 100, b"X: " + b"y" * 1000):
        exchange, outcome = parsed(start, *[more] * (HEADERS // len(more) + 2))
        assert isinstance(outcome, Truncated)
        assert not exchange.keeps_alive


def test_a_blank_now_and_then_holds_up_an_answer_that_is_not_paced() -> None:
    """Swift sends one every 10 s while it works on a manifest or a bulk delete."""
    blanks = [b"1\r\n \r\n"] * 30
    for paced, kind in ((True, Unavailable), (False, Answer)):
        loop = asyncio.new_event_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        exchange = Exchange(future, bodiless=False, limit=1000, stall=25.0, paced=paced)
        exchange.feed(b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n", 0.1)
        for piece in [*blanks, b"2\r\n{}\r\n0\r\n\r\n"]:
            exchange.feed(piece, 10.0)
        loop.close()
        assert isinstance(future.exception() or future.result(), kind)


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    assert parsed(UNTIL_CLOSED)[1] is None
    exchange, answer = parsed(UNTIL_CLOSED, closed=True)
    assert isinstance(answer, Answer)
    assert bytes(answer.body) == BODY
    assert not exchange.keeps_alive


def test_the_answer_to_head_has_no_body_whatever_its_length_says() -> None:
    exchange, answer = parsed(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", bodiless=True)
    assert isinstance(answer, Answer)
    assert answer.headers["Content-Length"] == "99"
    assert not answer.body
    assert exchange.keeps_alive


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * HEADERS,
    ],
)
def test_what_can_be_read_in_two_ways_or_not_at_all_is_refused(raw: bytes) -> None:
    exchange, outcome = parsed(raw)
    assert isinstance(outcome, Truncated)
    assert outcome.message.startswith("unreadable answer")
    assert not exchange.keeps_alive


def test_an_answer_over_the_limit_is_refused() -> None:
    for raw in FRAMED:
        exchange, outcome = parsed(raw, limit=len(BODY) - 1)
        assert isinstance(outcome, Truncated)
        assert not exchange.keeps_alive
        assert isinstance(parsed(raw, limit=len(BODY))[1], Answer)


def test_a_refusal_counts_by_its_status_whatever_becomes_of_its_explanation() -> None:
    exchange, answer = parsed(b"HTTP/1.1 507 Full\r\nContent-Length: 10\r\n\r\nfull", closed=True)
    assert isinstance(answer, Answer)
    assert (answer.status, bytes(answer.body)) == (507, b"full")
    assert not exchange.keeps_alive


@dataclass
class Server:
    """Answers every request on a connection with ``answer``; notes what it got, by connection."""

    answer: Callable[[], bytes]
    url: str = ""
    requests: list[list[bytes]] = field(default_factory=list)
    ends: list[asyncio.Event] = field(default_factory=list)
    latest: asyncio.trsock.TransportSocket | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests: list[bytes] = []
        end = asyncio.Event()
        self.latest = writer.get_extra_info("socket")
        self.requests.append(requests)
        self.ends.append(end)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                requests.append(head)
                writer.write(self.answer())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            end.set()
            writer.close()


@contextlib.asynccontextmanager
async def serving(answer: Callable[[], bytes]) -> AsyncIterator[tuple[Server, Connections]]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/AUTH_x"
    connections = Connections(ssl.create_default_context)
    try:
        yield server, connections
    finally:
        await connections.close()
        listening.close()
        async with asyncio.timeout(10):
            for end in server.ends:
                await end.wait()


async def get(connections: Connections, url: str, stall: float = 10.0) -> Answer:
    return await connections.exchange("GET", url, NO_TOKEN, None, limit=1 << 20, stall=stall)


class Streamer:
    """The other way of sending requests: over aiohttp. Close it."""

    def __init__(self) -> None:
        self._streams = Streams(ssl.create_default_context, 4)

    async def get(self, url: str) -> Answer:
        sent = self._streams.send("GET", url, NO_TOKEN, None, source=None, stall=10.0, counters=Counters())
        async with sent as answer:
            return await answer.whole(1 << 20)

    async def aclose(self) -> None:
        await self._streams.close()


@pytest.mark.asyncio
async def test_one_connection_serves_request_after_request() -> None:
    async with serving(lambda: LENGTH) as (server, connections):
        for _ in range(3):
            assert bytes((await get(connections, server.url)).body) == BODY
        assert [len(requests) for requests in server.requests] == [3]


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [LENGTH, LENGTH[:-1] + b"HTTP", b"no HTTP"])
async def test_nothing_of_an_answer_stays_for_the_garbage_collector(answer: bytes) -> None:
    async def ask() -> None:
        with contextlib.suppress(SwiftFSError):
            await get(connections, server.url, stall=0.1)
        await asyncio.sleep(0)  # the loop holds the answer until the turn that it brought is over

    async with serving(lambda: answer) as (server, connections):
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                await ask()
            left = [one for one in gc.get_objects() if isinstance(one, Exchange)]
        finally:
            gc.enable()
    assert left == []


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [LENGTH + b"HTTP/1.1 200 OK\r\n", CLOSING])
async def test_a_connection_that_cannot_be_trusted_any_more_is_not_used_again(answer: bytes) -> None:
    async with serving(lambda: answer) as (server, connections):
        for _ in range(2):
            assert bytes((await get(connections, server.url)).body) == BODY
        assert [len(requests) for requests in server.requests] == [1, 1]


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("surplus", [LENGTH.replace(BODY, BODY[::-1]), b""])
async def test_what_comes_unasked_is_never_the_answer_to_the_next_request(surplus: bytes, streamed: bool) -> None:
    """Another answer, or the end of the connection, comes when the loop will not turn before the next request: neither
    way of sending requests takes it for its own."""
    async with serving(lambda: LENGTH) as (server, connections):
        async with contextlib.aclosing(Streamer()) as streamer:

            async def body() -> bytes:
                answer = await (streamer.get(server.url) if streamed else get(connections, server.url))
                return bytes(answer.body)

            assert await body() == BODY
            assert server.latest is not None
            if surplus:
                os.write(server.latest.fileno(), surplus)
            else:
                server.latest.shutdown(socket.SHUT_WR)
            assert await body() == BODY
        assert [len(requests) for requests in server.requests] == [1, 1]


@pytest.mark.asyncio
async def test_an_idle_connection_is_closed_by_us_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "KEEP_ALIVE", 0.01)
    async with serving(lambda: LENGTH) as (server, connections):
        await get(connections, server.url)
        async with asyncio.timeout(10):
            await server.ends[0].wait()


@pytest.mark.asyncio
async def test_a_request_that_is_given_up_takes_its_connection_along() -> None:
    arrived = asyncio.Event()

    def silent() -> bytes:
        arrived.set()
        return b""

    async with serving(silent) as (server, connections):
        task = asyncio.create_task(get(connections, server.url))
        async with asyncio.timeout(10):
            await arrived.wait()
            task.cancel()
            await server.ends[0].wait()
        assert task.cancelled()


@pytest.mark.asyncio
async def test_silence_is_given_up_after_the_stall() -> None:
    async with serving(lambda: LENGTH[:-1]) as (server, connections):
        with pytest.raises(Unavailable, match="nothing for too long"):
            await get(connections, server.url, stall=0.05)


@contextlib.asynccontextmanager
async def reading(pause: float | None) -> AsyncIterator[str]:
    """The URL of a server that reads a request 256 KiB at a time with ``pause`` between them, and then answers; None:
    it reads the headers and never anything more."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if pause is None:
            await over.wait()
        else:
            left = len(HUGE)
            while left:
                left -= len(await reader.readexactly(min(left, 256 * 1024)))
                await asyncio.sleep(pause)
            writer.write(LENGTH)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/AUTH_x"
    finally:
        over.set()
        server.close()


async def pieces() -> AsyncIterator[bytes]:
    """HUGE in pieces as a source has them."""
    for start in range(0, len(HUGE), 1 << 20):
        yield HUGE[start : start + (1 << 20)]


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_server_that_takes_no_more_of_a_request_is_given_up(
    streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes it slowly is not: however long all of it takes, and whatever silence is allowed afterwards."""
    takes = 1.0
    for module in (connection_module, streams_module):
        monkeypatch.setattr(module, "SENDING_STALL", takes)
    connections, streams = Connections(ssl.create_default_context), Streams(ssl.create_default_context, 4)
    headers = {**NO_TOKEN, "Content-Length": str(len(HUGE))}

    async def put(url: str) -> int:
        if not streamed:
            return (await connections.exchange("PUT", url, NO_TOKEN, HUGE, limit=1 << 20, stall=100.0)).status
        sent = streams.send("PUT", url, headers, pieces(), source=None, stall=100.0, counters=Counters())
        async with sent as answer:
            return (await answer.whole(1 << 20)).status

    try:
        loop = asyncio.get_running_loop()
        async with reading(0.03) as url:
            begun = loop.time()
            assert await put(url) == 200
            assert loop.time() - begun > 2 * takes
        async with reading(None) as url, asyncio.timeout(30):
            with pytest.raises(Unavailable, match="took nothing of the request"):
                await put(url)
    finally:
        await connections.close()
        await streams.close()


@pytest.mark.asyncio
async def test_a_host_is_looked_up_once_for_all_who_connect_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    look_up = connections_module._look_up

    async def counted(host: str, port: int) -> object:
        asked.append(host)
        return await look_up(host, port)

    monkeypatch.setattr(connections_module, "_look_up", counted)
    async with serving(lambda: LENGTH) as (server, connections):
        await asyncio.gather(*(get(connections, server.url) for _ in range(8)))
        assert asked == ["127.0.0.1"]
        assert len(server.requests) == 8


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "url", ["ftp://h/v1", "http://user:word@h/v1", "http:///v1", "http://h:99999/v1", "http://h/v 1", "http://h/a\r\nb"]
)
async def test_a_url_that_cannot_be_sent_as_it_is_is_refused(url: str) -> None:
    with pytest.raises(Rejected):
        await get(Connections(ssl.create_default_context), url)


@pytest.mark.asyncio
async def test_a_header_cannot_bring_in_another_line() -> None:
    connections = Connections(ssl.create_default_context)
    for value in ("a\r\nX: y", "a\nb", "a\rb", "a\0b"):
        with pytest.raises(Rejected, match="line break"):
            await connections.exchange("GET", "http://h/v1", {"X-A": value}, None, limit=1, stall=1.0)


@pytest.mark.asyncio
async def test_a_header_that_is_not_unicode_is_refused() -> None:
    connections = Connections(ssl.create_default_context)
    with pytest.raises(Rejected, match="not valid Unicode"):
        await connections.exchange("PUT", "http://h/v1", {"X-A": "\udcff"}, None, limit=1, stall=1.0)


@pytest.mark.asyncio
async def test_an_answer_that_we_cut_off_ourselves_is_not_whole() -> None:
    """Without a length an answer ends with its connection, but not by our own closing."""
    arrived = asyncio.Event()

    def part() -> bytes:
        arrived.set()
        return UNTIL_CLOSED

    async with serving(part) as (server, connections):
        task = asyncio.create_task(get(connections, server.url))
        async with asyncio.timeout(10):
            await arrived.wait()
            while not next(iter(connections._open))._exchange._status:  # type: ignore[union-attr]  # noqa: ASYNC110
                await asyncio.sleep(0)
        await connections.close()
        with pytest.raises(Truncated):
            await task


@pytest.mark.asyncio
async def test_addresses_that_did_not_answer_are_looked_up_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that moved is found at its new address by the next attempt, not a minute later."""
    asked: list[str] = []

    async def counted(host: str, port: int) -> list[object]:
        asked.append(host)
        return []

    async def silent(*arguments: object, **named: object) -> object:
        raise TimeoutError

    monkeypatch.setattr(connections_module, "_look_up", counted)
    monkeypatch.setattr("aiohappyeyeballs.start_connection", silent)
    connections = Connections(ssl.create_default_context)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await get(connections, "http://moved.test/v1")
    assert asked == ["moved.test", "moved.test"]


@pytest.mark.asyncio
async def test_an_address_is_not_looked_up() -> None:
    """Not even where the machine has no other address of its family (RFC 3493, AI_ADDRCONFIG)."""
    for host in ("127.0.0.1", "::1"):
        assert [found[4][0] for found in await connections_module._look_up(host, 80)] == [host]
