"""A zip at an http(s) URL as a source: read by its central directory, in parallel ranges, only the members wanted.

The end of the archive comes first, and its first bytes, for what comes last in a tar may be a zip too; then the rest
of the central directory, then the members in the archive's order, neighbours in one request. Each local header is
judged when its member is there, as it is of a local zip beforehand.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import threading
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

from swiftfs.errors import Truncated
from swiftfs.load.archive import MAGIC, ArchiveError, DirectoryMember, RefusedMember, kind_of
from swiftfs.load.archive_source import ArchiveObject, Batch, Claim, Unread, as_objects, pieces
from swiftfs.load.download import Pause, open_session, shown_url
from swiftfs.load.held import HeldObject
from swiftfs.load.member import Limits
from swiftfs.load.ranged import RangedURL, fetch_tail
from swiftfs.load.url_stream import StreamFile
from swiftfs.load.zipbodies import Input
from swiftfs.load.zipfiles import (
    LOCAL,
    ZipArchive,
    ZipMember,
    find_directory,
    header_lengths,
    header_mismatch,
    opened_zip,
    raw_name,
)

if TYPE_CHECKING:
    from swiftfs.load.archive import MemberReader
    from swiftfs.load.source import OpenedSource, Refused, SourceObject

TAIL = 256 * 1024
"""Bytes asked for first: the end record with the longest comment, and the directory of some 2,000 members."""
DIRECTORY = 1024 * 1024 * 1024
"""Bytes that a central directory may have; one of two million members with long names has half of it."""
REQUEST = 4 * 1024 * 1024
"""Bytes of members asked for at once: at 20 ms a request, a stream of 200 MB/s each; a break costs at most these."""
GAP = 64 * 1024
"""Unwanted bytes between two members that cost less than a request of their own."""
PARALLEL = 6
"""Requests at once: what browsers allow themselves towards one server."""
EXTRA = 65_535
"""Bytes that a local header's extra fields may have; the directory does not say how many there are."""


@contextlib.asynccontextmanager
async def opened_remote_zip(
    url: str,
    prefix: str,
    *,
    strip: int | None,
    called: Collection[str],
    sha256: str | None = None,
    limits: Limits | None = None,
    pause: Pause = asyncio.sleep,
) -> AsyncIterator[RemoteZipSource | None]:
    """The zip at ``url``; None when it is no zip or the server answers no ranges. Arguments as for
    ``ArchiveSource``.

    ``sha256`` must be the whole archive's: it is read once more for that, and not kept. Raises ArchiveError, Truncated
    and what ``RangedURL.fetch`` raises.
    """
    async with open_session() as session:
        tail = await fetch_tail(session, url, TAIL, pause=pause)
        if tail is None:
            yield None
            return
        remote = RangedURL(session, tail.known, pause=pause)
        end = Spans(tail.size)
        end.add(tail.start, tail.body)
        directory = find_directory(end.pread, tail.size)
        head = tail.body[:MAGIC] if not tail.start else b"".join(await remote.fetch(0, min(MAGIC, tail.size)))
        if not _is_zip(head, url, ends_as_zip=directory is not None):
            yield None
            return
        if sha256 is not None and (found := await remote.sha256()) != sha256:
            raise Truncated(f"{shown_url(url)} has the SHA-256 {found}, not {sha256}")
        if directory is not None and (start := directory.start) < tail.start:
            if tail.start - start > DIRECTORY:
                raise ArchiveError(f"{shown_url(url)} claims a central directory of {directory.size:,} bytes")
            end.add(start, b"".join(await remote.fetch(start, tail.start)) + tail.body)
        file = cast("IO[bytes]", io.BufferedReader(SpanFile(end)))
        with opened_zip(file, end.pread, tail.size, shown_url(url), limits or Limits(), headers=False) as archive:
            members = await asyncio.to_thread(lambda: list(archive.members()))
            end.clear()
            yield RemoteZipSource(remote, archive, members, prefix, strip, called)


def _is_zip(head: bytes, url: str, *, ends_as_zip: bool) -> bool:
    """Whether the first bytes are a zip's, or of no archive in front of one in a file that is called so. Pure.

    The end alone says nothing: what comes last in a tar may be a zip (``.npz``, ``.docx``), whose end is found then.
    """
    kind = kind_of(head, "")
    return kind == "zip" or (kind is None and ends_as_zip and urlsplit(url).path.lower().endswith(".zip"))


class RemoteZipSource:
    """The members of a remote zip; see ``archive_source.MemberSource``."""

    parallel = apart = PARALLEL

    def __init__(
        self,
        remote: RangedURL,
        archive: ZipArchive,
        members: Sequence[ZipMember | RefusedMember | DirectoryMember],
        prefix: str,
        strip: int | None,
        called: Collection[str],
    ) -> None:
        self._remote = remote
        self._members = members
        self._prefix = prefix
        self._strip = strip
        self._called = called
        self._loop = asyncio.get_running_loop()
        starts = sorted({one.info.header_offset for one in members if isinstance(one, ZipMember)})
        self._next = dict(itertools.pairwise([*starts, archive.directory]))

    def scan(self, halted: threading.Event | None = None) -> Iterator[ArchiveObject | Refused]:
        """Every member in the directory's order."""
        claims = [Claim.of(number, member) for number, member in enumerate(self._members)]
        yield from as_objects(claims, self._prefix, self._strip, self._called, self)

    def batches(self, objects: Sequence[SourceObject]) -> Iterator[Batch]:
        """Neighbours in the file together."""
        together: list[SourceObject] = []
        start = stop = size = 0
        for one in sorted(objects, key=lambda one: self._span(one)[0]):
            first, last = self._span(one)
            if together and (max(last - start, size + one.size) > REQUEST or first - stop > GAP):
                yield Batch(tuple(together), max(size, stop - start))
                together, size = [], 0
            if not together:
                start = first
            together.append(one)
            stop, size = last, size + one.size
        if together:
            yield Batch(tuple(together), max(size, stop - start))

    async def read(self, batch: Batch) -> list[HeldObject | Unread]:
        """A batch's members, fetched by one request. Raises as ``RangedURL.fetch``."""
        start, stop = self._span(batch.objects[0])[0], self._span(batch.objects[-1])[1]
        fetched = Fetched(start, await self._remote.fetch(start, stop))
        return await asyncio.to_thread(self._decoded, batch, fetched)

    def open_member(self, source: ArchiveObject) -> OpenedSource:
        """One member by requests of its own, for those that are too large to be held; blocks, so never in the loop."""
        return asyncio.run_coroutine_threadsafe(self._opened(source), self._loop).result()

    async def _opened(self, source: ArchiveObject) -> OpenedRemoteMember:
        start, stop = self._span(source)
        return OpenedRemoteMember(self._member(source), StreamFile(self._fetched(start, stop), ahead=1))

    async def _fetched(self, start: int, stop: int) -> AsyncIterator[bytes]:
        for first in range(start, stop, REQUEST):
            fetched = deque(await self._remote.fetch(first, min(first + REQUEST, stop)))
            while fetched:
                yield fetched.popleft()

    def _member(self, source: SourceObject) -> ZipMember:
        assert isinstance(source, ArchiveObject)
        member = self._members[source.number]
        assert isinstance(member, ZipMember)
        return member

    def _span(self, source: SourceObject) -> tuple[int, int]:
        """From a member's local header to the end of its bytes, as far as the directory tells."""
        info = self._member(source).info
        most = info.header_offset + LOCAL.size + len(raw_name(info)) + EXTRA + info.compress_size
        return info.header_offset, min(most, self._next[info.header_offset])

    def _decoded(self, batch: Batch, fetched: Fetched) -> list[HeldObject | Unread]:
        results: list[HeldObject | Unread] = []
        for source in batch.objects:
            member = self._member(source)
            try:
                fetched.skip_to(member.info.header_offset)
                with opened_at(member, fetched) as stream:
                    results.append(HeldObject(source.name, source.mtime, pieces(stream)))
            except ArchiveError as error:
                results.append(Unread(source, error))
        return results


class OpenedRemoteMember:
    """One reading of a member by requests of its own; see ``source.OpenedSource``."""

    def __init__(self, member: ZipMember, stream: StreamFile) -> None:
        self._member = member
        self._stream = stream
        self._opened = contextlib.ExitStack()
        self._reader: MemberReader | None = None

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes. Raises ArchiveError, and as ``RangedURL.fetch``."""
        if self._reader is None:
            self._reader = self._opened.enter_context(opened_at(self._member, Input(self._stream)))
        return self._reader.read(size)

    def settle(self) -> None:
        """Every answer was of one version."""

    def close(self) -> None:
        """End the fetching."""
        self._opened.close()
        self._stream.stop()


class Exact(Protocol):
    """A stream of bytes; see :class:`Fetched`."""

    def read(self, size: int, /) -> bytes: ...

    def upto(self, size: int) -> bytes: ...


@contextlib.contextmanager
def opened_at(member: ZipMember, stream: Exact) -> Iterator[MemberReader]:
    """The bytes of a member whose local header comes next. Raises ArchiveError, also for a wrong CRC."""
    head = stream.upto(LOCAL.size)
    name_length, extra_length = header_lengths(head) or (0, 0)
    reason = header_mismatch(head, stream.upto(name_length), member.info)
    if reason is not None:
        raise ArchiveError(reason)
    stream.upto(extra_length)
    with member.read_from(cast("IO[bytes]", stream)) as reader:
        yield reader


class Fetched:
    """Fetched bytes that are read once from front to back; what was read takes no memory."""

    def __init__(self, start: int, parts: Iterable[bytes]) -> None:
        self._position = start
        self._parts = deque(parts)
        self._used = 0

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes."""
        if not self._parts or not size:
            return b""
        part = self._parts[0]
        stop = len(part) if size < 0 else min(self._used + size, len(part))
        found = part[self._used : stop]
        self._used = stop
        if stop == len(part):
            self._parts.popleft()
            self._used = 0
        self._position += len(found)
        return found

    def upto(self, size: int) -> bytes:
        """``size`` bytes, fewer only at the end."""
        found = b""
        while len(found) < size and (piece := self.read(size - len(found))):
            found += piece
        return found

    def skip_to(self, offset: int) -> None:
        """Go forward to this offset of the whole file; one that is behind is an ArchiveError."""
        if offset < self._position:
            raise ArchiveError("shares bytes with another member, as only a zip bomb does")
        while self._position < offset and self.read(offset - self._position):
            pass


@dataclass(slots=True)
class Spans:
    """A file of ``size`` bytes of which only the last ones are known."""

    size: int
    start: int = 0
    body: bytes = b""

    def add(self, start: int, body: bytes) -> None:
        """What is known: the bytes from ``start`` to the end of the file."""
        self.start, self.body = start, body

    def clear(self) -> None:
        """Forget them."""
        self.start, self.body = self.size, b""

    def pread(self, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; none where nothing is known."""
        if offset < self.start:
            return b""
        return self.body[offset - self.start : offset - self.start + size]


class SpanFile(io.RawIOBase):
    """The same as a file, for the library that reads the central directory."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go there; before the beginning is an OSError, as in a file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._spans.size}[whence]
        if base + offset < 0:
            raise OSError("before the beginning")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: object, /) -> int:
        """Fill ``buffer`` with what is known there."""
        view = memoryview(cast("bytearray", buffer))
        found = self._spans.pread(len(view), self._position)
        view[: len(found)] = found
        self._position += len(found)
        return len(found)
