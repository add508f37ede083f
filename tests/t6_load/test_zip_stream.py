"""A zip that can only be read from front to back: every member as it comes, and what its end says against them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import re
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from fakes.forward import Forward
from fakes.http_server import FileServer, serving
from fakes.memory_swift import MemorySwift
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftfs.errors import Incomplete, TransferLimit
from swiftfs.load import large, passing, stream_source
from swiftfs.load.archive import ArchiveError, RefusedMember
from swiftfs.load.member import Limits
from swiftfs.load.options import LoadOptions
from swiftfs.load.progress import Silent
from swiftfs.load.report import outcome_error
from swiftfs.load.run import LoadRequest, LoadResult, load_directory
from swiftfs.load.segments import LargePolicy
from swiftfs.load.sources import SourceRequest, opened_source
from swiftfs.load.zipstream import DisownedMember, ZipStream, ZipStreamMember

Files = list[tuple[str, bytes]]
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]
SIGNATURE = b"PK\x07\x08"


def make_zip(files: Files, method: int = zipfile.ZIP_DEFLATED, *, described: bool = True) -> bytes:
    target: Forward | io.BytesIO = Forward() if described else io.BytesIO()
    with zipfile.ZipFile(target, "w", method, compresslevel=1) as archive:  # type: ignore[arg-type]
        for name, body in files:
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 2, 3, 4, 6)), body, method)
    return bytes(target.body) if isinstance(target, Forward) else target.getvalue()


def read(raw: bytes, piece: int = 1 << 20, limits: Limits | None = None) -> tuple[dict[str, bytes], dict[str, str]]:
    """The members' bytes, and reasons against members by name or number."""
    bodies: dict[str, bytes] = {}
    reasons: dict[str, str] = {}
    for member in ZipStream(io.BytesIO(raw), "x.zip", limits or Limits()).members():
        if isinstance(member, ZipStreamMember):
            try:
                with member.open() as stream:
                    found = b""
                    while part := stream.read(piece):
                        found += part
                bodies[member.name] = found
            except ArchiveError as error:
                reasons[member.name] = error.message
        elif isinstance(member, RefusedMember):
            reasons[member.name] = member.reason
        elif isinstance(member, DisownedMember):
            reasons[str(member.number)] = member.reason
    return bodies, reasons


bodies_of_members = st.one_of(
    st.binary(max_size=3000),
    st.lists(st.sampled_from([SIGNATURE, b"PK\x03\x04", b"PK\x01\x02", b"P", b"K\x07", b"\0" * 12]), max_size=30).map(
        b"".join
    ),
    st.integers(0, 3).map(lambda count: make_zip([("inner", b"abc" * count)], zipfile.ZIP_STORED)),
)


@given(
    st.dictionaries(st.text("abcä-", min_size=1, max_size=8), bodies_of_members, max_size=6),
    st.sampled_from(METHODS),
    st.booleans(),
    st.sampled_from([1, 7, 1 << 20]),
)
@settings(max_examples=150, deadline=None)
def test_every_zip_reads_as_it_was_written(files: dict[str, bytes], method: int, described: bool, piece: int) -> None:
    """With sizes before or behind the bytes, compressed or not, and whatever the bytes look like. Stored bytes whose
    size comes behind them may hold all that ends a member (APPNOTE 4.3.9): they are read right, or not and said so."""
    raw = make_zip(list(files.items()), method, described=described)
    if described and method == zipfile.ZIP_STORED and any(SIGNATURE in body for body in files.values()):
        with contextlib.suppress(ArchiveError):
            bodies, reasons = read(raw, piece)
            assert reasons or bodies == files
    else:
        assert read(raw, piece) == (files, {})


def test_a_member_that_seems_to_end_before_its_end_is_not_taken_for_two() -> None:
    """An empty member's descriptor begins stored bytes, and a header stands behind it: an error, no other bytes."""
    bait = SIGNATURE + bytes(12) + b"PK\x03\x04" + b"rest"
    with pytest.raises(ArchiveError):
        read(make_zip([("a", bait)], zipfile.ZIP_STORED, described=True), 1)


FILES: Files = [(f"{n}.bin", os.urandom(900 + n)) for n in range(6)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("described", [True, False])
def test_a_zip_cut_short_anywhere_is_damaged(method: int, described: bool) -> None:
    """No beginning of an archive passes for the whole; what was handed out before is right."""
    raw = make_zip(FILES, method, described=described)
    for cut in range(0, len(raw), 61):
        with pytest.raises(ArchiveError, match=r"breaks off|cannot be found|cannot be read"):
            read(raw[:cut])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("described", [True, False])
def test_no_flipped_bit_goes_unnoticed(method: int, described: bool) -> None:
    """Whatever byte is changed, no member has other bytes than it had and no complaint."""
    files = FILES[:2]
    raw = make_zip(files, method, described=described)
    end = raw.rindex(b"PK\x05\x06") + 20  # the rest of the end record says nothing of a member
    for place in range(0, end, 7):
        damaged = bytearray(raw)
        damaged[place] ^= 0x10
        with contextlib.suppress(ArchiveError):
            bodies, reasons = read(bytes(damaged))
            assert reasons or (sorted(bodies.values()), len(bodies)) == (sorted(b for _, b in files), 2)


def entry_of(raw: bytes, name: bytes) -> int:
    """Where a member's directory entry begins."""
    return next(m.start() for m in re.finditer(b"PK\x01\x02", raw) if raw[m.start() + 46 :].startswith(name))


def edited(raw: bytes, name: bytes, offset: int, value: bytes) -> bytes:
    place = entry_of(raw, name) + offset
    return raw[:place] + value + raw[place + len(value) :]


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (46, b"x", "has another name in its local header"),
        (24, b"\1\0\0\0", "has another size or CRC in its local header"),
        (16, b"\0\0\0\0", "has another size or CRC in its local header"),
        (38, struct.pack("<L", 0o120777 << 16), "is a symbolic link"),
        (38, struct.pack("<L", 0o020644 << 16), "is neither a file nor a directory"),
        (38, struct.pack("<L", 0o040755 << 16), "is a directory by its mode and a file by its name"),
        (8, b"\1\0", "is encrypted"),
    ],
)
def test_what_the_directory_says_otherwise_disowns_the_member(offset: int, value: bytes, reason: str) -> None:
    """Names, sizes, links and encryption of the central directory count, and the others are left alone."""
    raw = edited(make_zip([("a", b"1"), ("b", b"22"), ("c", b"3")]), b"b", offset, value)
    assert read(raw)[1] == {"1": reason}


def test_what_only_one_of_the_two_lists_is_named() -> None:
    """A member that is not listed is disowned; one that is listed and nowhere, or twice, is refused."""
    raw = make_zip([("a", b"1"), ("b", b"22")])
    offset = raw.index(b"PK\x03\x04", 4)
    elsewhere = edited(raw, b"b", 42, struct.pack("<L", offset + 1))
    reasons = {"b": "has no local header where the directory says", "1": "is not listed in the central directory"}
    assert read(elsewhere)[1] == reasons
    twice = edited(raw, b"b", 42, struct.pack("<L", 0))
    assert "shares bytes with another member" in read(twice)[1]["b"]


@pytest.mark.parametrize(
    "change",
    [
        lambda raw, end: raw + b"x",
        lambda raw, end: raw[: end + 10] + b"\7\0" + raw[end + 12 :],
        lambda raw, end: raw[: end + 16] + b"\0\0\0\0" + raw[end + 20 :],
        lambda raw, end: raw[: raw.index(b"PK\x03\x04", 4)] + b"junk" + raw[raw.index(b"PK\x03\x04", 4) :],
    ],
)
def test_an_archive_that_others_could_read_otherwise_is_damaged(change: object) -> None:
    """Bytes behind the end or between members, other counts and offsets: all of it is an error."""
    raw = make_zip([("a", b"1"), ("b", b"22")], described=False)
    with pytest.raises(ArchiveError, match=r"x\.zip cannot be read as it comes"):
        read(change(raw, raw.rindex(b"PK\x05\x06")))  # type: ignore[operator]


def test_encrypted_and_unknown_members_are_skipped_over(tmp_path: Path) -> None:
    """Those before and behind go, with sizes before the bytes or in a signed descriptor behind them."""
    for described in (True, False):
        raw = bytearray(make_zip([("a", b"1"), ("secret", os.urandom(99)), ("c", b"3")], 0, described=described))
        for place in (raw.index(b"secret") - 30 + 6, entry_of(bytes(raw), b"secret") + 8):
            raw[place] |= 1
        assert read(bytes(raw)) == ({"a": b"1", "c": b"3"}, {"secret": "is encrypted"})
        raw = bytearray(make_zip([("a", b"1"), ("odd", b"z" * 99), ("c", b"3")], 0, described=described))
        for place in (raw.index(b"odd") - 30 + 8, entry_of(bytes(raw), b"odd") + 10):
            raw[place : place + 2] = b"\x61\0"
        bodies, reasons = read(bytes(raw))
        assert bodies == {"a": b"1", "c": b"3"}
        assert "method 97" in reasons["odd"]


def test_a_stored_member_without_any_size_ends_the_archive() -> None:
    """A descriptor without its signature cannot be told from bytes: the member is named, and so is the way out."""
    raw = make_zip([("a", b"1"), ("b", b"2" * 50)], zipfile.ZIP_STORED).replace(SIGNATURE, b"")
    with pytest.raises(ArchiveError, match="a is stored without its size") as caught:
        read(raw)
    assert "swiftfs extract" in str(caught.value)


def test_a_deflated_member_needs_no_signature_in_its_descriptor() -> None:
    """What the APPNOTE leaves to the writer is read either way."""
    raw = make_zip([("a", b"1" * 500)]).replace(SIGNATURE, b"")
    end = raw.rindex(b"PK\x05\x06")
    (offset,) = struct.unpack_from("<L", raw, end + 16)
    assert read(raw[: end + 16] + struct.pack("<L", offset - 4) + raw[end + 20 :]) == ({"a": b"1" * 500}, {})


@pytest.mark.parametrize("method", METHODS)
def test_a_bomb_is_stopped_on_its_way(method: int) -> None:
    """Limits hold for members that do not tell their size, too."""
    limits = Limits(member_size=100_000)
    with pytest.raises(ArchiveError, match="more than the 100,000 bytes"):
        read(make_zip([("a", bytes(200_000))], method), limits=limits)


# Through the loader


def load(
    server: FileServer, store: MemorySwift, *, large_policy: LargePolicy | None = None, **rest: object
) -> LoadResult:
    async def run() -> LoadResult:
        async with (
            serving(server) as url,
            opened_source(SourceRequest(url, strip=0)) as source,
        ):
            request = LoadRequest(source, "c", transfers=4, checkers=2, large=large_policy or LargePolicy(), **rest)  # type: ignore[arg-type]
            return await load_directory(store, request, Silent(), pause=lambda _: asyncio.sleep(0))

    return asyncio.run(run())


def reasons_of(result: LoadResult) -> dict[str, str]:
    return {one.name: one.reason for one in result.failures}


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_a_zip_without_ranges_is_loaded_in_one_go(method: int, described: bool) -> None:
    """Its members become objects; the archive goes over the line once; the second run sends nothing."""
    files = [(f"d/{n}", os.urandom(n * 300)) for n in range(70)]
    server = FileServer(make_zip(files, method, described=described), ranges=False)
    store = MemorySwift()
    assert outcome_error(load(server, store)) is None
    assert store.bodies("c") == dict(files)
    assert {stored.info.mtime is not None for stored in store.held["c"].values()} == {True}
    store.log.clear()
    again = load(server, store)
    assert (again.sent, again.skipped, store.puts()) == (0, 70, [])


def test_an_object_that_the_end_disowns_is_taken_back() -> None:
    """A symbolic link shows as such only in the directory: its object goes, it is named, and the run is not complete.

    An object that was there before, and is what the member holds, stays.
    """
    link = struct.pack("<L", 0o120777 << 16)
    raw = make_zip([("a", b"1"), ("b", b"/etc/passwd"), ("c", b"3")])
    server = FileServer(edited(raw, b"b", 38, link), ranges=False)
    store = MemorySwift()
    result = load(server, store)
    assert reasons_of(result) == {"b": "is a symbolic link"}
    assert set(store.bodies("c")) == {"a", "c"}
    assert (result.sent, result.files, result.untried) == (2, 3, 0)
    assert isinstance(outcome_error(result), Incomplete)
    store.alter("c", "b", b"/etc/passwd")
    assert reasons_of(load(server, store)) == {"b": "is a symbolic link"}
    assert store.bodies("c")["b"] == b"/etc/passwd"
    assert reasons_of(load(server, store, dry_run=True)) == {"b": "is a symbolic link"}


def test_hostile_names_are_refused_as_everywhere() -> None:
    """Each is named with its reason, no object comes of it, and the others go."""
    names = ["../up", "/abs", "C:x", "a\\b", "a/../../x", "good", "d" * 300]
    with pytest.warns(UserWarning, match="Duplicate"):
        raw = make_zip([("good", b"1"), *((name, b"22") for name in names), ("also", b"3")])
    store = MemorySwift()
    result = load(FileServer(raw, ranges=False), store)
    assert set(reasons_of(result)) == set(names)
    assert store.bodies("c") == {"good": b"1", "also": b"3"}


def make_tar(files: Files) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, body in files:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return plain.getvalue()


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members over 1 MiB are not held, and segments have 1 MiB."""
    monkeypatch.setattr(stream_source, "HELD", 1 << 20)
    monkeypatch.setattr(stream_source, "UNSIZED", 1 << 20)
    monkeypatch.setattr(large, "LEAST_SEGMENT", 1 << 20)


LARGE: Files = [("before", b"1"), ("big", os.urandom(5_300_000)), ("behind", b"2"), ("even", os.urandom(3 << 20))]
MAKERS = {
    "tar": make_tar,
    "sized.zip": lambda files: make_zip(files, described=False),
    "described.zip": make_zip,
    "stored.zip": lambda files: make_zip(files, zipfile.ZIP_STORED),
}


@pytest.mark.logs("would send")
@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("kind", MAKERS)
def test_a_member_too_large_for_memory_goes_in_segments_as_it_comes(kind: str) -> None:
    """Its size known or not, it becomes one large object; the next load finds every segment and sends nothing."""
    server = FileServer(MAKERS[kind](LARGE), ranges=False)
    store = MemorySwift()
    result = load(server, store)
    assert outcome_error(result) is None
    assert store.bodies("c") == dict(LARGE)
    assert [one.size for one in store.manifests["c", "big"]] == [*[1 << 20] * 5, 5_300_000 - 5 * (1 << 20)]
    assert [one.size for one in store.manifests["c", "even"]] == [1 << 20] * 3
    assert (result.files, result.size, result.sent) == (4, sum(len(body) for _, body in LARGE), 4)
    store.log.clear()
    again = load(server, store)
    assert (again.sent, again.skipped, store.puts()) == (0, 4, [])
    assert not [one for one in store.log if one[0] == "MANIFEST"]
    assert load(server, MemorySwift(), dry_run=True).sent_size == result.size


@pytest.mark.logs("would send")
@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("kind", MAKERS)
def test_no_large_object_is_made_where_they_are_switched_off(kind: str, dry_run: bool) -> None:
    """A member that could only go in segments is refused with that reason, and the others go."""
    store = MemorySwift(held={"c": {}})
    policy = LargePolicy(forbidden=True)
    result = load(FileServer(MAKERS[kind](LARGE), ranges=False), store, large_policy=policy, dry_run=dry_run)
    reasons = reasons_of(result)
    assert set(reasons) == {"big", "even"}
    assert all("large objects are switched off; swiftfs extract" in reason for reason in reasons.values())
    assert "it has 5,300,000 bytes" in reasons["big"] or "it has at least 2,097,152 bytes" in reasons["big"]
    assert set(store.bodies("c")) == (set() if dry_run else {"before", "behind"})
    assert result.sent == 2


@pytest.mark.logs("would send")
@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("kind", MAKERS)
def test_a_limit_of_bytes_holds_for_members_of_any_size(kind: str, dry_run: bool) -> None:
    """Of a member that would go past --max-transfer no object is made, and no more bytes are sent than the limit,
    whether it says its size beforehand or not; a run that stays within it is whole."""
    server = FileServer(MAKERS[kind](LARGE), ranges=False)
    store = MemorySwift(held={"c": {}})
    result = load(server, store, options=LoadOptions(max_transfer=4 << 20), dry_run=dry_run)
    assert isinstance(outcome_error(result), TransferLimit)
    assert set(store.bodies("c")) == (set() if dry_run else {"before"})
    assert store.counters.sent <= 4 << 20
    assert (result.sent, result.failures) == (1, ())
    total = sum(len(body) for _, body in LARGE)
    assert outcome_error(load(server, store, options=LoadOptions(max_transfer=total), dry_run=dry_run)) is None


@pytest.mark.usefixtures("small_memory")
def test_a_large_member_replaces_what_differs_and_its_segments_go() -> None:
    """Of the object before nothing is left: neither its bytes nor its segments."""
    store = MemorySwift()
    load(FileServer(make_tar(LARGE), ranges=False), store)
    old = {one.name for one in store.manifests["c", "big"]}
    changed = [*LARGE[:1], ("big", os.urandom(2_500_000))]
    assert outcome_error(load(FileServer(make_tar(changed), ranges=False), store)) is None
    assert store.bodies("c")["big"] == changed[1][1]
    assert not old & set(store.held["c_segments"])
    assert len([name for name in store.held["c_segments"] if name.startswith("big/")]) == 3


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("kind", ["sized.zip", "described.zip", "stored.zip"])
def test_a_large_member_with_a_wrong_checksum_becomes_no_object(kind: str) -> None:
    """The CRC is known after the last segment: there is no manifest then, and the member is named."""
    raw = bytearray(MAKERS[kind](LARGE[1:2]))
    place = 2_000_000
    raw[place] ^= 1
    store = MemorySwift()
    result = load(FileServer(bytes(raw), ranges=False), store)
    assert outcome_error(result) is not None
    assert store.bodies("c") == {}


@pytest.mark.usefixtures("small_memory")
def test_a_large_member_over_the_limit_of_segments_fails_alone() -> None:
    """One that tells its size gets larger segments, or is refused; one that does not is refused when it has come."""
    store = MemorySwift()
    store.info = large.Limits(max_segments=3)
    result = load(FileServer(make_zip(LARGE), ranges=False), store)
    assert set(reasons_of(result)) == {"big"}
    assert "more than the 3,145,728 bytes" in reasons_of(result)["big"]
    assert set(store.bodies("c")) == {"before", "behind", "even"}
    store = MemorySwift()
    store.info = large.Limits(max_segments=3)
    assert outcome_error(load(FileServer(make_tar(LARGE), ranges=False), store)) is None
    assert len(store.manifests["c", "big"]) == 3


def test_the_whole_is_checked_against_its_sha256() -> None:
    """A stream whose SHA-256 is another is an error at its end."""
    server = FileServer(make_zip(FILES), ranges=False)

    async def run(sha256: str) -> LoadResult:
        store = MemorySwift()
        async with serving(server) as url, opened_source(SourceRequest(url, sha256=sha256)) as source:
            return await load_directory(store, LoadRequest(source, "c"), Silent(), pause=lambda _: asyncio.sleep(0))

    assert outcome_error(asyncio.run(run(hashlib.sha256(server.body).hexdigest()))) is None
    assert "SHA-256" in str(outcome_error(asyncio.run(run("0" * 64))))


def test_bounds_of_memory_hold_together() -> None:
    """What is held of a member until it goes in segments is no more than a member may have in memory."""
    assert passing.UNSIZED <= stream_source.HELD
    assert 4 * large.LEAST_SEGMENT <= large.HELD_AT_ONCE
