"""A local archive as a source: its members as objects, read from the archive when they are sent, never staged.

The archive is gone through once to learn and judge every name and, of a compressed tar, its checksum; nothing is sent
of one that is damaged. Then members are read in batches in the archive's order: of a zip any of them, of a tar from
front to back. Those too large for a batch are opened by themselves, by a pass that goes on from one to the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from swiftfs.errors import Changed, Interrupted, LocalFileError, NotFound, SwiftFSError, printable
from swiftfs.load.archive import ArchiveError, DirectoryMember, Member, MemberReader, RefusedMember, open_archive
from swiftfs.load.held import HeldObject
from swiftfs.load.member import Limits, placed, strip_count
from swiftfs.load.plan import refusal
from swiftfs.load.source import Omitted, OpenedSource, Refused, SourceObject, os_reason

BATCH = 2 * 1024 * 1024
"""Bytes of members read in one call of a thread: images are small, and a switch for each would cost more than it."""
BATCH_MEMBERS = 64
"""Members read in one call: of tiny ones the bytes alone would make a batch that transfers wait for."""
PIECE = 1024 * 1024
"""Bytes decompressed at once."""
ZIPS_APART = 4
"""Members of a zip that are open by themselves at once: so many inflate faster than a network takes it, and each reads
the directory."""

T = TypeVar("T")


class Opener(Protocol):
    """What opens one of its members for those that are too large to be held."""

    def open_member(self, source: ArchiveObject, /) -> OpenedSource:
        """The member from its first byte. Raises ArchiveError, Changed."""


@dataclass(frozen=True, slots=True)
class ArchiveObject:
    """A member as an object; ``number`` is its place among all of the archive's members."""

    name: str
    size: int
    mtime: int | None
    number: int
    source: Opener

    def open(self) -> OpenedSource:
        """The member from its first byte; of a tar the archive is read up to it. Raises ArchiveError, Changed."""
        return self.source.open_member(self)


@dataclass(frozen=True, slots=True)
class Batch:
    """Objects that are read at once, and the bytes of memory that reading them takes."""

    objects: tuple[SourceObject, ...]
    cost: int


@dataclass(frozen=True, slots=True)
class Unread:
    """An object whose bytes could not be had, and why."""

    source: SourceObject
    error: SwiftFSError


@runtime_checkable
class MemberSource(Protocol):
    """A source whose objects are best read in its own order, ``parallel`` batches at once.

    ``apart`` objects may be open by themselves at once; it is known when the source was scanned.
    """

    @property
    def parallel(self) -> int: ...

    @property
    def apart(self) -> int: ...

    def scan(self, halted: threading.Event | None = None) -> Iterator[SourceObject | Refused | Omitted]: ...

    def batches(self, objects: Sequence[SourceObject]) -> Iterator[Batch]:
        """Some of the scanned objects, under whatever name, in the order in which they are to be read."""

    async def read(self, batch: Batch) -> list[HeldObject | Unread]:
        """A batch's objects in memory. Raises ArchiveError, Changed, … when the others cannot be read either."""


class ArchiveSource:
    """The members of the archive at ``path``; their objects get ``prefix`` in front of their names.

    ``strip`` leading components are left out; None leaves out the common top-level directory when its name is in
    ``called``. Close it at the end.
    """

    parallel = 1
    apart = 1

    def __init__(
        self,
        path: str,
        prefix: str = "",
        *,
        strip: int | None = None,
        called: Collection[str] = (),
        limits: Limits | None = None,
    ) -> None:
        self._path = path
        self._prefix = prefix
        self._strip = strip
        self._called = called
        self._limits = limits or Limits()
        self._identity: tuple[int, int] | None = None
        self._idle: list[_Pass] = []
        self._halted = threading.Event()
        self._lock = threading.Lock()

    def close(self) -> None:
        """End what is read in a thread, and close the archive when nothing is read of it any more."""
        self._halted.set()
        with self._lock:
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()

    def scan(self, halted: threading.Event | None = None) -> Iterator[ArchiveObject | Refused]:
        """Every member in the archive's order. Raises as ``open_archive``, also for damage in the middle."""
        halted = self._halted if halted is None else halted
        self._identity = _identity(self._path)
        with open_archive(self._path, self._limits, halted) as archive:
            # A pass through a compressed tar takes the memory of its dictionary, and time from the first byte on.
            self.apart = 1 if archive.in_order else ZIPS_APART
            claims = [Claim.of(number, member) for number, member in enumerate(_going(archive.members(), halted))]
        self.unchanged()
        yield from as_objects(claims, self._prefix, self._strip, self._called, self)

    def batches(self, objects: Sequence[SourceObject]) -> Iterator[Batch]:
        """Neighbours together."""
        together: list[SourceObject] = []
        size = 0
        for one in objects:
            if together and (size + one.size > BATCH or len(together) == BATCH_MEMBERS):
                yield Batch(tuple(together), size)
                together, size = [], 0
            together.append(one)
            size += one.size
        if together:
            yield Batch(tuple(together), size)

    async def read(self, batch: Batch) -> list[HeldObject | Unread]:
        """A batch's objects in memory. Raises ArchiveError, Changed, LocalFileError."""
        return await asyncio.to_thread(self._read, batch)

    def open_member(self, source: ArchiveObject) -> OpenedMember:
        """One member by a pass that nothing else uses until it is closed, for those that are too large to be held."""
        one = self._pass_to(source.number)
        try:
            return OpenedMember(self, one, one.to(source.number))
        except BaseException:
            one.close()
            raise

    def give_back(self, one: _Pass) -> None:
        """Keep the pass for a member behind those that it has gone by."""
        with self._lock:
            if not self._halted.is_set():
                self._idle.append(one)
                return
        one.close()

    def _pass_to(self, number: int) -> _Pass:
        """A pass that has not gone by this member: one that is idle, or a new one, which takes the place of those."""
        with self._lock:
            if self._halted.is_set():
                raise Interrupted("stopped while the archive was read")
            for one in self._idle:
                if one.next <= number:
                    self._idle.remove(one)
                    return one
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()
        return _Pass(self._path, self._limits, self._halted)

    def unchanged(self) -> None:
        """Raise Changed unless the archive is the file that was scanned."""
        if _identity(self._path) != self._identity:
            raise Changed(f"{printable(self._path)} changed while it was read")

    def _read(self, batch: Batch) -> list[HeldObject | Unread]:
        results: list[HeldObject | Unread] = []
        one = self._pass_to(_number(batch.objects[0]))
        try:
            for source in batch.objects:
                member = one.to(_number(source))
                try:
                    with member.open() as stream:
                        held = HeldObject(source.name, source.mtime, _going(pieces(stream), self._halted))
                except ArchiveError as error:
                    results.append(Unread(source, error))
                else:
                    results.append(held)
        finally:
            self.give_back(one)
        self.unchanged()
        return results


class OpenedMember:
    """One reading of a member from a pass that is its own until then; see ``source.OpenedSource``."""

    def __init__(self, source: ArchiveSource, archive: _Pass, member: Member) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._opened = contextlib.ExitStack()
        self._opened.callback(source.give_back, archive)
        self._stream = self._opened.enter_context(member.open())

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes. Raises ArchiveError."""
        with self._lock:
            return self._stream.read(size)

    def settle(self) -> None:
        """Raise Changed unless the archive is the file that was scanned."""
        self._source.unchanged()

    def close(self) -> None:
        """Leave the archive to the members behind it."""
        with self._lock:
            self._opened.close()


class _Pass:
    """One way through the archive from front to back, member by member; ``next`` is the first that it can come to."""

    def __init__(self, path: str, limits: Limits, halted: threading.Event) -> None:
        self.next = 0
        self._opened = contextlib.ExitStack()
        self._members = enumerate(self._opened.enter_context(open_archive(path, limits, halted)).members())

    def to(self, number: int) -> Member:
        """The member of this number, which is behind the one before. Raises ArchiveError, Changed."""
        for found, member in self._members:
            self.next = found + 1
            if found == number and not isinstance(member, RefusedMember | DirectoryMember):
                return member
            if found >= number:
                break
        raise Changed("the archive changed while it was read")

    def close(self) -> None:
        """Close the archive."""
        self._opened.close()


@dataclass(frozen=True, slots=True)
class Claim:
    """What an archive says of one member; ``reason`` refuses it. A directory is None."""

    number: int
    name: str
    size: int = 0
    mtime: int | None = None
    reason: str | None = None

    @classmethod
    def of(cls, number: int, member: Member | RefusedMember | DirectoryMember) -> Claim | None:
        """What to remember of a member once the next one is asked for."""
        if isinstance(member, DirectoryMember):
            return None
        if isinstance(member, RefusedMember):
            return cls(number, member.name, reason=member.reason)
        return cls(number, member.name, member.size, member.mtime)


def as_objects(
    claims: Sequence[Claim | None], prefix: str, strip: int | None, called: Collection[str], source: Opener
) -> Iterator[ArchiveObject | Refused]:
    """Objects for the members that may be used, named as ``extract`` names files, and the others with the reason.

    ``strip`` and ``called`` as in :class:`ArchiveSource`. Pure.
    """
    files = [claim for claim in claims if claim is not None]
    if strip is None:
        strip = strip_count((claim.name for claim in files if claim.reason is None), called)
    seen: set[str] = set()
    for claim in files:
        path, reason = placed(claim.name, strip)
        reason = claim.reason or reason
        if reason is None and path in seen:
            reason = "has the name of a member before it"
        seen.add(path)
        reason = reason or refusal(prefix + path, claim.size)
        if reason is not None:
            yield Refused(path, reason)
        else:
            yield ArchiveObject(prefix + path, claim.size, claim.mtime, claim.number, source)


def _going(steps: Iterator[T], halted: threading.Event) -> Iterator[T]:
    for step in steps:
        if halted.is_set():
            raise Interrupted("stopped while the archive was read")
        yield step


def _number(source: SourceObject) -> int:
    assert isinstance(source, ArchiveObject)
    return source.number


def pieces(stream: MemberReader) -> Iterator[bytes]:
    """A member's bytes to its end, where its checksum is looked at. Raises ArchiveError."""
    while piece := stream.read(PIECE):
        yield piece


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise NotFound(f"archive not found: {printable(path)}") from None
    except OSError as error:
        raise LocalFileError(f"cannot read the archive {printable(path)}: {os_reason(error)}") from None
    return status.st_size, status.st_mtime_ns
