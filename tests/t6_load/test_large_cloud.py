"""Large objects on a real Swift: killed with SIGKILL and resumed, replaced, read back, cut for a small server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote
from uuid import uuid4

import pytest
from fakes.fault_proxy import FaultProxy
from fakes.programs import kill_after, run, through

from swiftfs import localcloud
from swiftfs.config import Remote, find_remote
from swiftfs.load.segments import large_etag
from swiftfs.localcloud import Cloud, CloudOptions
from swiftfs.localcloud.access_log import offset, requests
from swiftfs.model import Kind, ListingEntry, ObjectInfo, Segment
from swiftfs.swift.client import Client, open_client
from swiftfs.swift.large import BadSegments

MIB = 1 << 20
PROGRAM = [sys.executable, "-m", "swiftfs"]
RCLONE = Path(sys.executable).with_name("rclone")
CUT = ["--multi-thread-cutoff", "1M", "--segment-size", "1M"]

pytestmark = pytest.mark.cloud


def load(source: Path, place: str, environ: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, "load", str(source), place, *options],
        env=dict(environ),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )


def put_paths(cloud: Cloud, container: str, since: int, *, settle: float = 0.0) -> list[str]:
    """The segments whose PUTs the proxy has answered with 201."""
    return [
        unquote(line.path).split("/", 4)[4]
        for line in requests(cloud, since, settle=settle)
        if line.method == "PUT" and line.status == 201 and f"/{container}_segments/" in line.path
    ]


Found = tuple[ObjectInfo, dict[str, str], tuple[Segment, ...] | None, str]


def look(remote: Remote, container: str, name: str) -> Found:
    """The object's HEAD, the names in its segments container with their ETags, its manifest, the MD5 of its bytes."""

    async def ask() -> Found:
        async with open_client(remote) as client:
            info = await client.head(container, name)
            listed = await names(client, f"{container}_segments")
            manifest = await client.segments(container, name) if info.kind is Kind.SLO else None
            md5 = hashlib.md5()
            async for piece in client.stream(container, name):
                md5.update(piece)
            return info, {entry.name: entry.etag for entry in listed}, manifest, md5.hexdigest()

    return asyncio.run(ask())


async def names(client: Client, container: str) -> list[ListingEntry]:
    return [entry async for page in client.list_objects(container) for entry in page]


def assert_whole(remote: Remote, container: str, path: Path) -> None:
    """The container has the file as one SLO, and no segment that it does not need."""
    info, listed, manifest, md5 = look(remote, container, path.name)
    assert (info.kind, info.size) == (Kind.SLO, path.stat().st_size)
    if manifest is not None:
        assert set(listed) == {one.name for one in manifest}
    # Ceph RGW shows no manifest; on both the ETag is made of the segments', each once and in their order.
    assert info.etag == large_etag(listed[name] for name in sorted(listed))
    assert md5 == hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def container() -> str:
    """A container's name that no other test has."""
    return f"large-{uuid4().hex[:8]}"


@pytest.mark.parametrize("moment", [1, 9, 20])
@pytest.mark.row("O2", "P1")
def test_after_kill_9_only_what_was_in_flight_is_sent_again(
    tmp_path: Path, container: str, cloud: Cloud, remote: Remote, moment: int
) -> None:
    """Killed after a number of segments, a load has left no object; the next one sends the segments that are not
    there, and those only, and leaves none too many. What the server's log says is the judge."""
    source = tmp_path / "tree"
    source.mkdir()
    big = source / "big.bin"
    big.write_bytes(os.urandom(24 * MIB + 1))
    since = offset(cloud.proxy_log)
    words = ("swiftfs", "load", source, f"local:{container}", *CUT, "--multi-thread-streams", "2")
    with FaultProxy(cloud.storage_url) as proxy:
        environ = through(cloud, proxy.url, tmp_path)
        kill_after(proxy, moment, "PUT", f"/{container}_segments/", *words, environ=environ)
        finished = set(put_paths(cloud, container, since, settle=0.5))
        assert len(finished) == moment
        manifests = [line for line in requests(cloud, since) if "multipart-manifest" in line.query]
        assert manifests == []
        since = offset(cloud.proxy_log)
        again = load(source, f"local:{container}", environ, *CUT)
        assert again.returncode == 0, again.stderr
        sent = put_paths(cloud, container, since, settle=0.3)
        assert set(sent) & finished == set()
        assert len(sent) == 25 - len(finished)
        assert_whole(remote, container, big)
        since = offset(cloud.proxy_log)
        third = load(source, f"local:{container}", environ, *CUT)
        assert "0 sent, 1 skipped" in third.stdout, third.stdout + third.stderr
        assert {"GET", "HEAD"} >= {line.method for line in requests(cloud, since, settle=0.3) if container in line.path}


def test_a_changed_large_file_is_sent_in_its_changed_segments(
    tmp_path: Path, container: str, cloud: Cloud, remote: Remote, local_environ: dict[str, str]
) -> None:
    """A large file that changed in one place is replaced by one segment and a manifest; the old segment goes. As a
    plain object, it leaves no segment at all."""
    big = tmp_path / "tree" / "ä big #1.bin"
    big.parent.mkdir()
    big.write_bytes(os.urandom(6 * MIB))
    assert load(big.parent, f"local:{container}", local_environ, *CUT).returncode == 0
    with big.open("r+b") as file:
        file.seek(3 * MIB + 17)
        file.write(b"changed")
    since = offset(cloud.proxy_log)
    again = load(big.parent, f"local:{container}", local_environ, *CUT)
    assert again.returncode == 0, again.stderr
    assert len(put_paths(cloud, container, since, settle=0.3)) == 1
    assert_whole(remote, container, big)
    big.write_bytes(b"small now")
    assert load(big.parent, f"local:{container}", local_environ, *CUT).returncode == 0
    info, listed, _, md5 = look(remote, container, big.name)
    assert (Kind.PLAIN, {}, hashlib.md5(b"small now").hexdigest()) == (info.kind, listed, md5)


def test_rclone_and_swiftfs_know_each_others_large_objects(
    tmp_path: Path, container: str, cloud: Cloud, remote: Remote, local_environ: dict[str, str]
) -> None:
    """A large object that rclone made is not sent again; rclone reads ours with the right bytes; replacing rclone's
    removes its segments."""
    big = tmp_path / "tree" / "big.bin"
    big.parent.mkdir()
    big.write_bytes(os.urandom(5 * MIB + 3))
    options = ["--config", str(cloud.rclone_conf), "--swift-chunk-size", "2M"]
    subprocess.run([RCLONE, "copy", big.parent, f"local:{container}", *options], check=True, timeout=120)
    same = load(big.parent, f"local:{container}", local_environ, *CUT)
    assert "0 sent, 1 skipped" in same.stdout, same.stdout + same.stderr
    _, theirs, _, _ = look(remote, container, "big.bin")
    assert len(theirs) == 3
    big.write_bytes(os.urandom(4 * MIB))
    assert load(big.parent, f"local:{container}", local_environ, *CUT).returncode == 0
    assert_whole(remote, container, big)
    read = subprocess.run([RCLONE, "cat", f"local:{container}/big.bin", *options[:2]], capture_output=True, timeout=60)
    assert read.stdout == big.read_bytes()


async def bodies(client: Client, container: str, history: str) -> set[bytes]:
    """Every body that can be read under a name of the container: today's, and those of its old versions."""
    transport = client._transport
    found = [await client.get(place, one.name) for place in (container, history) for one in await names(client, place)]
    query = {"format": "json", "versions": "true"}
    rows = json.loads((await transport.request("GET", f"/{container}", query=query, limit=MIB)).body)
    for row in rows:
        if (version := row.get("version_id", "null")) != "null" and "deleted" not in row["content_type"]:
            query = {"version-id": version}
            found.append(
                (await transport.request("GET", f"/{container}/{row['name']}", query=query, limit=9 * MIB)).body
            )
    return {bytes(one) for one in found}


@pytest.mark.dialect("swift")
@pytest.mark.parametrize("header", ["X-History-Location", "X-Versions-Location", "X-Versions-Enabled"])
def test_old_versions_of_a_large_object_can_be_read(
    tmp_path: Path, container: str, header: str, remote: Remote, local_environ: dict[str, str]
) -> None:
    """A container that keeps them keeps their segments, when the object is replaced and when it is deleted; it is said
    once."""
    history = f"{container}-history"
    big = tmp_path / "tree" / "big.bin"
    big.parent.mkdir()
    versions = [os.urandom(2 * MIB + number) for number in range(2)]

    async def ask() -> set[bytes]:
        async with open_client(remote) as client:
            await client.create_container(history)
            headers = {header: "true" if header == "X-Versions-Enabled" else history}
            await client._transport.request("PUT", f"/{container}", headers=headers)
            return await bodies(client, container, history)

    asyncio.run(ask())
    for content in versions:
        big.write_bytes(content)
        done = load(big.parent, f"local:{container}", local_environ, *CUT)
        assert (done.returncode, done.stderr.count("keeps old versions")) == (0, 1), done.stderr
    assert asyncio.run(ask()) >= set(versions)
    deleted = run("swiftfs", "delete", f"local:{container}", environ=local_environ)
    assert (deleted.code, deleted.err.count("keeps old versions")) == (0, 1), deleted.err
    assert versions[0] in asyncio.run(ask())


@pytest.mark.dialect("swift")
@pytest.mark.row("O3", "O4")
def test_a_manifest_is_refused_by_name_of_its_bad_segments(remote: Remote, container: str) -> None:
    """The real server's answer, 202 with heartbeats or not, names the segments that are missing or other."""

    async def ask() -> None:
        async with open_client(remote) as client:
            await client.create_container(container)
            body = os.urandom(100)
            md5 = hashlib.md5(body).hexdigest()
            for name in ("good", "other é #"):
                await client.put(container, name, body, md5=md5)
            wrong = hashlib.md5(b"").hexdigest()
            segments = [
                Segment(container, "good", 100, md5),
                Segment(container, "other é #", 100, wrong),
                Segment(container, "gone", 100, md5),
            ]
            with pytest.raises(BadSegments) as caught:
                await client.put_manifest(container, "slo", segments)
            assert set(caught.value.paths) == {f"{container}/other é #", f"{container}/gone"}
            assert {entry.name for entry in await names(client, container)} == {"good", "other é #"}

    asyncio.run(ask())


@pytest.fixture(scope="module")
def small_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud that takes no more than 128 KiB in one object."""
    directory = tmp_path_factory.mktemp("small-cloud")
    yield localcloud.up(CloudOptions(directory, max_file_size=128 * 1024, proxy_workers=1), print)
    localcloud.down(directory, print)


def test_a_sparse_file_far_over_the_servers_limit(tmp_path: Path, container: str, small_cloud: Cloud) -> None:
    """A file of 97 times the largest object goes in as many segments as /info makes necessary, and is not sent
    again: 12 GiB to a server of 128 MiB, at a thousandth of the size."""
    environ = {**os.environ, "RCLONE_CONFIG": str(small_cloud.rclone_conf)}
    source = tmp_path / "tree"
    source.mkdir()
    with (source / "sparse").open("wb") as file:
        file.truncate(12 * MIB)
        file.seek(0, os.SEEK_END)
        file.write(b"end")
    summary = tmp_path / "summary.json"
    first = load(source, f"local:{container}", environ, "--summary-json", str(summary))
    assert first.returncode == 0, first.stderr
    figures = json.loads(summary.read_text())
    assert figures["verified_bytes"] == 12 * MIB + 3
    assert 97 <= figures["requests"] <= 97 + 12
    remote = find_remote("local", {"RCLONE_CONFIG": str(small_cloud.rclone_conf)})
    assert_whole(remote, container, source / "sparse")
    assert "0 sent, 1 skipped" in load(source, f"local:{container}", environ).stdout
