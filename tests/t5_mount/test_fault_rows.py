"""Rows of the fault matrix through a real mount, a proxy that misbehaves and a real Swift."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import hashlib
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fakes.fault_proxy import EditPage, Fault, FaultProxy, Meanwhile, RepeatPage, Reset, Stall, Status
from fakes.large_objects import put_slo
from fakes.programs import check, mount_status, mounted, run, through, tree_of, until, write_tree
from fakes.read_faults import READ_FAULTS, SIZE, ReadFault, is_cost, late, params

from swiftfs.config import find_remote
from swiftfs.errors import NotFound
from swiftfs.localcloud import Cloud
from swiftfs.swift.client import open_client

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]

DEADLINE = 12.0
"""Seconds for a read of the mounts: a stall is given up after a quarter of them, and a busy store may take half of
that."""
SHORT = 6.0
"""The same for the mount of tests that wait for it to end."""
CONTAINER = "fault-rows"
CHUNK = 1 << 20
CROWD = 120
"""Readers at once: ten times what a kernel sends at once by itself, and more than pyfuse3 answers by itself."""
PART = 65_536
"""Bytes of the chunks of the mount that reads parts of objects."""


@dataclass(frozen=True)
class Faulty:
    """Mounts of one container through one proxy: one reads whole objects, one does it with the short deadline, one
    reads them in parts."""

    proxy: FaultProxy
    environ: dict[str, str]
    whole: Path
    impatient: Path
    parts: Path
    content: dict[str, bytes]

    def fresh(self, fault: ReadFault) -> str:
        """The name of a file that no other test reads."""
        return f"{fault.row}-{fault.name}.bin"


@pytest.fixture(scope="module")
def faulty(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    top = tmp_path_factory.mktemp("faulty")
    draw = random.Random(6)
    content = {f"{fault.row}-{fault.name}.bin": draw.randbytes(SIZE) for fault in READ_FAULTS}
    content |= {f"spare/{number}.bin": draw.randbytes(20_000) for number in range(20)}
    with FaultProxy(cloud.storage_url) as proxy, contextlib.ExitStack() as stack:
        environ = through(cloud, proxy.url, top)
        tree = write_tree(top / "tree", content)
        check("swiftfs", "load", tree, f"local:{CONTAINER}", environ=environ)

        def mount(name: str, chunk: int, deadline: float) -> Path:
            options: list[str | Path] = ["--deadline", f"{deadline:.0f}s", "--prefetch", "off", "--refresh", "off"]
            options += ["--chunk-size", str(chunk), "--cache-dir", top / f"cache-{name}"]
            return stack.enter_context(mounted(f"local:{CONTAINER}", top / name, *options, environ=environ))

        whole, impatient = mount("whole", CHUNK, DEADLINE), mount("impatient", CHUNK, SHORT)
        yield Faulty(proxy, environ, whole, impatient, mount("parts", PART, DEADLINE), content)


def outcome(path: Path, offset: int, size: int) -> bytes | int:
    """What a read gives: bytes or an errno."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, size, offset)
    except OSError as error:
        return error.errno or 0
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("fault", params(READ_FAULTS))
def test_a_read_gives_the_bytes_or_an_errno(faulty: Faulty, fault: ReadFault) -> None:
    """A read is right or fails with its errno, in time and within a number of requests, and works again afterwards."""
    name = faulty.fresh(fault)
    whole, deadline = (faulty.impatient, SHORT) if fault.is_silent else (faulty.whole, DEADLINE)
    path = (faulty.parts if fault.ranged else whole) / name
    offset, size = (2 * PART, 1000) if fault.ranged else (0, SIZE)
    right = faulty.content[name][offset : offset + size]
    expected: bytes | int = right
    count, most = fault.count, fault.most
    if fault.error is not None:
        expected = errno.ESTALE if issubclass(fault.error, NotFound) else fault.error.errno
        # The kernel reads a second time when its readahead fails.
        count, most = None, 2 * most
    begun = time.monotonic()
    with faulty.proxy.broken(Fault(fault.action, "GET", f"/{name}$", count=count)) as seen:
        found = outcome(path, offset, size)
        taken = time.monotonic() - begun
        faulty.proxy.rest()
        gets = [one for one in seen if one.target.endswith(name)]
        assert faulty.proxy.played() >= 1
    assert taken < 2 * deadline
    assert found == expected
    assert len(gets) <= most + late(gets, deadline)
    assert outcome(path, offset, size) == right


@pytest.mark.row("N1")
def test_a_store_that_is_down_is_eio_in_time_and_comes_back(faulty: Faulty) -> None:
    """While nobody listens a read ends with EIO at its deadline; afterwards a read costs one request, as ever."""
    path = faulty.impatient / "spare/0.bin"
    with faulty.proxy.broken() as seen:
        faulty.proxy.down()
        try:
            begun = time.monotonic()
            assert outcome(path, 0, 20_000) == errno.EIO
            assert time.monotonic() - begun < 2 * SHORT
        finally:
            faulty.proxy.up()
        # The error is said once more to who asks at once.
        until(lambda: outcome(path, 0, 20_000) == faulty.content["spare/0.bin"])
        faulty.proxy.rest()
        assert is_cost(1, [one for one in seen if one.method == "GET" and one.target.endswith("spare/0.bin")], SHORT)


@pytest.mark.row("N1")
def test_a_mount_of_a_store_that_is_down_fails_and_leaves_nothing(faulty: Faulty, tmp_path: Path) -> None:
    """The command ends with one line and an error, no mount and no process stays."""
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    options = ["--daemon", "--deadline", "3s", "--cache-dir", tmp_path / "cache"]
    faulty.proxy.down()
    try:
        done = run("swiftfs", "mount", f"local:{CONTAINER}", mountpoint, *options, environ=faulty.environ)
    finally:
        faulty.proxy.up()

    assert done.code != 0
    assert len(done.err.splitlines()) == 1
    assert not os.path.ismount(mountpoint)


@pytest.mark.row("H13")
def test_an_outage_stops_nothing_but_what_is_read_during_it(faulty: Faulty) -> None:
    """After an outage that outlasted a deadline, all files read right, each for one request."""
    names = [f"spare/{number}.bin" for number in range(1, 10)]
    with faulty.proxy.broken(Fault(Status(503), path="spare/", count=None)) as seen:
        assert outcome(faulty.impatient / names[0], 0, 20_000) == errno.EIO
        assert len(seen) < 40
    with faulty.proxy.broken() as seen:
        # The error is said once more to who asks at once.
        until(lambda: outcome(faulty.impatient / names[0], 0, 20_000) != errno.EIO)
        for name in names:
            assert (faulty.impatient / name).read_bytes() == faulty.content[name]
        faulty.proxy.rest()
        assert is_cost(len(names), [one for one in seen if one.method == "GET"], SHORT)


def cut(rows: list[dict[str, Any]]) -> Any:
    return b'[{"name": "spare/1.bin", "bytes": 12'


LISTING_FAULTS = [
    pytest.param(Fault(RepeatPage(), "GET", "marker="), False, id="L1-repeated", marks=pytest.mark.row("L1")),
    pytest.param(
        Fault(EditPage(lambda rows: [row for row in rows for _ in range(2)]), "GET", "limit="),
        True,
        id="L2-twice",
        marks=pytest.mark.row("L2"),
    ),
    pytest.param(
        Fault(EditPage(lambda rows: rows[:9]), "GET", "limit=", count=None),
        True,
        id="L3-short-pages",
        marks=pytest.mark.row("L3"),
    ),
    pytest.param(Fault(EditPage(cut), "GET", "limit="), True, id="L5-cut-once", marks=pytest.mark.row("L5")),
    pytest.param(
        Fault(EditPage(cut), "GET", "limit=", count=None), False, id="L5-cut-always", marks=pytest.mark.row("L5")
    ),
    pytest.param(Fault(Reset(100), "GET", "limit="), True, id="N5-reset", marks=pytest.mark.row("N5")),
    pytest.param(Fault(Stall(100), "GET", "limit="), True, id="N9-stalled", marks=pytest.mark.row("N9")),
]


@pytest.mark.parametrize(("fault", "succeeds"), LISTING_FAULTS)
def test_a_refresh_brings_the_whole_tree_or_leaves_it_alone(faulty: Faulty, fault: Fault, succeeds: bool) -> None:
    """Whatever a listing meets, afterwards the tree has every name once, and nothing is half new."""
    mountpoint = faulty.impatient
    before = sorted(tree_of(mountpoint / "spare"))
    with faulty.proxy.broken(fault):
        done = run("swiftfs", "refresh", mountpoint, environ=faulty.environ)
        assert faulty.proxy.played() >= 1

    assert (done.code == 0) is succeeds, done.err
    assert sorted(tree_of(mountpoint / "spare")) == before
    assert check("swiftfs", "refresh", mountpoint, environ=faulty.environ).startswith("0 added, 0 changed, 0 removed")


@pytest.mark.row("O1")
def test_an_object_without_one_of_its_segments_ends(faulty: Faulty, cloud: Cloud) -> None:
    """The rest of it reads right; the part that is missing is an error after few requests, in time."""
    segments = [random.Random(number).randbytes(PART) for number in range(3)]
    remote = find_remote("local", faulty.environ)

    async def make() -> None:
        await put_slo(remote, CONTAINER, "broken.slo", segments)
        async with open_client(remote) as client:
            await client.delete(CONTAINER, ".seg/broken.slo/0001")

    asyncio.run(make())
    check("swiftfs", "refresh", faulty.parts, environ=faulty.environ)
    path = faulty.parts / "broken.slo"
    assert path.stat().st_size == 3 * PART
    with faulty.proxy.broken() as seen:
        assert outcome(path, PART, 1000) in {errno.EIO, errno.ESTALE}
        faulty.proxy.rest()
        gets = [one for one in seen if one.target.endswith("broken.slo")]
        assert len(gets) <= 6 + late(gets, DEADLINE)
    assert outcome(path, 0, 1000) == segments[0][:1000]
    assert outcome(path, 2 * PART, 1000) == segments[2][:1000]


@pytest.mark.row("O1")
@pytest.mark.parametrize("length", [PART, PART - 7], ids=["replaced", "shorter"])
def test_a_replaced_segment_is_found_out(faulty: Faulty, length: int) -> None:
    """An SLO whose segment has other bytes than its manifest says never gives them: an error, in time."""
    name = f"replaced-{length}.slo"
    segments = [random.Random(number).randbytes(PART) for number in range(3)]
    other = random.Random(99).randbytes(length)
    remote = find_remote("local", faulty.environ)

    async def make() -> None:
        await put_slo(remote, CONTAINER, name, segments)
        async with open_client(remote) as client:
            await client.put(CONTAINER, f".seg/{name}/0001", other, md5=hashlib.md5(other).hexdigest())

    asyncio.run(make())
    check("swiftfs", "refresh", faulty.parts, environ=faulty.environ)
    begun = time.monotonic()
    with faulty.proxy.broken() as seen:
        assert outcome(faulty.parts / name, PART, 1000) in {errno.EIO, errno.ESTALE}
        assert time.monotonic() - begun < 2 * DEADLINE
        faulty.proxy.rest()
        gets = [one for one in seen if one.target.endswith(name)]
        assert len(gets) <= 8 + late(gets, DEADLINE)
    assert outcome(faulty.parts / name, 0, 1000) == segments[0][:1000]


@pytest.mark.row("H16")
def test_a_replacement_in_the_middle_of_a_read_is_never_mixed_in(faulty: Faulty) -> None:
    """Replaced between two GETs by as many other bytes: the reader has bytes of the first version, then ESTALE."""
    name = "replaced-in-between.bin"
    old, new = (random.Random(seed).randbytes(4 * PART) for seed in (1, 2))
    remote = find_remote("local", faulty.environ)

    async def put(content: bytes) -> None:
        async with open_client(dataclasses.replace(remote, storage_url=faulty.proxy.upstream)) as client:
            await client.put(CONTAINER, name, content, md5=hashlib.md5(content).hexdigest())

    asyncio.run(put(old))
    check("swiftfs", "refresh", faulty.parts, environ=faulty.environ)
    replacing = Fault(Meanwhile(lambda: asyncio.run(put(new))), "GET", f"/{name}$", skip=1)
    path = faulty.parts / name
    with faulty.proxy.broken(replacing), path.open("rb", buffering=0) as file:
        found: list[bytes] = []
        with pytest.raises(OSError, match="Stale"):
            found.extend(iter(lambda: file.read(PART), b""))
        assert old.startswith(b"".join(found))
    check("swiftfs", "refresh", faulty.parts, environ=faulty.environ)

    assert path.read_bytes() == new


def test_every_one_of_many_blocked_readers_has_its_deadline(faulty: Faulty) -> None:
    """The kernel sends all reads at once, so none waits there for others that wait for a store that says nothing; and
    attributes are told meanwhile."""
    names = [f"crowd/{number:03}.bin" for number in range(CROWD)]
    tree = write_tree(faulty.impatient.parent / "crowd-tree", {name: name.encode() for name in names})
    check("swiftfs", "load", tree, f"local:{CONTAINER}", environ=faulty.environ)
    check("swiftfs", "refresh", faulty.impatient, environ=faulty.environ)
    paths = [faulty.impatient / name for name in names]
    before = waiting(faulty)
    with faulty.proxy.broken(Fault(Stall(0), "GET", count=None)), ThreadPoolExecutor(CROWD) as readers:
        waits = [readers.submit(timed, path) for path in paths]
        until(lambda: waiting(faulty) >= before + CROWD)
        began = time.monotonic()
        os.statvfs(faulty.impatient)
        beside = time.monotonic() - began
        took = [wait.result() for wait in waits]

    assert {failed for failed, _ in took} <= {errno.ETIMEDOUT, errno.EIO}
    assert max(seconds for _, seconds in took) < 2 * SHORT
    assert beside < SHORT / 2


def waiting(faulty: Faulty) -> int:
    """How many readers have begun to wait for the store."""
    return int(mount_status(faulty.impatient, environ=faulty.environ)["reads"]["misses"])


def timed(path: Path) -> tuple[bytes | int, float]:
    """What a read of a file gives, and how long it takes."""
    began = time.monotonic()
    return outcome(path, 0, 1), time.monotonic() - began
