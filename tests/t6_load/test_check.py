"""load.check over a store in memory, and `swiftfs check` beside `rclone check` on the real one."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from fakes.fault_proxy import Fault, FaultProxy, Status
from fakes.memory_swift import MemorySwift
from fakes.programs import check, run, write_tree
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftfs.errors import AuthError, Forbidden, SwiftFSError, Unavailable
from swiftfs.load.check import CheckRequest, Finding, check_manifest, check_source
from swiftfs.load.filters import FilterTexts, make_filters
from swiftfs.load.manifest import Described
from swiftfs.load.options import LoadOptions
from swiftfs.load.progress import Silent
from swiftfs.load.run import LoadRequest, load_directory
from swiftfs.load.segments import LargePolicy
from swiftfs.load.source import DirectorySource
from swiftfs.localcloud import Cloud
from swiftfs.model import Kind

MIB = 1024 * 1024
SIZE_ONLY = CheckRequest("c", size_only=True)
DOWNLOAD = CheckRequest("c", download=True)


def store_of(objects: dict[str, bytes]) -> MemorySwift:
    store = MemorySwift(held={"c": {}})
    for name, body in objects.items():
        store.alter("c", name, body)
    return store


def found(store: MemorySwift, root: Path, request: CheckRequest | None = None) -> dict[str, str]:
    """The symbol of each path."""
    findings: list[Finding] = []
    request = request or CheckRequest("c")
    source = DirectorySource(str(root), request.prefix)
    counts = asyncio.run(check_source(store, request, source, findings.append))
    assert Counter(one.symbol for one in findings) == counts
    assert len(findings) == len({one.path for one in findings})
    return {one.path: str(one.symbol) for one in findings}


def described(store: MemorySwift, objects: Iterable[Described], request: CheckRequest | None = None) -> dict[str, str]:
    findings: list[Finding] = []
    asyncio.run(check_manifest(store, request or CheckRequest("c"), objects, findings.append))
    return {one.path: str(one.symbol) for one in findings}


def expected(tree: dict[str, bytes], there: dict[str, bytes], *, size_only: bool) -> dict[str, str]:
    """What a check must find, by definition."""
    symbols = {}
    for name in tree.keys() | there.keys():
        if name not in tree:
            symbols[name] = "-"
        elif name not in there:
            symbols[name] = "+"
        else:
            same = len(tree[name]) == len(there[name]) if size_only else tree[name] == there[name]
            symbols[name] = "=" if same else "*"
    return symbols


trees = st.dictionaries(st.sampled_from([f"{a}/{b}" for a in "xy" for b in "abcd"]), st.binary(max_size=2))


@settings(max_examples=40, deadline=None)
@given(trees, trees, st.booleans(), st.booleans(), st.booleans(), st.integers(1, 3))
def test_a_check_finds_every_difference_and_no_other(
    tmp_path_factory: pytest.TempPathFactory,
    tree: dict[str, bytes],
    there: dict[str, bytes],
    size_only: bool,
    download: bool,
    one_way: bool,
    checkers: int,
) -> None:
    """Each path gets the symbol of what is the case, by size, by MD5 or by every byte, from a directory and from a
    manifest of it alike; and the store is not changed."""
    root = write_tree(tmp_path_factory.mktemp("tree"), tree)
    store = store_of({f"p/{name}": body for name, body in there.items()} | {"q": b"", ".swiftfs/m": b"m"})
    before = store.bodies("c")
    request = CheckRequest(
        "c", "p/", one_way=one_way, size_only=size_only, download=download and not size_only, checkers=checkers
    )
    symbols = expected(tree, there, size_only=size_only)
    if one_way:
        symbols = {name: symbol for name, symbol in symbols.items() if symbol != "-"}
    assert symbols == found(store, root, request)
    lines = [Described(name, len(body), hashlib.md5(body).hexdigest(), None) for name, body in tree.items()]
    assert symbols == described(store, lines, request)
    assert before == store.bodies("c")
    assert {method for method, _, _ in store.log} <= {"GET", "HEAD"}


def test_a_check_costs_one_listing(tmp_path: Path) -> None:
    """Plain objects cost no request of their own."""
    tree = {f"{number}": b"x" * (number + 1) for number in range(30)}
    store = store_of(tree)
    assert set(found(store, write_tree(tmp_path, tree)).values()) == {"="}
    assert {(method, name) for method, _, name in store.log} == {("GET", "")}


def test_filters_choose_on_both_sides(tmp_path: Path) -> None:
    """What a filter leaves out is neither missing here nor there."""
    write_tree(tmp_path, {"a.jpg": b"1", "b.tmp": b"2"})
    request = CheckRequest("c", filters=make_filters(FilterTexts(exclude=["*.tmp"])))
    assert found(store_of({"a.jpg": b"1", "c.tmp": b"3"}), tmp_path, request) == {"a.jpg": "="}


@pytest.mark.parametrize("kind", [Kind.DLO, Kind.SLO])
def test_limits_of_size_mean_the_bytes_of_a_large_object(tmp_path: Path, kind: Kind) -> None:
    """A check looks at the same files on both sides also where a listing does not tell a large object's size."""
    write_tree(tmp_path, {"large": b"x" * 4096, "small": b"s"})
    store = store_of({"small": b"s"})
    store.store_large("c", "large", b"x" * 4096, kind)
    store.store_large("c", "extra", b"x" * 4096, kind)
    for limits, symbols in (
        (FilterTexts(min_size=2048), {"large": "=", "extra": "-"}),
        (FilterTexts(max_size=2048), {"small": "="}),
    ):
        assert found(store, tmp_path, CheckRequest("c", size_only=True, filters=make_filters(limits))) == symbols


def test_what_cannot_be_read_is_an_error_of_its_own(tmp_path: Path) -> None:
    """A file that is no regular file, and an object that the store does not give out, are errors, not differences."""
    write_tree(tmp_path, {"a": b"1", "b": b"2"})
    os.mkfifo(tmp_path / "fifo")
    store = store_of({"a": b"1", "b": b"2"})

    refusals: list[SwiftFSError] = [Unavailable("status 500"), Forbidden("status 403")]

    def refuse(method: str, _: str, name: str) -> None:
        if (method, name) == ("GET", "b"):
            raise refusals.pop()

    store.faults.append(refuse)
    assert found(store, tmp_path, DOWNLOAD) == {"a": "=", "b": "!", "fifo": "!"}
    assert found(store, tmp_path, DOWNLOAD) == {"a": "=", "b": "!", "fifo": "!"}
    assert refusals == []


def test_refused_credentials_end_a_check(tmp_path: Path) -> None:
    """When every object would fail alike the check ends with that error."""
    write_tree(tmp_path, {"a": b"1"})
    store = store_of({"a": b"1"})

    def refuse(method: str, _: str, name: str) -> None:
        if name == "a":
            raise AuthError("the store refuses the token")

    store.faults.append(refuse)
    with pytest.raises(AuthError):
        found(store, tmp_path, DOWNLOAD)


@pytest.mark.parametrize("readable", [True, False], ids=["swift", "rgw"])
def test_large_objects_are_compared_by_their_segments(tmp_path: Path, readable: bool) -> None:
    """A large object that load made matches its file and its manifest line, with and without a download, where
    manifests can be read and where not; and a file of other bytes does not."""
    body = os.urandom(3 * MIB + 17)
    write_tree(tmp_path, {"large": body})
    store = MemorySwift(readable=readable)
    request = LoadRequest(
        DirectorySource(str(tmp_path)),
        "c",
        transfers=2,
        checkers=2,
        large=LargePolicy(cutoff=2 * MIB, segment_size=MIB),
        options=LoadOptions(manifest=True),
    )
    asyncio.run(load_directory(store, request, Silent()))
    etag = store.held["c"]["large"].info.etag
    line = Described("large", len(body), None, None, etag)
    requests = [CheckRequest("c"), SIZE_ONLY] + [DOWNLOAD] * readable
    assert [found(store, tmp_path, one) for one in requests] == [{"large": "="}] * len(requests)
    assert [described(store, [line], one) for one in requests] == [{"large": "="}] * len(requests)
    (tmp_path / "large").write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    assert [found(store, tmp_path, one)["large"] for one in requests] == ["*", "=", "*"][: len(requests)]
    other = Described("large", len(body), None, None, "0" * 32)
    assert [described(store, [other], one)["large"] for one in requests] == ["*", "=", "*"][: len(requests)]


def test_a_large_object_that_nothing_explains_is_an_error_and_not_a_match(tmp_path: Path) -> None:
    """Where nothing tells an object's segments only --download can say that it is the same, and does."""
    write_tree(tmp_path, {"large": b"x" * 100})
    store = store_of({})
    store.store_large("c", "large", b"x" * 100, Kind.SLO)
    line = Described("large", 100, hashlib.md5(b"x" * 100).hexdigest(), None)
    assert (found(store, tmp_path), described(store, [line])) == ({"large": "!"}, {"large": "!"})
    assert (found(store, tmp_path, DOWNLOAD), described(store, [line], DOWNLOAD)) == ({"large": "="}, {"large": "="})


@pytest.mark.cloud
def test_check_says_what_rclone_says(tmp_path: Path, local_environ: dict[str, str]) -> None:
    """On a real store the combined report, for every way to compare, and the exit code are rclone's; a manifest
    proves the same without a file, also after the container was spoiled."""
    tree = write_tree(tmp_path / "tree", {"a/1": b"1", "a/2": b"22", "b/ü #%": b"333", "empty": b""})
    place = f"local:check-{secrets.token_hex(4)}"
    loaded = check("swiftfs", "load", tree, f"{place}/p", "--manifest", environ=local_environ)
    digest = loaded.split("manifest ")[1].strip()
    check("swiftfs", "check", tree, f"{place}/p", environ=local_environ)
    check("swiftfs", "check", f"{place}/p", "--manifest", digest, "--download", environ=local_environ)
    write_tree(tree, {"a/1": b"x", "new": b"5"})
    (tree / "a" / "2").unlink()
    for options in ([], ["--size-only"], ["--download"], ["--one-way"], ["--exclude", "a/*"]):
        reports = []
        for program in ("swiftfs", "rclone"):
            done = run(program, "check", tree, f"{place}/p", "--combined", "-", *options, environ=local_environ)
            assert done.code == 1
            reports.append(sorted(done.out.splitlines()))
        assert reports[1] == reports[0], options
    check("swiftfs", "load", tree, f"{place}/p", "--delete-extra", "--max-delete", "1", environ=local_environ)
    done = run("swiftfs", "check", f"{place}/p", "--manifest", digest, "--combined", "-", environ=local_environ)
    assert (done.code, sorted(done.out.splitlines())) == (1, ["* a/1", "+ a/2", "- new", "= b/ü #%", "= empty"])
    missing = run("swiftfs", "check", f"{place}/p", "--manifest", "0" * 64, environ=local_environ)
    assert missing.code == 4, missing.err


@pytest.mark.cloud
def test_limits_hold_on_a_real_store(tmp_path: Path, local_environ: dict[str, str]) -> None:
    """--bwlimit takes as long as it must, --tpslimit too, --max-transfer ends with 8, --max-delete with 7; messages are
    JSON when asked for."""
    import json
    import time

    tree = write_tree(tmp_path / "tree", {f"{number}": os.urandom(200_000) for number in range(5)})
    place = f"local:limits-{secrets.token_hex(4)}"
    start = time.monotonic()
    check("swiftfs", "load", tree, place, "--bwlimit", "500k", "--transfers", "2", environ=local_environ)
    assert time.monotonic() - start > 1_000_000 / 512_000 - 0.2
    start = time.monotonic()
    check("swiftfs", "load", tree, place, "-I", "--tpslimit", "4", environ=local_environ)
    assert time.monotonic() - start > 6 / 4
    limited = run(
        "swiftfs", "load", tree, place, "-I", "--max-transfer", "1", "--transfers", "1", environ=local_environ
    )
    assert limited.code == 8, limited.err
    (tree / "0").unlink()
    (tree / "1").unlink()
    refused = run("swiftfs", "load", tree, place, "--delete-extra", "--max-delete", "1", environ=local_environ)
    assert refused.code == 7, refused.err
    dry = run("swiftfs", "load", tree, place, "--delete-extra", "-n", "--use-json-log", environ=local_environ)
    messages = [json.loads(line)["msg"] for line in dry.err.splitlines()]
    assert [one for one in messages if one.startswith("would delete:")] == ["would delete: 0", "would delete: 1"]
    check("swiftfs", "delete", place, "--include", "{2,3}", environ=local_environ)
    assert sorted(check("swiftfs", "ls", place, "--max-size", "200k", environ=local_environ).split()[1::2]) == [
        "0", "1", "4",
    ]  # fmt: skip


REPORTS = ("match", "differ", "missing-on-src", "missing-on-dst", "error", "combined")


@pytest.mark.cloud
def test_the_files_of_each_kind_are_rclones(tmp_path: Path, cloud: Cloud, local_environ: dict[str, str]) -> None:
    """--match, --differ, --missing-on-src, --missing-on-dst and --error write the same paths as rclone's, also for an
    object that the store does not give out."""
    there = write_tree(tmp_path / "there", {"a/same": b"1", "ü b": b"22", "other": b"333", "gone": b"4", "bad": b"55"})
    here = write_tree(tmp_path / "here", {"a/same": b"1", "ü b": b"22", "other": b"xxx", "new #1": b"5", "bad": b"55"})
    place = f"local:reports-{secrets.token_hex(4)}"
    check("swiftfs", "load", there, place, environ=local_environ)
    written: dict[str, dict[str, list[str]]] = {}
    with FaultProxy(cloud.storage_url) as proxy:
        config = tmp_path / "rclone.conf"
        config.write_text(cloud.rclone_conf.read_text() + f"storage_url = {proxy.url}\n")
        config.chmod(0o600)
        for program in ("swiftfs", "rclone"):
            files = {name: tmp_path / f"{program}-{name}" for name in REPORTS}
            options = [word for name, path in files.items() for word in (f"--{name}", path)]
            with proxy.broken(Fault(Status(404), "GET", "/bad$", count=None)):
                command = (program, "check", "--download", here, place, *options)
                done = run(*command, environ={**local_environ, "RCLONE_CONFIG": str(config)})
            assert done.code == 1, done.err
            written[program] = {name: sorted(path.read_text().splitlines()) for name, path in files.items()}

    assert written["swiftfs"] == {
        "match": ["a/same", "ü b"],
        "differ": ["other"],
        "missing-on-src": ["gone"],
        "missing-on-dst": ["new #1"],
        "error": ["bad"],
        "combined": ["! bad", "* other", "+ new #1", "- gone", "= a/same", "= ü b"],
    }
    assert written["rclone"] == written["swiftfs"]
