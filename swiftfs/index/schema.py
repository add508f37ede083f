"""The index file: its tables, how it is opened, and when it is thrown away.

An index can always be listed again, so a file of another format, of another source or with damage is deleted and begun
anew, never repaired. One process writes at a time (SQLite's own lock); any number reads.

Keys. An entry's ``name`` ends with a slash when it is a directory. So the order of ``(parent, name)`` is the order of
the listing, and a file never sorts between a directory's name and what is in it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from swiftfs.errors import LocalFileError
from swiftfs.index.entry import ROOT_INO, Meta, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = 1
"""Goes into the path and into ``user_version``: another number, another file."""

APPLICATION_ID = 0x73776678
"""Marks the file as an index of swiftfs (PRAGMA application_id)."""

WRITE_WAIT = 60.0
"""Seconds to wait for another mount's rebuild of the same index: one of a million names takes about half of that."""

OPEN_WAIT = 10.0
"""Seconds to wait for another mount that makes the same index at this moment, which takes milliseconds."""

READ_WAIT = 1.0
"""Seconds a reader waits where SQLite has to (recovery after a crash); in WAL mode a writer never makes it wait."""

CHECKED_BYTES = 64 << 20
"""Files up to this length are checked whole when opened: some 60 ms at most; longer ones would delay the mount."""

INOS_A_SECOND = 1_000_000
"""A new file numbers from the microseconds since the epoch on: above all that one in its place can have given out, for
no build makes a million entries a second. A kernel, or a mount that still reads that one, knows its numbers."""

BEFORE_ALL = 0
"""The number of a listing that began before the index was there to number it."""

_BEGIN_LISTING = """
INSERT INTO meta VALUES ('listings', 1) ON CONFLICT(key) DO UPDATE SET value = value + 1 RETURNING value
"""

_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_TABLES = """
CREATE TABLE entries(
    ino INTEGER PRIMARY KEY AUTOINCREMENT,
    parent INTEGER NOT NULL,
    name BLOB NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    last_modified INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    files INTEGER NOT NULL,
    subdirs INTEGER NOT NULL,
    listed_size INTEGER,        -- what the listing said, where a HEAD said more, else NULL
    listed_etag TEXT,
    listed_modified INTEGER
);
CREATE UNIQUE INDEX entries_by_name ON entries(parent, name);
CREATE TABLE gone(              -- entries that a rebuild removed, for open handles and directory cookies
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    ino INTEGER NOT NULL UNIQUE,
    parent INTEGER NOT NULL,
    name BLOB NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    last_modified INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    files INTEGER NOT NULL,
    subdirs INTEGER NOT NULL
);
CREATE TABLE generations(       -- where each rebuild ended, so that later changes can be told from earlier ones
    generation INTEGER PRIMARY KEY,
    last_ino INTEGER NOT NULL,
    last_gone INTEGER NOT NULL
);
CREATE TABLE hidden(name BLOB NOT NULL, reason TEXT NOT NULL);
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""


def index_path(directory: Path, source: Source) -> Path:
    """The file that holds the index of ``source`` below ``directory``."""
    digest = blake2b(digest_size=16)
    for part in (source.storage_url, source.container, source.prefix):
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return directory / f"v{FORMAT}" / f"{digest.hexdigest()}.db"


def connect_writer(path: Path, source: Source) -> sqlite3.Connection:
    """The index at ``path``, opened for writing and sound; made anew when it was absent, damaged or not of ``source``.

    Raises LocalFileError when the directory or the file cannot be written.
    """
    with local_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = _open_sound(path, source)
        if connection is None:
            discard(path)
            connection = _open_sound(path, source)
        if connection is None:
            raise LocalFileError(f"the index {path} cannot be made", hint="is the disk it is on healthy?")
        return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """The index at ``path``, opened read-only. Raises LocalFileError when there is none or it cannot be read."""
    with local_errors(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=READ_WAIT, isolation_level=None
        )
        try:
            connection.execute("SELECT 1 FROM meta").fetchone()
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def is_at(file: os.stat_result, path: Path) -> bool:
    """Whether ``file``, which was opened at ``path``, is what is there now."""
    try:
        return os.path.samestat(file, os.stat(path))
    except OSError:
        return False


def discard(path: Path) -> None:
    """Deletes the index at ``path`` with its journals; one that is not there is fine."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")


def read_meta(connection: sqlite3.Connection) -> Meta:
    """What the index says of itself. Raises sqlite3.Error or KeyError when it is not an index."""
    row = dict(connection.execute("SELECT key, value FROM meta"))
    return Meta(
        source=Source(row["storage_url"], row["container"], row["prefix"]),
        generation=row["generation"],
        complete=bool(row["complete"]),
        built_at=row["built_at"],
        container_count=row["container_count"],
        container_bytes=row["container_bytes"],
        listing=row.get("listing", BEFORE_ALL),  # an index may be older than this
    )


def write_meta(connection: sqlite3.Connection, **values: str | int) -> None:
    """Stores ``values`` in the meta table, inside the caller's transaction."""
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())


def begin_listing(connection: sqlite3.Connection) -> int:
    """The number of a listing that begins now, above those of all that have begun before it, in whatever process.

    The database counts and not a clock, for clocks are set back.
    """
    ((number,),) = connection.execute(_BEGIN_LISTING).fetchall()
    return int(number)


@contextlib.contextmanager
def local_errors(path: Path) -> Iterator[None]:
    """Translates SQLite's and the system's errors about ``path`` into LocalFileError."""
    try:
        yield
    except sqlite3.Error as error:
        hint = "it is made anew at the next mount" if is_damage(error) else "is there room, and may it be written?"
        raise LocalFileError(f"the index {path} cannot be used: {error}", hint=hint) from error
    except OSError as error:
        raise LocalFileError(f"the index {path} cannot be used: {error.strerror or error}") from error


def is_damage(error: sqlite3.Error) -> bool:
    """Whether ``error`` says that the file is not a sound database (and not that it is busy, full or unreadable)."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _DAMAGE


def _open_sound(path: Path, source: Source) -> sqlite3.Connection | None:
    """The index, or None when what is there must be discarded."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=OPEN_WAIT, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # WAL with NORMAL survives a power cut, less its last commits
        if _is_empty(connection):
            connection.execute("BEGIN IMMEDIATE")
            if _is_empty(connection):  # else another mount was first
                _create(connection, source, first_ino=int(time.time() * INOS_A_SECOND))
            connection.execute("COMMIT")
        if _is_sound(connection, path, source):
            connection.execute(f"PRAGMA busy_timeout = {int(WRITE_WAIT * 1000)}")
            return connection
    except sqlite3.Error as error:
        if not is_damage(error):
            connection.close()
            raise
    connection.close()
    return None


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()


def _is_sound(connection: sqlite3.Connection, path: Path, source: Source) -> bool:
    """Whether the file has our format, is of ``source`` and, unless it is long, has no damaged page."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if (application, version) != (APPLICATION_ID, FORMAT):
        return False
    try:
        meta = read_meta(connection)
    except (KeyError, sqlite3.OperationalError):
        return False
    if meta.source != source or not connection.execute("SELECT 1 FROM entries WHERE ino = ?", (ROOT_INO,)).fetchone():
        return False
    if os.stat(path).st_size > CHECKED_BYTES:
        return True
    return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))


def _create(connection: sqlite3.Connection, source: Source, first_ino: int) -> None:
    """Makes the tables, the root and the meta rows, inside the caller's transaction."""
    for statement in _TABLES.split(";"):
        if statement.strip():
            connection.execute(statement)
    connection.execute(
        "INSERT INTO entries(ino, parent, name, size, etag, last_modified, kind, files, subdirs)"
        " VALUES (?, 0, x'', 0, '', 0, 0, 0, 0)",
        (ROOT_INO,),
    )
    connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'entries'", (first_ino - 1,))
    write_meta(
        connection,
        storage_url=source.storage_url,
        container=source.container,
        prefix=source.prefix,
        generation=int(time.time()),  # a file begun anew must not repeat a generation that a reader has seen
        complete=0,
        built_at=0,
        container_count=0,
        container_bytes=0,
        directories=0,
    )
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")
