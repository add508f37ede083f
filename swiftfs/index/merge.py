"""The end of a rebuild: the staged listing becomes the saved tree, in one transaction.

An entry keeps its inode number while it stands for the same bytes: same size, ETag and kind, and for a DLO the same
last-modified too, for a store computes its ETag from a listing of the segments that may lag. Nothing is written for an
entry that did not change. SQLite does the work set by set, so memory stays flat.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from itertools import pairwise
from typing import TYPE_CHECKING

from swiftfs.index.entry import Change, Diff
from swiftfs.index.schema import read_meta, write_meta
from swiftfs.model import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_CHANGES = 65_536
"""More changes than this are not named one by one: invalidating all that the kernel holds is then cheaper."""

GONE_KEPT = 100_000
"""Removed entries kept for open handles and directory cookies (some 10 MB); those of the last rebuild all stay."""

GENERATIONS_KEPT = 1000
"""Rebuilds whose changes can still be told apart: weeks of a refresh every half hour."""

LAST_INO = 2**63 - 1
"""Above every inode number: SQLite has no larger one."""

CHECKPOINT_WAIT = "PRAGMA busy_timeout = 100"
"""Milliseconds to wait for readers, whose queries take microseconds, before the log is left as long as it is."""

_DIRECTORIES_OF_DEPTH = """
UPDATE staging.dirs SET ino = (
    SELECT e.ino FROM staging.dirs p CROSS JOIN entries e
    WHERE p.id = dirs.parent AND e.parent = p.ino AND e.name = dirs.name)
WHERE depth = ? AND ino IS NULL
"""

_NEW_DIRECTORIES_OF_DEPTH = """
INSERT INTO entries(parent, name, size, etag, last_modified, kind, files, subdirs)
SELECT p.ino, d.name, d.size, '', d.last_modified, 0, d.files, d.subdirs
FROM staging.dirs d JOIN staging.dirs p ON p.id = d.parent WHERE d.depth = ? AND d.ino IS NULL ORDER BY d.id
"""

_KEPT = """
INSERT INTO staging.kept
SELECT e.ino FROM staging.files f CROSS JOIN staging.dirs d CROSS JOIN entries e
WHERE d.id = f.dir AND e.parent = d.ino AND e.name = f.name AND e.size = f.size AND e.etag = f.etag
    AND e.kind = f.kind AND (e.kind <> ? OR e.last_modified = f.last_modified)
"""

_GONE = """
INSERT INTO gone(ino, parent, name, size, etag, last_modified, kind, files, subdirs)
SELECT ino, parent, name, size, etag, last_modified, kind, files, subdirs FROM entries
WHERE ino NOT IN (SELECT ino FROM staging.kept) ORDER BY ino
"""

_REMOVE = "DELETE FROM entries WHERE ino NOT IN (SELECT ino FROM staging.kept)"

_TOUCHED = """
UPDATE entries SET last_modified = f.last_modified,
    listed_size = f.listed_size, listed_etag = f.listed_etag, listed_modified = f.listed_modified
FROM staging.files f CROSS JOIN staging.dirs d
WHERE d.id = f.dir AND entries.parent = d.ino AND entries.name = f.name AND (
    entries.last_modified IS NOT f.last_modified OR entries.listed_size IS NOT f.listed_size
    OR entries.listed_etag IS NOT f.listed_etag OR entries.listed_modified IS NOT f.listed_modified)
"""

_NEW_FILES = """
INSERT INTO entries(parent, name, size, etag, last_modified, kind, files, subdirs,
    listed_size, listed_etag, listed_modified)
SELECT d.ino, f.name, f.size, f.etag, f.last_modified, f.kind, 1, 0, f.listed_size, f.listed_etag, f.listed_modified
FROM staging.files f CROSS JOIN staging.dirs d WHERE d.id = f.dir {only_new} ORDER BY f.dir, f.name
"""

_ONLY_NEW = "AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.parent = d.ino AND e.name = f.name)"

_DIRECTORY_SUMS = """
UPDATE entries SET size = d.size, files = d.files, subdirs = d.subdirs, last_modified = d.last_modified
FROM staging.dirs d WHERE entries.ino = d.ino AND (
    entries.size <> d.size OR entries.files <> d.files OR entries.subdirs <> d.subdirs
    OR entries.last_modified <> d.last_modified)
"""

_REMOVED_SINCE = "SELECT parent, name, ino FROM gone WHERE seq > ? LIMIT ?"
_REMOVED_FROM = "SELECT parent, name, ino FROM gone WHERE seq > ? AND parent = ? LIMIT ?"
# The plus keeps SQLite from going through all the names that there are, by the index, to find the few new ones.
_ADDED_BETWEEN = "SELECT parent, name FROM entries WHERE ino > ? AND ino <= ? AND +parent <= ? LIMIT ?"
_ADDED_TO = "SELECT parent, name FROM entries WHERE ino > ? AND parent = ? LIMIT ?"

_CHANGED = """
SELECT count(*) FROM gone g CROSS JOIN entries e WHERE g.seq > ? AND e.parent = g.parent AND e.name = g.name
"""


def merge(
    connection: sqlite3.Connection, *, container_count: int, container_bytes: int, listing: int, complete: bool = True
) -> Diff | None:
    """Makes the staged tree the saved one and says what changed. Raises sqlite3.Error, and then nothing changed.

    A tree that is not ``complete`` never takes the place of one that is: then nothing changes, and the answer is None.
    Nor does that of a ``listing`` take the place of a later one's: it may have passed names that this one has.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        before = read_meta(connection)
        if before.complete and not complete:
            connection.execute("ROLLBACK")
            return None
        if before.complete and listing < before.listing:
            outrun = _outrun(connection, before.generation)
            connection.execute("ROLLBACK")
            return outrun
        first = not connection.execute("SELECT 1 FROM entries LIMIT 1 OFFSET 1").fetchone()
        mark = _mark(connection)
        connection.execute(
            "INSERT OR REPLACE INTO generations VALUES (?, ?, ?)", (before.generation, mark.last_ino, mark.last_gone)
        )
        touched = _apply(connection, first=first)
        generation = before.generation + 1
        diff = _diff(connection, mark, generation=generation, touched=touched)
        _forget_old(connection, mark, generation)
        write_meta(
            connection,
            generation=generation,
            complete=int(complete),
            listing=listing,
            built_at=time.time_ns(),
            container_count=container_count,
            container_bytes=container_bytes,
            directories=connection.execute("SELECT count(*) - 1 FROM staging.dirs").fetchone()[0],
        )
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    _shorten_log(connection)
    return diff


class Mark(tuple[int, int]):
    """Where a generation ends: the highest inode number given out and the last row of ``gone``."""

    __slots__ = ()

    @property
    def last_ino(self) -> int:
        return self[0]

    @property
    def last_gone(self) -> int:
        return self[1]


def changes_after(
    connection: sqlite3.Connection, marks: Sequence[Mark], only: int | None = None
) -> tuple[Change, ...] | None:
    """What to invalidate for a kernel that knows the tree as it was at the first of ``marks``, which has those of all
    generations from that one to the one before the last; None when it is too much to name.

    The kernel may have looked between any two of the rebuilds, for lookups see each one at once. So a name that came
    and went since is told as well. Names that came with their directory are left out, for the kernel cannot have asked
    about them before; with ``only``, those in all directories but that one.
    """
    room = MAX_CHANGES + 1
    if only is None:
        removed = connection.execute(_REMOVED_SINCE, (marks[0].last_gone, room)).fetchall()
        added: list[tuple[int, bytes]] = []
        for last, then in pairwise([*(mark.last_ino for mark in marks), LAST_INO]):
            if last < then:
                added += connection.execute(_ADDED_BETWEEN, (last, then, last, room))
            if len(removed) + len(added) > MAX_CHANGES:
                return None
    else:
        removed = connection.execute(_REMOVED_FROM, (marks[0].last_gone, only, room)).fetchall()
        added = connection.execute(_ADDED_TO, (marks[0].last_ino, only, room)).fetchall()
    if len(removed) + len(added) > MAX_CHANGES:
        return None
    changes = [Change(parent, bare(name), ino) for parent, name, ino in removed]
    named = {(change.parent, change.name) for change in changes}
    changes += [Change(parent, bare(name), None) for parent, name in added if (parent, bare(name)) not in named]
    return tuple(changes)


def bare(name: bytes) -> bytes:
    """A stored name without the slash that marks a directory."""
    return name[:-1] if name.endswith(b"/") else name


def _shorten_log(connection: sqlite3.Connection) -> None:
    """Moves the log into the file. A reader in the way is no failure: the log shrinks after a later rebuild."""
    (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute(CHECKPOINT_WAIT)
        connection.execute("PRAGMA main.wal_checkpoint(TRUNCATE)")
    connection.execute(f"PRAGMA busy_timeout = {patience}")


def _mark(connection: sqlite3.Connection) -> Mark:
    sequence = dict(connection.execute("SELECT name, seq FROM sqlite_sequence"))
    return Mark((sequence["entries"], sequence.get("gone", 0)))


def _apply(connection: sqlite3.Connection, *, first: bool) -> int:
    """Does the merge; returns how many unchanged files got a new last-modified."""
    (depth,) = connection.execute("SELECT max(depth) FROM staging.dirs").fetchone()
    connection.execute("CREATE INDEX staging.dirs_by_depth ON dirs(depth)")
    for level in range(1, depth + 1):
        connection.execute(_DIRECTORIES_OF_DEPTH, (level,))
        connection.execute(_NEW_DIRECTORIES_OF_DEPTH, (level,))
        connection.execute(_DIRECTORIES_OF_DEPTH, (level,))
    touched = 0
    if not first:
        connection.execute("CREATE TABLE staging.kept(ino INTEGER PRIMARY KEY)")
        connection.execute(_KEPT, (int(Kind.DLO),))
        connection.execute("INSERT INTO staging.kept SELECT ino FROM staging.dirs")
        connection.execute(_GONE)
        connection.execute(_REMOVE)
        touched = connection.execute(_TOUCHED).rowcount
    connection.execute(_NEW_FILES.format(only_new="" if first else _ONLY_NEW))
    connection.execute(_DIRECTORY_SUMS)
    connection.execute("DELETE FROM hidden")
    connection.execute("INSERT INTO hidden SELECT name, reason FROM staging.hidden ORDER BY rowid")
    return touched


def _outrun(connection: sqlite3.Connection, generation: int) -> Diff:
    (entries,) = connection.execute("SELECT count(*) - 1 FROM entries").fetchone()
    (hidden,) = connection.execute("SELECT count(*) FROM hidden").fetchone()
    return Diff(generation, 0, 0, 0, unchanged=entries, touched=0, hidden=hidden, outrun=True)


def _diff(connection: sqlite3.Connection, mark: Mark, *, generation: int, touched: int) -> Diff:
    def count(query: str, *arguments: int) -> int:
        return int(connection.execute(query, arguments).fetchone()[0])

    new = count("SELECT count(*) FROM entries WHERE ino > ?", mark.last_ino)
    gone = count("SELECT count(*) FROM gone WHERE seq > ?", mark.last_gone)
    changed = count(_CHANGED, mark.last_gone)
    return Diff(
        generation=generation,
        added=new - changed,
        changed=changed,
        removed=gone - changed,
        unchanged=count("SELECT count(*) FROM entries") - 1 - new,
        touched=touched,
        hidden=count("SELECT count(*) FROM hidden"),
    )


def _forget_old(connection: sqlite3.Connection, mark: Mark, generation: int) -> None:
    """Drops removed entries and old generations beyond what is kept, never those that the last rebuild removed."""
    (newest,) = connection.execute("SELECT coalesce(max(seq), 0) FROM gone").fetchone()
    horizon = min(newest - GONE_KEPT, mark.last_gone)
    connection.execute("DELETE FROM gone WHERE seq <= ?", (horizon,))
    connection.execute(
        "DELETE FROM generations WHERE last_gone < ? OR generation < ?", (horizon, generation - GENERATIONS_KEPT)
    )
