"""Tar archives, plain or compressed, read once from front to back.

Python's tarfile takes a damaged header in the middle for the end of the archive, and its own gzip reader ignores the
CRC; here a damaged or missing end is an error, and the compressed stream is read to its end so that its checksum
counts.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import math
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from swiftfs.errors import Interrupted, printable
from swiftfs.load.archive import ArchiveError, DirectoryMember, MemberReader, RefusedMember
from swiftfs.load.member import Budget, Limits, normal

if TYPE_CHECKING:
    import threading

WINDOW = 128 * 1024 * 1024
"""Bytes of memory a zstd stream may claim: what ``zstd`` itself takes without being asked (its --long=27)."""
DRAIN = 1024 * 1024
"""Bytes read at once behind the end mark, only for the checksum's sake."""
PADDING = 64 * 1024 * 1024
"""Bytes that may follow the end mark: archivers pad to a record, never so far."""

EXTENSION = 1024 * 1024
"""Bytes that a long name or a set of pax records may have: tarfile reads them whole."""
EXTENSIONS = frozenset(
    {
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
    }
)

_END_MARK: type[Exception] = tarfile.EOFHeaderError  # type: ignore[attr-defined]  # in tarfile since 2.7, not in its stubs
_HEADER_DAMAGE = tarfile.HeaderError
_NoEnd = tarfile.ReadError
_DAMAGE = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)
"""What tarfile and the decompressors raise for damage; gzip and bz2 raise OSError."""


class _StrictInfo(tarfile.TarInfo):
    """A header reader for which only the end mark is the end, and which reads no extension header into all memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictInfo:
        info = super().frombuf(buf, encoding, errors)
        if info.type in EXTENSIONS and info.size > EXTENSION:
            raise tarfile.ReadError(f"an extension header of {info.size:,} bytes")
        return info

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> _StrictInfo:
        try:
            return super().fromtarfile(tarfile)
        except _END_MARK:
            raise
        except _HEADER_DAMAGE as error:
            raise _NoEnd(f"no end mark: {error}") from None


@contextlib.contextmanager
def open_tar(
    path: str, compression: str, limits: Limits, halted: threading.Event | None = None
) -> Iterator[TarArchive]:
    """The tar archive at ``path``; ``compression`` is gz, bz2, xz, zst or empty. Raises ArchiveError, and Interrupted
    once ``halted`` is set."""
    with open(path, "rb") as raw:
        stream = decompressed(raw, compression)
        if halted is not None:
            stream = cast("BinaryIO", _Halting(stream, halted))
        yield TarArchive(stream, path, limits, proven_at_end=bool(compression))


class _Halting:
    """A stream that ends with Interrupted: a member that nobody wants is read as well, and may have gigabytes."""

    def __init__(self, stream: BinaryIO, halted: threading.Event) -> None:
        self._stream = stream
        self._halted = halted

    def read(self, size: int, /) -> bytes:
        if self._halted.is_set():
            raise Interrupted("stopped while the archive was read")
        return self._stream.read(size)


def decompressed(raw: BinaryIO, compression: str) -> BinaryIO:
    match compression:
        case "gz":
            return cast("BinaryIO", gzip.GzipFile(fileobj=raw))
        case "bz2":
            return cast("BinaryIO", bz2.BZ2File(raw))
        case "xz":
            return cast("BinaryIO", lzma.LZMAFile(raw))
        case "zst":
            return cast("BinaryIO", _ZstdReader(raw))
        case _:
            return raw


class _ZstdReader:
    """A zstd stream of any number of frames, read to the end of the last.

    The library's reader takes a stream that stops inside a frame for one that has ended. So a frame of our own follows
    the last: only when its content comes out was the stream whole.
    """

    def __init__(self, raw: BinaryIO) -> None:
        import zstandard

        # Random, so that no archive can hold it, and repeated, so that its frame does not hold it as it is.
        self._end = os.urandom(16) * 64
        marked = _Followed(raw, zstandard.ZstdCompressor().compress(self._end))
        library = zstandard.ZstdDecompressor(max_window_size=WINDOW)
        self._stream = library.stream_reader(cast("BinaryIO", marked), read_across_frames=True)
        self._held = b""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes, empty only at the end. Raises EOFError and ValueError for damage."""
        import zstandard

        while True:
            try:
                piece = self._stream.read(max(1, size + len(self._end) - len(self._held)))
            except zstandard.ZstdError as error:
                raise ValueError(str(error)) from None
            self._held += piece
            taken, self._held = self._held[: -len(self._end)], self._held[-len(self._end) :]
            if not piece and self._held != self._end:
                raise EOFError("the zstd stream ends inside a frame")
            if taken or not piece:
                return taken


class _Followed:
    """The bytes of ``raw`` and then ``last``."""

    def __init__(self, raw: BinaryIO, last: bytes) -> None:
        self._raw = raw
        self._last = last

    def read(self, size: int, /) -> bytes:
        if piece := self._raw.read(size):
            return piece
        piece, self._last = self._last[:size], self._last[size:]
        return piece


@dataclass(frozen=True, slots=True)
class TarMember:
    """A member that passed; see ``archive.Member``."""

    name: str
    size: int
    mtime: int | None
    crc: int | None
    owner: TarArchive
    archive: tarfile.TarFile
    info: tarfile.TarInfo

    @contextlib.contextmanager
    def open(self) -> Iterator[MemberReader]:
        """Its bytes; only before the next member is asked for. Raises ArchiveError."""
        try:
            stream = self.archive.extractfile(self.info)
        except _DAMAGE as error:
            self.owner.broken = error
            raise ArchiveError(f"is damaged: {printable(str(error))}") from None
        assert stream is not None  # only regular files become a TarMember
        with stream:
            yield _TarReader(stream, self.size, self.owner)


class _TarReader:
    def __init__(self, stream: IO[bytes], size: int, owner: TarArchive) -> None:
        self._stream = stream
        self._owner = owner
        self._left = size

    def read(self, size: int, /) -> bytes:
        try:
            piece = self._stream.read(min(size, self._left))
        except _DAMAGE as error:
            self._owner.broken = error
            raise ArchiveError(f"is damaged: {printable(str(error))}") from None
        self._left -= len(piece)
        if not piece and self._left:
            raise ArchiveError(f"is damaged: {self._left:,} bytes of it are missing")
        return piece


class TarArchive:
    """An open tar; see ``archive.Archive``. Its members can be gone through once."""

    in_order = True

    def __init__(self, stream: BinaryIO, path: str, limits: Limits, *, proven_at_end: bool) -> None:
        self.proven_at_end = proven_at_end
        self._stream = stream
        self._path = path
        self._limits = limits
        self.broken: Exception | None = None

    def members(self) -> Iterator[TarMember | RefusedMember | DirectoryMember]:
        """Every member in the archive's order. Raises ArchiveError at the first damage."""
        budget = Budget(self._limits)
        try:
            archive = tarfile.open(  # noqa: SIM115 - closed below
                fileobj=self._stream, mode="r|", tarinfo=_StrictInfo, errors="surrogateescape"
            )
        except _DAMAGE as error:
            raise self._damaged(error) from None
        with archive:
            while (info := self._next(archive)) is not None:
                # A stream needs no list of what was there, and it would grow with the archive.
                archive.members = []  # type: ignore[attr-defined]  # public by name, not in the stubs
                reason = _claim(info) or budget.admit(info.size, None)
                if reason:
                    yield RefusedMember(info.name, reason)
                elif info.isdir():
                    yield DirectoryMember(normal(info.name))
                else:
                    yield TarMember(normal(info.name), info.size, _mtime(info), None, self, archive, info)
        self._drain()

    def _next(self, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        # A decompressor that has failed once may give anything afterwards.
        if self.broken is not None:
            raise self._damaged(self.broken)
        try:
            return archive.next()
        except _DAMAGE as error:
            raise self._damaged(error) from None

    def _drain(self) -> None:
        left = PADDING
        try:
            while piece := self._stream.read(DRAIN):
                left -= len(piece)
                if left < 0:
                    raise ArchiveError(f"{printable(self._path)} goes on after its end mark")
        except _DAMAGE as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> ArchiveError:
        return ArchiveError(f"{printable(self._path)} is damaged: {printable(str(error))}")


def _claim(info: tarfile.TarInfo) -> str | None:
    """Why a member is refused for what its header says; None when it is a file or a directory."""
    if info.issym():
        return "is a symbolic link"
    if info.islnk():
        return "is a hard link"
    if not (info.isreg() or info.isdir()):
        return "is neither a file nor a directory"
    if info.size < 0:
        return "claims a negative size"
    return None


def _mtime(info: tarfile.TarInfo) -> int | None:
    """Modification time in nanoseconds; None for one that is no number."""
    return round(info.mtime * 1_000_000_000) if math.isfinite(info.mtime) else None
