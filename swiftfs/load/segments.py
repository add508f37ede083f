"""How a large object is cut and what its segments are called. Pure.

A segment's name holds its object's name, the segment size, its number and the MD5 of its bytes; the number counts
segments of that size from the object's beginning. So a name never stands for two contents: a replaced object shares no
segment with the old one but those that are equal, an interrupted upload's segments are found again by name, and what is
not named by the present manifest is an orphan.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from swiftfs.model import SEGMENTS_PREFIX, SEGMENTS_SUFFIX, ByteRange, Limits, ListingEntry, Segment

MIB = 1 << 20
SMALLEST_SEGMENT = MIB
"""Bytes: Swift limits the rate of reading manifests whose segments are smaller (``rate_limit_under_size``)."""
LEAST_SEGMENT = 8 * MIB
"""Bytes of a segment chosen here, at the least: below, the cost of a request shows beside that of its bytes."""
LARGEST_SEGMENT = 1 << 30
"""Bytes of a segment chosen here, as long as the server's limit of segments allows it: what a failed PUT costs."""
PARTS = 64
"""Segments a file is cut into where the sizes above allow it: a kill costs the four in flight, a sixteenth at most."""
COARSE_SEGMENT = 32 * MIB
"""Bytes of the segments of a file's first three quarters where those chosen are smaller: a Swift takes longer for a
request than for 8 MiB, and a kill that costs a little more costs less there, for less has been sent."""
LONGEST_KEY = 900
"""Bytes of an object's name that is used as it is: its segments' names add at most 78 to it, and 1,024 are allowed."""

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*\Z")
_TAIL = re.compile(r"(\d{1,15})/(\d{8})-([0-9a-f]{32})\Z")


@dataclass(frozen=True, slots=True)
class LargePolicy:
    """When and how objects are cut, as the user and the remote's configuration have it.

    ``cutoff`` bytes and more are sent in segments, ``streams`` of an object at once. ``segment_size`` None chooses one
    by the object's size, at most ``chunk_size`` where that is enough. ``in_container`` keeps segments beside their
    objects below ``.file-segments/`` instead of in ``<container>_segments``. ``forbidden``: no large objects at all.
    """

    cutoff: int = 256 * MIB
    streams: int = 4
    segment_size: int | None = None
    chunk_size: int = LARGEST_SEGMENT
    in_container: bool = False
    forbidden: bool = False

    def cuts(self, size: int, limits: Limits) -> bool:
        """Whether an object of ``size`` bytes is sent in segments."""
        return not self.forbidden and size > 0 and (size >= self.cutoff or size > limits.max_file_size)

    def home(self, container: str) -> str:
        """The container of the segments of ``container``'s objects."""
        return container if self.in_container else container + SEGMENTS_SUFFIX

    def prefix(self, name: str) -> str:
        """What the names of all segments of object ``name`` begin with; ``segment_of`` tells them from others'."""
        return f"{SEGMENTS_PREFIX if self.in_container else ''}{_key(name)}/slo/"


@dataclass(frozen=True, slots=True)
class SegmentName:
    """What the name of a segment says, and the name."""

    text: str
    segment_size: int
    number: int
    md5: str


def choose_segment_size(size: int, policy: LargePolicy, limits: Limits) -> int:
    """Bytes of each segment but the last, in whole MiB where the server takes as much.

    What the user asked for is raised when the server's limit of segments needs it, and lowered to the largest object
    it takes: then the manifest may be refused, which no size can mend.
    """
    needed = _whole(-(-size // limits.max_segments))
    if policy.segment_size is not None:
        wanted = max(policy.segment_size, SMALLEST_SEGMENT)
    else:
        most = max(SMALLEST_SEGMENT, min(policy.chunk_size, LARGEST_SEGMENT))
        wanted = min(max(_whole(-(-size // PARTS)), LEAST_SEGMENT), most)
    return min(max(wanted, needed), limits.max_file_size)


@dataclass(frozen=True, slots=True)
class Cut:
    """How an object is cut: up to byte ``until`` into segments of ``coarse`` bytes, from there into those of ``fine``.

    Each begins at a multiple of its own size.
    """

    fine: int
    coarse: int = 0
    until: int = 0

    def count(self, size: int) -> int:
        """How many segments an object of ``size`` bytes has."""
        return sum(map(len, self._steps(size)))

    def spans(self, size: int) -> list[ByteRange]:
        """The segments of an object of ``size`` bytes."""
        return [ByteRange(start, min(start + step.step, size)) for step in self._steps(size) for start in step]

    def _steps(self, size: int) -> tuple[range, range]:
        return range(0, self.until, self.coarse or 1), range(self.until, size, self.fine)

    def place(self, start: int) -> Place:
        """Of the segment that begins at byte ``start``."""
        size = self.coarse if start < self.until else self.fine
        return size, start // size


Place = tuple[int, int]
"""A segment's size, which the last one of an object need not fill, and its number among those of that size."""


def choose_cut(size: int, policy: LargePolicy, limits: Limits) -> Cut:
    """How an object of ``size`` bytes is cut; evenly where the user asked for a size."""
    fine = choose_segment_size(size, policy, limits)
    if policy.segment_size is not None:
        return Cut(fine)
    return taper(size, fine, min(COARSE_SEGMENT, policy.chunk_size, limits.max_file_size))


def taper(size: int, fine: int, most: int) -> Cut:
    """Three quarters of ``size`` bytes in segments of at most ``most``, the rest in ``fine`` ones."""
    coarse = most // fine * fine
    return Cut(fine, coarse, size * 3 // 4 // coarse * coarse) if coarse > fine else Cut(fine)


def own_cuts(size: int, segment_sizes: Iterable[int]) -> list[Cut]:
    """The ways in which an object of ``size`` bytes may have been cut here, when its segments have these sizes."""
    ascending = sorted({one for one in segment_sizes if one})
    pairs = itertools.combinations(ascending, 2)
    return [*(taper(size, one, other) for one, other in pairs if not other % one), *map(Cut, ascending)]


def places(sizes: Sequence[int]) -> list[Place | None]:
    """Where the consecutive parts of these sizes lie among segments of their own size; None of one between two."""
    found: list[Place | None] = []
    start = 0
    for number, size in enumerate(sizes):
        before = sizes[number - 1] if 0 < number == len(sizes) - 1 else 0
        # The last one is as a rule shorter than its kind.
        whole = before if before and size <= before and not start % before else size
        found.append(None if not whole or start % whole else (whole, start // whole))
        start += size
    return found


def name_segment(prefix: str, place: Place, md5: str) -> str:
    """The name of the segment at ``place`` under :meth:`LargePolicy.prefix`."""
    segment_size, number = place
    return f"{prefix}{segment_size}/{number:08d}-{md5}"


def segment_of(prefix: str, name: str) -> SegmentName | None:
    """What ``name`` says when it is a segment under ``prefix``; None when it is somebody else's object."""
    match = _TAIL.match(name, len(prefix)) if name.startswith(prefix) else None
    return None if match is None else SegmentName(name, int(match[1]), int(match[2]), match[3])


def large_etag(md5s: Iterable[str]) -> str:
    """The ETag of an SLO or DLO: the MD5 of its segments' MD5s in hexadecimal, one after the other."""
    return hashlib.md5("".join(md5s).encode(), usedforsecurity=False).hexdigest()


def proven_groups(home: str, entries: Iterable[ListingEntry], size: int, etag: str) -> tuple[Segment, ...] | None:
    """The segments of another client's large object, found among ``entries`` of container ``home``.

    Clients put the segments of one upload into one directory, in order. Those whose sizes and MD5s add up to the
    object's ``size`` and ``etag`` are its segments: the ETag proves it.
    """
    directories: dict[str, list[Segment]] = {}
    for entry in entries:
        directories.setdefault(entry.name.rpartition("/")[0], []).append(
            Segment(home, entry.name, entry.size, entry.etag)
        )
    for group in directories.values():
        if sum(one.size for one in group) == size and large_etag(one.md5 for one in group) == etag:
            return tuple(group)
    return None


def proven_own(
    home: str, own: Iterable[tuple[SegmentName, ListingEntry]], size: int, etag: str
) -> tuple[Segment, ...] | None:
    """The segments of an object that was cut here, found among ``own`` as :func:`proven_groups` does."""
    at: dict[Place, Segment] = {}
    for name, entry in own:
        at[name.segment_size, name.number] = Segment(home, entry.name, entry.size, entry.etag)
    for cut in own_cuts(size, (segment_size for segment_size, _ in at)):
        if cut.count(size) > len(at):
            continue
        group = [at.get(cut.place(span.start)) for span in cut.spans(size)]
        found = tuple(one for one in group if one is not None)
        if len(found) == len(group) and sum(lengths(found)) == size and large_etag(one.md5 for one in found) == etag:
            return found
    return None


def lengths(segments: Sequence[Segment]) -> tuple[int, ...]:
    """The bytes of each segment, in order."""
    return tuple(one.size for one in segments)


def _whole(size: int) -> int:
    return -(-size // MIB) * MIB


def _key(name: str) -> str:
    """An object's name for use in its segments' names.

    Servers differ in whether they unquote the paths of a manifest, so other than plain characters are not used there;
    nor is a name that would leave no place for the rest. Those are named by their digest, which no plain name is like.
    """
    if len(name) <= LONGEST_KEY and _PLAIN.match(name):
        return name
    return "~" + hashlib.sha256(name.encode()).hexdigest()
