"""Rows of the fault matrix through the real client, a proxy that misbehaves and a real Swift."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from fakes.fault_proxy import (
    Action,
    EditPage,
    Extra,
    Fault,
    FaultProxy,
    Meanwhile,
    RepeatPage,
    Reset,
    Stall,
    Status,
    Swallow,
    redirect,
)
from fakes.read_faults import READ_FAULTS, SIZE, ReadFault, is_cost, late, params
from fakes.tokens import token_of

from swiftfs.config import Remote, find_remote
from swiftfs.errors import DeadlineExceeded, Rejected, Truncated, Unavailable
from swiftfs.localcloud import Cloud
from swiftfs.model import EMPTY_MD5, ByteRange, Kind, ObjectVersion
from swiftfs.swift.client import Client, open_client
from swiftfs.swift.removal import delete_objects

pytestmark = [pytest.mark.cloud, pytest.mark.asyncio]

CONTENT = random.Random(5).randbytes(SIZE)
ETAG = hashlib.md5(CONTENT).hexdigest()
SPAN = ByteRange(50_000, 120_000)
VERSION = ObjectVersion("o", SIZE, ETAG, 0, Kind.PLAIN)
NAMES = [f"n{number}" for number in range(7)]
DEADLINE = 12.0
"""Seconds for a call: a stall is given up after a quarter of them, and a busy store may take half of that."""
SHORT = 6.0
"""The same where a test waits for it to end."""


@pytest.fixture(scope="module")
def token(cloud: Cloud) -> str:
    return asyncio.run(token_of(find_remote("local", {"RCLONE_CONFIG": str(cloud.rclone_conf)}))).value


@pytest.fixture
def proxy(cloud: Cloud) -> Iterator[FaultProxy]:
    with FaultProxy(cloud.storage_url) as running:
        yield running


@pytest_asyncio.fixture
async def client(proxy: FaultProxy, token: str) -> AsyncIterator[Client]:
    """A client that goes through the proxy."""
    remote = Remote("x", "a test", "none", {}, storage_url=proxy.url, auth_token=token)
    async with open_client(remote, deadline=DEADLINE) as opened:
        yield opened


@pytest_asyncio.fixture
async def impatient(proxy: FaultProxy, token: str) -> AsyncIterator[Client]:
    """The same with the short deadline."""
    remote = Remote("x", "a test", "none", {}, storage_url=proxy.url, auth_token=token)
    async with open_client(remote, deadline=SHORT) as opened:
        yield opened


async def cost(proxy: FaultProxy, number: int, deadline: float = DEADLINE) -> bool:
    """Whether what is broken now has cost ``number`` requests, and no more but for late answers."""
    await asyncio.to_thread(proxy.rest)
    return is_cost(number, proxy.seen, deadline)


@pytest.fixture(scope="module")
def place(cloud: Cloud, token: str) -> Iterator[str]:
    """A container with an object ``o`` of CONTENT and seven empty ones ``n0`` … ``n6``."""
    container = f"rows-{secrets.token_hex(4)}"
    straight = Remote("x", "a test", "none", {}, storage_url=cloud.storage_url, auth_token=token)

    async def make() -> None:
        async with open_client(straight) as client:
            await client.create_container(container)
            await client.put(container, "o", CONTENT, md5=ETAG)
            for name in NAMES:
                await client.put(container, name, b"", md5=EMPTY_MD5)

    async def remove() -> None:
        async with open_client(straight) as client:
            await delete_objects(client, container, "", dry_run=False, say=print)
            await client.delete_container(container)

    asyncio.run(make())
    yield container
    asyncio.run(remove())


@pytest.mark.parametrize("fault", params(READ_FAULTS))
async def test_a_read_gives_the_bytes_or_an_error(
    client: Client, impatient: Client, proxy: FaultProxy, place: str, fault: ReadFault
) -> None:
    """A read is right or fails in the right way, within a number of requests, and the next one is right."""
    span = SPAN if fault.ranged else None
    right = CONTENT[SPAN.start : SPAN.stop] if fault.ranged else CONTENT
    reader, deadline = (impatient, SHORT) if fault.is_silent else (client, DEADLINE)
    with proxy.broken(Fault(fault.action, "GET", "/o$", count=fault.count)) as seen:
        async with asyncio.timeout(2 * deadline):
            if fault.error is None:
                assert await reader.get(place, VERSION, span) == right
            else:
                with pytest.raises(fault.error):
                    await reader.get(place, VERSION, span)

        await asyncio.to_thread(proxy.rest)
        assert 1 <= proxy.played() <= len(seen) <= fault.most + late(seen, deadline)
    assert await client.get(place, VERSION, span) == right


async def names_of(client: Client, place: str) -> list[str]:
    """The listing of ``n…``."""
    return [entry.name async for page in client.list_objects(place, prefix="n") for entry in page]


Rows = list[dict[str, Any]]


def with_first(**values: object) -> Callable[[Rows], Rows]:
    """An edit of a page that gives its first row other values; ... takes a key away."""

    def edit(rows: Rows) -> Rows:
        changed = {**rows[0], **values} if rows else {}
        return [{key: value for key, value in changed.items() if value is not ...}, *rows[1:]] if rows else []

    return edit


UNREADABLE: dict[str, Callable[[Rows], Any]] = {
    "cut": lambda rows: json.dumps(rows).encode()[:-20],
    "nothing-but-a-bracket": lambda rows: b"[",
    "html": lambda rows: b"<html>",
    "an-object": lambda rows: {"rows": rows},
    "null": lambda rows: None,
    "negative-bytes": with_first(bytes=-1),
    "bytes-as-text": with_first(bytes="1"),
    "not-a-number": lambda rows: json.dumps(rows).replace('"bytes": 0', '"bytes": NaN').encode(),
    "huge-bytes": lambda rows: json.dumps(rows).replace('"bytes": 0', '"bytes": 1e999').encode(),
    "no-hash": with_first(hash=...),
    "no-name": with_first(name=...),
    "name-as-number": with_first(name=7),
    "no-time": with_first(last_modified=...),
    "no-such-time": with_first(last_modified="yesterday"),
    "deep": lambda rows: b"[" * 100_000,
    "not-utf-8": lambda rows: json.dumps(rows).encode().replace(b"n3", b"\xff3"),
}


@pytest.mark.row("L5")
async def test_an_unreadable_page_is_asked_for_again(client: Client, proxy: FaultProxy, place: str) -> None:
    """One bad page costs one more request; a page that stays bad is an error after three, without a name shown."""
    for name, edit in UNREADABLE.items():
        with proxy.broken(Fault(EditPage(edit), "GET", "limit=")):
            assert await names_of(client, place) == NAMES, name
            assert await cost(proxy, 3)
    for name in ("cut", "negative-bytes"):
        with proxy.broken(Fault(EditPage(UNREADABLE[name]), "GET", "limit=", count=None)):
            with pytest.raises(Truncated):
                await names_of(client, place)
            assert await cost(proxy, 3)


@pytest.mark.row("L1")
async def test_a_page_that_comes_again_is_found_out(client: Client, proxy: FaultProxy, place: str) -> None:
    """A store that ignores the marker is an error at the second page."""
    with proxy.broken(Fault(RepeatPage(), "GET", "marker=", count=None)):
        with pytest.raises(Truncated):
            await names_of(client, place)
        assert await cost(proxy, 2)
    assert await names_of(client, place) == NAMES


@pytest.mark.row("L2")
async def test_a_name_listed_twice_is_shown_once(client: Client, proxy: FaultProxy, place: str) -> None:
    """Duplicates within a page are dropped."""
    twice = EditPage(lambda rows: [row for row in rows for _ in range(2)])
    with proxy.broken(Fault(twice, "GET", "limit=")):
        assert await names_of(client, place) == NAMES


@pytest.mark.row("L3")
@pytest.mark.parametrize("length", [1, 2, 6])
async def test_a_short_page_is_not_the_end(client: Client, proxy: FaultProxy, place: str, length: int) -> None:
    """However short pages are, the listing ends with an empty one."""
    short = EditPage(lambda rows: rows[:length])
    with proxy.broken(Fault(short, "GET", "limit=", count=None)):
        assert await names_of(client, place) == NAMES
        assert await cost(proxy, -(-len(NAMES) // length) + 1)


@pytest.mark.row("L6")
async def test_a_container_that_changes_while_it_is_listed(
    client: Client, proxy: FaultProxy, place: str, token: str
) -> None:
    """Names that are there all the time are listed once, whatever comes and goes between two pages."""
    for name in NAMES:
        await client.put(place, f"changing/{name}", b"", md5=EMPTY_MD5)

    def change() -> None:
        asyncio.run(replace_some())

    async def replace_some() -> None:
        straight = Remote("x", "a test", "none", {}, storage_url=proxy.upstream, auth_token=token)
        async with open_client(straight, deadline=DEADLINE) as second:
            await second.delete(place, "changing/n1")
            await second.delete(place, "changing/n5")
            await second.put(place, "changing/n0a", b"", md5=EMPTY_MD5)
            await second.put(place, "changing/n4a", b"", md5=EMPTY_MD5)

    short = EditPage(lambda rows: rows[:3])
    with proxy.broken(Fault(short, "GET", "prefix=[^&]*$"), Fault(Meanwhile(change), "GET", "marker=")):
        found = [entry.name async for page in client.list_objects(place, prefix="changing/") for entry in page]

    assert found == [f"changing/{name}" for name in ("n0", "n1", "n2", "n3", "n4", "n4a", "n6")]


PUT_FAULTS = {
    "N5-reset": Reset(),
    "N11-no-answer": Stall(),
    "N11-stored-and-no-answer": Swallow(hold=True),
    "N12-stored-and-the-answer-lost": Swallow(),
    "H7-too-slow": Status(408),
    "H12-slow-down": Status(429, "0"),
    "H13-unavailable": Status(503),
    "H9-no-disk": Status(507),
}
WRITE_ROWS = [
    pytest.param(action, id=name, marks=pytest.mark.row(name[:3].strip("-"))) for name, action in PUT_FAULTS.items()
]


@pytest.mark.parametrize("action", WRITE_ROWS)
async def test_a_write_is_done_once_and_called_done(
    client: Client, impatient: Client, proxy: FaultProxy, place: str, action: Action
) -> None:
    """A PUT and a DELETE whose first attempt fails are sent once more, and succeed also when the first one did."""
    is_silent = action in {Stall(), Swallow(hold=True)}
    writer, deadline = (impatient, SHORT) if is_silent else (client, DEADLINE)
    with proxy.broken(Fault(action, "PUT", "/new$")):
        assert await writer.put(place, "new", CONTENT, md5=ETAG) == ETAG
        assert await cost(proxy, 2, deadline)
    assert await client.get(place, "new") == CONTENT
    with proxy.broken(Fault(action, "DELETE", "/new$")):
        await writer.delete(place, "new")
        assert await cost(proxy, 2, deadline)
    assert "new" not in await names_of(client, place)


class Pieces:
    """A streamed body of CONTENT, which each attempt opens anew."""

    size = SIZE

    async def open(self) -> AsyncIterator[bytes]:
        for start in range(0, SIZE, 10_000):
            yield CONTENT[start : start + 10_000]


@pytest.mark.row("N5", "N13")
@pytest.mark.parametrize("action", [Reset(), Swallow()], ids=["reset", "answer-lost"])
async def test_a_streamed_body_is_sent_from_its_start_again(
    client: Client, proxy: FaultProxy, place: str, action: Action
) -> None:
    """On a kept connection that breaks, the next attempt has the whole body, and is sent by our own count."""
    await client.head(place, "o")
    before = client.counters.requests
    with proxy.broken(Fault(action, "PUT")) as seen:
        assert await client.put(place, "streamed", Pieces(), md5=ETAG) == ETAG
        assert await cost(proxy, 2)
        assert client.counters.requests - before == len(seen) == client.counters.retries + 1


@pytest.mark.row("N8", "S7")
async def test_an_answer_that_nobody_asked_for_is_nobodys(client: Client, proxy: FaultProxy, place: str) -> None:
    """What a store sends beyond an answer is not taken for the answer to the next request on that connection."""
    lie = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: " + b"0" * 32 + b"\r\nLast-Modified: "
    lie += b"Thu, 01 Jan 1970 00:00:01 GMT\r\n\r\n"
    for method in ("GET", "HEAD"):
        with proxy.broken(Fault(Extra(lie), method)):
            if method == "GET":
                assert await client.get(place, VERSION) == CONTENT
            else:
                await client.head(place, "o")
            await asyncio.to_thread(proxy.rest)  # by then the lie is there
            assert (await client.head(place, "o")).etag == ETAG


@pytest.mark.row("H9")
@pytest.mark.parametrize("status", [411, 413, 422])
async def test_a_write_refused_for_good_is_not_repeated(
    client: Client, proxy: FaultProxy, place: str, status: int
) -> None:
    """What no repetition mends is one request and an error."""
    with proxy.broken(Fault(Status(status), "PUT", count=None)) as seen:
        with pytest.raises(Rejected):
            await client.put(place, "new", CONTENT, md5=ETAG)
        assert len(seen) == 1


@pytest.mark.row("N14", "S1")
async def test_a_redirect_takes_no_token_along(client: Client, proxy: FaultProxy, place: str) -> None:
    """The host that a redirect names hears nothing at all from us."""
    with FaultProxy(proxy.upstream) as elsewhere:
        away = redirect(301, f"{elsewhere.url}/{place}/o")
        with proxy.broken(Fault(away)), pytest.raises(Rejected):
            await client.get(place, "o")
        assert elsewhere.seen == []


@pytest.mark.row("H12")
async def test_a_wait_beyond_the_deadline_ends_at_the_deadline(
    impatient: Client, proxy: FaultProxy, place: str
) -> None:
    """A server that asks for thirty years of patience gets the deadline's and one request."""
    with proxy.broken(Fault(Status(503, "1000000000"), count=None)) as seen:
        async with asyncio.timeout(2 * SHORT):
            with pytest.raises(DeadlineExceeded):
                await impatient.get(place, "o")
        assert len(seen) == 1


@pytest.mark.row("H1")
async def test_one_login_serves_all_that_were_refused(remote: Remote, proxy: FaultProxy, place: str) -> None:
    """Sixteen reads refused at once with the same token cost one login, and each is sent once more."""
    through = dataclasses.replace(remote, storage_url=proxy.url)
    async with open_client(through, deadline=60.0) as client:
        with proxy.broken(Fault(Status(401), "GET", count=16)) as seen:
            reads = [client.get(place, "o") for _ in range(16)]
            assert await asyncio.gather(*reads) == [CONTENT] * 16
            await asyncio.to_thread(proxy.rest)
            assert is_cost(32, [one for one in seen if one.method == "GET"], 60.0)
        assert client.counters.logins == 2


@pytest.mark.row("H3")
async def test_keystone_may_be_down_while_the_token_lives(
    cloud: Cloud, remote: Remote, proxy: FaultProxy, place: str
) -> None:
    """Reads go on without Keystone; a login that fails is tried again, and one that cannot succeed ends."""
    with FaultProxy(cloud.auth_url) as keystone:
        options = {**remote.auth_options, "auth_url": keystone.url}
        through = dataclasses.replace(remote, storage_url=proxy.url, auth_options=options)
        with keystone.broken(Fault(Status(503), "POST")):
            async with open_client(through, deadline=SHORT) as client:
                keystone.down()
                assert await client.get(place, "o") == CONTENT
                with proxy.broken(Fault(Status(401), "HEAD")), pytest.raises(Unavailable):
                    await client.head(place, "o")
                keystone.up()
                with proxy.broken(Fault(Status(401), "GET")):
                    assert await client.get(place, "o") == CONTENT
