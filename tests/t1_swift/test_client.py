"""The client against a real Swift and Keystone, and the fake of it that other tests use against the same promises."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from fakes.fault_proxy import Fault, FaultProxy, Meanwhile, Status
from fakes.names import ODD_NAMES, STORE_ONLY_NAMES

from swiftfs import localcloud
from swiftfs.config import Remote, find_remote
from swiftfs.errors import AuthError, Changed, Conflict, ContainerNotFound, NotFound, Rejected, Unavailable
from swiftfs.localcloud import Cloud, CloudOptions
from swiftfs.localcloud.access_log import keystone_requests, offset
from swiftfs.localcloud.tokens import revoke_tokens
from swiftfs.model import ByteRange, Limits, ListingEntry, ObjectVersion, Segment, Subdir
from swiftfs.swift.client import Client, open_client
from swiftfs.swift.removal import delete_objects

pytestmark = [pytest.mark.cloud, pytest.mark.asyncio]


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


async def put(client: Client, container: str, name: str, content: bytes) -> ObjectVersion:
    etag = await client.put(container, name, content, md5=md5(content))
    info = await client.head(container, name)
    return ObjectVersion(name, len(content), etag, info.last_modified, info.kind)


async def listed(client: Client, container: str, prefix: str = "") -> list[ListingEntry]:
    return [entry async for page in client.list_objects(container, prefix=prefix) for entry in page]


class Pieces:
    """A streamed body."""

    def __init__(self, pieces: list[bytes], size: int) -> None:
        self.pieces = pieces
        self.size = size

    async def open(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


async def test_what_is_put_is_listed_and_got(client: Client, container: str) -> None:
    """Every odd name is stored, listed and read back byte for byte, with its size, MD5 and time."""
    names = [*ODD_NAMES, *STORE_ONLY_NAMES]
    for number, name in enumerate(names):
        content = name.encode()
        await client.put(container, name, content, md5=md5(content), mtime=number * 10**9 + 5)

    entries = {entry.name: entry for entry in await listed(client, container)}

    assert entries.keys() == set(names)
    for number, name in enumerate(names):
        assert (entries[name].size, entries[name].etag) == (len(name.encode()), md5(name.encode()))
        assert await client.get(container, name) == name.encode()
        assert (await client.head(container, name)).mtime == number * 10**9 + 5


async def test_ranges_are_exact(client: Client, container: str) -> None:
    """A range gives its bytes, pinned or not, also where it is the whole object or nothing."""
    content = bytes(range(256)) * 40
    version = await put(client, container, "o", content)
    for start, stop in ((0, 1), (0, len(content)), (5, 5), (100, 9000), (len(content) - 1, len(content))):
        assert await client.get(container, version, ByteRange(start, stop)) == content[start:stop]
        assert await client.get(container, "o", ByteRange(start, stop)) == content[start:stop]


async def test_an_empty_object_is_an_object(client: Client, container: str) -> None:
    """No bytes are put, listed and got without a range that no server could satisfy."""
    version = await put(client, container, "empty", b"")

    assert await client.get(container, version) == b""
    assert await client.get(container, "empty") == b""


@pytest.mark.row("H10")
async def test_a_pinned_read_never_gives_another_version(client: Client, container: str) -> None:
    """After a replacement a read of the old version is an error, whole or in part."""
    old = await put(client, container, "o", b"old" * 100)
    await put(client, container, "o", b"new" * 100)
    for span in (None, ByteRange(3, 9)):
        with pytest.raises(Changed):
            await client.get(container, old, span)


@pytest.mark.row("H9")
async def test_damaged_bytes_are_refused_by_the_server(client: Client, container: str) -> None:
    """A body that does not have the announced MD5 leaves no object behind."""
    with pytest.raises(Rejected, match="other bytes"):
        await client.put(container, "o", b"x", md5=md5(b"y"))
    with pytest.raises(NotFound):
        await client.head(container, "o")


async def test_a_streamed_body_of_another_size_is_an_error(client: Client, container: str) -> None:
    """A source that grows or shrinks while it is sent fails with that reason, and nothing is stored."""
    for pieces in ([b"abc"], [b"abcdef", b"ghi"]):
        with pytest.raises(Changed, match=r"grown|shrunk"):
            await client.put(container, "o", Pieces(pieces, 5), md5=md5(b"abcde"))
    assert await client.put(container, "o", Pieces([b"ab", b"cde"], 5), md5=md5(b"abcde")) == md5(b"abcde")


@pytest.mark.row("H6")
async def test_missing_things_are_named(client: Client, container: str) -> None:
    """Object, container and container of a PUT that are not there are told apart."""
    with pytest.raises(NotFound, match=r"not found \(.*/nothing\)"):
        await client.get(container, "nothing")
    for call in (
        client.container_info("nowhere"),
        client.put("nowhere", "o", b"", md5=md5(b"")),
        listed(client, "nowhere"),
    ):
        with pytest.raises(ContainerNotFound, match="nowhere"):
            await call


async def test_the_top_of_a_container_comes_with_its_headers(client: Client, container: str) -> None:
    """One request: the objects and directories there, or below a prefix, and what a HEAD of the container says."""
    for name in ("a", "d-", "d/1", "d/e/2", "f/3"):
        await put(client, container, name, b"aa")
    top = await client.list_top(container)
    assert top.names is not None
    assert [(type(one), one.name) for one in top.names] == [
        (ListingEntry, "a"), (ListingEntry, "d-"), (Subdir, "d/"), (Subdir, "f/"),
    ]  # fmt: skip
    assert top.info == await client.container_info(container)
    below = await client.list_top(container, prefix="d/")
    assert [one.name for one in below.names or ()] == ["d/1", "d/e/"]
    with pytest.raises(ContainerNotFound, match="nowhere"):
        await client.list_top("nowhere")


async def test_a_container_with_objects_is_not_deleted(client: Client, container: str) -> None:
    """Deleting a container that is not empty is refused and deletes nothing."""
    await put(client, container, "o", b"x")
    with pytest.raises(Conflict, match="not empty"):
        await client.delete_container(container)
    assert await client.get(container, "o") == b"x"


async def test_a_listing_with_a_delimiter_shows_one_level(client: Client, container: str) -> None:
    """Directories come once, objects of the level beside them, in order."""
    for name in ("a/1", "a/2", "b", "c/d/e"):
        await put(client, container, name, b"")
    pages = [page async for page in client.list_pages(container, delimiter="/")]

    assert [(type(entry), entry.name) for page in pages for entry in page] == [
        (Subdir, "a/"),
        (ListingEntry, "b"),
        (Subdir, "c/"),
    ]


async def test_a_bulk_delete_counts_what_it_did(client: Client, container: str) -> None:
    """Deleted and missing names are told apart, odd ones included."""
    names = [*ODD_NAMES, *STORE_ONLY_NAMES]
    for name in names:
        await client.put(container, name, b"", md5=md5(b""))
    outcome = await client.bulk_delete(container, [*names, "was never there"])

    assert (outcome.deleted, outcome.not_found, outcome.errors) == (len(names), 1, ())
    assert await listed(client, container) == []


@pytest.mark.row("H1")
async def test_a_refused_token_is_renewed_once_for_all(cloud: Cloud, remote: Remote) -> None:
    """When the token is revoked under 40 requests, one login follows and every request succeeds."""
    container = f"client-{secrets.token_hex(4)}"
    async with open_client(remote) as client:
        await client.create_container(container)
        for number in range(40):
            await client.put(container, f"{number}", b"x", md5=md5(b"x"))
        await asyncio.to_thread(revoke_tokens, cloud)
        keystone_requests(cloud, 0, settle=0.3)  # Keystone may write a line after its answer: that one is not ours
        start = offset(cloud.keystone_log)
        bodies = await asyncio.gather(*(client.get(container, f"{number}") for number in range(40)))
        logins = [
            line
            for line in keystone_requests(cloud, start, settle=0.3)
            if (line.method, line.path) == ("POST", "/v3/auth/tokens") and line.user_agent.startswith("swiftfs/")
        ]

        await client.bulk_delete(container, [f"{number}" for number in range(40)])
        await client.delete_container(container)

    assert bodies == [b"x"] * 40
    assert client.counters.logins == 2
    assert len(logins) == 1


@pytest.mark.row("H2")
async def test_wrong_credentials_say_where_they_come_from(remote: Remote) -> None:
    """A wrong secret is refused at once, naming the section and no secret."""
    options = {**remote.auth_options, "application_credential_secret": "canary-secret"}
    with pytest.raises(AuthError) as caught:
        async with open_client(dataclasses.replace(remote, auth_options=options)):
            pass

    assert "[local]" in str(caught.value)
    assert "canary" not in str(caught.value) + repr(caught.value)


async def test_a_wrong_region_lists_the_known_ones(remote: Remote) -> None:
    """A region without an object store is answered with those that have one."""
    from swiftfs.errors import ConfigError

    with pytest.raises(ConfigError, match=r"region 'CHI@NOWHERE'.*known regions: local"):
        async with open_client(dataclasses.replace(remote, region="CHI@NOWHERE")):
            pass


@pytest.mark.row("N1")
async def test_a_store_that_is_down_is_given_up_in_time(remote: Remote, unused_tcp_port: int) -> None:
    """Nothing listens: the error comes within seconds and says where nobody answered."""
    options = {**remote.auth_options, "auth_url": f"http://127.0.0.1:{unused_tcp_port}/v3"}
    with pytest.raises(Unavailable, match=f"127.0.0.1:{unused_tcp_port}"):
        async with open_client(dataclasses.replace(remote, auth_options=options)):
            pass


@pytest.fixture(scope="module")
def frugal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """A remote whose server lists three names at once and refuses to be asked for more."""
    directory = tmp_path_factory.mktemp("frugal-cloud")
    made = localcloud.up(CloudOptions(directory, listing_limit=3, proxy_workers=1), print)
    yield find_remote("local", {"RCLONE_CONFIG": str(made.rclone_conf)})
    localcloud.down(directory, print)


async def test_a_server_is_asked_for_as_many_names_as_it_lets_itself_be(frugal: Remote) -> None:
    """One that refuses more than it sends at once is listed whole, at the cost of one request for each kind of
    listing; names on top of a container that may not be all there are do not count as all."""
    names = [f"{number}" for number in range(8)]
    async with open_client(frugal) as client:
        await client.create_container("c")
        assert (await client.list_top("c")).names == []
        for name in names:
            await client.put("c", name, b"x", md5=md5(b"x"))
        for container in names:
            await client.create_container(container)
        before = client.counters.requests
        assert [entry.name for entry in await listed(client, "c")] == names
        assert client.counters.requests - before == 4  # three pages and an empty one
        assert [one.name for one in await client.containers()] == [*names, "c"]
        assert (await client.list_top("c")).names is None


async def test_a_listing_that_is_refused_has_not_changed(cloud: Cloud, remote: Remote) -> None:
    """A 412 is told as what it is, and the next listing asks for as many names as ever."""
    container = f"client-{secrets.token_hex(4)}"
    with FaultProxy(cloud.storage_url) as proxy:
        async with open_client(dataclasses.replace(remote, storage_url=proxy.url)) as client:
            await client.create_container(container)
            with (
                proxy.broken(Fault(Status(412), "GET", count=2)),
                pytest.raises(Rejected, match="refuses this listing"),
            ):
                await listed(client, container)
            with proxy.broken() as seen:
                assert await listed(client, container) == []
    assert ["limit=10000" in one.target for one in seen] == [True]


async def test_a_delete_has_time_for_every_segment(cloud: Cloud, remote: Remote) -> None:
    """A server that deletes them one by one is waited for beyond the deadline of a call."""
    container, deadline, many = f"client-{secrets.token_hex(4)}_segments", 4.0, 60
    with FaultProxy(cloud.storage_url) as proxy:
        through = dataclasses.replace(remote, storage_url=proxy.url)
        async with open_client(through, deadline=deadline) as client:
            await client.create_container(container)
            await client.put(container, "part", b"x", md5=md5(b"x"))
            await client.put_manifest(container, "large", [Segment(container, "part", 1, md5(b"x"))] * many)
            slow = Fault(Meanwhile(lambda: time.sleep(deadline + 1)), "DELETE", count=None)
            with proxy.broken(slow) as seen:
                await delete_objects(client, container, "large", dry_run=False, say=print)
            assert await listed(client, container) == []
    assert [one.method for one in seen if one.action] == ["DELETE"]


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_server_that_does_not_describe_itself_has_the_usual_limits(
    cloud: Cloud, remote: Remote, status: int
) -> None:
    """Whatever it says instead, and the client goes on with its token."""
    with FaultProxy(cloud.storage_url) as proxy:
        async with open_client(dataclasses.replace(remote, storage_url=proxy.url)) as client:
            with proxy.broken(Fault(Status(status), "GET", "/info", count=None)):
                assert await client.limits() == Limits()
            assert await client.containers() is not None
