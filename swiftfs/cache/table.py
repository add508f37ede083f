"""The cache's table: which chunks exist, how long and under which checksum, and who has reserved what.

A chunk exists when its row does. WAL with synchronous=NORMAL: a power cut may lose the last rows, which costs a fetch,
and never tears the table; a row that outlives its bytes is caught by the checksum. Every change to the sums is made in
the transaction that makes it true, so that processes can share one limit: ``used + reserved <= limit``.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftfs.cache.budget import Evictable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

APPLICATION_ID = 0x73776663
"""Marks the file as a cache table of swiftfs (PRAGMA application_id)."""

WAIT = 1.0
"""Seconds to wait for another process's transaction, which takes milliseconds; a stopped process must not stop us."""

_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_TABLES = (
    """CREATE TABLE files(
        id INTEGER PRIMARY KEY, key BLOB NOT NULL, extent INTEGER NOT NULL,
        bytes INTEGER NOT NULL, touched INTEGER NOT NULL, UNIQUE(key, extent))""",
    "CREATE INDEX files_by_use ON files(touched, id)",
    """CREATE TABLE chunks(
        key BLOB NOT NULL, extent INTEGER NOT NULL, chunk INTEGER NOT NULL, offset INTEGER NOT NULL,
        length INTEGER NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY(key, extent, chunk)) WITHOUT ROWID""",
    "CREATE TABLE grants(owner TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE state(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO state VALUES ('used', 0), ('clock', 0), ('dirty', 0)",
)

FIND = "SELECT length, checksum FROM chunks WHERE key = ? AND extent = ? AND chunk = ?"
FIND_RANGE = "SELECT chunk, length, checksum FROM chunks WHERE key = ? AND extent = ? AND chunk >= ? AND chunk < ?"


@dataclass(frozen=True, slots=True)
class Row:
    """One chunk's row: ``length`` bytes at ``offset`` in the file (``key``, ``extent``)."""

    key: str
    extent: int
    chunk: int
    offset: int
    length: int
    checksum: int


def is_damage(error: sqlite3.Error) -> bool:
    """Whether ``error`` says that the file is not a sound table (and not that it is busy, full or unreadable)."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _DAMAGE


class Table:
    """The table, opened for writing. Every method raises sqlite3.Error; those that change need a ``transaction``."""

    def __init__(self, path: Path) -> None:
        """Opens the table in the file at ``path``, which is there and may be empty."""
        self._connection = sqlite3.connect(path, timeout=WAIT, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            with self.transaction():
                self.created = not self._connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
                if self.created:
                    for statement in _TABLES:
                        self._connection.execute(statement)
                    self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def is_ours(self) -> bool:
        """Whether this is a table of ours."""
        return bool(self._connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,))

    def is_sound(self) -> bool:
        """Whether no page is damaged: takes a few milliseconds for each ten thousand chunks."""
        return bool(self._connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))

    def sync(self) -> None:
        """Makes what was committed survive a power cut."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """One change, seen by others whole or not at all; nobody else changes anything meanwhile."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def settle(self, rows: Iterable[Row], touched: Iterable[tuple[str, int]]) -> int:
        """Adds ``rows`` and marks the files (key, extent) in ``touched`` as used now; returns the bytes that were not
        counted yet."""
        execute = self._connection.execute
        execute("UPDATE state SET value = value + 1 WHERE name = 'clock'")
        (now,) = execute("SELECT value FROM state WHERE name = 'clock'").fetchone()
        grown: dict[tuple[bytes, int], int] = {}
        for row in rows:
            key = bytes.fromhex(row.key)
            added = execute(
                "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (key, row.extent, row.chunk, row.offset, row.length, row.checksum),
            ).rowcount
            if not added:  # another process stored the same chunk; or its bytes were bad and are mended now
                execute(
                    "UPDATE chunks SET checksum = ? WHERE key = ? AND extent = ? AND chunk = ? AND checksum <> ?",
                    (row.checksum, key, row.extent, row.chunk, row.checksum),
                )
            at = (key, row.extent)
            grown[at] = grown.get(at, 0) + (row.length if added else 0)
        self._connection.executemany(
            "INSERT INTO files(key, extent, bytes, touched) VALUES (?, ?, ?, ?)"
            " ON CONFLICT(key, extent) DO UPDATE SET bytes = bytes + excluded.bytes, touched = excluded.touched",
            [(key, extent, length, now) for (key, extent), length in grown.items()],
        )
        self._connection.executemany(
            "UPDATE files SET touched = ? WHERE key = ? AND extent = ?",
            [(now, bytes.fromhex(key), extent) for key, extent in touched],
        )
        counted = sum(grown.values())
        self._add_used(counted)
        return counted

    def sums(self) -> tuple[int, int]:
        """Bytes that have rows, and bytes reserved by all writers."""
        row = self._connection.execute(
            "SELECT (SELECT value FROM state WHERE name = 'used'), (SELECT coalesce(sum(bytes), 0) FROM grants)"
        ).fetchone()
        return row[0], row[1]

    def counts(self) -> tuple[int, int]:
        """How many files and how many chunks there are."""
        row = self._connection.execute("SELECT (SELECT count(*) FROM files), (SELECT count(*) FROM chunks)").fetchone()
        return row[0], row[1]

    def grant(self, owner: str, change: int) -> None:
        """Changes what ``owner`` has reserved by ``change`` bytes."""
        self._connection.execute(
            "INSERT INTO grants VALUES (?, ?) ON CONFLICT(owner) DO UPDATE SET bytes = bytes + excluded.bytes",
            (owner, change),
        )

    def revoke(self, owner: str) -> None:
        """Ends what ``owner`` has reserved."""
        self._connection.execute("DELETE FROM grants WHERE owner = ?", (owner,))

    def revoke_all(self) -> None:
        """Ends every reservation."""
        self._connection.execute("DELETE FROM grants")

    def least_recent(self) -> Iterator[Evictable[tuple[str, int]]]:
        """The files, least recently used first."""
        for key, extent, length in self._connection.execute(
            "SELECT key, extent, bytes FROM files ORDER BY touched, id"
        ):
            yield Evictable((key.hex(), extent), length)

    def files_in(self, shard: str) -> set[tuple[str, int]]:
        """The files of a shard that have rows."""
        low = bytes.fromhex(shard)
        rows = self._connection.execute(
            "SELECT key, extent FROM files WHERE key >= ? AND key <= ?", (low, low + b"\xff" * 16)
        )
        return {(key.hex(), extent) for key, extent in rows}

    def rows_after(self, last: Row | None, limit: int) -> list[Row]:
        """The next ``limit`` rows in the order of key, extent and chunk; None begins."""
        at = (bytes.fromhex(last.key), last.extent, last.chunk) if last else (b"", 0, 0)
        rows = self._connection.execute(
            "SELECT key, extent, chunk, offset, length, checksum FROM chunks"
            " WHERE (key, extent, chunk) > (?, ?, ?) ORDER BY key, extent, chunk LIMIT ?",
            (*at, limit),
        )
        return [Row(key.hex(), *rest) for key, *rest in rows]

    def find(self, key: str, extent: int, chunk: int) -> tuple[int, int] | None:
        """Length and checksum of a chunk; None when it does not exist."""
        found: tuple[int, int] | None = self._connection.execute(FIND, (bytes.fromhex(key), extent, chunk)).fetchone()
        return found

    def find_range(self, key: str, extent: int, first: int, stop: int) -> dict[int, tuple[int, int]]:
        """Length and checksum of those of the chunks (or pieces) ``[first, stop)`` that exist."""
        rows = self._connection.execute(FIND_RANGE, (bytes.fromhex(key), extent, first, stop))
        return {number: (length, checksum) for number, length, checksum in rows}

    def forget(self, key: str, extent: int) -> int:
        """Deletes the rows of a file; returns the bytes they counted."""
        at = (bytes.fromhex(key), extent)
        found = self._connection.execute("SELECT bytes FROM files WHERE key = ? AND extent = ?", at).fetchone()
        if found is None:
            return 0
        self._connection.execute("DELETE FROM chunks WHERE key = ? AND extent = ?", at)
        self._connection.execute("DELETE FROM files WHERE key = ? AND extent = ?", at)
        self._add_used(-found[0])
        return int(found[0])

    def recount(self) -> None:
        """Sets the sum of bytes that have rows to what the rows say."""
        self._connection.execute(
            "UPDATE state SET value = (SELECT coalesce(sum(bytes), 0) FROM files) WHERE name = 'used'"
        )

    def set_dirty(self, dirty: bool) -> bool:
        """Notes whether files may be without rows; returns what was noted before."""
        (before,) = self._connection.execute("SELECT value FROM state WHERE name = 'dirty'").fetchone()
        self._connection.execute("UPDATE state SET value = ? WHERE name = 'dirty'", (int(dirty),))
        return bool(before)

    def _add_used(self, change: int) -> None:
        if change:
            self._connection.execute("UPDATE state SET value = value + ? WHERE name = 'used'", (change,))
