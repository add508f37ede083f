"""Plain values that every room speaks: ranges, listing entries, object versions.

No I/O here. Sizes are bytes, times are integer nanoseconds since the epoch unless a name says otherwise, ETags are
bare lower-case hexadecimal without quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

import msgspec

EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"
"""MD5 of no bytes: what a listing shows for a DLO on Swift and for any large object on Ceph RGW."""

DIRECTORY_CONTENT_TYPES = frozenset({"application/directory", "httpd/unix-directory"})
"""Content types by which other tools mark an object as a directory."""

MD5 = re.compile(r"[0-9a-f]{32}")
"""What an ETag looks like that is the MD5 of the object's bytes."""

INTERNAL_PREFIX = ".swiftfs/"
"""Objects below this prefix are ours (dataset manifests), not part of the dataset."""

SEGMENTS_SUFFIX = "_segments"
"""Containers that other clients keep their segments in end so."""

SEGMENTS_PREFIX = ".file-segments/"
"""Segments that are kept in the container of their object lie below this prefix, as rclone keeps them."""

LARGEST = 2**63 - 1
"""The largest size and the latest time that can be kept: SQLite has 63 bits for a number."""


def kept_time(moment: float) -> int:
    """``moment``, or the nearest one that can be kept, of the years from 1677 to 2262: a date that is beyond them is
    nonsense of a client, and no reason not to show its file."""
    return round(moment if -LARGEST <= moment <= LARGEST else max(-LARGEST, min(moment, LARGEST)))


def in_dataset(name: str, prefix: str) -> bool:
    """Whether an object of this name belongs to the dataset at ``prefix``; a mount of it shows no other."""
    outside = (INTERNAL_PREFIX, SEGMENTS_PREFIX)
    return not name.startswith(outside) and not name.removeprefix(prefix).startswith(outside)


def is_segment_place(container: str, name: str) -> bool:
    """Whether clients keep segments there. Only such an object goes when the large object that names it goes: elsewhere
    it may be an object of its own, of which somebody has made a larger one."""
    return container.endswith(SEGMENTS_SUFFIX) or name.startswith(SEGMENTS_PREFIX)


def is_md5(etag: str) -> bool:
    """Whether the ETag of a plain object is the MD5 of its bytes. One that was sent in parts through the S3 API of the
    same store (Ceph RGW) has the MD5 of the parts' MD5s and their number: ``…-2``."""
    return MD5.fullmatch(etag) is not None


@dataclass(frozen=True, slots=True, order=True)
class ByteRange:
    """Half-open range ``[start, stop)`` of bytes; only ``swift.wire`` knows HTTP's inclusive end."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"not a range: [{self.start}, {self.stop})")

    def __len__(self) -> int:
        return self.stop - self.start


class Kind(IntEnum):
    """How an object is stored. The numbers are written to the index: never renumber them."""

    PLAIN = 0
    SLO = 1
    DLO = 2


class ListingEntry(msgspec.Struct, frozen=True, gc=False):
    """One object of a container listing, as the listing tells it.

    ``etag`` is the listing's ``hash``; of a large object it is not the object's ETag. ``slo_etag`` is None unless the
    server says that the object is an SLO. ``last_modified`` is in nanoseconds. ``content_type`` is None when the
    server does not say.

    Not a dataclass: there are as many as objects, and one is made in a fifth of the time so.
    """

    name: str
    size: int
    etag: str
    last_modified: int
    content_type: str | None = None
    slo_etag: str | None = None

    @property
    def is_directory_marker(self) -> bool:
        """Whether the entry stands for a directory and not for a file."""
        return self.name.endswith("/") or (self.size == 0 and self.content_type in DIRECTORY_CONTENT_TYPES)

    @property
    def may_be_large(self) -> bool:
        """Whether only a HEAD can tell the object's true size and ETag (see docs/SEMANTICS.md, large objects)."""
        return (self.etag == EMPTY_MD5 or self.slo_etag is not None) and not self.is_directory_marker


@dataclass(frozen=True, slots=True)
class Subdir:
    """One pseudo-directory of a listing with a delimiter; ``name`` ends with the delimiter."""

    name: str


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a HEAD or GET says of one object.

    ``etag`` of an SLO is the MD5 of its segments' ETags. ``mtime`` is ``X-Object-Meta-Mtime`` and None where the
    object has none. ``last_modified`` has whole seconds only, for headers carry no more. ``manifest`` is where a DLO's
    segments are, ``container/prefix`` unquoted, and None for all others. ``is_link``: all of this is said of another
    object, to which this one is a symbolic link; it has no segments of its own.
    """

    name: str
    size: int
    etag: str
    last_modified: int
    kind: Kind
    content_type: str | None = None
    mtime: int | None = None
    manifest: str | None = None
    is_link: bool = False


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of one object: what a GET is pinned to and what a cached chunk belongs to.

    For large objects ``last_modified`` pins (``If-Unmodified-Since``), for plain ones ``etag`` does (``If-Match``).
    """

    name: str
    size: int
    etag: str
    last_modified: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class ContainerInfo:
    """One container: its name, how many objects it holds and how many bytes they have."""

    name: str
    count: int
    size: int
    last_modified: int | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a large object: where it is, its bytes and their MD5."""

    container: str
    name: str
    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class Part:
    """An object that the manifest of an SLO names, in whole or in part; ``is_manifest`` is an SLO itself, which the
    larger one has in it."""

    container: str
    name: str
    is_manifest: bool = False

    @property
    def is_segment(self) -> bool:
        """Whether it can only be a segment."""
        return is_segment_place(self.container, self.name)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes: bytes of one PUT, and segments of one manifest. The defaults are Swift's and Ceph RGW's."""

    max_file_size: int = 5 * 1024**3
    max_segments: int = 1000
