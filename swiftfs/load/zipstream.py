"""A zip read once from front to back, as it comes: local headers in sequence, then the central directory as the judge.

What only the central directory tells (links, members that others do not see, other names and sizes) comes when the
members have gone by: such a member is disowned, and whoever has used it takes that back.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from swiftfs.errors import printable
from swiftfs.load.archive import ArchiveError, DirectoryMember, MemberReader, RefusedMember
from swiftfs.load.member import Budget, Limits, normal
from swiftfs.load.zipbodies import Body, EndingBody, Facts, Input, Readable, ScannedBody, SizedBody
from swiftfs.load.zipfiles import ENCRYPTED, LOCAL, METHODS, claim_refusal, extra_fields, member_name, modified

DESCRIBED = 0x8
"""Flag of a member whose CRC and sizes follow its bytes in a data descriptor (APPNOTE 4.3.9)."""
CENTRAL = struct.Struct("<4s6H3L5H2L")
"""Central directory entry (APPNOTE 4.3.12)."""
ZIP64 = 0x0001
"""Extra field with sizes and an offset of more than 32 bits (APPNOTE 4.5.3)."""
LARGE = 0xFFFFFFFF
"""A size or offset that stands in the zip64 field instead."""
END = b"PK\x05\x06"
END64 = b"PK\x06\x06"
LOCATOR64 = b"PK\x06\x07"

_RECORD = struct.Struct("<BQLQQ8s")
"""What is remembered of a member for the central directory: whether it was offered, its offset, CRC, sizes, and a
digest of its name. Packed, for there may be millions."""


@dataclass(frozen=True, slots=True)
class DisownedMember:
    """A member that has gone by as number ``number`` of all, and is none by the central directory."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class ZipStreamMember:
    """A member that has come; see ``archive.Member``. ``size`` None shows when it has been read."""

    name: str
    size: int | None
    mtime: int | None
    body: Body

    @contextlib.contextmanager
    def open(self) -> Iterator[MemberReader]:
        """Its bytes, CRC checked at the end; only before the next member is asked for. Raises ArchiveError."""
        yield self.body


class ZipStream:
    """A zip in ``stream``; its members can be gone through once. ``called`` names it in messages."""

    proven_at_end = False

    def __init__(self, stream: Readable, called: str, limits: Limits) -> None:
        self._input = Input(stream)
        self._called = called
        self._budget = Budget(limits)
        self._records = bytearray()

    def members(self) -> Iterator[ZipStreamMember | RefusedMember | DirectoryMember | DisownedMember]:
        """Every member as it comes, then what the central directory says against them.

        Raises ArchiveError when the next member cannot be found, or the archive ends before its end record.
        """
        while True:
            start = self._input.position
            signature = self._input.exactly(4)
            if signature == b"PK\x01\x02" or signature in {END, END64}:
                break
            if signature != b"PK\x03\x04":
                raise self._damaged(f"there is no member where one should begin, at byte {start:,}")
            self._input.unread(signature)
            yield from self._member(start)
        self._input.unread(signature)
        yield from self._judged(start)

    def _member(self, start: int) -> Iterator[ZipStreamMember | RefusedMember | DirectoryMember]:
        header = Header.read(self._input)
        info, described = header.info, bool(header.info.flag_bits & DESCRIBED)
        name = header.name
        reason = "has a name that is not valid UTF-8" if header.undecodable else claim_refusal(info, name)
        readable = not info.flag_bits & ENCRYPTED and info.compress_type in METHODS
        claimed = (0, None) if described else (info.file_size, info.compress_size)
        reason = reason or self._budget.admit(*claimed)
        body: Body
        if not described:
            body = SizedBody(self._input, info)
        elif readable and info.compress_type in {zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2}:
            body = EndingBody(self._input, info.compress_type, self._budget)
        else:
            # LZMA in a zip need not mark its end; what is encrypted or unknown has none: the descriptor is looked for.
            stored = readable and info.compress_type == zipfile.ZIP_STORED
            if not stored:
                reason = reason or "can only be read when its size is known beforehand"
            body = ScannedBody(self._input, self._budget, verbatim=stored)
        offered = False
        if reason is not None:
            yield RefusedMember(name, reason)
        elif name.endswith("/"):
            yield DirectoryMember(normal(name))
        else:
            offered = True
            yield ZipStreamMember(normal(name), None if described else info.file_size, modified(info), body)
        try:
            facts = body.finish()
        except ArchiveError as error:
            raise self._damaged(f"{printable(name)} {error.message}; what follows it cannot be found") from None
        self._records += _RECORD.pack(offered, start, facts.crc, facts.compressed, facts.size, header.digest)

    # The central directory

    def _judged(self, start: int) -> Iterator[RefusedMember | DisownedMember]:
        count = len(self._records) // _RECORD.size
        listed = bytearray(count)
        entries = 0
        while True:
            place = self._input.position
            signature = self._input.exactly(4)
            self._input.unread(signature)
            if signature != b"PK\x01\x02":
                break
            entries += 1
            if entries > self._budget.limits.members:
                raise ArchiveError(f"{printable(self._called)} lists more than {self._budget.limits.members:,} members")
            yield from self._entry(Header.read_central(self._input), listed)
        self._end(start, place - start, entries)
        for number in range(count):
            if not listed[number] and self._record(number)[0]:
                yield DisownedMember(number, "is not listed in the central directory")

    def _entry(self, entry: Header, listed: bytearray) -> Iterator[RefusedMember | DisownedMember]:
        info = entry.info
        number = bisect.bisect_left(range(len(listed)), info.header_offset, key=lambda one: self._record(one)[1])
        if number == len(listed) or self._record(number)[1] != info.header_offset:
            yield RefusedMember(entry.name, "has no local header where the directory says")
            return
        offered, _, crc, compressed, size, digest = self._record(number)
        if listed[number]:
            yield RefusedMember(entry.name, "shares bytes with another member, as only a zip bomb does")
            return
        listed[number] = 1
        if not offered:
            return
        reason = None
        if digest != entry.digest:
            reason = "has another name in its local header"
        elif (crc, compressed, size) != (info.CRC, info.compress_size, info.file_size):
            reason = "has another size or CRC in its local header"
        reason = reason or claim_refusal(info, entry.name)
        if reason is not None:
            yield DisownedMember(number, reason)

    def _end(self, start: int, size: int, entries: int) -> None:
        """Read the end records. Raises ArchiveError unless they say what has come."""
        claims: tuple[int, ...] | None = None
        signature = self._input.exactly(4)
        if signature == END64:
            (length,) = struct.unpack("<Q", self._input.exactly(8))
            if not 44 <= length <= LARGE:
                raise self._damaged("its zip64 end record is no such")
            fields = struct.unpack("<2H2L4Q", self._input.exactly(44))
            self._input.skip(length - 44)
            claims = fields[5:8]
            if self._input.exactly(4) != LOCATOR64:
                raise self._damaged("its zip64 end record has no locator")
            self._input.skip(16)
            signature = self._input.exactly(4)
        if signature != END:
            raise self._damaged("there is no end record where one should begin")
        *_, count, length, offset, comment = struct.unpack("<4H2LH", self._input.exactly(18))
        if (claims or (count, length, offset)) != (entries, size, start):
            raise self._damaged("its end record does not say what has come")
        self._input.skip(comment)
        if self._input.read(1):
            raise self._damaged("it goes on after its end record")

    def _record(self, number: int) -> tuple[bool, int, int, int, int, bytes]:
        return cast("tuple[bool, int, int, int, int, bytes]", _RECORD.unpack_from(self._records, number * _RECORD.size))

    def _damaged(self, reason: str) -> ArchiveError:
        return ArchiveError(
            f"{printable(self._called)} cannot be read as it comes: {reason}",
            hint="swiftfs extract fetches it whole first, if it is a zip",
        )


@dataclass(frozen=True, slots=True)
class Header:
    """A local header or a directory entry; ``raw`` is the name as it stands there."""

    info: zipfile.ZipInfo
    raw: bytes
    name: str
    undecodable: bool

    @property
    def digest(self) -> bytes:
        """What is remembered of the name: its bytes and what they mean, which must be the same in both headers."""
        return hashlib.blake2b(self.raw + b"\0" + self.name.encode(), digest_size=8).digest()

    @classmethod
    def read(cls, stream: Input) -> Header:
        """The local header that comes next. Raises ArchiveError at the end of the stream."""
        _, _, _, flags, method, time, date, crc, compressed, size, names, extras = LOCAL.unpack(
            stream.exactly(LOCAL.size)
        )
        name, extra = stream.exactly(names), stream.exactly(extras)
        size, compressed, _ = _large(extra, size, compressed, 0)
        return cls._of(name, extra, flags, method, time, date, Facts(crc, compressed, size), 0, 0)

    @classmethod
    def read_central(cls, stream: Input) -> Header:
        """The directory entry that comes next."""
        _, _, _, flags, method, time, date, crc, compressed, size, names, extras, comment, _, _, attributes, offset = (
            CENTRAL.unpack(stream.exactly(CENTRAL.size))
        )
        name, extra = stream.exactly(names), stream.exactly(extras)
        stream.skip(comment)
        size, compressed, offset = _large(extra, size, compressed, offset)
        return cls._of(name, extra, flags, method, time, date, Facts(crc, compressed, size), offset, attributes)

    @classmethod
    def _of(
        cls,
        name: bytes,
        extra: bytes,
        flags: int,
        method: int,
        time: int,
        date: int,
        facts: Facts,
        offset: int,
        attributes: int,
    ) -> Header:
        text = member_name(name, flags, extra)
        info = zipfile.ZipInfo(
            "member",
            (
                (date >> 9) + 1980,
                (date >> 5) & 15,
                date & 31,
                time >> 11,
                (time >> 5) & 63,
                (time & 31) * 2,
            ),
        )
        info.flag_bits, info.compress_type, info.extra = flags, method, extra
        info.CRC, info.compress_size, info.file_size = facts.crc, facts.compressed, facts.size
        info.header_offset, info.external_attr = offset, attributes
        return cls(info, name, name.decode("cp437") if text is None else text, text is None)


def _large(extra: bytes, size: int, compressed: int, offset: int) -> tuple[int, int, int]:
    """Sizes and offset, from the zip64 field where they stand there. Pure."""
    values = [size, compressed, offset]
    field = next((field for kind, field in extra_fields(extra) if kind == ZIP64), b"")
    for place, value in enumerate(values):
        if value == LARGE and len(field) >= 8:
            (values[place],) = struct.unpack_from("<Q", field)
            field = field[8:]
    return values[0], values[1], values[2]
