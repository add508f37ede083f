"""Names of zip members as programs write them: with the flag for UTF-8, without it, and in a field of their own."""

from __future__ import annotations

import asyncio
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.http_server import FileServer, serving
from fakes.memory_swift import MemorySwift
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.load.progress import Silent
from swiftfs.load.run import LoadRequest, LoadResult, load_directory
from swiftfs.load.sources import SourceRequest, opened_source
from swiftfs.load.unpack import ExtractRequest, extract_source
from swiftfs.load.zipfiles import UNICODE_PATH, UTF8_NAME, member_name


class Bare(zipfile.ZipInfo):
    """A member whose name goes into the archive as these bytes and this flag."""

    __slots__ = ("flags", "raw")

    def __init__(self, raw: bytes, flags: int, extra: bytes) -> None:
        super().__init__("placeholder", (2024, 1, 2, 3, 4, 6))
        self.raw, self.flags, self.extra = raw, flags, extra

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802 - the library's own name
        return self.raw, self.flags


def make_zip(raw: bytes, flags: int, extra: bytes, body: bytes = b"x") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(Bare(raw, flags, extra), body)
    return made.getvalue()


def unicode_path(name: bytes, of: bytes) -> bytes:
    return struct.pack("<HHBL", UNICODE_PATH, 5 + len(name), 1, zlib.crc32(of)) + name


def extracted(archive: bytes, directory: Path) -> list[str]:
    (directory / "a.zip").write_bytes(archive)
    asyncio.run(extract_source(ExtractRequest(str(directory / "a.zip"), str(directory / "out")), Silent()))
    return [str(path.relative_to(directory / "out")) for path in (directory / "out").rglob("*") if path.is_file()]


def loaded(text: str) -> list[str]:
    store = MemorySwift()
    asyncio.run(load(store, text))
    return list(store.bodies("c"))


async def load(store: MemorySwift, text: str) -> LoadResult:
    async with opened_source(SourceRequest(text)) as source:
        return await load_directory(store, LoadRequest(source, "c"), Silent())


def from_file(archive: bytes, directory: Path) -> list[str]:
    (directory / "a.zip").write_bytes(archive)
    return loaded(str(directory / "a.zip"))


def from_url(archive: bytes, directory: Path, *, ranges: bool = True) -> list[str]:
    async def run() -> list[str]:
        store = MemorySwift()
        async with serving(FileServer(archive, ranges=ranges)) as url:
            await load(store, url)
        return list(store.bodies("c"))

    return asyncio.run(run())


def streamed(archive: bytes, directory: Path) -> list[str]:
    return from_url(archive, directory, ranges=False)


Way = Callable[[bytes, Path], list[str]]
NAME = "Größe/日.txt"
DOS = "größe.txt".encode("cp437")


@pytest.mark.parametrize("way", [extracted, from_file, from_url, streamed])
@pytest.mark.parametrize(
    ("raw", "flags", "extra", "name"),
    [
        (NAME.encode(), UTF8_NAME, b"", NAME),
        (NAME.encode(), 0, b"", NAME),
        (DOS, 0, b"", "größe.txt"),
        (DOS, 0, unicode_path(NAME.encode(), DOS), NAME),
        (DOS, 0, unicode_path(NAME.encode(), b"as it was called before"), "größe.txt"),
        (DOS, 0, unicode_path(b"\xff", DOS), "größe.txt"),
        (DOS, 0, unicode_path(b"", DOS), "größe.txt"),
        (b"plain", UTF8_NAME, unicode_path(NAME.encode(), b"plain"), "plain"),
    ],
)
def test_a_member_is_called_as_its_archiver_meant(
    tmp_path: Path, way: Way, raw: bytes, flags: int, extra: bytes, name: str
) -> None:
    """With the flag, as UTF-8 without it, by the field for such names, or else in code page 437, on every way."""
    assert way(make_zip(raw, flags, extra), tmp_path) == [name]


def test_names_that_mean_another_thing_in_each_header_disown_a_member_that_went_by() -> None:
    """The field stands in the local header alone, or in the directory alone: nothing is left of the member."""
    whole = make_zip(DOS, 0, unicode_path(NAME.encode(), DOS))
    field = struct.pack("<H", UNICODE_PATH)
    for place in (whole.index(field), whole.rindex(field)):
        archive = whole[:place] + b"\xff\xff" + whole[place + 2 :]

        async def run(archive: bytes = archive) -> tuple[LoadResult, list[str]]:
            store = MemorySwift()
            async with serving(FileServer(archive, ranges=False)) as url:
                return await load(store, url), list(store.bodies("c"))

        result, left = asyncio.run(run())
        assert [one.reason for one in result.failures] == ["has another name in its local header"]
        assert left == []


@given(st.binary(max_size=20), st.booleans(), st.binary(max_size=30))
def test_every_name_is_a_name_or_none(raw: bytes, flagged: bool, extra: bytes) -> None:
    """Whatever bytes come, only those that are said to be UTF-8 and are not have no name."""
    name = member_name(raw, UTF8_NAME if flagged else 0, extra)
    assert (name is None) == (flagged and not _is_utf8(raw))


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
