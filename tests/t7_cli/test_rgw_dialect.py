"""Load, list, mount, read and delete against a store with Ceph RGW's manners."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from fakes.fault_proxy import FaultProxy
from fakes.large_objects import put_dlo, put_manifest, put_slo
from fakes.programs import check, mounted, run, through, tree_of, write_tree
from fakes.rgw_dialect import EMPTY_MD5, PREFIX, Rgw
from fakes.tokens import token_of

from swiftfs.config import Remote, find_remote
from swiftfs.errors import Changed, Rejected
from swiftfs.localcloud import Cloud
from swiftfs.model import ByteRange, Kind, ListingEntry, ObjectVersion
from swiftfs.swift import manifests, wire
from swiftfs.swift.client import Client, open_client
from swiftfs.swift.transport import open_transport

pytestmark = pytest.mark.cloud

PAGE = 7
"""Names in a page: so few that everything here takes several."""
FILES = {f"d{n % 3}/f{n:02}.bin": random.Random(n).randbytes(n * 400) for n in range(23)}
SEGMENTS = [random.Random(n).randbytes(70_000) for n in (50, 51, 52)]
LARGE = b"".join(SEGMENTS)


@dataclass(frozen=True)
class Store:
    """A store with RGW's manners and a container in it that holds FILES, an SLO and a DLO of LARGE."""

    proxy: FaultProxy
    remote: Remote
    environ: dict[str, str]
    container: str

    @property
    def source(self) -> str:
        return f"local:{self.container}"


@pytest.fixture(scope="module")
def store(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    top = tmp_path_factory.mktemp("rgw")
    with FaultProxy(cloud.storage_url, dialect=Rgw(PAGE)) as proxy:
        url = proxy.url.replace("/v1/", f"{PREFIX}/v1/")
        environ = through(cloud, url, top)
        remote = find_remote("local", environ)
        container = f"rgw-{secrets.token_hex(4)}"
        check("swiftfs", "load", write_tree(top / "tree", FILES), f"local:{container}", environ=environ)
        asyncio.run(put_slo(remote, container, "large/static.bin", SEGMENTS))
        asyncio.run(put_dlo(remote, container, "large/dynamic.bin", SEGMENTS))
        yield Store(proxy, remote, environ, container)


def with_client(store: Store) -> contextlib.AbstractAsyncContextManager[Client]:
    return open_client(store.remote, deadline=20.0)


@pytest.mark.row("L3")
@pytest.mark.asyncio
async def test_a_listing_goes_on_after_short_pages(store: Store) -> None:
    """All names come although a page has seven where ten thousand were asked for."""
    with store.proxy.broken() as seen:
        async with with_client(store) as client:
            pages = [page async for page in client.list_objects(store.container)]
        asked = [one for one in seen if "limit=10000" in one.target]

    names = [entry.name for page in pages for entry in page]
    assert names == sorted(set(names))
    assert set(FILES) | {"large/static.bin", "large/dynamic.bin"} <= set(names)
    assert max(map(len, pages)) == PAGE
    assert len(asked) == len(pages) + 1


@pytest.mark.row("L8")
@pytest.mark.asyncio
async def test_the_dialect_lists_large_objects_as_their_manifests(store: Store) -> None:
    """An SLO is listed with its manifest's size and the MD5 of nothing, and HEAD tells the truth."""
    async with with_client(store) as client:
        listed = [entry async for page in client.list_objects(store.container, prefix="large/") for entry in page]
        infos = [await client.head(store.container, entry.name) for entry in listed]

    assert [(entry.size, entry.etag, entry.slo_etag) for entry in listed] == [
        (0, EMPTY_MD5, None),
        (327, EMPTY_MD5, None),
    ]
    assert all(isinstance(entry, ListingEntry) and entry.may_be_large for entry in listed)
    assert [(info.kind, info.size) for info in infos] == [(Kind.DLO, len(LARGE)), (Kind.SLO, len(LARGE))]


@pytest.mark.row("H10", "H11")
@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["large/static.bin", "large/dynamic.bin"])
async def test_a_large_object_is_pinned_without_if_match(store: Store, name: str) -> None:
    """Ranges across its segments read exactly under a pin, and an older pin is told that the object has changed."""
    async with with_client(store) as client:
        info = await client.head(store.container, name)
        version = ObjectVersion(name, info.size, info.etag, info.last_modified, info.kind)
        older = ObjectVersion(name, info.size, info.etag, info.last_modified - 10**10, info.kind)
        span = ByteRange(69_000, 141_000)

        assert await client.get(store.container, version, span) == LARGE[69_000:141_000]
        assert await client.get(store.container, version) == LARGE
        with pytest.raises(Changed):
            await client.get(store.container, older, span)


@pytest.mark.asyncio
async def test_the_dialect_is_as_blind_as_it_was_seen(store: Store) -> None:
    """Preconditions on large objects, on names that exist, unchecked manifests, NUL, 416 and /swift/info are RGW's."""
    large, plain = f"/{store.container}/large/static.bin", f"/{store.container}/d1/f22.bin"
    async with open_transport(store.remote, connections=2, deadline=10.0) as transport:
        with pytest.raises(Changed):
            await transport.request("GET", large, headers={"If-Match": "*"})
        assert (await transport.request("GET", plain, headers={"If-Match": "*"})).status == 200
        again = await transport.request("PUT", plain, headers={"If-None-Match": "*"}, body=FILES["d1/f22.bin"])
        assert again.status == 201
        manifest = await transport.request("GET", large, query={"multipart-manifest": "get"})
        assert (manifest.status, manifest.body) == (200, b"")
        with pytest.raises(Changed):
            await transport.request("GET", plain, headers={"Range": "bytes=99999999-"})
        with pytest.raises(Rejected) as refused:
            await transport.request("GET", f"/{store.container}/a%00b")
        assert refused.value.status == 400
        limits = manifests.parse_limits((await transport.request("GET", wire.INFO)).body)
    assert limits.max_segments == 1000


@pytest.mark.asyncio
async def test_the_dialect_lists_no_type_that_nobody_sent(store: Store) -> None:
    """An entry has its content type only if one was sent, HEAD has none either; a name that begins with a slash makes
    no directory."""
    container = f"rgw-{secrets.token_hex(4)}"
    url = f"{store.proxy.url.replace('/v1/', PREFIX + '/v1/')}/{container}"
    async with with_client(store) as client:
        await client.create_container(container)
        await client.put(container, "typed", b"x", md5=hashlib.md5(b"x").hexdigest(), content_type="a/b")
        await client.put(container, "/lead", b"x", md5=hashlib.md5(b"x").hexdigest())
        token = (await token_of(store.remote)).value
        async with aiohttp.ClientSession(
            skip_auto_headers={"Content-Type"}, headers={"X-Auth-Token": token}
        ) as session:
            assert (await session.put(f"{url}/untyped", data=b"x")).status == 201
            assert "Content-Type" not in (await session.head(f"{url}/untyped")).headers
        entries = [entry async for page in client.list_objects(container) for entry in page]
        assert {entry.name: entry.content_type for entry in entries} == {
            "/lead": "application/octet-stream",
            "typed": "a/b",
            "untyped": None,
        }
        level = [entry async for page in client.list_pages(container, delimiter="/") for entry in page]
        assert [entry.name for entry in level] == ["typed", "untyped"]
    check("swiftfs", "purge", f"local:{container}", environ=store.environ)


@pytest.mark.fuse
@pytest.mark.row("L8", "H10")
def test_what_is_loaded_mounts_and_reads(store: Store, tmp_path: Path) -> None:
    """A mount shows every file with its true size and bytes, large objects too, whole and in parts."""
    options = ["--cache-dir", tmp_path / "cache", "--chunk-size", "64K"]
    with mounted(store.source, tmp_path / "mnt", *options, environ=store.environ) as mountpoint:
        found = {os.fsdecode(name): content for name, content in tree_of(mountpoint).items()}
        sizes = {name: (mountpoint / name).stat().st_size for name in found}

    expected = {**FILES, "large/static.bin": LARGE, "large/dynamic.bin": LARGE}
    assert {name: content for name, content in found.items() if not name.startswith(".seg/")} == expected
    assert {name: sizes[name] for name in expected} == {name: len(content) for name, content in expected.items()}


def test_a_second_load_sends_nothing(store: Store, tmp_path: Path) -> None:
    """What is there is known from the listing, page by page."""
    tree = write_tree(tmp_path / "tree", FILES)
    with store.proxy.broken() as seen:
        check("swiftfs", "load", tree, store.source, environ=store.environ)
        puts = [one for one in seen if one.method == "PUT" and one.target.count("/") > 4]

    assert puts == []


def test_limits_of_size_mean_the_bytes_of_a_large_object(store: Store, tmp_path: Path) -> None:
    """What delete would delete, what ls lists and what a check looks at go by an object's own bytes, although the
    listing shows those of a manifest."""
    place = f"{store.source}/large"
    for limits, expected in (
        (["--min-size", "100K"], ["dynamic.bin", "static.bin"]),
        (["--max-size", "100K"], []),
        (["--min-size", "1M"], []),
    ):
        doomed = check("swiftfs", "delete", place, *limits, "--dry-run", environ=store.environ)
        assert [f"would delete large/{name}" for name in expected] == doomed.splitlines()
        listed = check("swiftfs", "ls", place, *limits, environ=store.environ)
        assert [f"{len(LARGE):9d} {name}" for name in expected] == listed.splitlines()
        size_only = ["--size-only", "--combined", "-"]
        done = run("swiftfs", "check", tmp_path, place, *limits, *size_only, environ=store.environ)
        assert [f"- {name}" for name in expected] == sorted(done.out.splitlines())


def test_purge_leaves_nothing(store: Store, tmp_path: Path) -> None:
    """Every object goes, over many pages, and then the container."""
    other = f"local:rgw-{secrets.token_hex(4)}"
    check("swiftfs", "load", write_tree(tmp_path / "tree", FILES), other, environ=store.environ)
    check("swiftfs", "purge", other, environ=store.environ)

    assert other.removeprefix("local:") not in check("swiftfs", "lsd", "local:", environ=store.environ)


def test_a_large_object_goes_with_what_is_proven_to_be_its_segments(store: Store, tmp_path: Path) -> None:
    """No manifest can be read: segments in their own places go, objects of which a large one was made stay."""
    place = f"local:rgw-{secrets.token_hex(4)}"
    name = place.removeprefix("local:")
    big = random.Random(9).randbytes(5 << 19)
    tree = write_tree(tmp_path / "tree", {"big/one": big, "big/other": big[::-1], "a": b"a"})
    cut = ("--multi-thread-cutoff", "1M", "--segment-size", "1M")
    check("swiftfs", "load", tree, place, *cut, environ=store.environ)
    asyncio.run(put_manifest(store.remote, name, "sets/all", [{"path": f"/{name}/a"}, {"path": f"/{name}/big/one"}]))

    def found(path: str) -> list[str]:
        return [line[10:] for line in check("swiftfs", "ls", path, environ=store.environ).splitlines()]

    assert len(found(f"{place}_segments")) == 6
    kept = run("swiftfs", "delete", f"{place}/sets", environ=store.environ)
    assert (kept.code, f"the segments of {name}/sets/all cannot be told" in kept.err) == (0, True), kept.err
    assert found(place) == ["a", "big/one", "big/other"]
    check("swiftfs", "delete", f"{place}/big/one", environ=store.environ)
    assert {one.split("/")[1] for one in found(f"{place}_segments")} == {"other"}
    check("swiftfs", "load", write_tree(tmp_path / "less", {"a": b"a"}), place, "--delete-extra", environ=store.environ)
    assert (found(place), found(f"{place}_segments")) == (["a"], [])


def test_an_object_that_was_sent_in_parts_through_s3_is_read(store: Store, cloud: Cloud, tmp_path: Path) -> None:
    """Its ETag is no MD5 of its bytes: cat and a mount read it, nothing is called its MD5, and only a check that reads
    it finds it the same."""
    place = f"local:rgw-{secrets.token_hex(4)}"
    tree = write_tree(tmp_path / "tree", {"s3/film": LARGE})
    check("swiftfs", "load", tree, place, environ=store.environ)
    with FaultProxy(cloud.storage_url, dialect=Rgw(PAGE, in_parts="s3/")) as proxy:
        environ = through(cloud, proxy.url.replace("/v1/", f"{PREFIX}/v1/"), tmp_path)
        assert os.fsencode(run("swiftfs", "cat", f"{place}/s3/film", environ=environ).out) == LARGE
        with mounted(place, tmp_path / "mnt", "--cache-dir", tmp_path / "cache", environ=environ) as mountpoint:
            assert (mountpoint / "s3" / "film").read_bytes() == LARGE
        assert "Hashes" not in check("swiftfs", "lsjson", "-R", "--hash", place, environ=environ)
        compared = run("swiftfs", "check", tree, place, "--combined", "-", environ=environ)
        assert ("! s3/film" in compared.out, "no MD5 in the store" in compared.err) == (True, True), compared
        check("swiftfs", "check", tree, place, "--download", environ=environ)
    assert "0 sent, 1 skipped" in check("swiftfs", "load", tree, place, environ=store.environ)
