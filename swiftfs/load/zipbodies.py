"""The bytes of one member of a zip that is read as it comes, whose end is known beforehand, marked, or looked for.

Each kind reads, checks the CRC when the end is reached, and can leave the stream behind the member whatever became of
it before.
"""

from __future__ import annotations

import bz2
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from swiftfs.errors import printable
from swiftfs.load.archive import ArchiveError
from swiftfs.load.zipfiles import DAMAGE

if TYPE_CHECKING:
    from swiftfs.load.member import Budget

CHUNK = 64 * 1024
"""Bytes taken from the stream at once: what a decompressor was given too many of is copied back."""
SIGNATURE = b"PK\x07\x08"
"""In front of a data descriptor, where the writer has put it (APPNOTE 4.3.9.3)."""
FOLLOWERS = frozenset({b"PK\x03\x04", b"PK\x01\x02", b"PK\x06\x06", b"PK\x05\x06"})
"""What can follow a member."""
_NARROW, _WIDE = struct.Struct("<3L"), struct.Struct("<L2Q")
"""CRC, compressed and uncompressed size as a data descriptor has them: zip64 ones are wide."""
_SIZES = (_NARROW, _WIDE)
DESCRIPTOR = len(SIGNATURE) + _WIDE.size + 4
"""Bytes of the longest descriptor and of what shows that it is one: the signature behind it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a member turned out to be: its CRC-32, and its bytes in the archive and without compression."""

    crc: int
    compressed: int
    size: int


class Body(Protocol):
    """One member's bytes."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; the read that finds the end raises ArchiveError when they are not what they should
        be."""

    def finish(self) -> Facts:
        """Go to the member's end, whatever was read of it. Raises ArchiveError when that cannot be found."""


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes: ...


class Input:
    """A stream with a position, of which what was read too far can be put back."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._held = b""
        self._used = 0
        self.position = 0

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes, empty only at the end."""
        if self._used == len(self._held):
            self._held, self._used = self._stream.read(CHUNK), 0
        found = self._held[self._used : self._used + size]
        self._used += len(found)
        self.position += len(found)
        return found

    def exactly(self, size: int) -> bytes:
        """``size`` bytes. Raises ArchiveError when the stream ends before."""
        if len(found := self.upto(size)) < size:
            raise ArchiveError("the archive breaks off")
        return found

    def upto(self, size: int) -> bytes:
        """``size`` bytes, fewer only at the end."""
        found = b""
        while len(found) < size and (piece := self.read(size - len(found))):
            found += piece
        return found

    def skip(self, size: int) -> None:
        """Go forward. Raises ArchiveError when the stream ends before."""
        while size:
            piece = self.read(min(size, CHUNK))
            if not piece:
                raise ArchiveError("the archive breaks off")
            size -= len(piece)

    def unread(self, data: bytes) -> None:
        """Put back what was read last."""
        if len(data) <= self._used:
            self._used -= len(data)
        else:
            self._held, self._used = data + self._held[self._used :], 0
        self.position -= len(data)


class SizedBody:
    """A member whose header tells its sizes and CRC."""

    def __init__(self, stream: Input, info: zipfile.ZipInfo) -> None:
        self._input = stream
        self._info = info
        self._left = info.compress_size
        self._member: zipfile.ZipExtFile | None = None
        self._missing = info.file_size

    def read(self, size: int, /) -> bytes:
        try:
            if self._member is None:
                self._member = zipfile.ZipExtFile(_Compressed(self), "r", self._info)
            piece = self._member.read(size)
        except DAMAGE as error:
            raise ArchiveError(f"is damaged: {printable(str(error))}") from None
        self._missing -= len(piece)
        if not piece and self._missing:
            raise ArchiveError(f"is damaged: {self._missing:,} bytes of it are missing")
        return piece

    def take(self, size: int) -> bytes:
        """Up to ``size`` of the member's compressed bytes."""
        piece = self._input.read(min(size, self._left))
        self._left -= len(piece)
        return piece

    def finish(self) -> Facts:
        self._input.skip(self._left)
        self._left = 0
        return Facts(self._info.CRC, self._info.compress_size, self._info.file_size)


class _Compressed:
    """A member's compressed bytes as a file."""

    def __init__(self, body: SizedBody) -> None:
        self._body = body

    def read(self, size: int, /) -> bytes:
        return self._body.take(size)


class _Counted:
    """What was read of a member so far, and whether its descriptor confirms it."""

    def __init__(self, stream: Input, budget: Budget) -> None:
        self._input = stream
        self._budget = budget
        self._crc = 0
        self._size = 0
        self._compressed = 0
        self._facts: Facts | None = None
        self._broken: ArchiveError | None = None

    def _count(self, piece: bytes, compressed: int) -> None:
        self._crc = zlib.crc32(piece, self._crc)
        self._size += len(piece)
        if reason := self._budget.grown(self._size, compressed):
            raise self._lost(reason)

    def _lost(self, reason: str) -> ArchiveError:
        """The end of the member cannot be found any more."""
        self._broken = ArchiveError(reason)
        return self._broken

    def _settled(self, facts: Facts) -> None:
        self._facts = facts
        self._budget.size += facts.size
        if facts.crc != self._crc:
            raise ArchiveError("is damaged: its CRC is wrong")


class EndingBody(_Counted):
    """A member of unknown size whose compression marks its end; the descriptor behind it must confirm all of it."""

    def __init__(self, stream: Input, method: int, budget: Budget) -> None:
        super().__init__(stream, budget)
        self._decoder: _Inflater | bz2.BZ2Decompressor
        self._decoder = _Inflater() if method == zipfile.ZIP_DEFLATED else bz2.BZ2Decompressor()

    def read(self, size: int, /) -> bytes:
        if self._broken is not None:
            raise self._broken
        while not self._decoder.eof:
            data = self._input.read(CHUNK) if self._decoder.needs_input else b""
            self._compressed += len(data)
            if self._decoder.needs_input and not data:
                raise self._lost("breaks off")
            try:
                piece = self._decoder.decompress(data, size)
            except (zlib.error, OSError, ValueError) as error:
                raise self._lost(f"is damaged: {printable(str(error))}") from None
            if self._decoder.eof:
                self._compressed -= len(self._decoder.unused_data)
                self._input.unread(self._decoder.unused_data)
            if piece:
                self._count(piece, self._compressed)
                return piece
        if self._facts is None:
            self._settled(self._descriptor())
        return b""

    def finish(self) -> Facts:
        while self._facts is None:
            try:
                self.read(CHUNK)
            except ArchiveError:
                # A wrong CRC was the reader's to know; what matters here is whether the end was found.
                if self._facts is None:
                    raise
        return self._facts

    def _descriptor(self) -> Facts:
        head = self._input.upto(DESCRIPTOR)
        found: Facts | None = None
        used = 0
        for begin in (len(SIGNATURE), 0) if head.startswith(SIGNATURE) else (0,):
            for sizes in _SIZES:
                end = begin + sizes.size
                if found is not None or head[end : end + 4] not in FOLLOWERS:
                    continue
                crc, compressed, size = sizes.unpack_from(head, begin)
                if (compressed, size) == (self._compressed, self._size):
                    found, used = Facts(crc, compressed, size), end
        self._input.unread(head[used:])
        if found is None:
            raise self._lost("is damaged: its data descriptor does not say what has come")
        return found


class ScannedBody(_Counted):
    """A member of unknown size without an end mark: it ends where a descriptor says exactly what has come before.

    ``verbatim``: its bytes are not compressed, and the CRC counts too; else they are only to be skipped.
    """

    def __init__(self, stream: Input, budget: Budget, *, verbatim: bool) -> None:
        super().__init__(stream, budget)
        self._verbatim = verbatim

    def read(self, size: int, /) -> bytes:
        if self._broken is not None:
            raise self._broken
        if self._facts is not None:
            return b""
        # A few bytes more, for the beginning of a signature may be at the end.
        most = min(size, CHUNK)
        data = self._input.upto(most + len(SIGNATURE) - 1)
        if not data:
            raise self._lost("is stored without its size, and no data descriptor shows where it ends")
        place = -1
        while 0 <= (place := data.find(SIGNATURE, place + 1)) <= most:
            if (short := DESCRIPTOR - (len(data) - place)) > 0:
                data += self._input.upto(short)
            if (found := self._match(data[:place], data[place : place + DESCRIPTOR])) is None:
                continue
            facts, used = found
            self._input.unread(data[place + used :])
            self._take(data[:place])
            self._settled(facts if self._verbatim else Facts(self._crc, facts.compressed, facts.size))
            return data[:place]
        self._input.unread(data[most:])
        self._take(data[:most])
        return data[:most]

    def _take(self, data: bytes) -> None:
        self._compressed += len(data)
        self._count(data, self._compressed)

    def finish(self) -> Facts:
        while self._facts is None:
            self.read(CHUNK)
        return self._facts

    def _match(self, before: bytes, rest: bytes) -> tuple[Facts, int] | None:
        for sizes in _SIZES:
            end = len(SIGNATURE) + sizes.size
            if rest[end : end + 4] not in FOLLOWERS:
                continue
            crc, compressed, size = sizes.unpack_from(rest, len(SIGNATURE))
            if compressed != self._compressed + len(before):
                continue
            if not self._verbatim or (size == compressed and crc == zlib.crc32(before, self._crc)):
                return Facts(crc, compressed, size), end
        return None


class _Inflater:
    """Raw deflate with the interface of the other decompressors."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        """Whether the end mark has come."""
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        """What came behind the end mark."""
        return self._zlib.unused_data

    def decompress(self, data: bytes, size: int) -> bytes:
        """Up to ``size`` bytes of output."""
        found = self._zlib.decompress(self._zlib.unconsumed_tail + data, size)
        self.needs_input = not self._zlib.unconsumed_tail and len(found) < size
        return found
