"""A tar at a URL as a source that is gone through once: members are judged, read and sent as they come by.

Nothing is known beforehand, so what a local archive refuses before anything is sent is refused here when it comes: a
second member for one target, one beside the top-level directory that is left out, damage at the end.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from swiftfs.errors import Interrupted, UsageError
from swiftfs.load.archive import MAGIC, ArchiveError, DirectoryMember, RefusedMember, kind_of
from swiftfs.load.archive_source import BATCH, pieces
from swiftfs.load.held import HELD, HeldObject
from swiftfs.load.member import Limits, placed, strip_count
from swiftfs.load.plan import refusal
from swiftfs.load.source import Refused
from swiftfs.load.tarfiles import TarArchive, decompressed

if TYPE_CHECKING:
    from swiftfs.load.tarfiles import TarMember
    from swiftfs.load.transform import Rules
    from swiftfs.load.url_stream import StreamFile


@dataclass(frozen=True, slots=True)
class Naming:
    """How members become names: arguments as for ``ArchiveSource``."""

    prefix: str = ""
    strip: int | None = None
    called: Collection[str] = ()


class StreamSource:
    """The tar in ``stream``; ``shown`` names it in messages."""

    def __init__(self, stream: StreamFile, shown: str, naming: Naming, limits: Limits | None = None) -> None:
        self._stream = stream
        self._shown = shown
        self._naming = naming
        self._limits = limits or Limits()
        self._strip = naming.strip
        self._top: str | None = None
        self._seen: set[str] = set()
        self._members: Iterator[TarMember | RefusedMember | DirectoryMember] | None = None
        self._waiting: TarMember | None = None
        self._lock = threading.Lock()
        self._halted = threading.Event()

    @property
    def wanted(self) -> int:
        """Bytes of memory that the next batch may need."""
        return max(BATCH, self._waiting.size if self._waiting is not None else 0)

    def scan(self) -> Iterator[Refused]:
        """Nothing: what is in a stream is known when it has gone by."""
        return iter(())

    def halt(self) -> None:
        """End what is read in a thread."""
        self._halted.set()

    def batch(self, allowance: int, rules: Rules | None) -> list[HeldObject | Refused] | None:
        """The next members, of ``allowance`` bytes together; None at the archive's end. Blocks.

        Raises ArchiveError for damage, UsageError for what is no tar, and as ``StreamFile.read``.
        """
        with self._lock:
            if self._members is None:
                self._members = self._opened().members()
            results: list[HeldObject | Refused] = []
            left = allowance
            while len(results) < 64:
                if self._halted.is_set():
                    raise Interrupted("stopped while the archive was read")
                member = self._waiting or next(self._members, None)
                self._waiting = None
                if member is None:
                    return results or None
                if isinstance(member, DirectoryMember):
                    continue
                if isinstance(member, RefusedMember):
                    results.append(Refused(member.name, member.reason))
                    continue
                if left < member.size <= HELD:
                    self._waiting = member
                    return results
                name, reason = self._named(member.name, member.size, rules)
                if reason is not None:
                    results.append(Refused(member.name, reason))
                    continue
                try:
                    with member.open() as stream:
                        results.append(HeldObject(name, member.mtime, pieces(stream)))
                except ArchiveError as error:
                    results.append(Refused(member.name, error.message))
                left -= member.size
            return results

    def _opened(self) -> TarArchive:
        head = b""
        while len(head) < MAGIC and (piece := self._stream.read(MAGIC - len(head))):
            head += piece
        self._stream.unread(head)
        kind = kind_of(head, "")
        if kind is None or kind == "zip":
            what = "a zip, but its server answers no ranges" if kind else "neither a zip nor a tar archive"
            hint = "fetch and unpack it with `swiftfs extract`, then load the directory" if kind else None
            raise UsageError(f"{self._shown} is {what}", hint=hint)
        stream = decompressed(cast("BinaryIO", self._stream), kind)
        return TarArchive(stream, self._shown, self._limits, proven_at_end=bool(kind))

    def _named(self, member: str, size: int, rules: Rules | None) -> tuple[str, str | None]:
        """A member's object name, and why it can have none."""
        if self._strip is None:
            self._strip = strip_count([member], self._naming.called)
            self._top = member.partition("/")[0] if self._strip else None
        path, reason = placed(member, self._strip)
        if self._top is not None and member.partition("/")[0] != self._top:
            reason = f"lies beside {self._top}/, which is left out of the names before it (use --strip-components)"
        if size > HELD:
            reason = reason or f"has {size:,} bytes, more than the {HELD:,} that are sent from a URL without staging"
        if reason is not None:
            return path, reason
        if rules is not None:
            path = rules.target(path)
        if path in self._seen:
            return path, "has the name of a member before it"
        self._seen.add(path)
        return self._naming.prefix + path, refusal(self._naming.prefix + path, size)
