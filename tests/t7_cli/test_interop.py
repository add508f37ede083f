"""swiftfs beside rclone and python-swiftclient on the same real Swift: each reads what the others wrote."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.names import ODD_NAMES, STORE_ONLY_NAMES
from fakes.programs import check, mounted, run, tree_of, write_tree

from swiftfs.localcloud import Cloud
from swiftfs.localcloud.access_log import offset, requests

pytestmark = pytest.mark.cloud

SEGMENT = 1 << 20


@pytest.fixture
def container(local_environ: dict[str, str]) -> Iterator[str]:
    name = f"interop-{secrets.token_hex(4)}"
    check("swiftfs", "mkdir", f"local:{name}", environ=local_environ)
    yield name
    check("swiftfs", "purge", f"local:{name}", environ=local_environ)


def odd_tree(top: Path) -> Path:
    """Files with odd names and odd times, ordinary ones and empty ones among them."""
    files = {name: name.encode() * number for number, name in enumerate(ODD_NAMES)}
    files["plain/photo.jpg"] = random.Random(1).randbytes(300_000)
    write_tree(top, files)
    for number, path in enumerate(sorted(top.rglob("*"))):
        if path.is_file():
            os.utime(path, ns=(0, 1_000_000_000_123_456_789 + number * 1_000_000_001))
    return top


def test_rclone_finds_nothing_different_in_what_swiftfs_loaded(
    here: Path, container: str, local_environ: dict[str, str]
) -> None:
    """``rclone check``, byte for byte, and its listing, to the nanosecond, agree with the tree that was loaded."""
    tree = odd_tree(here / "tree")
    check("swiftfs", "load", tree, f"local:{container}", environ=local_environ)

    check("rclone", "check", "--download", tree, f"local:{container}", environ=local_environ)
    listed = check("rclone", "lsjson", "-R", "--files-only", "--hash", tree, environ=local_environ)
    stored = check("rclone", "lsjson", "-R", "--files-only", "--hash", f"local:{container}", environ=local_environ)
    assert _by_path(stored) == _by_path(listed)
    ours = check("swiftfs", "lsjson", "-R", "--files-only", "--hash", f"local:{container}", environ=local_environ)
    # rclone shows control characters as their symbols (U+2400 and after); swiftfs shows names as they are.
    assert {_with_symbols(path): facts for path, facts in _by_path(ours).items()} == _by_path(listed)


def _with_symbols(name: str) -> str:
    return "".join(chr(0x2400 + ord(char)) if ord(char) < 0x20 else char for char in name)


def _by_path(text: str) -> dict[str, tuple[object, ...]]:
    import json
    from datetime import datetime

    found = {}
    for item in json.loads(text):
        moment, _, fraction = item["ModTime"].partition(".")
        zone = "Z" if fraction.endswith("Z") or moment.endswith("Z") else fraction[-6:]
        digits = fraction.removesuffix(zone).ljust(9, "0")
        seconds = datetime.fromisoformat(moment.removesuffix("Z") + ("+00:00" if zone == "Z" else zone)).timestamp()
        found[item["Path"]] = (item["Size"], int(seconds), digits, item["Hashes"]["md5"])
    return found


def test_swiftclient_downloads_what_swiftfs_loaded(
    here: Path, container: str, local_environ: dict[str, str], swiftclient_environ: dict[str, str]
) -> None:
    """python-swiftclient, which checks MD5 and mtime itself, gets every file as it was."""
    tree = write_tree(here / "tree", {f"d/{n}.bin": random.Random(n).randbytes(n * 1000) for n in range(12)})
    check("swiftfs", "load", tree, f"local:{container}", environ=local_environ)
    check("swift", "download", container, "--output-dir", here / "got", environ=swiftclient_environ)

    assert tree_of(here / "got") == tree_of(tree)
    for path in tree.rglob("*.bin"):
        assert int((here / "got" / path.relative_to(tree)).stat().st_mtime) == int(path.stat().st_mtime)


@pytest.mark.fuse
@pytest.mark.row("L8")
def test_swiftfs_reads_what_the_others_wrote(
    here: Path, container: str, local_environ: dict[str, str], swiftclient_environ: dict[str, str]
) -> None:
    """Plain files, a DLO of rclone and an SLO of swiftclient show true sizes and bytes, listed and mounted."""
    draw = random.Random(7)
    by_rclone = write_tree(
        here / "rclone", {"small.bin": draw.randbytes(5000), "dynamic.bin": draw.randbytes(3 * SEGMENT + 17)}
    )
    by_swift = write_tree(
        here / "swift", {"other.bin": draw.randbytes(7000), "static.bin": draw.randbytes(2 * SEGMENT + 5)}
    )
    check("rclone", "copy", "--swift-chunk-size", "1Mi", by_rclone, f"local:{container}", environ=local_environ)
    upload = ["swift", "upload", "--use-slo", "--segment-size", str(SEGMENT), container, "."]
    check(*upload, environ=swiftclient_environ, cwd=by_swift)
    expected = {**tree_of(by_rclone), **tree_of(by_swift)}

    sizes = {
        line.split(maxsplit=1)[1]: int(line.split()[0])
        for line in check("swiftfs", "ls", f"local:{container}", environ=local_environ).splitlines()
    }
    assert sizes == {name.decode(): len(content) for name, content in expected.items()}
    for name, content in expected.items():
        target = f"local:{container}/{name.decode()}"
        done = check("swiftfs", "cat", target, "--offset", "1000", "--count", "3000", environ=local_environ)
        assert os.fsencode(done) == content[1000:4000]
    with mounted(
        f"local:{container}", here / "mnt", "--cache-dir", here / "cache", "--chunk-size", "512K", environ=local_environ
    ) as mountpoint:
        assert tree_of(mountpoint) == expected
        assert {name: os.stat(os.path.join(os.fsencode(mountpoint), name)).st_size for name in expected} == {
            name: len(content) for name, content in expected.items()
        }


@pytest.mark.fuse
@pytest.mark.row("T4", "T9")
def test_odd_names_survive_load_list_mount_and_read(here: Path, container: str, local_environ: dict[str, str]) -> None:
    """Blanks, newlines, quotes, percent signs, NFC beside NFD, 255-byte components: all come back byte for byte."""
    tree = odd_tree(here / "tree")
    check("swiftfs", "load", tree, f"local:{container}", environ=local_environ)
    with mounted(
        f"local:{container}", here / "mnt", "--cache-dir", here / "cache", environ=local_environ
    ) as mountpoint:
        assert tree_of(mountpoint) == tree_of(tree)


@pytest.mark.fuse
@pytest.mark.row("T1", "T2")
def test_names_that_no_file_can_have_are_counted_not_shown(
    here: Path, container: str, cloud: Cloud, local_environ: dict[str, str]
) -> None:
    """``..``, empty components and over-long ones are left out of the tree, and status says how many."""
    import asyncio
    import hashlib

    from fakes.programs import mount_status

    from swiftfs.config import find_remote
    from swiftfs.swift.client import open_client

    async def put() -> None:
        async with open_client(find_remote("local", local_environ)) as client:
            for name in ("good", "shadow", "shadow/inside", *STORE_ONLY_NAMES):
                await client.put(container, name, b"x", md5=hashlib.md5(b"x").hexdigest())

    asyncio.run(put())
    with mounted(
        f"local:{container}", here / "mnt", "--cache-dir", here / "cache", environ=local_environ
    ) as mountpoint:
        names = set(tree_of(mountpoint))
        hidden = mount_status(mountpoint, environ=local_environ)["fetch"]["hidden"]

    assert names == {b"good", b"shadow/inside"}
    assert (Path(here / "mnt")).is_dir()
    # All of STORE_ONLY_NAMES ("trail/" makes a directory but has content of its own) and the shadowed object.
    assert hidden == len(STORE_ONLY_NAMES) + 1


def test_a_second_load_sends_nothing(here: Path, container: str, cloud: Cloud, local_environ: dict[str, str]) -> None:
    """The server's log of a second load of the same tree has listings and nothing else."""
    tree = odd_tree(here / "tree")
    check("swiftfs", "load", tree, f"local:{container}", environ=local_environ)
    start = offset(cloud.proxy_log)
    out = check("swiftfs", "load", tree, f"local:{container}", environ=local_environ)
    lines = [line for line in requests(cloud, start, settle=0.3) if f"/{container}" in line.path]

    # Empty files look like large objects in a listing: whether one is can only be told by a HEAD.
    empty = sum(path.stat().st_size == 0 for path in tree.rglob("*") if path.is_file())
    assert len([line for line in lines if line.method == "HEAD" and line.path.count("/") > 3]) <= empty
    assert not [line for line in lines if line.method in {"PUT", "POST", "DELETE"} and line.path.count("/") > 3]
    assert " 0 sent" in out


def test_rclone_skips_what_swiftfs_loaded(here: Path, container: str, local_environ: dict[str, str]) -> None:
    """``rclone copy`` of the same tree finds nothing to do: sizes and times are as it would have written them."""
    tree = odd_tree(here / "tree")
    check("swiftfs", "load", tree, f"local:{container}", environ=local_environ)
    done = run("rclone", "copy", "-v", tree, f"local:{container}", environ=local_environ)

    assert done.code == 0
    assert "Copied" not in done.err
