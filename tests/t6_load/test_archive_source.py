"""Archives loaded without being unpacked: the same objects as by way of the disk, and the same refusals."""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import functools
import gzip
import io
import lzma
import os
import struct
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from fakes.halting import HaltsAtLook
from fakes.memory_swift import MemorySwift
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftfs.errors import Incomplete, Interrupted, SwiftFSError, UsageError
from swiftfs.load import archive_source, archive_upload, large
from swiftfs.load.apply import transform_directory
from swiftfs.load.archive import Archive, open_archive
from swiftfs.load.archive_source import BATCH, ZIPS_APART, ArchiveSource
from swiftfs.load.download import PIECE, check_file
from swiftfs.load.filters import FilterTexts, make_filters
from swiftfs.load.held import BUDGET, ByteBudget, HeldObject
from swiftfs.load.member import Limits
from swiftfs.load.options import LoadOptions
from swiftfs.load.progress import Silent
from swiftfs.load.report import outcome_error
from swiftfs.load.run import LoadRequest, LoadResult, load_directory
from swiftfs.load.sources import SourceRequest, archive_stem, opened_source
from swiftfs.load.transform import FOOD11, Rules, make_rule
from swiftfs.load.unpack import ExtractRequest, extract_source

Files = list[tuple[str, bytes]]
TREE: Files = [
    ("Food-11/training/0_1.jpg", b"one" * 50),
    ("Food-11/training/10_2.jpg", b""),
    ("Food-11/validation/3_ä b.jpg", os.urandom(500_000)),
    ("Food-11/evaluation/3_7.jpg", os.urandom(5_000_000)),
    *((f"Food-11/training/{n % 11}_{n}0.jpg", os.urandom(100 + n)) for n in range(150)),
]


def make_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files:
            info = zipfile.ZipInfo("placeholder", (2024, 1, 2, 3, 4, 6))
            info.filename = info.orig_filename = name
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, body)
    return path


def make_tar(path: Path, files: Files, opener: Callable[..., object] = open) -> Path:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, body in files:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(body), 1_700_000_000
            archive.addfile(info, io.BytesIO(body))
    with opener(path, "wb") as file:  # type: ignore[attr-defined]
        file.write(plain.getvalue())
    return path


MAKERS: dict[str, Callable[[Path, Files], Path]] = {
    "zip": make_zip,
    "tar": make_tar,
    "tar.gz": lambda path, files: make_tar(path, files, gzip.open),
    "tar.bz2": lambda path, files: make_tar(path, files, bz2.open),
    "tar.xz": lambda path, files: make_tar(path, files, functools.partial(lzma.open, preset=0)),
    "tar.zst": lambda path, files: make_tar(path, files, zstandard.open),
}


def load(
    store: MemorySwift,
    source: Path,
    *,
    prefix: str = "",
    rules: Rules | None = None,
    dry_run: bool = False,
    strip: int | None = None,
    sha256: str | None = None,
    options: LoadOptions | None = None,
    transfers: int = 4,
) -> LoadResult:
    async def run() -> LoadResult:
        wanted = SourceRequest(str(source), prefix, strip=strip, sha256=sha256)
        async with opened_source(wanted) as opened:
            request = LoadRequest(opened, "c", prefix, transfers=transfers, checkers=2, dry_run=dry_run, rules=rules)
            request = replace(request, options=options or LoadOptions())
            return await load_directory(store, request, Silent(), pause=lambda _: asyncio.sleep(0))

    return asyncio.run(run())


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("size", [3, 300_000])
def test_compare_modes_hold_for_members_too(tmp_path: Path, kind: str, size: int) -> None:
    """--immutable fails for a member that differs from the object that is there, and replaces nothing."""
    archive = MAKERS[kind](tmp_path / f"x.{kind}", [("a", b"a" * size), ("b", b"b")])
    store = MemorySwift(held={"c": {}})
    store.alter("c", "a", b"x" * size)
    result = load(store, archive, options=LoadOptions(immutable=True))
    assert store.bodies("c") == {"a": b"x" * size, "b": b"b"}
    assert list(failures(result)) == ["a"]
    assert "--immutable" in failures(result)["a"]


@pytest.mark.logs("nothing is deleted")
def test_a_refused_member_is_not_lost_in_a_filter(tmp_path: Path) -> None:
    """A member that is refused is named by the path that filters see: one that they keep is a failure of the run."""
    archive = make_tar(tmp_path / "Food-11.tar", [("Food-11/training/a", b"a")])
    with tarfile.open(archive, "a") as tar:
        link = tarfile.TarInfo("Food-11/training/link")
        link.type, link.linkname = tarfile.SYMTYPE, "a"
        tar.addfile(link)
    store = MemorySwift(held={"c": {}})
    store.alter("c", "training/link", b"old")
    filters = make_filters(FilterTexts(include=["/training/**"]))
    result = load(store, archive, options=LoadOptions(filters=filters, delete_extra=True))
    assert list(failures(result)) == ["training/link"]
    assert store.bodies("c") == {"training/a": b"a", "training/link": b"old"}


def failures(result: LoadResult) -> dict[str, str]:
    return {one.name: one.reason for one in result.failures}


def times(store: MemorySwift) -> dict[str, int | None]:
    return {name: stored.info.mtime for name, stored in store.held["c"].items()}


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_an_archive_makes_the_objects_that_extract_transform_and_load_make(tmp_path: Path, kind: str) -> None:
    """Names, bytes and times are those of the way over the disk; the second load of the archive sends nothing."""
    files = [one for one in TREE if len(one[1]) < 10**6 or kind != "tar.bz2"]  # bzip2 takes seconds for it
    archive = MAKERS[kind](tmp_path / f"Food-11.{kind}", files)
    asyncio.run(extract_source(ExtractRequest(str(archive), str(tmp_path / "Food-11")), Silent()))
    transform_directory(str(tmp_path / "Food-11"), FOOD11)
    staged, streamed = MemorySwift(), MemorySwift()
    load(staged, tmp_path / "Food-11", prefix="p/")
    before = sorted(path for path in tmp_path.rglob("*"))
    result = load(streamed, archive, prefix="p/", rules=FOOD11)
    assert outcome_error(result) is None
    assert staged.bodies("c") == streamed.bodies("c")
    assert times(staged) == times(streamed)
    assert "p/training/class_10/10_2.jpg" in streamed.bodies("c")
    assert len(files) == result.sent
    assert before == sorted(path for path in tmp_path.rglob("*")), "something was put on the disk"
    streamed.log.clear()
    again = load(streamed, archive, prefix="p/", rules=FOOD11)
    assert (0, len(files), []) == (again.sent, again.skipped, streamed.puts())


def test_members_are_sent_in_the_order_of_the_archive(tmp_path: Path) -> None:
    """An archive is read from front to back: with one transfer, objects appear in its order."""
    archive = make_tar(tmp_path / "a.tar", [(f"{n}", b"x") for n in (3, 1, 2, 0)])
    store = MemorySwift()

    async def run() -> None:
        async with opened_source(SourceRequest(str(archive))) as source:
            await load_directory(store, LoadRequest(source, "c", transfers=1, checkers=1), Silent())

    asyncio.run(run())
    assert store.puts() == ["3", "1", "2", "0"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_members_that_cannot_be_held_are_streamed(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member over the budget goes through the archive twice, for its MD5 and as a body, and arrives whole."""
    monkeypatch.setattr(archive_upload, "HELD", 1_000_000)
    monkeypatch.setitem(archive_upload.HeldUpload.__init__.__kwdefaults__, "held", 1_000_000)
    store = MemorySwift()
    held: list[int] = []
    take = ByteBudget.take

    async def counted(self: ByteBudget, size: int) -> None:
        held.append(size)
        await take(self, size)

    monkeypatch.setattr(ByteBudget, "take", counted)
    result = load(store, MAKERS[kind](tmp_path / f"Food-11.{kind}", TREE))
    assert outcome_error(result) is None
    assert {name.partition("/")[2]: body for name, body in TREE} == store.bodies("c")
    assert sum(len(body) for _, body in TREE if len(body) <= 1_000_000) == sum(held)


@pytest.mark.parametrize(("kind", "most", "all_of_them"), [("tar.xz", 1, 3), ("tar", 1, 3), ("zip", ZIPS_APART, 7)])
def test_members_that_cannot_be_held_share_few_ways_through_the_archive(
    tmp_path: Path, kind: str, most: int, all_of_them: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One way through a tar is open at a time, and one more serves all that are too large; of a zip there are a few."""
    monkeypatch.setitem(archive_upload.HeldUpload.__init__.__kwdefaults__, "held", 100_000)
    monkeypatch.setattr(large, "SEQUENTIAL_CUTOFF", 100_000)
    files: Files = [(f"{n:02d}", os.urandom(300_000 if n % 2 else 10)) for n in range(24)]
    opened = in_use = most_in_use = 0

    @contextlib.contextmanager
    def counted(path: str, limits: Limits, halted: threading.Event | None = None) -> Iterator[Archive]:
        nonlocal opened, in_use, most_in_use
        with open_archive(path, limits, halted) as archive:
            opened, in_use = opened + 1, in_use + 1
            most_in_use = max(most_in_use, in_use)
            try:
                yield archive
            finally:
                in_use -= 1

    monkeypatch.setattr(archive_source, "open_archive", counted)
    store = MemorySwift()
    path = MAKERS[kind](tmp_path / f"Food-11.{kind}", files)
    assert outcome_error(load(store, path, transfers=64)) is None
    assert store.bodies("c") == dict(files)
    assert most_in_use <= most
    assert in_use == 0
    assert opened <= all_of_them


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../x", "leads upwards with '..'"),
        ("/abs", "is an absolute path"),
        ("C:x", "begins with a drive letter"),
        ("a\\b", "holds a backslash"),
        ("a/../../x", "leads upwards with '..'"),
        ("good", "has the name of a member before it"),
        ("d" * 300, "has a component of more than 255 bytes"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_that_extract_refuses_is_refused_and_the_others_go(
    tmp_path: Path, kind: str, name: str, reason: str
) -> None:
    """Each unusable name is a failure with its reason; no object comes of it, and the run is not complete."""
    store = MemorySwift()
    with pytest.warns(UserWarning, match="Duplicate") if kind == "zip" and name == "good" else contextlib.nullcontext():
        archive = MAKERS[kind](tmp_path / f"x.{kind}", [("good", b"1"), (name, b"22"), ("also", b"3")])
    result = load(store, archive)
    assert {name: reason} == failures(result)
    assert store.bodies("c") == {"good": b"1", "also": b"3"}
    assert isinstance(outcome_error(result), Incomplete)


def test_links_and_devices_of_a_tar_are_refused(tmp_path: Path) -> None:
    """Nothing but regular files becomes an object; every other member is named."""
    kinds = {"sym": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "dev": tarfile.CHRTYPE, "fifo": tarfile.FIFOTYPE}
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("file"))
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "file"
            archive.addfile(info)
    store = MemorySwift()
    assert set(kinds) == set(failures(load(store, tmp_path / "a.tar")))
    assert store.bodies("c") == {"file": b""}


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_a_damaged_archive_never_counts_as_loaded(tmp_path: Path, kind: str) -> None:
    """Cut anywhere, an archive is an error or a failed member, and what was sent is whole."""
    files: Files = [(f"{n}.bin", os.urandom(900)) for n in range(8)]
    whole = MAKERS[kind](tmp_path / f"whole.{kind}", files).read_bytes()
    archive = tmp_path / f"cut.{kind}"
    # Of a plain tar everything behind the first block of zeros is padding.
    end = len(whole) if kind != "tar" else 8 * (512 + 1024) + 512
    for cut in range(1, end, end // 12):
        archive.write_bytes(whole[:cut])
        store = MemorySwift(held={"c": {}})
        try:
            complete = outcome_error(load(store, archive)) is None
        except SwiftFSError:
            complete = False
            assert store.puts() == [], f"something of an archive cut at {cut} was sent"
        assert not complete, f"cut at {cut} of {len(whole)}"
        assert set(store.bodies("c").items()) <= set(files)


def test_a_member_with_a_wrong_checksum_fails_alone(tmp_path: Path) -> None:
    """One flipped byte costs its own member, which is not sent, and no other."""
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for name in "abc":
            made.writestr(name, name.encode() * 1000)
    raw = bytearray(archive.read_bytes())
    raw[raw.index(b"bbbb") + 500] ^= 1
    archive.write_bytes(raw)
    store = MemorySwift()
    result = load(store, archive)
    assert list(failures(result)) == ["b"]
    assert "CRC" in failures(result)["b"]
    assert {"a", "c"} == set(store.bodies("c"))


def test_an_archive_that_is_replaced_while_it_is_read_ends_the_load(tmp_path: Path) -> None:
    """Members of two versions never mix: once the file is another, nothing more is sent."""
    # More than may be held at once: the first is sent before the last is read.
    members = BUDGET // BATCH + 4
    archive = make_tar(tmp_path / "a.tar", [(f"{n:03d}", os.urandom(BATCH)) for n in range(members)])
    store = MemorySwift()

    def replaced(method: str, container: str, name: str) -> None:
        if method == "PUT" and name:
            os.utime(archive, ns=(1, 1))

    store.faults.append(replaced)
    result = load(store, archive)
    error = outcome_error(result)
    assert error is not None
    assert "changed while it was read" in str(error)
    assert len(store.bodies("c")) < members


def test_the_common_top_folder_goes_as_extract_has_it(tmp_path: Path) -> None:
    """It goes when it is called as the archive or the destination, stays otherwise, and --strip-components decides."""
    files: Files = [("data/a", b"1"), ("data/b/c", b"2")]
    for name, strip, names in [
        ("data.zip", None, {"a", "b/c"}),
        ("other.zip", None, {"data/a", "data/b/c"}),
        ("data.zip", 0, {"data/a", "data/b/c"}),
        ("other.zip", 1, {"a", "b/c"}),
    ]:
        store = MemorySwift()
        load(store, make_zip(tmp_path / name, files), strip=strip)
        assert names == set(store.bodies("c")), name
    mixed = MemorySwift()
    load(mixed, make_zip(tmp_path / "data.zip", [*files, ("beside", b"")]))
    assert {"data/a", "data/b/c", "beside"} == set(mixed.bodies("c"))


def test_two_members_for_one_target_are_an_error_before_anything_is_sent(tmp_path: Path) -> None:
    """Rules that would join two objects end the run with no request but none that changes anything."""
    rules = Rules((make_rule(r"[ab]/(?P<rest>.*)", "joined/{rest}"),))
    archive = make_zip(tmp_path / "x.zip", [("a/1", b"1"), ("b/1", b"2")])
    store = MemorySwift()
    with pytest.raises(UsageError, match="a/1 and b/1 would both become joined/1"):
        load(store, archive, rules=rules)
    assert store.log == []


@pytest.mark.logs("would send")
def test_a_dry_run_reads_no_member_and_says_what_goes_where(tmp_path: Path) -> None:
    """Nothing is sent, large members are not hashed, and every move is in the result."""
    archive = make_zip(tmp_path / "Food-11.zip", TREE)
    store = MemorySwift()
    result = load(store, archive, rules=FOOD11, dry_run=True)
    assert store.puts() == []
    assert len(TREE) == result.sent
    moves = {move.source: move.target for move in result.moves}
    assert moves["training/0_1.jpg"] == "training/class_00/0_1.jpg"


def test_a_directory_is_renamed_on_its_way_too(tmp_path: Path) -> None:
    """Rules name the objects of a directory while its files stay where they are."""
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "3_1.jpg").write_bytes(b"x")
    store = MemorySwift()
    load(store, tmp_path, prefix="p/", rules=FOOD11)
    assert store.bodies("c") == {"p/training/class_03/3_1.jpg": b"x"}
    assert (tmp_path / "training" / "3_1.jpg").exists()


def test_a_wrong_sha256_sends_nothing(tmp_path: Path) -> None:
    """The archive's checksum is looked at first; it is for archives only."""
    archive = make_zip(tmp_path / "a.zip", [("a", b"1")])
    store = MemorySwift()
    with pytest.raises(SwiftFSError, match="has the SHA-256"):
        load(store, archive, sha256="0" * 64)
    with pytest.raises(UsageError, match="for archives"):
        load(store, tmp_path, sha256="0" * 64)
    assert store.log == []


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_a_stop_is_heard_while_a_member_is_passed_over(tmp_path: Path, kind: str) -> None:
    """Of a tar all bytes before a member are read; who wants to stop does not wait for them."""
    path = MAKERS[kind](tmp_path / f"a.{kind}", [("large", bytes(50_000_000)), ("behind", b"1")])
    halted = HaltsAtLook(100)
    with pytest.raises(Interrupted):
        list(ArchiveSource(str(path)).scan(halted))
    assert halted.looks == 100


def test_a_load_that_is_given_up_leaves_no_archive_being_hashed(tmp_path: Path) -> None:
    """When the archive's SHA-256 is not waited for any more, its file is closed at once."""
    archive = tmp_path / "a.tar"
    with archive.open("wb") as file:
        file.truncate(1 << 30)

    def is_open() -> bool:
        for one in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(one) == str(archive):
                    return True
        return False

    def wait_for_it() -> None:
        end = time.monotonic() + 60
        while not is_open() and time.monotonic() < end:
            time.sleep(0.001)

    async def given_up() -> bool:
        opening = asyncio.create_task(opened_source(SourceRequest(str(archive), sha256="0" * 64)).__aenter__())
        await asyncio.to_thread(wait_for_it)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        return is_open()

    assert not asyncio.run(given_up())


def test_a_checksum_that_is_not_waited_for_is_not_computed(tmp_path: Path) -> None:
    """The flag to stop is looked at for each piece of the file."""
    (tmp_path / "a").write_bytes(bytes(5 * PIECE))
    halted = HaltsAtLook(3)
    with pytest.raises(Interrupted):
        check_file(str(tmp_path / "a"), "0" * 64, halted=halted)
    assert halted.looks == 3


@pytest.mark.parametrize(
    ("text", "stem"),
    [
        ("data/Food-11.tar.gz", "Food-11"),
        ("https://example.org/x/Food%2011.ZIP?token=a.tar", "Food 11"),
        ("noend", "noend"),
        ("/a/b.tar.zst", "b"),
    ],
)
def test_an_archive_is_called_as_its_file(text: str, stem: str) -> None:
    """Directories, the suffix and a URL's query are no part of the name."""
    assert stem == archive_stem(text)


@given(st.lists(st.integers(1, 100), max_size=30), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_the_budget_is_never_exceeded_and_everybody_gets_through(sizes: list[int], limit: int) -> None:
    """Never more bytes than the limit are out, except for one that is larger by itself; nobody waits for ever."""

    async def run() -> None:
        budget, out, most = ByteBudget(limit), 0, 0

        async def one(size: int) -> None:
            nonlocal out, most
            await budget.take(size)
            out += size
            assert out <= limit or out == size
            await asyncio.sleep(0)
            out -= size
            budget.give(size)

        await asyncio.wait_for(asyncio.gather(*map(one, sizes)), 10)
        assert out == 0

    asyncio.run(run())


def test_a_held_object_reads_as_a_file_does() -> None:
    """Pieces join to the body, in any size, and again from the start."""
    body = os.urandom(1000)
    held = HeldObject("n", None, [body[:300], body[300:301], body[301:]])
    for size in (1, 7, 1000, 5000):
        opened = held.open()
        assert body == b"".join(iter(lambda size=size, opened=opened: opened.read(size), b""))  # type: ignore[misc]


MEASURED = """
import asyncio, sys
from fakes.memory_swift import MemorySwift
from swiftfs.load.options import LoadOptions
from swiftfs.load.progress import Silent
from swiftfs.load.report import outcome_error
from swiftfs.load.run import LoadRequest, load_directory
from swiftfs.load.sources import SourceRequest, opened_source

class Drain(MemorySwift):
    async def put(self, container, name, body, *, md5, **rest):
        await asyncio.sleep(0.002)
        if not isinstance(body, bytes):
            async for piece in body.open(): pass
        return md5

async def run():
    async with opened_source(SourceRequest(sys.argv[1])) as source:
        store = Drain(held={"c": {}})
        result = await load_directory(store, LoadRequest(source, "c"), Silent(), pause=lambda _: asyncio.sleep(0))
        # Not ru_maxrss: that is inherited from the process that started this one.
        peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
        print(result.sent, int(peak.split()[1]) // 1024)

asyncio.run(run())
"""


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.row("Z6")
def test_memory_is_bounded_whatever_the_archive(tmp_path: Path, kind: str) -> None:
    """300 MB of members from 1 KB to 30 MB pass through 64 transfers within 150 MiB of memory."""
    block = os.urandom(30_000_000)
    files: Files = [(f"{n}", block[: 30_000_000 >> (n % 15)]) for n in range(75)]
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, body in files:
                archive.writestr(name, body)
    else:
        make_tar(path, files)
    assert path.stat().st_size > 290_000_000
    tests = Path(__file__).parents[1]
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path)],
        env=os.environ | {"PYTHONPATH": f"{tests}:{tests.parent}"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stderr
    sent, resident = map(int, ended.stdout.split())
    assert sent == 75
    assert resident <= 150


def test_a_zip_bomb_is_refused_by_its_claim(tmp_path: Path) -> None:
    """A member that claims more than deflate can give is refused before a byte of it is read."""
    archive = make_zip(tmp_path / "a.zip", [("good", b"1"), ("bomb", b"x")])
    raw = bytearray(archive.read_bytes())
    place = raw.rindex(b"bomb") - 46
    struct.pack_into("<L", raw, place + 24, 1_000_000_000)
    archive.write_bytes(raw)
    store = MemorySwift()
    result = load(store, archive)
    assert "zip bomb" in failures(result)["bomb"]
    assert store.puts() == ["good"]


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_a_directory_that_is_called_as_an_archive_is_a_directory(tmp_path: Path, name: str) -> None:
    """Its files are loaded, and what is for archives only is refused for it."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "a").write_bytes(b"1")
    store = MemorySwift()
    assert outcome_error(load(store, tmp_path / name)) is None
    assert store.bodies("c") == {"a": b"1"}
    with pytest.raises(UsageError, match="for archives"):
        load(store, tmp_path / name, strip=1)


def test_what_is_missing_or_no_archive_is_said(tmp_path: Path) -> None:
    """A file that is neither directory nor archive, a missing one and an empty one end with their own message."""
    (tmp_path / "text").write_bytes(b"hello")
    (tmp_path / "empty.zip").write_bytes(b"")
    for name, said in [("text", "is not a directory"), ("gone.zip", "not found"), ("empty.zip", "is empty")]:
        with pytest.raises(SwiftFSError, match=said):
            load(MemorySwift(), tmp_path / name)
