"""load.extract: archives, also hostile ones, into a directory and nowhere else."""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftfs.errors import Incomplete, Interrupted, LocalFileError, NotFound, SwiftFSError, Truncated, UsageError
from swiftfs.load.extract import Extracted
from swiftfs.load.interrupt import Interrupt
from swiftfs.load.member import STAGING, Limits
from swiftfs.load.progress import Silent
from swiftfs.load.staging import open_staging
from swiftfs.load.tarfiles import TarArchive, TarMember
from swiftfs.load.unpack import ExtractRequest, extract_error, extract_lines, extract_source, refusal_lines

Files = dict[str, bytes]
TREE: Files = {"training/0_1.jpg": b"one" * 50, "training/sub/1_2.jpg": b"", "validation/ä b.jpg": os.urandom(300_000)}


def make_zip(path: Path, files: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, body in files:
            info = zipfile.ZipInfo("placeholder", (2024, 1, 2, 3, 4, 6))
            # Names that zipfile itself would clean up go in as they are.
            info.filename = info.orig_filename = name
            info.compress_type = method
            archive.writestr(info, body)
    return path


def make_tar(path: Path, files: list[tuple[str, bytes]], opener: Callable[..., object] = open) -> Path:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, body in files:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(body), 1_700_000_000
            archive.addfile(info, io.BytesIO(body))
    with opener(path, "wb") as file:  # type: ignore[attr-defined]
        file.write(plain.getvalue())
    return path


def extract(archive: Path | str, directory: Path, *, strip: int | None = None, **rest: object) -> Extracted:
    request = ExtractRequest(str(archive), str(directory), strip, **rest)  # type: ignore[arg-type]
    return asyncio.run(extract_source(request, Silent()))


def files_in(directory: Path) -> Files:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def reasons(result: Extracted) -> dict[str, str]:
    return {one.name: one.reason for one in result.refused}


def open_zstd(path: Path, mode: str) -> object:
    """As the program ``zstd`` writes: with a checksum."""
    return zstandard.open(path, mode, cctx=zstandard.ZstdCompressor(write_checksum=True))


MAKERS = {
    "zip": lambda path, files: make_zip(path, files),
    "stored": lambda path, files: make_zip(path, files, zipfile.ZIP_STORED),
    "bzip2": lambda path, files: make_zip(path, files, zipfile.ZIP_BZIP2),
    "lzma": lambda path, files: make_zip(path, files, zipfile.ZIP_LZMA),
    "tar": lambda path, files: make_tar(path, files),
    "tar.gz": lambda path, files: make_tar(path, files, gzip.open),
    "tar.bz2": lambda path, files: make_tar(path, files, bz2.open),
    "tar.xz": lambda path, files: make_tar(path, files, lzma.open),
    "tar.zst": lambda path, files: make_tar(path, files, open_zstd),
}


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_every_kind_of_archive_is_extracted_and_the_second_run_writes_nothing(tmp_path: Path, kind: str) -> None:
    """The files are there byte for byte, whole, with nothing beside them, and a second run finds them all."""
    archive = MAKERS[kind](tmp_path / "archive", list(TREE.items()))
    result = extract(archive, tmp_path / "out")
    assert files_in(tmp_path / "out") == TREE
    assert (result.written, result.skipped, result.refused) == (3, 0, [])
    assert extract_error(result) is None
    assert not (tmp_path / "out" / STAGING).exists()
    before = {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*")}
    assert (lambda again: (again.written, again.skipped))(extract(archive, tmp_path / "out")) == (0, 3)
    assert before == {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*")}


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_file_that_differs_is_replaced(tmp_path: Path, kind: str) -> None:
    """A file of the same size with other bytes, and one with another size, are made what the archive holds."""
    archive = MAKERS[kind](tmp_path / "archive", [("a", b"12"), ("b", b"34"), ("c", b"56")])
    extract(archive, tmp_path / "out")
    (tmp_path / "out" / "a").write_bytes(b"xx")
    (tmp_path / "out" / "b").write_bytes(b"xxx")
    result = extract(archive, tmp_path / "out")
    assert files_in(tmp_path / "out") == {"a": b"12", "b": b"34", "c": b"56"}
    assert (result.written, result.skipped) == (2, 1)


pieces = st.sampled_from(["..", ".", "", "a", "b", "C:", "\\", "x\0y", "e" * 300, STAGING, "link", "ä"])
hostile = st.one_of(
    st.lists(pieces, min_size=1, max_size=4).map("/".join),
    st.text(st.sampled_from("./\\a:"), min_size=1, max_size=8),
)
tar_kinds = st.sampled_from(
    [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)


def outside(root: Path) -> dict[str, bytes | None]:
    """Everything below ``root`` except the directory that is extracted to."""
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
        if "out" not in path.relative_to(root).parts[:1]
    }


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(hostile, st.binary(max_size=8)), max_size=6))
@pytest.mark.row("Z1")
def test_no_zip_writes_outside_its_directory(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes]]
) -> None:
    """Whatever a zip names its members, nothing outside changes and each member is written, refused or a directory."""
    root = tmp_path_factory.mktemp("root")
    (root / "secret").write_bytes(b"keep")
    (root / "out").mkdir()
    (root / "out" / "link").symlink_to(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)  # zipfile warns of duplicate names
        archive = make_zip(root / "archive", members)
    before = outside(root)
    result = extract(archive, root / "out", strip=0)
    assert before == outside(root)
    directories = sum(1 for name, _ in members if name.endswith("/"))
    assert len(members) - directories <= result.written + len(result.refused) <= len(members)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(hostile, tar_kinds, hostile, st.binary(max_size=8)), max_size=6))
@pytest.mark.row("Z1", "Z2")
def test_no_tar_writes_outside_its_directory(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes, str, bytes]]
) -> None:
    """Whatever a tar's members are and point to, nothing outside changes, and no link or device comes out of it."""
    root = tmp_path_factory.mktemp("root")
    (root / "secret").write_bytes(b"keep")
    with tarfile.open(root / "archive.tar", "w") as archive:
        for name, kind, target, body in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            info.size = len(body) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(body))
    before = outside(root)
    result = extract(root / "archive.tar", root / "out", strip=0)
    assert before == outside(root)
    assert result.fatal is None
    for path in (root / "out").rglob("*"):
        assert stat.S_ISREG(path.lstat().st_mode) or stat.S_ISDIR(path.lstat().st_mode)
    assert result.written <= sum(1 for _, kind, _, _ in members if kind == tarfile.REGTYPE)


@pytest.mark.row("Z2")
def test_links_that_are_there_already_are_not_followed(tmp_path: Path) -> None:
    """A directory that is a link in the way, and a file that is one, do not lead out."""
    (tmp_path / "out").mkdir()
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "f").write_bytes(b"keep")
    (tmp_path / "out" / "d").symlink_to(tmp_path / "victim")
    (tmp_path / "out" / "f").symlink_to(tmp_path / "victim" / "f")
    result = extract(make_zip(tmp_path / "archive", [("d/f", b"x"), ("d/g", b"x"), ("f", b"x")]), tmp_path / "out")
    assert files_in(tmp_path / "victim") == {"f": b"keep"}
    assert (tmp_path / "out" / "f").read_bytes() == b"x"
    assert not (tmp_path / "out" / "f").is_symlink()
    assert sorted(reasons(result)) == ["d/f", "d/g"]


@pytest.mark.row("Z2", "Z4")
def test_refused_members_do_not_stop_the_others(tmp_path: Path) -> None:
    """Each refused member is named with its reason, the others are there, and the exit code is 1."""
    with tarfile.open(tmp_path / "archive", "w") as archive:
        for name, kind in [("l", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("dev", tarfile.BLKTYPE), ("../x", b"0")]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("good"), io.BytesIO())
        archive.addfile(tarfile.TarInfo("./good"), io.BytesIO())
    result = extract(tmp_path / "archive", tmp_path / "out")
    assert files_in(tmp_path / "out") == {"good": b""}
    assert reasons(result) == {
        "l": "is a symbolic link",
        "h": "is a hard link",
        "dev": "is neither a file nor a directory",
        "../x": "leads upwards with '..'",
        "good": "has the name of a member before it",
    }
    error = extract_error(result)
    assert isinstance(error, Incomplete)
    assert "5 members" in str(error)
    assert len(refusal_lines(result)) == 5
    assert "1 written" in extract_lines(result, 1.0)[0]


@pytest.mark.row("Z3")
def test_zip_members_that_claim_too_much_are_refused(tmp_path: Path) -> None:
    """Links, encryption, unknown methods and the ratio of a bomb are refused by what the directory says."""
    path = tmp_path / "archive"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr, link.create_system = (stat.S_IFLNK | 0o777) << 16, 3
        archive.writestr(link, "/etc/passwd")
        archive.writestr("secret", b"x")
        archive.writestr("odd", b"x")
        archive.writestr("bomb", bytes(1_000_000))
        archive.writestr("good", b"x")
    body = bytearray(path.read_bytes())
    for name, offset, value in ((b"secret", 8, 1), (b"odd", 10, 99)):
        central = body.rindex(b"PK\x01\x02", 0, body.rindex(name))
        struct.pack_into("<H", body, central + offset, value)
        if name == b"secret":
            struct.pack_into("<H", body, body.index(name) - 30 + 6, value)
    path.write_bytes(body)
    limits = Limits(ratio=100, ratio_from=1000)
    result = extract(path, tmp_path / "out", limits=limits)
    assert files_in(tmp_path / "out") == {"good": b"x"}
    assert {
        "link": "is a symbolic link",
        "secret": "is encrypted",
        "odd": "is compressed with method 99, which is not supported",
    }.items() <= reasons(result).items()
    assert "only a zip bomb does" in reasons(result)["bomb"]


@pytest.mark.row("Z3")
def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    """Two members whose bytes overlap, the way small zips claim petabytes, are refused; the others are extracted."""
    path = make_zip(tmp_path / "archive", [("aa", b"1" * 100), ("bb", b"2" * 100), ("cc", b"3")], zipfile.ZIP_STORED)
    body = bytearray(path.read_bytes())
    # The second entry of the directory becomes a second name for the first member's bytes.
    second = body.index(b"PK\x01\x02", body.index(b"PK\x01\x02") + 4)
    struct.pack_into("<L", body, second + 42, 0)
    body[second + 46 : second + 48] = b"aa"
    path.write_bytes(body)
    result = extract(path, tmp_path / "out")
    assert files_in(tmp_path / "out") == {"cc": b"3"}
    assert [one.reason for one in result.refused] == ["shares bytes with another member, as only a zip bomb does"] * 2


@pytest.mark.row("Z5")
def test_a_name_that_differs_between_the_two_headers_is_refused(tmp_path: Path) -> None:
    """A member called one thing in the directory and another in its local header is not extracted."""
    path = make_zip(tmp_path / "archive", [("good", b"1"), ("evil", b"2")])
    body = bytearray(path.read_bytes())
    place = body.index(b"evil")
    body[place : place + 4] = b"nice"
    path.write_bytes(body)
    result = extract(path, tmp_path / "out")
    assert files_in(tmp_path / "out") == {"good": b"1"}
    assert reasons(result) == {"evil": "has another name in its local header"}


@pytest.mark.row("Z3")
def test_a_wrong_crc_fails_the_member_and_leaves_nothing(tmp_path: Path) -> None:
    """A member with damaged bytes is refused, and no file of it stays."""
    path = make_zip(tmp_path / "archive", [("a", b"1" * 100), ("b", b"2" * 100)], zipfile.ZIP_STORED)
    body = bytearray(path.read_bytes())
    body[body.index(b"1" * 100) + 50] ^= 1
    path.write_bytes(body)
    result = extract(path, tmp_path / "out")
    assert files_in(tmp_path / "out") == {"b": b"2" * 100}
    assert "CRC" in reasons(result)["a"]


@pytest.mark.parametrize("claimed", [99, 101, 2**31])
@pytest.mark.row("Z3")
def test_a_member_of_another_length_than_declared_is_refused(tmp_path: Path, claimed: int) -> None:
    """A deflated member that holds more or fewer bytes than it claims fails, and nothing of it stays."""
    path = make_zip(tmp_path / "archive", [("a", b"1" * 100)])
    body = bytearray(path.read_bytes())
    struct.pack_into("<L", body, body.rindex(b"PK\x01\x02") + 24, claimed)
    path.write_bytes(body)
    result = extract(path, tmp_path / "out")
    assert files_in(tmp_path / "out") == {}
    assert list(reasons(result)) == ["a"]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.row("Z5")
def test_an_archive_cut_anywhere_is_an_error(tmp_path: Path, kind: str) -> None:
    """Cut at every 512 bytes, an archive is never taken for whole, and no file in the directory is cut."""
    files = [(f"{n}.jpg", os.urandom(700)) for n in range(8)]
    whole = MAKERS[kind](tmp_path / "whole", files).read_bytes()
    # A tar is padded with zeros behind its end mark: a cut there loses nothing.
    end = len(whole.rstrip(b"\0")) if kind == "tar" else len(whole)
    for cut in range(0, end, 512):
        out = tmp_path / f"out{cut}"
        (tmp_path / "cut").write_bytes(whole[:cut])
        try:
            error = extract_error(extract(tmp_path / "cut", out))
        except SwiftFSError as raised:
            error = raised
        assert error is not None, cut
        assert 1 <= error.exit_code <= 2
        assert files_in(out).items() <= dict(files).items() if out.exists() else True


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(MAKERS)), st.data())
def test_a_damaged_archive_never_gives_wrong_files_in_silence(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    """With one byte of a checksummed archive altered, either every file is right or the run is an error."""
    root = tmp_path_factory.mktemp("root")
    files = [(f"{n}.jpg", bytes(range(200)) * n) for n in range(4)]
    body = bytearray(MAKERS[kind](root / "archive", files).read_bytes())
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))
    (root / "archive").write_bytes(body)
    try:
        error = extract_error(extract(root / "archive", root / "out", strip=0))
    except SwiftFSError as raised:
        error = raised
    contents = [body for _, body in files]
    found = files_in(root / "out") if (root / "out").exists() else {}
    if kind != "tar":  # a plain tar has no checksum over its data
        assert all(one in contents for one in found.values())
    assert error is not None or len(found) == len(files)


@pytest.mark.parametrize("kind", ["zip", "stored"])
@pytest.mark.parametrize("flipped", [1 << bit for bit in range(8)])
def test_a_zip_whose_directory_is_damaged_anywhere_never_lacks_a_file_in_silence(
    tmp_path: Path, kind: str, flipped: int
) -> None:
    """Each bit of the central directory and its end: an error, or every file with its bytes under its name."""
    files = [(f"{n}.jpg", bytes(range(200)) * n) for n in range(4)]
    whole = MAKERS[kind](tmp_path / "archive", files).read_bytes()
    for place in range(whole.index(b"PK\x01\x02"), len(whole)):
        body = bytearray(whole)
        body[place] ^= flipped
        (tmp_path / "archive").write_bytes(body)
        out = tmp_path / f"out{place}"
        try:
            error = extract_error(extract(tmp_path / "archive", out, strip=0))
        except SwiftFSError as raised:
            error = raised
        assert error is not None or files_in(out) == dict(files), place


def test_a_damaged_header_in_the_middle_of_a_tar_is_an_error(tmp_path: Path) -> None:
    """A header that is no header is not taken for the end: the run names the damage."""
    path = make_tar(tmp_path / "archive", [("a", b"1"), ("b", b"2"), ("c", b"3")])
    body = bytearray(path.read_bytes())
    body[1024 + 148] ^= 1
    path.write_bytes(body)
    result = extract(path, tmp_path / "out")
    assert files_in(tmp_path / "out") == {"a": b"1"}
    assert isinstance(extract_error(result), LocalFileError)


def test_a_long_name_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    """An extension header that claims a gigabyte is damage, and no gigabyte of memory is asked for."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    with pytest.raises(LocalFileError, match="extension header of 1,073,741,824 bytes"):
        raise extract_error(extract(tmp_path / "a.tar", tmp_path / "out")) or AssertionError("taken for whole")


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.row("Z3")
def test_an_archive_with_too_many_members_is_refused(tmp_path: Path, kind: str) -> None:
    """Beyond the limit of members nothing more is extracted."""
    archive = MAKERS[kind](tmp_path / "archive", [(f"{n}", b"") for n in range(10)])
    try:
        error = extract_error(extract(archive, tmp_path / "out", limits=Limits(members=5)))
    except SwiftFSError as raised:
        error = raised
    assert error is not None
    # A zip says at its end how many it has; a tar shows it only member by member.
    assert len(files_in(tmp_path / "out")) == (0 if kind == "zip" else 5)


@pytest.mark.parametrize(
    ("names", "directory", "strip", "there"),
    [
        (["Food-11/a", "Food-11/b/c"], "Food-11", None, ["a", "b/c"]),
        (["Food-11/a", "Food-11/b/c"], "Food-11", 0, ["Food-11/a", "Food-11/b/c"]),
        (["Food-11/a", "Food-11/b/c"], "data", None, ["Food-11/a", "Food-11/b/c"]),
        (["Food-11/a", "README"], "Food-11", None, ["Food-11/a", "README"]),
        (["x/Food-11/a", "x/y/b"], "Food-11", 1, ["Food-11/a", "y/b"]),
        (["Food-11/Food-11/a"], "Food-11", None, ["Food-11/a"]),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_top_directory_of_the_same_name_is_not_doubled(
    tmp_path: Path, kind: str, names: list[str], directory: str, strip: int | None, there: list[str]
) -> None:
    """One common top directory called as the target is stripped, any other stays, --strip-components overrides."""
    archive = MAKERS[kind](tmp_path / "archive", [(name, b"x") for name in names])
    result = extract(archive, tmp_path / directory, strip=strip)
    assert there == sorted(files_in(tmp_path / directory))
    assert result.refused == []


def test_empty_directories_appear(tmp_path: Path) -> None:
    """A directory member makes its directory, also when it holds nothing."""
    archive = make_zip(tmp_path / "archive", [("a/", b""), ("b/c/", b""), ("./", b"")])
    result = extract(archive, tmp_path / "out")
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")) == [
        "a",
        "b",
        "b/c",
    ]
    assert result.refused == []


@pytest.mark.parametrize("body", [b"", b"hello", b"\x1f\x8b", os.urandom(600)])
def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path, body: bytes) -> None:
    """A file of any other kind is one clear error."""
    (tmp_path / "x").write_bytes(body)
    try:
        error = extract_error(extract(tmp_path / "x", tmp_path / "out"))
    except (UsageError, LocalFileError) as raised:
        error = raised
    assert isinstance(error, UsageError | LocalFileError)


def test_a_missing_archive_is_exit_code_4_and_makes_no_directory(tmp_path: Path) -> None:
    """An archive that is not there is "file not found", and the target is not created."""
    with pytest.raises(NotFound, match="archive not found"):
        extract(tmp_path / "none.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wrong_sha256_extracts_nothing(tmp_path: Path) -> None:
    """An archive with another SHA-256 than the one given is refused before a file is written."""
    archive = make_zip(tmp_path / "archive", [("a", b"1")])
    with pytest.raises(Truncated, match="SHA-256"):
        extract(archive, tmp_path / "out", sha256="0" * 64)
    assert files_in(tmp_path / "out") == {}


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    """Parts of files that a killed run left are gone after the next one."""
    (tmp_path / "out" / STAGING).mkdir(parents=True)
    (tmp_path / "out" / STAGING / "7.partial").write_bytes(b"half")
    extract(make_zip(tmp_path / "archive", [("a", b"1")]), tmp_path / "out")
    assert files_in(tmp_path / "out") == {"a": b"1"}
    assert not (tmp_path / "out" / STAGING).exists()


def test_two_runs_do_not_share_a_directory(tmp_path: Path) -> None:
    """A second run into the same directory is refused while the first goes on."""
    archive = make_zip(tmp_path / "archive", [("a", b"1")])
    with open_staging(str(tmp_path / "out")), pytest.raises(LocalFileError, match="another run"):
        extract(archive, tmp_path / "out")


def test_ctrl_c_stops_between_members_and_a_second_run_continues(tmp_path: Path) -> None:
    """After Ctrl-C whole files stay, the exit code is 130, and the next run writes only the others."""
    archive = make_zip(tmp_path / "archive", [(f"{n}", b"x") for n in range(20)])
    interrupt = Interrupt()
    interrupt.press()
    request = ExtractRequest(str(archive), str(tmp_path / "out"))
    result = asyncio.run(extract_source(request, Silent(), interrupt=interrupt))
    assert isinstance(extract_error(result), Interrupted)
    assert result.written == 0
    assert extract(archive, tmp_path / "out").written == 20


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=20), st.binary(max_size=20), st.integers(1, 5))
def test_a_file_is_compared_while_its_member_goes_by(
    tmp_path_factory: pytest.TempPathFactory, before: bytes, body: bytes, piece: int
) -> None:
    """Whatever a file holds and however the member comes in pieces, afterwards it holds the member; it is written
    only when it did not."""
    root = tmp_path_factory.mktemp("root")
    (root / "f").write_bytes(before)
    with open_staging(str(root)) as staging:
        written = staging.settle("f", (body[at : at + piece] for at in range(0, len(body), piece)), None)
    assert {"f": body} == files_in(root)
    assert (before != body) is written


def test_nothing_stays_of_a_compressed_tar_with_a_wrong_checksum(tmp_path: Path) -> None:
    """When the checksum over a whole tar.gz is wrong, the files taken from it are removed and the run says so."""
    path = make_tar(tmp_path / "archive", list(TREE.items()), gzip.open)
    body = bytearray(path.read_bytes())
    body[-8] ^= 1
    path.write_bytes(body)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_bytes(b"keep")
    result = extract(path, tmp_path / "out")
    assert files_in(tmp_path / "out") == {"mine": b"keep"}
    error = extract_error(result)
    assert error is not None
    assert "3 files extracted from it are removed again" in str(error)


def test_stripping_does_not_make_a_bad_name_good(tmp_path: Path) -> None:
    """A member that leads upwards is refused also when the component that does so would be stripped."""
    archive = make_zip(tmp_path / "archive", [("../a", b"1"), ("x/b", b"2"), ("c", b"3")])
    result = extract(archive, tmp_path / "out", strip=1)
    assert files_in(tmp_path / "out") == {"b": b"2"}
    assert reasons(result) == {
        "../a": "leads upwards with '..'",
        "c": "has no name left without its first 1 components",
    }


def test_after_a_failed_read_nothing_more_is_taken_from_a_stream(tmp_path: Path) -> None:
    """A stream that fails once and then goes on as if nothing had happened is not trusted any more."""
    path = make_tar(tmp_path / "archive", [("a", os.urandom(100_000)), ("b", b"2")])

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            piece = super().read(size)
            if 40_000 < self.tell() <= 60_000:
                raise OSError("CRC check failed")
            return piece

    archive = TarArchive(Failing(path.read_bytes()), "x", Limits(), proven_at_end=True)
    taken = []

    def take_all() -> None:
        for member in archive.members():
            assert isinstance(member, TarMember)
            taken.append(member.name)
            with contextlib.suppress(LocalFileError), member.open() as stream:
                while stream.read(10_000):
                    pass

    with pytest.raises(LocalFileError, match="CRC check failed"):
        take_all()
    assert taken == ["a"]
