"""What a run remembers for the next one: hashes of local files, and segments that are to be removed.

One SQLite file per source and destination. Facts about local files (path's name, size, times, inode: MD5) are
committed once a second, for losing some costs hashing them again. Promises about the store (debts) are on the disk
before the request they are about is sent. A journal that cannot be written costs speed, never the run; one that is
damaged is started anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from swiftfs.errors import printable

log = logging.getLogger(__name__)

WHOLE = 0
"""``span`` of the hash of a whole file; another is the segment size it was cut with."""
COMMIT_EVERY = 1.0
"""Seconds between two commits of hashes: a commit waits for the disk, and a second of hashing is cheap to lose."""
SETTLED = 2_000_000_000
"""Nanoseconds since a file's last change before its hash is kept: within one tick of the file system's clock a later
change could leave the same time."""
BUSY = 10.0
"""Seconds to wait for another load of the same source and destination."""

_CACHE_KIB = 256
"""KiB of the file that SQLite keeps in memory: files come in the order of their names, and so do pages."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS hash (
    name TEXT, span INTEGER, number INTEGER, identity TEXT NOT NULL, md5 TEXT NOT NULL,
    PRIMARY KEY (name, span, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS debt (
    name TEXT, container TEXT, segment TEXT, PRIMARY KEY (name, container, segment)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, order=True)
class Debt:
    """Something to remove once object ``name`` is proven to do without it.

    ``segment`` is the name of an object; with a slash at its end it stands for every segment of ours below it.
    """

    name: str
    container: str
    segment: str

    @property
    def is_sweep(self) -> bool:
        """Whether it stands for whatever is below."""
        return self.segment.endswith("/")


class Journal:
    """The open journal; every method may be called from any thread and blocks for the disk at the most.

    ``path`` None keeps debts for this run and nothing for the next.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._committed = clock()
        self._connection = None if path is None else _open(path)
        self._debts: set[Debt] = set()
        self._fresh: dict[tuple[str, int, int], tuple[str, str]] = {}
        with self._guarded() as connection:
            if connection is not None:
                self._debts = {Debt(*row) for row in connection.execute("SELECT name, container, segment FROM debt")}

    def known(self, name: str, identity: str, span: int = WHOLE, number: int = 0) -> str | None:
        """The MD5 of the file with this identity, or of its segment ``number``; None when it is not known."""
        if (fresh := self._fresh.get((name, span, number))) is not None:
            return fresh[1] if fresh[0] == identity else None
        with self._guarded() as connection:
            if connection is None:
                return None
            row = connection.execute(
                "SELECT md5 FROM hash WHERE name = ? AND span = ? AND number = ? AND identity = ?",
                (name, span, number, identity),
            ).fetchone()
            return None if row is None else str(row[0])
        return None

    def note(self, name: str, identity: tuple[str, int], md5: str, span: int = WHOLE, number: int = 0) -> None:
        """Keep an MD5 of the file that had ``identity`` before it was read."""
        self.remember(name, identity, md5, span, number)
        if self.is_due:
            self.commit()

    def remember(self, name: str, identity: tuple[str, int], md5: str, span: int = WHOLE, number: int = 0) -> None:
        """As :meth:`note`, without ever waiting: whoever calls this sees to a :meth:`commit` when one is due."""
        text, changed = identity
        if self._connection is not None and self._now() - changed >= SETTLED:
            self._fresh[name, span, number] = (text, md5)

    @property
    def is_busy(self) -> bool:
        """Whether a call would wait for another thread's, which may wait for the disk."""
        return self._lock.locked()

    @property
    def is_due(self) -> bool:
        """Whether what was noted should be on the disk by now."""
        return bool(self._fresh) and self._clock() - self._committed >= COMMIT_EVERY

    def commit(self) -> None:
        """Put on the disk what was noted; waits for it."""
        with self._guarded() as connection:
            if connection is not None:
                self._commit(connection)

    def owe(self, debts: Iterable[Debt]) -> None:
        """Put debts on the disk; returns when they are there."""
        fresh = [one for one in debts if one not in self._debts]
        with self._guarded() as connection:
            self._debts.update(fresh)
            if connection is not None and fresh:
                rows = [(one.name, one.container, one.segment) for one in fresh]
                connection.executemany("INSERT OR IGNORE INTO debt VALUES (?, ?, ?)", rows)
                self._commit(connection)

    def debts(self) -> list[Debt]:
        """Every debt of this run and earlier ones, in order."""
        with self._lock:
            return sorted(self._debts)

    def settle(self, debts: Iterable[Debt]) -> None:
        """Forget debts that are paid."""
        paid = list(debts)
        with self._guarded() as connection:
            self._debts.difference_update(paid)
            if connection is not None:
                rows = [(one.name, one.container, one.segment) for one in paid]
                connection.executemany("DELETE FROM debt WHERE name = ? AND container = ? AND segment = ?", rows)
                self._commit(connection)

    def close(self) -> None:
        """Commit and close; later calls remember nothing."""
        with self._guarded() as connection:
            if connection is not None:
                self._commit(connection)
        with self._lock:
            self._drop()

    def _commit(self, connection: sqlite3.Connection) -> None:
        self._committed = self._clock()  # before it is done: nobody else needs to begin another one
        fresh, self._fresh = self._fresh, {}
        rows = [(*key, *value) for key, value in fresh.copy().items()]
        connection.executemany("INSERT OR REPLACE INTO hash VALUES (?, ?, ?, ?, ?)", rows)
        connection.commit()
        self._committed = self._clock()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection | None]:
        """The connection under its lock; a journal that fails is given up with one warning."""
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                log.warning("the journal cannot be used, a next run will hash again: %s", printable(str(error)))
                self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def journal_path(state: Path, source: str, destination: str) -> Path:
    """The journal of loads from ``source`` to ``destination``, texts that name them without ambiguity."""
    digest = hashlib.sha256(f"{source}\0{destination}".encode("utf-8", "surrogateescape")).hexdigest()
    return state / "journal" / f"{digest[:32]}.sqlite"


def _open(path: Path) -> sqlite3.Connection | None:
    """An open journal, a new one in the place of a damaged one; None when there can be none."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        try:
            return _connect(str(path))
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            log.warning("the journal %s is damaged and is started anew", printable(str(path)))
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            path.touch(mode=0o600)
            return _connect(str(path))
    except (OSError, sqlite3.Error) as error:
        log.warning("there is no journal, a next run will hash again: %s", printable(str(error)))
        return None


def _connect(place: str) -> sqlite3.Connection:
    connection = sqlite3.connect(place, timeout=BUSY, check_same_thread=False)
    try:
        # FULL: a commit in the log is on the disk when it returns.
        pragmas = f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -{_CACHE_KIB};"
        connection.executescript(pragmas + _SCHEMA)
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection
