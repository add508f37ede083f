"""Mounts that are pinned to the version of a dataset that a manifest names."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from pathlib import Path

import pytest
from fakes.programs import check, run, tree_of, write_tree

from .conftest import Dataset

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]


def pinned(dataset: Dataset, times: dict[str, int]) -> str:
    """Put a manifest of the dataset's tree beside it, with file times of its own; returns the digest."""
    lines = []
    for path in sorted(path for path in dataset.tree.rglob("*") if path.is_file()):
        name = str(path.relative_to(dataset.tree))
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        lines.append({"name": name, "size": path.stat().st_size, "md5": md5, "mtime": times.get(name, 10**18)})
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    digest = hashlib.sha256(body).hexdigest()
    top = write_tree(dataset.work / "manifest", {f".swiftfs/manifest-{digest}.jsonl": body})
    check("rclone", "copy", top, dataset.source, environ=dataset.environ)
    return digest


def test_a_pinned_mount_shows_the_version_of_the_manifest(dataset: Dataset) -> None:
    """What was added later is not there, what was replaced or deleted is an error for that file alone and is counted,
    and the rest has its bytes and its own time."""
    names = sorted(str(path.relative_to(dataset.tree)) for path in dataset.tree.rglob("*.jpg") if path.stat().st_size)
    replaced, deleted, kept = names[:3]
    digest = pinned(dataset, {kept: 1_234_567_890_123_456_789})
    content = tree_of(dataset.tree)
    write_tree(dataset.work / "later", {replaced: b"other bytes", "training/added.jpg": b"new"})
    check("rclone", "copy", "--ignore-times", dataset.work / "later", dataset.source, environ=dataset.environ)
    check("rclone", "deletefile", f"{dataset.source}/{deleted}", environ=dataset.environ)

    mountpoint = dataset.mount("--pin", digest, "--prefetch", "off")

    assert (mountpoint / kept).stat().st_mtime_ns == 1_234_567_890_123_456_789
    found = {str(path.relative_to(mountpoint)) for path in mountpoint.rglob("*") if path.is_file()}
    assert {name.encode() for name in found} == content.keys()
    for name in (replaced, deleted):
        with pytest.raises(OSError, match="Stale") as caught:
            (mountpoint / name).read_bytes()
        assert caught.value.errno == errno.ESTALE
    for name in found - {replaced, deleted}:
        assert (mountpoint / name).read_bytes() == content[name.encode()]
    status = dataset.status(mountpoint)
    assert (status["pin"], status["fetch"]["drifted"]) == (digest, 2)


def test_a_pinned_and_a_plain_mount_stand_side_by_side(dataset: Dataset) -> None:
    """Each has its own index of the same container, and they share what is cached."""
    digest = pinned(dataset, {})
    cache = dataset.work / "shared-cache"
    plain = dataset.mount("--cache-dir", cache)
    content = tree_of(plain)
    check(
        "swiftfs",
        "load",
        write_tree(dataset.work / "more", {"added.jpg": b"new"}),
        dataset.source,
        environ=dataset.environ,
    )
    check("swiftfs", "refresh", plain, environ=dataset.environ)
    start = dataset.log_offset()
    other = dataset.mount("--cache-dir", cache, "--pin", digest)

    assert tree_of(other) == content
    assert (plain / "added.jpg").exists()
    assert [line for line in dataset.log_since(start) if line.method == "GET" and line.path.endswith(".jpg")] == []


def test_a_large_object_is_pinned_by_its_own_etag(dataset: Dataset) -> None:
    """An SLO's manifest line has the MD5 of its segments' MD5s: it reads whole, from each chunk."""
    content = bytes(range(256)) * 12_000
    more = write_tree(dataset.work / "slo", {"big.bin": content})
    words = ["--swift-chunk-size", "1M", "--swift-use-segments-container=true"]
    check("rclone", "copy", *words, more, dataset.source, environ=dataset.environ)
    parts = [content[at : at + 2**20] for at in range(0, len(content), 2**20)]
    etag = hashlib.md5("".join(hashlib.md5(part).hexdigest() for part in parts).encode()).hexdigest()
    body = json.dumps({"name": "big.bin", "size": len(content), "md5": etag, "mtime": None}).encode() + b"\n"
    digest = hashlib.sha256(body).hexdigest()
    top = write_tree(dataset.work / "slo-manifest", {f".swiftfs/manifest-{digest}.jsonl": body})
    check("rclone", "copy", top, dataset.source, environ=dataset.environ)

    mountpoint = dataset.mount("--pin", digest, "--chunk-size", "1M")

    assert tree_of(mountpoint) == {b"big.bin": content}
    assert dataset.status(mountpoint)["fetch"]["drifted"] == 0
    run("rclone", "purge", f"{dataset.source}_segments", environ=dataset.environ)


def test_a_manifest_that_is_not_there_is_told(dataset: Dataset) -> None:
    """One line names the digest, and nothing is mounted."""
    mountpoint: Path = dataset.work / "none"
    mountpoint.mkdir()
    done = run(
        "swiftfs", "mount", dataset.source, mountpoint, "--daemon", "--pin", "ab" * 32,
        "--cache-dir", dataset.work / "cache-none", environ=dataset.environ,
    )  # fmt: skip

    assert done.code == 1
    assert f"has no manifest {'ab' * 32}" in done.err
    assert not mountpoint.is_mount()


def test_what_load_calls_a_version_can_be_mounted_as_that(dataset: Dataset) -> None:
    """The digest that ``load --manifest`` prints mounts exactly what was loaded, large objects and times included."""
    big = os.urandom(3_000_000)
    more = write_tree(dataset.work / "more", {"small.bin": b"small", "big.bin": big})
    container = f"{dataset.source}-pinned"
    out = check(
        *("swiftfs", "load", more, container, "--manifest", "--segment-size", "1M", "--multi-thread-cutoff", "2M"),
        environ=dataset.environ,
    )
    (digest,) = set(re.findall(r"\b[0-9a-f]{64}\b", out))
    mountpoint = dataset.mount("--pin", digest, source=container)

    assert tree_of(mountpoint) == {b"small.bin": b"small", b"big.bin": big}
    times = [(top / "small.bin").stat().st_mtime_ns for top in (mountpoint, more)]
    assert times[0] == times[1]
    check("swiftfs", "umount", mountpoint, environ=dataset.environ)
    check("swiftfs", "purge", container, environ=dataset.environ)


def test_a_version_that_was_loaded_below_a_prefix_is_pinned_there(dataset: Dataset) -> None:
    """Its names are relative to the prefix, also when it holds nothing but a directory of the prefix's own name."""
    more = write_tree(dataset.work / "below", {"train/a": b"first", "train/train/b": b"second"})
    place = f"{dataset.source}/train"
    out = check("swiftfs", "load", more, place, "--manifest", environ=dataset.environ)
    (digest,) = set(re.findall(r"\b[0-9a-f]{64}\b", out))

    mountpoint = dataset.mount("--pin", digest, source=place)

    assert tree_of(mountpoint) == {b"train/a": b"first", b"train/train/b": b"second"}
    assert dataset.status(mountpoint)["fetch"]["drifted"] == 0
