"""A tar or zip at a URL as a source that is gone through once: members are judged, read and sent as they come by.

Nothing is known beforehand, so what a local archive refuses before anything is sent is refused here when it comes: a
second member for one target, or one with a target below another's, one beside the top-level directory that is left out,
damage at the end, and what only the central directory of a zip says against a member.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from swiftfs.errors import Interrupted, UsageError, printable
from swiftfs.load.archive import MAGIC, ArchiveError, DirectoryMember, RefusedMember, kind_of
from swiftfs.load.archive_source import BATCH, BATCH_MEMBERS
from swiftfs.load.held import HELD, HeldObject
from swiftfs.load.member import Limits, placed, strip_count
from swiftfs.load.passing import UNSIZED, Growing, PassingObject
from swiftfs.load.plan import OWN_PLACE, refusal
from swiftfs.load.source import Refused
from swiftfs.load.tarfiles import TarArchive, decompressed
from swiftfs.load.transform import parents
from swiftfs.load.zipstream import DisownedMember, ZipStream
from swiftfs.model import in_dataset

if TYPE_CHECKING:
    from swiftfs.load.filters import Filters
    from swiftfs.load.tarfiles import TarMember
    from swiftfs.load.transform import Rules
    from swiftfs.load.url_stream import StreamFile
    from swiftfs.load.zipstream import ZipStreamMember

    Streamed = TarMember | ZipStreamMember
    Found = Streamed | RefusedMember | DirectoryMember | DisownedMember


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Naming:
    """How members become names: arguments as for ``ArchiveSource``."""

    prefix: str = ""
    strip: int | None = None
    called: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """An object that was handed out and must not be one after all, and why."""

    name: str
    reason: str


def _taken(growing: Growing, most: int) -> HeldObject | PassingObject | Refused | None:
    """What has become of a member of which ``most`` bytes may be held; None when there is more of it than that."""
    try:
        if not growing.fill(most):
            return PassingObject(growing.name, growing.mtime, None, growing) if growing.size > UNSIZED else None
    except ArchiveError as error:
        growing.close()
        return Refused(growing.name, error.message)
    held = growing.held()
    growing.close()
    return held


class StreamSource:
    """The archive in ``stream``; ``shown`` names it in messages."""

    def __init__(self, stream: StreamFile, shown: str, naming: Naming, limits: Limits | None = None) -> None:
        self._stream = stream
        self._shown = shown
        self._naming = naming
        self._limits = limits or Limits()
        self._strip = naming.strip
        self._top: str | None = None
        self._targets: set[str] = set()
        self._above: Counter[str] = Counter()
        self._accepted: dict[int, str] = {}
        self._members: Iterator[tuple[int, Found]] | None = None
        self._waiting: tuple[int, Streamed] | None = None
        self._growing: tuple[int, Growing] | None = None
        self._lock = threading.Lock()
        self._halted = threading.Event()

    @property
    def wanted(self) -> int:
        """Bytes of memory that the next batch may need."""
        if self._growing is not None:
            return max(BATCH, min(UNSIZED, 2 * self._growing[1].size))
        return max(BATCH, (self._waiting[1].size or 0) if self._waiting is not None else 0)

    def scan(self, halted: threading.Event | None = None) -> Iterator[Refused]:
        """Nothing: what is in a stream is known when it has gone by. Raises as :meth:`batch` when it is no archive."""
        self._begun()
        return iter(())

    def halt(self) -> None:
        """End what is read in a thread."""
        self._halted.set()

    def batch(
        self, allowance: int, rules: Rules | None, filters: Filters
    ) -> list[HeldObject | PassingObject | Refused | Withdrawn] | None:
        """The next members, of ``allowance`` bytes in memory together; None at the archive's end. Blocks.

        ``filters`` are asked of a member's name as ``rules`` take it, and what they leave out is passed over. A passing
        object is the last of its batch, and is to be done with before the next batch. Raises ArchiveError for damage,
        UsageError for what is no archive, and as ``StreamFile.read``.
        """
        with self._lock:
            members = self._begun()
            results: list[HeldObject | PassingObject | Refused | Withdrawn] = []
            left = allowance
            while len(results) < BATCH_MEMBERS:
                if self._halted.is_set():
                    raise Interrupted("stopped while the archive was read")
                if self._growing is None:
                    if (found := self._waiting or next(members, None)) is None:
                        return results or None
                    self._waiting = None
                    judged = self._judged(*found, left, rules, filters)
                    if isinstance(judged, Growing):
                        self._growing = found[0], judged
                    elif judged is not None:
                        results.append(judged)
                    if isinstance(judged, PassingObject) or self._waiting is not None:
                        return results
                if self._growing is not None:
                    number, growing = self._growing
                    one = _taken(growing, left)
                    if one is None:
                        return results  # it goes on in the next batch
                    self._growing = None
                    if (one := self._fitting(number, one, filters)) is None:
                        continue
                    results.append(one)
                    if isinstance(one, PassingObject):
                        return results
                    left -= growing.size
            return results

    def _begun(self) -> Iterator[tuple[int, Found]]:
        if self._members is None:
            self._members = enumerate(self._opened().members())
        return self._members

    def _fitting(
        self, number: int, one: HeldObject | PassingObject | Refused, filters: Filters
    ) -> HeldObject | PassingObject | Refused | None:
        """What the limits of size make of a member whose size showed on the way; None: it is left out."""
        if isinstance(one, Refused) or not filters.sized:
            return one
        if isinstance(one, PassingObject):
            above = filters.max_size is not None and one.size > filters.max_size
            if not above and (filters.max_size is not None or not filters.fits(one.size)):
                one.close()
                return Refused(one.name, "shows its size only at its end, too late for --min-size and --max-size")
        if filters.fits(one.size):
            return one
        if isinstance(one, PassingObject):
            one.close()
        target = self._accepted.pop(number)
        self._targets.discard(target)
        self._above.subtract(parents(target))
        return None

    def _judged(
        self, number: int, member: Found, left: int, rules: Rules | None, filters: Filters
    ) -> Growing | PassingObject | Refused | Withdrawn | None:
        """What becomes of the next member; None for nothing, or when it waits for more than ``left`` bytes."""
        if isinstance(member, DirectoryMember):
            return None
        if isinstance(member, RefusedMember):
            # Its name decides nothing of the others', as that of a local archive's does not.
            strip = strip_count([member.name], self._naming.called) if self._strip is None else self._strip
            return Refused(member.name, member.reason) if filters.keeps(placed(member.name, strip)[0]) else None
        if isinstance(member, DisownedMember):
            target = self._accepted.get(member.number)
            # None: it was refused when it came.
            return None if target is None else Withdrawn(self._naming.prefix + target, member.reason)
        path, reason = self._path(member.name)
        if not filters.keeps(path, member.size):
            return None
        if member.size is not None and left < member.size <= HELD:
            self._waiting = number, member
            return None
        name, reason = (path, reason) if reason else self._named(number, path, member.size or 0, rules)
        if reason is not None:
            return Refused(member.name, reason)
        if not in_dataset(name, self._naming.prefix):
            log.warning("left out: %s: %s", printable(member.name), OWN_PLACE)
            del self._accepted[number]
            return None
        growing = Growing(name, member, self._halted)
        if member.size is not None and member.size > HELD:
            return PassingObject(name, member.mtime, member.size, growing)
        return growing

    def _opened(self) -> TarArchive | ZipStream:
        head = b""
        while len(head) < MAGIC and (piece := self._stream.read(MAGIC - len(head))):
            head += piece
        self._stream.unread(head)
        kind = kind_of(head, "")
        if kind is None:
            raise UsageError(f"{self._shown} is neither a zip nor a tar archive")
        if kind == "zip":
            return ZipStream(self._stream, self._shown, self._limits)
        stream = decompressed(cast("BinaryIO", self._stream), kind)
        return TarArchive(stream, self._shown, self._limits, proven_at_end=bool(kind))

    def _path(self, member: str) -> tuple[str, str | None]:
        """A member's name in the dataset, before any rules, and why it can have none."""
        if self._strip is None:
            self._strip = strip_count([member], self._naming.called)
            self._top = member.partition("/")[0] if self._strip else None
        path, reason = placed(member, self._strip)
        if self._top is not None and member.partition("/")[0] != self._top:
            reason = f"lies beside {self._top}/, which is left out of the names before it (use --strip-components)"
        return path, reason

    def _named(self, number: int, path: str, size: int, rules: Rules | None) -> tuple[str, str | None]:
        """The object's name of a member called ``path``, and why it can have none."""
        if rules is not None:
            path = rules.target(path)
            if self._above[path] > 0:
                return path, f"would become {path}, below which there is a member before it"
            if file := next((one for one in parents(path) if one in self._targets), None):
                return path, f"would go below {file}, where a member before it is a file"
        if path in self._targets:
            return path, "has the name of a member before it"
        self._targets.add(path)
        self._above.update(parents(path))
        self._accepted[number] = path
        return self._naming.prefix + path, refusal(self._naming.prefix + path, size)
