"""A zip at a URL, read by ranges: the members wanted, one version, breaks survived, and little more than its bytes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import hashlib
import io
import os
import re
import struct
import tarfile
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zstandard
from aiohttp import web
from fakes.http_server import FileServer, serving
from fakes.memory_swift import MemorySwift

from swiftfs.errors import Forbidden, Incomplete, SwiftFSError, UsageError
from swiftfs.load import large, remote_zip, url_stream
from swiftfs.load.archive import MAGIC
from swiftfs.load.archive_upload import HeldUpload
from swiftfs.load.progress import Silent
from swiftfs.load.ranged import RangedURL
from swiftfs.load.remote_zip import PARALLEL, REQUEST, TAIL, Fetched
from swiftfs.load.report import outcome_error
from swiftfs.load.run import LoadRequest, LoadResult, load_directory
from swiftfs.load.sources import SourceRequest, opened_source
from swiftfs.load.transform import FOOD11, Rules

Files = dict[str, bytes]
FILES: Files = {
    "Food-11/training/0_0.jpg": b"",
    "Food-11/training/10_1.jpg": os.urandom(5_000_000),
    **{f"Food-11/validation/{n % 11}_{n}.jpg": os.urandom(100 + 40 * n) + bytes(300) for n in range(300)},
    "Food-11/evaluation/ä b.txt": b"a text that deflates well " * 100_000,
}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(seconds: float) -> None:
        await asyncio.sleep(0)

    for function in (
        RangedURL.__init__,
        remote_zip.fetch_tail,
        remote_zip.opened_remote_zip.__wrapped__,
        url_stream.stream_url,
    ):  # type: ignore[attr-defined]
        monkeypatch.setitem(function.__kwdefaults__, "pause", at_once)


def make_zip(path: Path, files: Files) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 2, 3, 4, 6)), body, zipfile.ZIP_DEFLATED)
    return path.read_bytes()


def load(
    server: FileServer,
    store: MemorySwift,
    *,
    rules: Rules | None = None,
    dry_run: bool = False,
    transfers: int = 4,
    **rest: object,
) -> LoadResult:
    async def run() -> LoadResult:
        async with (
            serving(server) as url,
            opened_source(SourceRequest(url, **rest)) as source,  # type: ignore[arg-type]
        ):
            request = LoadRequest(source, "c", transfers=transfers, checkers=2, rules=rules, dry_run=dry_run)
            return await load_directory(store, request, Silent(), pause=lambda _: asyncio.sleep(0))

    return asyncio.run(run())


def plain(files: Files) -> Files:
    return {name.removeprefix("Food-11/"): body for name, body in files.items()}


def test_a_remote_zip_makes_the_objects_of_the_local_one(tmp_path: Path) -> None:
    """Every member arrives with its bytes; the bytes asked for are hardly more than the archive's, in few requests."""
    server = FileServer(make_zip(tmp_path / "a.zip", FILES))
    store = MemorySwift()
    result = load(server, store)
    assert outcome_error(result) is None
    assert plain(FILES) == store.bodies("c")
    assert server.sent <= len(server.body) + TAIL
    assert len(server.asked) <= 2 + -(-len(server.body) // REQUEST) * 2
    assert f"bytes=-{TAIL}" == server.asked[0]
    assert "x-auth-token" not in server.headers
    local = MemorySwift()

    async def run() -> None:
        async with opened_source(SourceRequest(str(tmp_path / "a.zip"), called="Food-11")) as source:
            await load_directory(local, LoadRequest(source, "c"), Silent())

    asyncio.run(run())
    assert local.bodies("c") == store.bodies("c")
    assert {n: s.info.mtime for n, s in local.held["c"].items()} == {
        n: s.info.mtime for n, s in store.held["c"].items()
    }


@pytest.mark.logs("would send")
def test_only_what_is_missing_is_fetched(tmp_path: Path) -> None:
    """A member whose object has another size is fetched; a dry run fetches nothing that would be sent."""
    files = {f"{n}": os.urandom(REQUEST) for n in range(4)}
    server = FileServer(make_zip(tmp_path / "a.zip", files))
    load(server, MemorySwift(), dry_run=True)
    assert [f"bytes=-{TAIL}", f"bytes=0-{MAGIC - 1}"] == server.asked
    assert server.sent == TAIL + MAGIC
    small = FileServer(make_zip(tmp_path / "b.zip", {"a": b"1"}))
    load(small, MemorySwift(), dry_run=True)
    assert [f"bytes=-{TAIL}"] == small.asked


def test_a_directory_larger_than_the_tail_is_fetched_once(tmp_path: Path) -> None:
    """3,000 members with long names: the rest of the directory comes with one more request."""
    files = {f"{'long name ' * 10}{n}": b"%d" % n for n in range(3000)}
    server = FileServer(make_zip(tmp_path / "a.zip", files))
    store = MemorySwift()
    load(server, store)
    assert files == store.bodies("c")
    assert len(server.asked) == 4


def test_rules_and_the_common_top_folder_apply(tmp_path: Path) -> None:
    """Names are made as for a local archive."""
    server = FileServer(make_zip(tmp_path / "a.zip", FILES))
    store = MemorySwift()
    load(server, store, rules=FOOD11, prefix="")
    assert "training/class_10/10_1.jpg" in store.bodies("c")
    kept = MemorySwift()
    load(server, kept, strip=0)
    assert kept.bodies("c") == FILES


def test_answers_that_break_off_are_continued(tmp_path: Path) -> None:
    """Broken connections and statuses that pass cost only what was not there yet, and no byte is wrong."""
    body = make_zip(tmp_path / "a.zip", FILES)
    server = FileServer(body, cuts=[100, None, 1, None, 100_000, 1, 0, 700_000], statuses=[503])
    store = MemorySwift()
    result = load(server, store)
    assert outcome_error(result) is None
    assert plain(FILES) == store.bodies("c")
    assert server.sent <= len(body) + 2 * TAIL


def test_a_server_that_fails_for_good_ends_the_load(tmp_path: Path) -> None:
    """After a bounded number of fruitless attempts the run ends with the server's status and names no secret."""
    server = FileServer(make_zip(tmp_path / "a.zip", FILES), statuses=[503] * 100)
    with pytest.raises(SwiftFSError, match="answers with status 503") as caught:
        load(server, MemorySwift())
    assert "secret" not in str(caught.value)
    assert len(server.asked) < 10
    with pytest.raises(SwiftFSError, match="is not there"):
        load(FileServer(b"", statuses=[404]), MemorySwift())


@pytest.mark.parametrize("etag", ['"v1"', None])
def test_an_archive_that_changes_is_never_mixed(tmp_path: Path, etag: str | None) -> None:
    """When the URL has other content after the directory was read, no wrong byte is stored and the run fails."""
    server = FileServer(make_zip(tmp_path / "a.zip", FILES), change_after=2, etag=etag)
    store = MemorySwift(held={"c": {}})
    error = outcome_error(load(server, store))
    assert error is not None
    assert set(store.bodies("c").items()) <= set(plain(FILES).items())
    assert "secret" not in str(error)


def test_the_sha256_is_that_of_the_whole(tmp_path: Path) -> None:
    """A right checksum lets the load run, a wrong one ends it before a request is sent to the store."""
    server = FileServer(make_zip(tmp_path / "a.zip", FILES))
    store = MemorySwift()
    with pytest.raises(SwiftFSError, match="has the SHA-256"):
        load(server, store, sha256="0" * 64)
    assert store.log == []
    assert outcome_error(load(server, store, sha256=hashlib.sha256(server.body).hexdigest())) is None


def test_damaged_and_hostile_members_fail_alone(tmp_path: Path) -> None:
    """A wrong CRC, another name in the local header, an unsafe name: each is named, and no object comes of it."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("good", "crc", "name", "../up", "fine", "overlap"):
            archive.writestr(name, name.encode() * 1000)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"crccrc") + 900] ^= 1
    raw[raw.index(b"name")] ^= 1
    # The directory has "overlap" begin where "fine" does.
    entries = [match.start() for match in re.finditer(rb"PK\x01\x02", raw)]
    raw[entries[5] + 42 : entries[5] + 46] = raw[entries[4] + 42 : entries[4] + 46]
    store = MemorySwift()
    result = load(FileServer(bytes(raw)), store)
    reasons = {one.name: one.reason for one in result.failures}
    assert set(reasons) == {"crc", "name", "../up", "fine", "overlap"}
    assert "CRC" in reasons["crc"]
    assert reasons["name"] == "has another name in its local header"
    assert "shares bytes" in reasons["overlap"]
    assert set(store.bodies("c")) == {"good"}
    assert isinstance(outcome_error(result), Incomplete)


def test_a_member_too_large_for_memory_is_fetched_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes in ranges, goes as segments, and is the same to the next load; a wrong CRC of it leaves no object."""
    monkeypatch.setitem(HeldUpload.__init__.__kwdefaults__, "held", 1_000_000)
    monkeypatch.setattr(large, "SEQUENTIAL_CUTOFF", 1_000_000)
    monkeypatch.setattr(large, "HELD", 1 << 20)
    files = {"big": os.urandom(3_500_000), "small": b"1"}
    body = make_zip(tmp_path / "a.zip", files)
    store = MemorySwift()
    assert outcome_error(load(FileServer(body, cuts=[None, None, None, 500_000, 1_000_000]), store)) is None
    assert store.bodies("c")["big"] == files["big"]
    assert len(store.manifests["c", "big"]) == 4
    store.log.clear()
    again = load(FileServer(body), store)
    assert (again.sent, again.skipped, store.puts()) == (0, 2, [])
    raw = bytearray(body)
    raw[2_000_000] ^= 1
    store = MemorySwift()
    result = load(FileServer(bytes(raw)), store)
    assert [one.name for one in result.failures] == ["big"]
    assert set(store.held["c"]) == {"small"}


@dataclass
class Holding(FileServer):
    """Answers what is asked for together, once no more comes."""

    in_flight: int = 0
    most_in_flight: int = 0
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The answer, counted while it is under way; from the third on it waits for others beside it."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if len(self.asked) >= 2 and not self.settled.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await self.settled.wait()
            self.settled.set()
        try:
            return await super().answer(request)
        finally:
            self.in_flight -= 1


def test_large_members_are_fetched_by_few_requests_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many transfers there are, a server sees no more requests at once than for small members."""
    monkeypatch.setitem(HeldUpload.__init__.__kwdefaults__, "held", 100_000)
    monkeypatch.setattr(large, "SEQUENTIAL_CUTOFF", 100_000)
    monkeypatch.setattr(remote_zip, "REQUEST", 50_000)
    files = {f"{n}": os.urandom(300_000) for n in range(20)}
    server = Holding(make_zip(tmp_path / "a.zip", files))
    store = MemorySwift()
    assert outcome_error(load(server, store, transfers=64)) is None
    assert store.bodies("c") == files
    assert server.most_in_flight == PARALLEL


@pytest.mark.parametrize("files", [{}, {"d/": b""}, {"../up": b"1"}, {"link": b"/etc/passwd"}])
def test_a_zip_without_a_member_that_may_be_used_is_no_other_than_a_local_one(tmp_path: Path, files: Files) -> None:
    """Empty, of directories alone, or of members that are refused: the same members are named, and nothing is sent."""
    body = make_zip(tmp_path / "Food-11.zip", files)
    if "link" in files:
        place = body.rindex(b"PK\x01\x02") + 38
        body = body[:place] + struct.pack("<L", 0o120777 << 16) + body[place + 4 :]
        (tmp_path / "Food-11.zip").write_bytes(body)
    here, there = MemorySwift(), MemorySwift()

    async def local() -> LoadResult:
        async with opened_source(SourceRequest(str(tmp_path / "Food-11.zip"))) as source:
            return await load_directory(here, LoadRequest(source, "c"), Silent())

    expected, actual = asyncio.run(local()), load(FileServer(body), there)
    assert expected.failures == actual.failures
    assert [name for name in files if not name.endswith("/")] == [one.name for one in actual.failures]
    assert (here.bodies("c"), there.bodies("c")) == ({}, {})


@pytest.mark.parametrize("cut", [10, 22, 500, 5000])
def test_what_is_no_whole_zip_is_an_error(tmp_path: Path, cut: int) -> None:
    """An archive cut short has no end record where one must be."""
    body = make_zip(tmp_path / "a.zip", FILES)
    with pytest.raises(SwiftFSError):
        load(FileServer(body[:-cut]), MemorySwift())


def test_a_zip64_archive_is_read(tmp_path: Path) -> None:
    """Offsets and counts of the zip64 records are understood."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive, archive.open("a", "w", force_zip64=True) as member:
        member.write(b"x" * 1000)
    raw = path.read_bytes()
    end = raw.rindex(b"PK\x05\x06")
    size, offset = struct.unpack_from("<LL", raw, end + 12)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    store = MemorySwift()
    load(FileServer(raw[:end] + record + locator + last), store)
    assert store.bodies("c") == {"a": b"x" * 1000}


def test_fetched_bytes_read_as_one_stream() -> None:
    """Pieces of any size are read and skipped over as if they were one; going back is refused."""
    body = os.urandom(1000)
    fetched = Fetched(50, [body[:1], body[1:400], body[400:]])
    assert fetched.upto(3) == body[:3]
    fetched.skip_to(50 + 450)
    assert fetched.upto(10**6) == body[450:]
    assert fetched.read(1) == b""
    with pytest.raises(SwiftFSError, match="shares bytes"):
        fetched.skip_to(60)


def make_tar(files: list[tuple[str, bytes]], kind: str = "gz") -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, body in files:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(body), 1_700_000_000
            archive.addfile(info, io.BytesIO(body))
    pack = {"": bytes, "gz": functools.partial(gzip.compress, compresslevel=1), "zst": zstandard.compress}[kind]
    return pack(plain.getvalue())


@pytest.mark.parametrize("kind", ["", "gz", "zst"])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_tar_is_streamed_once(kind: str, ranges: bool) -> None:
    """Its members become the objects that a local tar would make; the whole goes over the line once; the second run
    sends nothing."""
    server = FileServer(make_tar(list(FILES.items()), kind), ranges=ranges)

    async def with_a_second_one(name: str) -> AsyncIterator[None]:
        """The first upload waits for another one beside it."""
        if store.in_flight > 1:
            several.set()
        async with asyncio.timeout(60):
            await several.wait()
        yield

    several = asyncio.Event()
    store = MemorySwift(before_store=with_a_second_one)
    result = load(server, store, rules=FOOD11, sha256=hashlib.sha256(server.body).hexdigest())
    assert outcome_error(result) is None
    assert {FOOD11.target(name): body for name, body in plain(FILES).items()} == store.bodies("c")
    assert store.most_in_flight > 1
    assert (result.sent, result.files, result.size) == (len(FILES), len(FILES), sum(map(len, FILES.values())))
    assert {stored.info.mtime for stored in store.held["c"].values()} == {1_700_000_000 * 10**9}
    if ranges:
        assert server.sent <= len(server.body) + TAIL + 512
    store.log.clear()
    again = load(server, store, rules=FOOD11)
    assert (again.sent, again.skipped, store.puts()) == (0, len(FILES), [])


@pytest.mark.parametrize("first", [300_000, 100])
def test_a_tar_whose_last_member_is_a_zip_is_a_tar(tmp_path: Path, first: int) -> None:
    """Its members are loaded, the zip as one of them, whether the tar is larger than what is asked for first or not."""
    files = {"1.jpg": bytes(first), "2.jpg": b"2", "weights.npz": make_zip(tmp_path / "w", {"arr_0.npy": b"x" * 500})}
    store = MemorySwift()
    assert outcome_error(load(FileServer(make_tar(list(files.items()), "")), store)) is None
    assert store.bodies("c") == files


def test_a_zip_with_something_in_front_is_one_where_it_is_called_so(tmp_path: Path) -> None:
    """As a local file: a program that unpacks itself is a zip by its name, and of no kind without it."""
    body = b"MZ" + os.urandom(TAIL) + make_zip(tmp_path / "a.zip", {"a": b"1"})
    store = MemorySwift()
    load(FileServer(body), store)
    assert store.bodies("c") == {"a": b"1"}

    async def unnamed() -> None:
        async with (
            serving(FileServer(body)) as url,
            opened_source(SourceRequest(url.replace(".zip", ""))) as source,
        ):
            await load_directory(store, LoadRequest(source, "c"), Silent())

    with pytest.raises(UsageError, match="neither a zip nor a tar"):
        asyncio.run(unnamed())


def test_a_stream_that_breaks_off_is_continued_or_an_error() -> None:
    """With ranges a break costs nothing; without, or with another version, the run ends with an error."""
    body = make_tar(list(FILES.items()))
    store = MemorySwift()
    assert outcome_error(load(FileServer(body, cuts=[None, None, 1_000_000, 1, 300_000]), store)) is None
    assert plain(FILES) == store.bodies("c")
    for server in (
        FileServer(body, cuts=[None, 1_000_000], ranges=False),
        FileServer(body, cuts=[None, None, 1_000_000], change_after=3),
    ):
        store = MemorySwift(held={"c": {}})
        error = outcome_error(load(server, store))
        assert error is not None
        assert "cannot be continued" in str(error)
        assert set(store.bodies("c").items()) <= set(plain(FILES).items())


def test_what_a_stream_tells_too_late_fails_its_member() -> None:
    """Unsafe names, a second member of one name, and one beside the folder that is left out are refused and named."""
    files = [("Food-11/a", b"1"), ("Food-11/../b", b"2"), ("Food-11/a", b"3"), ("beside", b"4"), ("Food-11/c", b"5")]
    store = MemorySwift()
    result = load(FileServer(make_tar(files)), store)
    reasons = {one.name: one.reason for one in result.failures}
    assert set(reasons) == {"Food-11/../b", "Food-11/a", "beside"}
    assert "--strip-components" in reasons["beside"]
    assert store.bodies("c") == {"a": b"1", "c": b"5"}
    assert isinstance(outcome_error(result), Incomplete)


def test_damage_and_a_wrong_checksum_of_a_stream_are_errors() -> None:
    """What ends early, or is not what its SHA-256 says, never ends well; no tar at all sends nothing."""
    body = make_tar(list(FILES.items()))
    for server, rest in [
        (FileServer(body[:-100]), {}),
        (FileServer(body[: len(body) // 2]), {}),
        (FileServer(body), {"sha256": "0" * 64}),
    ]:
        assert outcome_error(load(server, MemorySwift(), **rest)) is not None
    store = MemorySwift()
    with pytest.raises(UsageError, match="neither a zip nor a tar"):
        load(FileServer(b"hello" * 1000), store)
    assert store.log == []


def test_a_failing_store_ends_a_stream() -> None:
    """When nothing can be stored the stream is not read to its end, and nothing waits for ever."""
    server = FileServer(make_tar([(f"{n}", os.urandom(1_000_000)) for n in range(30)], ""))
    store = MemorySwift(held={"c": {}})

    def refuse(method: str, container: str, name: str) -> None:
        if method == "PUT":
            raise Forbidden("not allowed")

    store.faults.append(refuse)
    result = load(server, store)
    assert isinstance(outcome_error(result), Forbidden)
    assert len(store.puts()) < 30
