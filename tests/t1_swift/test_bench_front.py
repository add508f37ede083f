"""The benchmark's front answers what the Swift behind it would have answered."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.front.server import Front, running_front
from bench.machine import program_path, swiftfs_command
from swiftfs.localcloud import Cloud, loopback
from swiftfs.localcloud.loopback import Answer

pytestmark = pytest.mark.cloud

BODY = bytes(range(256)) * 40
ETAG = hashlib.md5(BODY, usedforsecurity=False).hexdigest()


@pytest.fixture(scope="module")
def front(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    assert shutil.which("nginx", path=program_path()), "apt-get install nginx-light libnginx-mod-http-lua"
    with running_front(tmp_path_factory.mktemp("front"), cloud) as running:
        yield running


@pytest.fixture(scope="module")
def stored(cloud: Cloud, front: Front, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The container of one object, ``dir/o``."""
    container = f"front-{secrets.token_hex(4)}"
    tree = tmp_path_factory.mktemp("tree")
    (tree / "dir").mkdir()
    (tree / "dir" / "o").write_bytes(BODY)
    environ = {**os.environ, "RCLONE_CONFIG": str(cloud.rclone_conf), "HOME": str(tree.parent)}
    for words in (("mkdir", f"local:{container}"), ("load", str(tree), f"local:{container}")):
        subprocess.run(swiftfs_command(*words), env=environ, check=True, capture_output=True, timeout=120)
    front.fill(container, {"dir/o": (len(BODY), ETAG)})
    return container


def ask(front: Front, port: int, method: str, path: str, headers: dict[str, str]) -> Answer:
    return loopback.request(port, method, front.account_path + path, headers={"X-Auth-Token": front.token, **headers})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Range": "bytes=0-99"},
        {"Range": "bytes=10200-"},
        {"Range": "bytes=-7"},
        {"If-Match": f'"{ETAG}"'},
        {"If-Match": ETAG},
        {"If-Match": "*"},
        {"If-Match": f'"{"0" * 32}", "{ETAG}"'},
        {"If-Match": f'"{"0" * 32}"'},
        {"If-Match": f'"{"0" * 32}"', "Range": "bytes=5-9"},
        {"If-Match": f'"{ETAG}"', "Range": "bytes=5-9"},
        {"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"},
        {"If-Unmodified-Since": "Fri, 01 Jan 2100 00:00:00 GMT", "Range": "bytes=5-9"},
    ],
    ids=lambda headers: ",".join(f"{key}:{value[:14]}" for key, value in headers.items()) or "plain",
)
def test_an_object_is_answered_as_by_swift(
    cloud: Cloud, front: Front, stored: str, method: str, headers: dict[str, str]
) -> None:
    """Status, body and the headers that clients rely on are Swift's, for ranges and pinned versions too."""
    if method == "HEAD" and "Range" in headers:
        headers = {key: value for key, value in headers.items() if key != "Range"}  # no client sends it with HEAD
    theirs = ask(front, cloud.ports["proxy"], method, f"/{stored}/dir/o", headers)
    mark = front.mark()
    ours = ask(front, front.port, method, f"/{stored}/dir/o", headers)
    assert ours.status == theirs.status
    if theirs.status != 412:
        assert ours.body == theirs.body
        for name in ("etag", "content-length", "content-range", "content-type", "last-modified", "x-object-meta-mtime"):
            assert ours.headers.get(name) == theirs.headers.get(name), name
    assert BODY[:8] not in ours.body or theirs.status != 412
    seen = front.since(mark)
    assert (seen.of(f"{method} object"), seen.passed) == (1, 0)


@pytest.mark.parametrize(
    "path",
    ["?format=json&limit=10000", "?format=json&delimiter=/", "?format=json&prefix=dir/&marker=dir/o", "/missing"],
)
def test_listings_and_missing_objects_are_swifts_the_first_time_and_the_second(
    cloud: Cloud, front: Front, stored: str, path: str
) -> None:
    """A cached listing is the listing; a name that is not there is 404 both times."""
    theirs = ask(front, cloud.ports["proxy"], "GET", f"/{stored}{path}", {})
    for passed in (1, 0):
        mark = front.mark()
        ours = ask(front, front.port, "GET", f"/{stored}{path}", {})
        assert ours.status == theirs.status
        if theirs.status == 200:
            assert json.loads(ours.body) == json.loads(theirs.body)
        assert front.since(mark).passed == passed


def test_the_front_waits_as_long_as_it_is_told(front: Front, stored: str) -> None:
    """A delay is added to each request, and taken away again."""
    front.set_delay(60)
    try:
        started = time.monotonic()
        assert ask(front, front.port, "GET", f"/{stored}/dir/o", {}).status == 200
        assert time.monotonic() - started >= 0.06
    finally:
        front.set_delay(0)


def names_of(front: Front, query: str) -> list[str]:
    """All names of the made container, page after page as clients ask, the empty one included in ``pages``."""
    found: list[str] = []
    while True:
        marker = found[-1] if found else ""
        answer = ask(front, front.port, "GET", f"/names-23456?format=json&limit=10000&marker={marker}{query}", {})
        assert answer.status == 200
        rows = [row.get("name") or row["subdir"] for row in answer.json()]
        if not rows:
            return found
        found += rows


def test_a_made_container_lists_every_name_once_in_order(front: Front) -> None:
    """Flat: pages of ten thousand, then an empty one; by directory: a thousand in each, the rest in the last."""
    mark = front.mark()
    flat = names_of(front, "")
    assert len(flat) == 23_456
    assert flat == sorted(set(flat))
    assert front.since(mark).of("GET container") == 4
    top = names_of(front, "&delimiter=/")
    assert top == [f"part_{number:04d}/" for number in range(24)]
    inner = names_of(front, "&delimiter=/&prefix=part_0023/")
    assert inner == [name for name in flat if name.startswith("part_0023/")]
    assert len(inner) == 456
    between = names_of(front, "&end_marker=part_0001/0001003.bin")
    assert between == flat[:1003]
    answer = ask(front, front.port, "GET", "/names-23456?format=json&marker=part_00025&end_marker=part_0003", {})
    assert answer.json() == []
    answer = ask(front, front.port, "GET", "/names-23456?format=json&limit=2&marker=part_0003", {})
    assert [row["name"] for row in answer.json()] == ["part_0003/0003000.bin", "part_0003/0003001.bin"]


def test_an_object_of_a_made_container_is_the_byte_that_is_listed(front: Front) -> None:
    """Size, ETag and byte are those of its row, whole or as a range; another version, or another name, is not there."""
    place = "/names-23456/part_0023/0023455.bin"
    (row,) = ask(front, front.port, "GET", "/names-23456?format=json&prefix=part_0023/0023455", {}).json()
    for method, headers, status, body in (
        ("GET", {}, 200, b"x"),
        ("GET", {"Range": "bytes=0-0"}, 206, b"x"),
        ("GET", {"If-Match": row["hash"], "Range": "bytes=0-"}, 206, b"x"),
        ("HEAD", {}, 200, b""),
        ("GET", {"If-Match": "0" * 32}, 412, b""),
    ):
        answer = ask(front, front.port, method, place, headers)
        assert (answer.status, answer.body) == (status, body)
        if status != 412:
            assert (answer.headers["etag"], answer.headers["content-length"]) == (row["hash"], str(row["bytes"]))
            assert answer.headers.get("content-range") == ("bytes 0-0/1" if status == 206 else None)
    assert hashlib.md5(b"x", usedforsecurity=False).hexdigest() == row["hash"]
    assert ask(front, front.port, "GET", "/names-23456/part_0023/0023456.bin", {}).status == 404


def test_rclone_and_swiftfs_log_in_and_list_through_the_front(front: Front, stored: str, tmp_path: Path) -> None:
    """The front's rclone.conf leads both clients to it, and neither goes to the store behind."""
    environ = {
        **os.environ, "RCLONE_CONFIG": str(front.rclone_conf), "HOME": str(tmp_path), "PATH": program_path(),
    }  # fmt: skip
    for command in (["rclone", "lsf", "-R"], [*swiftfs_command("ls")]):
        mark = front.mark()
        done = subprocess.run([*command, f"front:{stored}"], env=environ, capture_output=True, timeout=60, check=True)
        assert b"dir/" in done.stdout or b"dir/o" in done.stdout
        seen = front.since(mark)
        assert seen.of("POST login") == 1
        assert seen.of("GET container") >= 1
