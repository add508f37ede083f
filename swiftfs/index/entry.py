"""The plain values of the index: entries, what a rebuild was given, and what it changed.

No I/O here. Names of entries are bytes without a slash; names of objects are str. Times are nanoseconds since the
epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from swiftfs.model import Kind, ListingEntry, ObjectInfo

ROOT_INO = 1
"""FUSE_ROOT_ID: the kernel asks for the root under this number."""


@dataclass(frozen=True, slots=True)
class Source:
    """What an index is an index of: the names below ``prefix`` (no slash at either end, '' for all) of a container.

    ``storage_url`` holds endpoint and account.
    """

    storage_url: str
    container: str
    prefix: str = ""

    @property
    def listing_prefix(self) -> str:
        """The prefix to list with: ends with a slash unless it is empty."""
        return f"{self.prefix}/" if self.prefix else ""


class Resolved(msgspec.Struct, frozen=True, gc=False):
    """One listing entry and, where one was made, what the HEAD of it said.

    ``info`` is None when the listing tells all, or when the index holds the answer of an earlier HEAD.
    """

    listed: ListingEntry
    info: ObjectInfo | None = None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One directory entry; its inode number stands for one version of one object, or for one directory.

    A directory's ``size`` and ``files`` count all files below it, ``subdirs`` only the directories directly in it, and
    its ``last_modified`` is that of the newest object below it. A file has ``files`` 1 and ``subdirs`` 0. The root has
    parent 0 and an empty name.

    Not a dataclass: one is made for every name that is listed, and that takes a fifth of the time so.
    """

    ino: int
    parent: int
    name: bytes
    is_dir: bool
    size: int
    etag: str
    last_modified: int
    kind: Kind
    files: int
    subdirs: int


@dataclass(frozen=True, slots=True)
class Change:
    """A name the kernel must ask about again; ``old_ino`` is the inode it stood for, None when the name is new. A name
    that stood for several inodes, one after another, is told with each of them."""

    parent: int
    name: bytes
    old_ino: int | None


@dataclass(frozen=True, slots=True)
class Diff:
    """What one rebuild did, counted in entries (files and directories, without the root).

    ``changed`` had other bytes and got a new inode; ``touched`` are those of ``unchanged`` whose last-modified alone
    moved. ``hidden`` objects are not in the tree. ``outrun``: nothing was done, for the saved tree is by now that of a
    listing that began later.
    """

    generation: int
    added: int
    changed: int
    removed: int
    unchanged: int
    touched: int
    hidden: int
    outrun: bool = False


@dataclass(frozen=True, slots=True)
class Totals:
    """What the whole tree, or the part below one directory, holds. ``directories`` does not count the top itself."""

    files: int
    directories: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Meta:
    """What the index knows of itself. ``built_at``, ``container_count`` and ``container_bytes`` are those of the last
    finished rebuild; ``complete`` is False until there was one. ``listing`` numbers the listing that it was made of, in
    the order in which listings began."""

    source: Source
    generation: int
    complete: bool
    built_at: int
    container_count: int
    container_bytes: int
    listing: int
