"""Zip archives: the central directory judged as a whole, each member checked against its local header and its CRC."""

from __future__ import annotations

import calendar
import contextlib
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, cast

from swiftfs.errors import printable
from swiftfs.load.archive import ArchiveError, DirectoryMember, MemberReader, RefusedMember
from swiftfs.load.member import Budget, Limits, normal

ENCRYPTED = 0x1
UTF8_NAME = 0x800
LOCAL = struct.Struct("<4s2B4HL2L2H")
"""Local file header (APPNOTE 4.3.7)."""
END = struct.Struct("<4s4H2LH")
"""End of central directory (APPNOTE 4.3.16)."""
END64 = struct.Struct("<4sQ2H2L4Q")
"""Zip64 end of central directory (APPNOTE 4.3.14)."""
LOCATOR64 = struct.Struct("<4sLQL")
"""Zip64 end of central directory locator (APPNOTE 4.3.15)."""
COUNT, COUNT64 = 1 << 16, 1 << 64
"""What the end records' numbers of members wrap around at."""
COMMENT = 65_535
"""Bytes that a comment after the end record may have."""
TIMESTAMP = 0x5455
"""Extra field with the modification time in UTC (Info-ZIP)."""
UNICODE_PATH = 0x7075
"""Extra field with a member's name in UTF-8 and the CRC-32 of the name that it stands for (APPNOTE 4.6.9)."""
METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What zipfile and its decompressors raise for damaged members; bz2 raises OSError and ValueError."""


Pread = Callable[[int, int], bytes]
"""Up to so many bytes from such an offset, as ``os.pread`` without its descriptor."""


@contextlib.contextmanager
def open_zip(path: str, limits: Limits) -> Iterator[ZipArchive]:
    """The zip archive at ``path``. Raises ArchiveError."""
    with open(path, "rb") as raw:

        def pread(size: int, offset: int) -> bytes:
            return os.pread(raw.fileno(), size, offset)

        with opened_zip(raw, pread, os.path.getsize(path), path, limits) as archive:
            yield archive


@contextlib.contextmanager
def opened_zip(
    raw: IO[bytes], pread: Pread, size: int, called: str, limits: Limits, *, headers: bool = True
) -> Iterator[ZipArchive]:
    """The zip archive of ``size`` bytes in ``raw``, the same as ``pread`` has; messages call it ``called``.

    Without ``headers`` only the central directory is there: each local header must be judged when its member is read,
    by :func:`header_mismatch`. Raises ArchiveError.
    """
    end = find_directory(pread, size)
    if end is None:
        raise ArchiveError(f"{printable(called)} is not a whole zip archive: its central directory is missing")
    if end.count > limits.members:
        raise ArchiveError(f"{printable(called)} has {end.count:,} members, more than {limits.members:,}")
    try:
        archive = zipfile.ZipFile(raw)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise ArchiveError(f"{printable(called)} is not a whole zip archive: {printable(str(error))}") from None
    with archive:
        listed = len(archive.infolist())
        if (listed - end.count) % end.wraps:
            members = f"its central directory has {listed:,} members, and its end says {end.count:,}"
            raise ArchiveError(f"{printable(called)} is damaged: {members}")
        yield ZipArchive(archive, pread, size, limits, headers=headers)


@dataclass(frozen=True, slots=True)
class Directory:
    """What the end record claims of the central directory: its members, its bytes, and where they begin.

    ``count`` is the number of members modulo ``wraps``: programs without Zip64 write what 16 bits can hold of it.
    """

    count: int
    size: int
    start: int
    wraps: int


def find_directory(pread: Pread, size: int) -> Directory | None:
    """What the end of a zip of ``size`` bytes claims, before more is read; None when it has no end record, or several
    disks."""
    tail_start = max(0, size - END.size - COMMENT)
    tail = pread(size - tail_start, tail_start)
    position = tail.rfind(b"PK\x05\x06")
    if position < 0 or len(tail) - position < END.size:
        return None
    _, disk, start_disk, here, count, length, *_ = END.unpack_from(tail, position)
    locator = position - LOCATOR64.size
    if locator >= 0 and tail[locator : locator + 4] == b"PK\x06\x07":
        _, _, offset, _ = LOCATOR64.unpack_from(tail, locator)
        record = pread(END64.size, min(offset, size))
        if len(record) < END64.size or record[:4] != b"PK\x06\x06":
            return None
        fields = END64.unpack(record)
        return Directory(fields[7], fields[8], max(0, offset - fields[8]), COUNT64)
    if disk or start_disk or here != count:
        return None
    return Directory(count, length, max(0, tail_start + position - length), COUNT)


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A member that passed; see ``archive.Member``."""

    name: str
    size: int
    mtime: int | None
    crc: int | None
    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    @contextlib.contextmanager
    def open(self) -> Iterator[MemberReader]:
        """Its bytes, CRC checked at the end. Raises ArchiveError."""
        try:
            stream = self.archive.open(self.info)
        except DAMAGE as error:
            raise ArchiveError(f"is damaged: {printable(str(error))}") from None
        with stream:
            yield _ZipReader(stream, self.size)

    @contextlib.contextmanager
    def read_from(self, compressed: IO[bytes]) -> Iterator[MemberReader]:
        """As :meth:`open`, from a stream that stands where the member's bytes begin."""
        try:
            stream = zipfile.ZipExtFile(compressed, "r", self.info)
        except DAMAGE as error:
            raise ArchiveError(f"is damaged: {printable(str(error))}") from None
        with stream:
            yield _ZipReader(cast("IO[bytes]", stream), self.size)


class _ZipReader:
    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int, /) -> bytes:
        try:
            piece = self._stream.read(size)
        except DAMAGE as error:
            raise ArchiveError(f"is damaged: {printable(str(error))}") from None
        self._left -= len(piece)
        if not piece and self._left:
            raise ArchiveError(f"is damaged: {self._left:,} bytes of it are missing")
        return piece


class ZipArchive:
    """An open zip; see ``archive.Archive``."""

    in_order = False
    proven_at_end = False

    def __init__(
        self, archive: zipfile.ZipFile, pread: Pread, size: int, limits: Limits, *, headers: bool = True
    ) -> None:
        self._archive = archive
        self._pread = pread
        self._size = size
        self._limits = limits
        self._headers = headers

    @property
    def directory(self) -> int:
        """Where the central directory begins, and every member must have ended."""
        return self._archive.start_dir

    def members(self) -> Iterator[ZipMember | RefusedMember | DirectoryMember]:
        """Every member in the order of the central directory."""
        infos = self._archive.infolist()
        overlapping = self._overlapping(infos)
        budget = Budget(self._limits)
        for number, info in enumerate(infos):
            name = listed_name(info)
            reason = overlapping.get(number) or claim_refusal(info, name)
            reason = reason or budget.admit(info.file_size, info.compress_size)
            if reason:
                yield RefusedMember(name, reason)
            elif name.endswith("/"):
                yield DirectoryMember(normal(name))
            else:
                yield ZipMember(normal(name), info.file_size, modified(info), info.CRC, self._archive, info)

    def _overlapping(self, infos: list[zipfile.ZipInfo]) -> dict[int, str]:
        """Members, by number, whose local header disagrees with the directory or whose bytes another one claims too.

        Bytes shared between members are how a small zip claims petabytes (Fifield, "A better zip bomb", 2019).
        """
        refused: dict[int, str] = {}
        spans: list[tuple[int, int, int]] = []
        for number, info in enumerate(infos):
            start = info.header_offset
            size = LOCAL.size + info.compress_size
            if self._headers:
                head = self._pread(LOCAL.size, start) if 0 <= start < self._size else b""
                name_length, extra_length = header_lengths(head) or (0, 0)
                name = self._pread(name_length, start + LOCAL.size) if name_length else b""
                if reason := header_mismatch(head, name, info):
                    refused[number] = reason
                    continue
                size += name_length + extra_length
            elif start < 0:
                refused[number] = "has no local header where the directory says"
                continue
            spans.append((start, start + size, number))
        spans.sort()
        directory = self.directory
        reach, owner = 0, -1
        for start, stop, number in spans:
            if start < reach:
                refused[number] = refused[owner] = "shares bytes with another member, as only a zip bomb does"
            elif stop > directory:
                refused[number] = "reaches into the central directory"
            if stop > reach:
                reach, owner = stop, number
        return refused


def header_lengths(head: bytes) -> tuple[int, int] | None:
    """Bytes of the name and of the extra fields that follow a local header; None when it is none."""
    if len(head) < LOCAL.size or head[:4] != b"PK\x03\x04":
        return None
    fields = LOCAL.unpack_from(head)
    return fields[10], fields[11]


def header_mismatch(head: bytes, name: bytes, info: zipfile.ZipInfo) -> str | None:
    """Why a member is refused for its local header and the name behind it; None when they say what the directory does.

    A name or an encryption that only one of the two knows makes different programs see different archives.
    """
    if header_lengths(head) is None:
        return "has no local header where the directory says"
    if name != raw_name(info):
        return "has another name in its local header"
    if (LOCAL.unpack_from(head)[3] ^ info.flag_bits) & ENCRYPTED:
        return "is encrypted by one header and not by the other"
    return None


def member_name(raw: bytes, flags: int, extra: bytes) -> str | None:
    """A member's name, whose bytes are ``raw`` in its header; None when they are none. Pure.

    The format means code page 437 where no flag says UTF-8, and programs that know none write UTF-8 all the same
    (Info-ZIP's where the locale is C, macOS's): what can be read as UTF-8 is meant so.
    """
    try:
        if flags & UTF8_NAME:
            return raw.decode()
    except UnicodeDecodeError:
        return None
    for kind, field in extra_fields(extra):
        # A program that knows nothing of the field renames the member and leaves it: then the CRC is another.
        if kind == UNICODE_PATH and len(field) > 5 and field[:5] == struct.pack("<BL", 1, zlib.crc32(raw)):
            with contextlib.suppress(UnicodeDecodeError):
                return field[5:].decode()
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp437")


def raw_name(info: zipfile.ZipInfo) -> bytes:
    """The bytes of a member's name, which the library has decoded by the flag alone, and compares so."""
    return info.orig_filename.encode("utf-8" if info.flag_bits & UTF8_NAME else "cp437")


def listed_name(info: zipfile.ZipInfo) -> str:
    """A member's name by its entry in the directory, as the library has read it."""
    name = member_name(raw_name(info), info.flag_bits, info.extra)
    assert name is not None  # what has the flag was UTF-8 for the library
    return name


def extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """The kind and the bytes of each extra field."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        yield kind, extra[4 : 4 + length]
        extra = extra[4 + length :]


def claim_refusal(info: zipfile.ZipInfo, name: str) -> str | None:
    """Why a member called ``name`` is refused for what its directory entry says; None: it is a file or a directory."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "is neither a file nor a directory"
    if kind == stat.S_IFDIR and not name.endswith("/"):
        return "is a directory by its mode and a file by its name"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in METHODS:
        return f"is compressed with method {info.compress_type}, which is not supported"
    return None


def modified(info: zipfile.ZipInfo) -> int:
    """Modification time in nanoseconds: UTC from the extra field, else the MS-DOS time as if it were UTC.

    It says no zone; with this machine's the same archive would make another manifest elsewhere.
    """
    for kind, field in extra_fields(info.extra):
        if kind == TIMESTAMP and len(field) >= 5 and field[0] & 1:
            return int(struct.unpack_from("<l", field, 1)[0]) * 1_000_000_000
    year, month, *rest = info.date_time
    # Archivers that know no time write zeros, as month and day too: such a date is counted on from one that there is.
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    return calendar.timegm((year, month, *rest)) * 1_000_000_000
