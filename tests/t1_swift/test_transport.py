"""What the client does when the store misbehaves: a scripted server answers, byte by byte where that matters."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from swiftfs.config import Remote
from swiftfs.errors import (
    AuthError,
    Changed,
    Damaged,
    DeadlineExceeded,
    Forbidden,
    Rejected,
    SwiftFSError,
    Truncated,
    Unavailable,
)
from swiftfs.model import ByteRange, Kind, ObjectVersion
from swiftfs.swift import retry
from swiftfs.swift.client import Client, open_client
from swiftfs.swift.throttle import Throttle

pytestmark = pytest.mark.asyncio

CONTENT = bytes(range(256)) * 64
ETAG = hashlib.md5(CONTENT).hexdigest()
VERSION = ObjectVersion("o", len(CONTENT), ETAG, 10**9, Kind.PLAIN)
DATE = "Thu, 01 Jan 1970 00:00:01 GMT"
CANARY = "canary-token"


@dataclass
class Request:
    """One request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Script = Callable[[Request], bytes]


def answer(status: int, body: bytes = b"", length: int | None = None, **headers: str) -> bytes:
    """A whole HTTP answer; ``length`` announces another length than the body has."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def whole(request: Request) -> bytes:
    """What an honest store says to a GET of CONTENT."""
    asked = request.headers.get("range")
    if asked is None:
        return answer(200, CONTENT, ETag=ETAG, Last_Modified=DATE)
    start, stop = asked.removeprefix("bytes=").split("-")
    first, last = int(start), min(int(stop or len(CONTENT)), len(CONTENT) - 1)
    span = f"bytes {first}-{last}/{len(CONTENT)}"
    return answer(206, CONTENT[first : last + 1], ETag=ETAG, Last_Modified=DATE, Content_Range=span)


@dataclass
class Server:
    """Answers the n-th request by the n-th script, the last one for ever; hangs up when an answer is cut short."""

    scripts: list[Script]
    seen: list[Request] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                first, *lines = head.split("\r\n")
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = first.split(" ")
                request = Request(method, path, headers, body)
                script = self.scripts[min(len(self.seen), len(self.scripts) - 1)]
                self.seen.append(request)
                reply = script(request)
                writer.write(reply)
                await writer.drain()
                announced = re.search(rb"Content-Length: (\d+)\r\n", reply)
                if announced is None or len(reply.partition(b"\r\n\r\n")[2]) != int(announced[1]):
                    break
        writer.close()


@contextlib.asynccontextmanager
async def store(*scripts: Script, deadline: float = 20.0) -> AsyncIterator[tuple[Client, Server]]:
    """A client of a scripted store."""
    served = Server(list(scripts))
    listening = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = listening.sockets[0].getsockname()[1]
    remote = Remote(
        name="x",
        source="a test",
        auth_type="none",
        auth_options={},
        storage_url=f"http://127.0.0.1:{served.port}/v1/AUTH_x",
        auth_token=CANARY,
    )
    async with listening:
        async with open_client(remote, deadline=deadline) as client:
            yield client, served
        listening.close()


@pytest.mark.parametrize("status", [408, 429, 498, 500, 502, 503, 504, 507, 529])
async def test_a_passing_status_is_tried_again(status: int) -> None:
    """One refusal of a passing kind costs one more request and no error."""
    async with store(lambda _: answer(status), whole) as (client, server):
        assert await client.get("c", VERSION) == CONTENT
        assert len(server.seen) == 2
        assert client.counters.retries == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Rejected),
        (403, Forbidden),
        (405, Rejected),
        (412, Changed),
        (413, Rejected),
        (416, Changed),
        (422, Rejected),
    ],
)
async def test_a_refusal_for_good_is_one_request(status: int, error: type[SwiftFSError]) -> None:
    """What no retry mends fails at once with its own error."""
    async with store(lambda _: answer(status, X_Trans_Id="tx-1")) as (client, server):
        with pytest.raises(error, match="tx-1"):
            await client.get("c", VERSION)
        assert len(server.seen) == 1


@pytest.mark.parametrize("cut", [0, 1, 100, len(CONTENT) - 1])
@pytest.mark.row("N5", "N6")
async def test_a_body_that_breaks_off_is_continued(cut: int) -> None:
    """What has come is kept: the next request asks for the rest alone, under the same pin."""

    def short(request: Request) -> bytes:
        return answer(200, CONTENT[:cut], len(CONTENT), ETag=ETAG, Last_Modified=DATE)

    async with store(short, whole) as (client, server):
        assert await client.get("c", VERSION) == CONTENT
    assert [request.headers["if-match"] for request in server.seen] == [f'"{ETAG}"'] * 2
    assert server.seen[1].headers.get("range") == (f"bytes={cut}-{len(CONTENT) - 1}" if cut else None)


async def test_a_body_that_never_comes_is_given_up() -> None:
    """A segment that is gone breaks off at the same byte for ever: a few attempts, then the error."""

    def short(request: Request) -> bytes:
        return answer(200, b"", len(CONTENT), ETag=ETAG, Last_Modified=DATE)

    async with store(short) as (client, server):
        with pytest.raises(Truncated):
            await client.get("c", VERSION)
    assert len(server.seen) <= 4


async def test_a_body_of_the_wrong_length_is_refused() -> None:
    """A length that was made to match a cut body is caught by the size that the listing knows."""

    def cut(request: Request) -> bytes:
        return answer(200, CONTENT[:-1], ETag=ETAG, Last_Modified=DATE)

    async with store(cut, cut, cut, whole) as (client, _):
        with pytest.raises(Truncated):
            await client.get("c", VERSION)


async def test_a_flipped_bit_is_fetched_again() -> None:
    """A body with the wrong MD5 is thrown away and fetched once more."""
    damaged = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    async with store(lambda _: answer(200, damaged, ETag=ETAG, Last_Modified=DATE), whole) as (client, server):
        assert await client.get("c", VERSION) == CONTENT
        assert len(server.seen) == 2


@pytest.mark.row("H15")
async def test_damage_in_the_store_is_an_error() -> None:
    """An object whose bytes never have their MD5 is reported, not delivered."""
    damaged = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    async with store(lambda _: answer(200, damaged, ETag=ETAG, Last_Modified=DATE)) as (client, server):
        with pytest.raises(Damaged):
            await client.get("c", VERSION)
        assert len(server.seen) == 3


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Range": f"bytes 1-100/{len(CONTENT)}"},
        {"Content_Range": "bytes 0-99/5"},
        {"Content_Range": "nonsense"},
        {},
    ],
)
@pytest.mark.row("H14")
async def test_bytes_from_another_place_are_refused(headers: dict[str, str]) -> None:
    """A range that starts elsewhere, or that cannot be placed, never becomes the range that was asked for."""

    def wrong(request: Request) -> bytes:
        return answer(206, CONTENT[:100], ETag=ETAG, Last_Modified=DATE, **headers)

    async with store(wrong) as (client, _):
        with pytest.raises(Truncated):
            await client.get("c", VERSION, ByteRange(0, 100))


async def test_a_server_that_ignores_the_range_is_refused() -> None:
    """The whole object in answer to a range is not taken for the range."""

    def ignoring(request: Request) -> bytes:
        return answer(200, CONTENT, ETag=ETAG, Last_Modified=DATE)

    async with store(ignoring) as (client, _):
        with pytest.raises(Truncated):
            await client.get("c", VERSION, ByteRange(100, 200))


async def test_another_etag_is_another_version() -> None:
    """A store that ignores If-Match and sends a new version is found out by its ETag."""

    def other(request: Request) -> bytes:
        return answer(200, CONTENT, ETag="0" * 32, Last_Modified=DATE)

    async with store(other) as (client, _):
        with pytest.raises(Changed):
            await client.get("c", VERSION)


@pytest.mark.row("H10")
async def test_large_objects_are_pinned_by_time() -> None:
    """Ceph RGW answers 412 to any If-Match on large objects: they are pinned by their Last-Modified."""
    version = ObjectVersion("o", len(CONTENT), ETAG, 10**9, Kind.SLO)
    async with store(whole) as (client, server):
        assert await client.get("c", version) == CONTENT
    assert "if-match" not in server.seen[0].headers
    assert server.seen[0].headers["if-unmodified-since"] == DATE


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.row("N14", "S1")
async def test_a_redirect_is_refused_and_gets_no_token(status: int) -> None:
    """No request follows a redirect: it would carry the token to another host."""
    async with store(whole) as (_, elsewhere):
        location = f"http://127.0.0.1:{elsewhere.port}/v1/AUTH_x/c/o"
        async with store(lambda _: answer(status, Location=location)) as (client, server):
            with pytest.raises(Rejected, match="redirect"):
                await client.get("c", VERSION)
            assert len(server.seen) == 1
        assert elsewhere.seen == []


@pytest.mark.row("N15")
@pytest.mark.row("N15")
async def test_a_compressed_object_comes_as_it_is_stored() -> None:
    """Content-Encoding is the object's own affair: its bytes are not unpacked on the way."""

    def encoded(request: Request) -> bytes:
        return answer(200, CONTENT, ETag=ETAG, Last_Modified=DATE, Content_Encoding="gzip")

    async with store(encoded) as (client, server):
        assert await client.get("c", VERSION) == CONTENT
    assert server.seen[0].headers["accept-encoding"] == "identity"


@pytest.mark.row("H2")
async def test_a_token_alone_cannot_be_renewed() -> None:
    """With a token and no credentials a 401 ends in an error that says so."""
    async with store(lambda _: answer(401)) as (client, server):
        with pytest.raises(AuthError, match="token"):
            await client.get("c", VERSION)
        assert len(server.seen) == 1


@pytest.mark.row("S1")
async def test_no_error_shows_the_token() -> None:
    """Neither the text nor the repr of any error, nor of what caused it, holds the token."""
    scripts: list[Script] = [
        lambda _: answer(403, CANARY.encode() * 0),
        lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\n",
        lambda _: b"garbage\r\n\r\n",
        lambda _: answer(200, b"short", 500, ETag=ETAG, Last_Modified=DATE),
    ]
    for script in scripts:
        async with store(script, deadline=2.0) as (client, _):
            with pytest.raises(SwiftFSError) as caught:
                await client.get("c", VERSION)
        error: BaseException | None = caught.value
        while error is not None:
            assert CANARY not in f"{error} {error!r}"
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


async def test_a_deadline_ends_a_call_and_says_why() -> None:
    """A store that always fails is given up at the deadline, with its last answer as the reason."""
    async with store(lambda _: answer(503), deadline=1.0) as (client, _):
        with pytest.raises(DeadlineExceeded, match="503"):
            await client.get("c", VERSION)


async def test_retry_after_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that asks for no wait gets its next request at once, whatever our own pause would be."""
    monkeypatch.setattr(retry, "FIRST_PAUSE", 1000.0)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 1000.0)
    async with store(*[lambda _: answer(503, Retry_After="0")] * 6, whole, deadline=1000.0) as (client, server):
        async with asyncio.timeout(60):
            assert await client.get("c", VERSION) == CONTENT
        assert len(server.seen) == 7


@pytest.mark.parametrize("body", [b"<html>", b"[", b'[{"name": 1}]', b"null"])
async def test_a_damaged_listing_is_an_error(body: bytes) -> None:
    """A page that cannot be read gives no entries at all."""
    async with store(lambda _: answer(200, body)) as (client, _):
        with pytest.raises(Truncated):
            [page async for page in client.list_objects("c")]


async def test_a_listing_that_repeats_itself_ends() -> None:
    """A server that ignores the marker is found out at the second page."""
    row = b'[{"name": "a", "bytes": 1, "hash": "x", "last_modified": "2026-11-22T10:00:00"}]'
    async with store(lambda _: answer(200, row)) as (client, server):
        with pytest.raises(Truncated):
            [page async for page in client.list_objects("c")]
        assert len(server.seen) == 2


async def test_short_pages_do_not_end_a_listing() -> None:
    """Ceph RGW sends short pages in the middle: only an empty one is the end."""

    def page(request: Request) -> bytes:
        marker = request.path.partition("marker=")[2]
        rows = {"": "a", "a": "b", "b": "c"}.get(marker)
        row = f'{{"name": "{rows}", "bytes": 1, "hash": "x", "last_modified": "2026-11-22T10:00:00"}}'
        return answer(200, f"[{row}]".encode() if rows else b"[]")

    async with store(page) as (client, server):
        names = [entry.name async for found in client.list_objects("c") for entry in found]
    assert names == ["a", "b", "c"]
    assert len(server.seen) == 4


@pytest.mark.row("N1")
async def test_nobody_listening_is_unavailable(unused_tcp_port: int) -> None:
    """A port that nobody listens on is tried until the deadline and named in the error."""
    url = f"http://127.0.0.1:{unused_tcp_port}/v1/AUTH_x"
    remote = Remote("x", "a test", "none", {}, storage_url=url, auth_token=CANARY)
    async with open_client(remote, deadline=1.0) as client:
        with pytest.raises(Unavailable, match=f"127.0.0.1:{unused_tcp_port}"):
            await client.get("c", VERSION)


@pytest.mark.row("H12")
async def test_a_throttle_halves_once_for_one_burst() -> None:
    """Thirty refusals of requests that were under way together halve the limit once, and success widens it again."""
    throttle = Throttle(32)
    epochs = [await throttle.enter() for _ in range(32)]
    for epoch in epochs:
        throttle.leave(epoch, slower=True)
    assert throttle.limit == 16
    for _ in range(400):
        throttle.leave(await throttle.enter(), ok=True)
    assert throttle.limit == 32


async def test_a_throttle_gives_back_the_place_of_one_who_left() -> None:
    """A waiter that is cancelled, before or just as its turn comes, ends as cancelled and blocks nobody after it."""
    throttle = Throttle(1)
    epoch = await throttle.enter()
    waiters = [asyncio.create_task(throttle.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    throttle.leave(epoch)
    waiters[1].cancel()
    await asyncio.wait(waiters, timeout=5)

    assert [waiter.cancelled() for waiter in waiters] == [True, True, False]
    assert waiters[2].done()
    assert throttle.running == 1
