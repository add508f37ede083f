"""The index's writer: takes a listing page by page and turns the saved tree into the listed one.

One rebuild is one transaction at its end. Until then the listing is staged in a file of its own, which has no name (so
that a killed build leaves nothing behind) and no journal; memory does not grow with the number of objects.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftfs.errors import LocalFileError
from swiftfs.index.entry import ROOT_INO, Diff, Meta, Resolved, Source
from swiftfs.index.merge import merge
from swiftfs.index.names import Path, Reason, leaf, reported, split, storable
from swiftfs.index.schema import BEFORE_ALL, begin_listing, connect_writer, is_at, local_errors, read_meta, write_meta
from swiftfs.model import LARGEST, Kind

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from swiftfs.model import ListingEntry

ROOT_DIR = 1
"""The root's row in the staging table."""

STAGING = ".staging-"
"""Between an index's name and what tells its staging files apart."""

UNPROVEN = -1
"""Count and bytes of a tree that no container's headers have: the next mount lists again."""

STAGED_AT_ONCE = 1000
"""Rows kept in memory before they are staged: a few hundred KiB."""

_STAGING = (
    """CREATE TABLE staging.dirs(
        id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name BLOB NOT NULL, depth INTEGER NOT NULL,
        last_modified INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL DEFAULT 0,
        files INTEGER NOT NULL DEFAULT 0, subdirs INTEGER NOT NULL DEFAULT 0, ino INTEGER, UNIQUE(parent, name))""",
    """CREATE TABLE staging.files(
        dir INTEGER NOT NULL, name BLOB NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
        last_modified INTEGER NOT NULL, kind INTEGER NOT NULL,
        listed_size INTEGER, listed_etag TEXT, listed_modified INTEGER, PRIMARY KEY(dir, name)) WITHOUT ROWID""",
    "CREATE TABLE staging.hidden(name BLOB NOT NULL, reason TEXT NOT NULL)",
)

_STAGE_ROOT = "INSERT INTO staging.dirs(id, parent, name, depth, ino) VALUES (?, 0, x'', 0, ?)"


class Index:
    """An index opened for writing. Calls, its builder's too, must not overlap, but may come from different threads: an
    event loop gives ``add`` (10 microseconds an entry) and ``finish`` to a worker thread. ``close`` it.
    """

    def __init__(self, path: pathlib.Path, source: Source) -> None:
        """Opens the index of ``source`` at ``path`` and makes it anew when it is absent, damaged or not that.

        Raises LocalFileError when it cannot be written.
        """
        self.path = path
        self.source = source
        self._open()
        self._building = False
        self._built: int | None = None
        self._sweep()

    def _open(self) -> None:
        self._connection = connect_writer(self.path, self.source)
        with local_errors(self.path):
            self._file = os.stat(self.path)

    def _sweep(self) -> None:
        """Takes away the name of what a killed build has left; of one that is just beginning it goes a moment early."""
        begins = f"{self.path.name}{STAGING}"
        for name in os.listdir(self.path.parent):
            if name.startswith(begins):
                with contextlib.suppress(OSError):
                    os.unlink(self.path.parent / name)

    def meta(self) -> Meta:
        """What the saved index says of itself."""
        with local_errors(self.path):
            return read_meta(self._connection)

    def hidden(self, limit: int) -> list[tuple[str, Reason]]:
        """At most ``limit`` of the objects that are not in the tree (full names), each with the reason."""
        with local_errors(self.path):
            rows = self._connection.execute("SELECT name, reason FROM hidden ORDER BY rowid LIMIT ?", (limit,))
            return [(reported(name), Reason(reason)) for name, reason in rows]

    def hidden_counts(self) -> dict[Reason, int]:
        """How many objects are not in the tree, by reason."""
        with local_errors(self.path):
            rows = self._connection.execute("SELECT reason, count(*) FROM hidden GROUP BY reason")
            return {Reason(reason): count for reason, count in rows}

    def prove(self, container_count: int, container_bytes: int) -> None:
        """Note that the listing of our last rebuild was all that the container's headers count.

        Another mount's rebuild since then is not meant.
        """
        with local_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            if read_meta(self._connection).generation == self._built:
                write_meta(self._connection, container_count=container_count, container_bytes=container_bytes)
            self._connection.execute("COMMIT")

    def builder(self, *, begun: bool = False) -> Builder:
        """A rebuild of this index by a listing that begins after the call, or has ``begun`` before this was opened.

        At most one at a time; end it with ``finish`` or ``abort``. A file that was deleted since it was opened is made
        anew, or taken as another mount has made it. Raises LocalFileError.
        """
        if self._building:
            raise ValueError("a rebuild of this index is under way")
        if not is_at(self._file, self.path):
            deleted = self._connection
            self._open()
            deleted.close()
        with local_errors(self.path):
            listing = BEFORE_ALL if begun else begin_listing(self._connection)
        builder = Builder(self, self._connection, listing)
        self._building = True
        return builder

    def close(self) -> None:
        """Closes the file; a rebuild under way is lost and the saved index stays."""
        self._connection.close()

    def _ended(self) -> None:
        self._building = False


@dataclass(slots=True)
class _Directory:
    """One directory on the way down to where the listing is; counts what was found in it so far."""

    row: int
    path: bytes
    files: int = 0
    size: int = 0
    subdirs: int = 0
    last_modified: int = 0


_File = tuple[int, bytes, int, str, int, int, int | None, str | None, int | None]
_Saved = tuple[int, str, int, int, int | None, str | None, int | None]


class Builder:
    """One rebuild: feed it the whole listing in order, then ``finish``.

    ``add`` is given each page after ``needs_head`` named the entries of it that a HEAD must settle first; an entry
    that needs one and comes without is taken as the index has it, or else as the listing tells it.
    """

    def __init__(self, index: Index, connection: sqlite3.Connection, listing: int) -> None:
        self._index = index
        self._connection = connection
        self._listing = listing
        self._prefix = index.source.listing_prefix
        self._last_name: str | None = None
        self._next_row = ROOT_DIR + 1
        self._stack = [_Directory(ROOT_DIR, b"")]
        self._files: list[_File] = []
        self._hidden: list[tuple[bytes, str]] = []
        self._saved_directory: tuple[bytes, int | None] = (b"", ROOT_INO)
        self._beside = ("", b"")
        self._ended = False
        with local_errors(index.path):
            self._attach()

    def needs_head(self, page: Sequence[ListingEntry]) -> list[ListingEntry]:
        """The entries of ``page`` whose size and ETag only a HEAD can tell, and that the index does not know yet.

        An earlier HEAD's answer stands while the listing says the same of the object. That of a DLO does not, for its
        segments change without it.
        """
        needed = []
        with local_errors(self._index.path):
            for listed in page:
                if listed.may_be_large and isinstance(place := split(listed.name, self._prefix), Path):
                    saved = self._saved(place)
                    if saved is None or not _same_listing(saved, listed) or saved[3] == Kind.DLO:
                        needed.append(listed)
        return needed

    def add(self, entries: Sequence[Resolved]) -> None:
        """Stages ``entries``, whose names must increase within a call and from call to call (ValueError).

        Raises LocalFileError when they cannot be written.
        """
        with local_errors(self._index.path):
            self._connection.execute("BEGIN")
            for resolved in entries:
                self._add(resolved)
            self._stage()
            self._connection.execute("COMMIT")

    def finish(self, container_count: int = 0, container_bytes: int = 0) -> Diff:
        """Makes the listed tree the saved one, all at once, and says what changed: nothing where the saved one is that
        of a listing that began later, in another process.

        The container's count and bytes are kept for a later, cheap comparison. Raises LocalFileError, and the index
        stays as it was, when it cannot be written.
        """
        diff = self._merge(container_count, container_bytes, complete=True)
        assert diff is not None
        return diff

    def finish_top(self) -> bool:
        """Makes what was staged the saved tree for as long as there is no whole one: names on top, and directories of
        which nothing more is known. False, and nothing changes, when there is a whole one. Raises as :meth:`finish`."""
        return self._merge(UNPROVEN, UNPROVEN, complete=False) is not None

    def _merge(self, container_count: int, container_bytes: int, *, complete: bool) -> Diff | None:
        try:
            with local_errors(self._index.path):
                while self._stack:
                    self._leave()
                diff = merge(
                    self._connection,
                    container_count=container_count,
                    container_bytes=container_bytes,
                    listing=self._listing,
                    complete=complete,
                )
                self._index._built = None if diff is None or diff.outrun else diff.generation
            if not is_at(self._index._file, self._index.path):
                raise LocalFileError(f"the index {self._index.path} was deleted while it was rebuilt")
            return diff
        except LocalFileError as error:
            error.container = error.container or self._index.source.container
            if not is_at(self._index._file, self._index.path):
                error.hint = "refresh once more: it is made anew"
            raise
        finally:
            self.abort()

    def abort(self) -> None:
        """Forgets what was staged; the saved index stays as it was. After ``finish`` it does nothing."""
        if self._ended:
            return
        self._ended = True
        self._detach()
        self._index._ended()

    def _attach(self) -> None:
        """Makes the staging file beside the index, for /tmp may be small or in memory, and takes its name away."""
        staging = f"{self._index.path}{STAGING}{secrets.token_hex(8)}"
        os.close(os.open(staging, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        try:
            self._connection.execute("ATTACH ? AS staging", (staging,))
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staging)
        try:
            self._connection.execute("PRAGMA staging.journal_mode = OFF")
            self._connection.execute("PRAGMA staging.synchronous = OFF")
            for statement in _STAGING:
                self._connection.execute(statement)
            self._connection.execute(_STAGE_ROOT, (ROOT_DIR, ROOT_INO))
        except sqlite3.Error:
            self._detach()  # or no later rebuild of this connection could attach its own
            raise

    def _detach(self) -> None:
        """Lets the staging file go, with what a transaction has not committed."""
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._connection.execute("DETACH staging")

    def _add(self, resolved: Resolved) -> None:
        listed = resolved.listed
        name = listed.name
        if self._last_name is not None and name <= self._last_name:
            raise ValueError(f"the listing is out of order: {name!r} after {self._last_name!r}")
        self._last_name = name
        place = self._place(listed)
        if not isinstance(place, Path):
            if place is not Reason.INTERNAL:  # that is no part of the dataset, and nobody misses it
                self._hidden.append((storable(name), place.value))
            return
        if not place.name:
            self._add_marker(listed, place.directory)
            return
        top = self._stack[-1]
        if top.path != place.directory:
            top = self._enter(place.directory)
        row = self._file(top.row, place, resolved)
        self._files.append(row)
        top.files += 1
        top.size += row[2]
        top.last_modified = max(top.last_modified, row[4])
        if len(self._files) >= STAGED_AT_ONCE:
            self._stage()

    def _place(self, listed: ListingEntry) -> Path | Reason:
        """Where the object stands: as a rule beside the one before it, whose directory need not be looked at again."""
        if listed.is_directory_marker:
            return split(listed.name, self._prefix, marker=True)
        within, directory = self._beside
        name = listed.name[len(within) :]
        if within and "/" not in name and listed.name.startswith(within):
            return leaf(directory, name)
        place = split(listed.name, self._prefix)
        if isinstance(place, Path):
            self._beside = (listed.name[: listed.name.rfind("/") + 1], place.directory)
        return place

    def _add_marker(self, listed: ListingEntry, path: bytes) -> None:
        if listed.name.endswith("/") or not path:
            directory = self._enter(path)
            directory.last_modified = max(directory.last_modified, listed.last_modified)
            if listed.size:
                self._hidden.append((storable(listed.name), Reason.MARKER.value))
            return
        # Marked by its content type: names between "dir" and "dir/" may follow, so the listing is not in it yet.
        parent = self._enter(path[: path.rfind(b"/", 0, -1) + 1])
        row = self._directory(parent, path[len(parent.path) :])
        self._connection.execute("UPDATE staging.dirs SET last_modified = ? WHERE id = ?", (listed.last_modified, row))
        parent.last_modified = max(parent.last_modified, listed.last_modified)

    def _file(self, directory: int, place: Path, resolved: Resolved) -> _File:
        listed, info = resolved.listed, resolved.info
        if info is not None:
            known: _Saved = (
                *(info.size, info.etag, info.last_modified, int(info.kind)),
                *(listed.size, listed.etag, listed.last_modified),
            )
        elif listed.may_be_large and (saved := self._saved(place)) is not None and _same_listing(saved, listed):
            known = saved
        else:
            known = (listed.size, listed.etag, listed.last_modified, int(Kind.PLAIN), None, None, None)
        return (directory, place.name, *known)

    def _enter(self, path: bytes) -> _Directory:
        """Moves to the directory ``path`` ('' or ending with a slash), making it and those above it as needed."""
        while not path.startswith(self._stack[-1].path):
            self._leave()
        top = self._stack[-1]
        while len(top.path) < len(path):
            end = path.index(b"/", len(top.path)) + 1
            row = self._directory(top, path[len(top.path) : end])
            top = _Directory(row, path[:end])
            self._stack.append(top)
        return top

    def _leave(self) -> None:
        """Writes what the innermost directory was found to hold, and adds it to the one above."""
        left = self._stack.pop()
        left.size = min(left.size, LARGEST)  # sizes that can be kept may not be so all together
        self._connection.execute(
            "UPDATE staging.dirs SET size = size + ?, files = files + ?, subdirs = subdirs + ?,"
            " last_modified = max(last_modified, ?) WHERE id = ?",
            (left.size, left.files, left.subdirs, left.last_modified, left.row),
        )
        if self._stack:
            above = self._stack[-1]
            above.size += left.size
            above.files += left.files
            above.last_modified = max(above.last_modified, left.last_modified)

    def _directory(self, parent: _Directory, name: bytes) -> int:
        """The staged row of the directory ``name`` (with its slash) in ``parent``; a file of that name is hidden."""
        found = self._connection.execute(
            "SELECT id FROM staging.dirs WHERE parent = ? AND name = ?", (parent.row, name)
        ).fetchone()
        if found:
            return int(found[0])
        row = self._next_row
        self._next_row += 1
        self._connection.execute(
            "INSERT INTO staging.dirs(id, parent, name, depth) VALUES (?, ?, ?, ?)",
            (row, parent.row, name, parent.path.count(b"/") + 1),
        )
        parent.subdirs += 1
        self._stage()
        at = (parent.row, name[:-1])
        shadowed = self._connection.execute("SELECT size FROM staging.files WHERE dir = ? AND name = ?", at).fetchone()
        if shadowed:
            self._connection.execute("DELETE FROM staging.files WHERE dir = ? AND name = ?", at)
            parent.files -= 1
            parent.size -= shadowed[0]
            full = self._prefix.encode() + parent.path + name[:-1]
            self._hidden.append((full, Reason.SHADOWED.value))
        return row

    def _stage(self) -> None:
        """Writes the rows kept in memory to the staging file."""
        if self._files:
            self._connection.executemany("INSERT INTO staging.files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", self._files)
            self._files.clear()
        if self._hidden:
            self._connection.executemany("INSERT INTO staging.hidden VALUES (?, ?)", self._hidden)
            self._hidden.clear()

    def _saved(self, place: Path) -> _Saved | None:
        """What the saved index holds of the file at ``place``, or None."""
        path, ino = self._saved_directory
        if path != place.directory:
            ino = ROOT_INO
            for name in place.directory.split(b"/")[:-1]:
                row = self._connection.execute(
                    "SELECT ino FROM entries WHERE parent = ? AND name = ?", (ino, name + b"/")
                ).fetchone()
                ino = row[0] if row else None
                if ino is None:
                    break
            self._saved_directory = (place.directory, ino)
        if ino is None:
            return None
        saved: _Saved | None = self._connection.execute(
            "SELECT size, etag, last_modified, kind, listed_size, listed_etag, listed_modified"
            " FROM entries WHERE parent = ? AND name = ?",
            (ino, place.name),
        ).fetchone()
        return saved


def _same_listing(saved: _Saved, listed: ListingEntry) -> bool:
    """Whether a HEAD answered once for exactly what the listing says now."""
    return saved[4:] == (listed.size, listed.etag, listed.last_modified)
