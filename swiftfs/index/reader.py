"""The index as the file system process reads it: by inode number, by name, in directory order, in listing order.

Read-only; every call is one or two short queries that see the tree as the last finished rebuild left it. Removed
entries stay readable by inode for a while, because open handles and directory cookies outlive a rebuild.
"""

from __future__ import annotations

import os
import sqlite3
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from swiftfs.errors import Changed, LocalFileError
from swiftfs.index.entry import ROOT_INO, Change, Entry, Meta, Totals
from swiftfs.index.merge import Mark, bare, changes_after
from swiftfs.index.names import Reason, reported
from swiftfs.index.schema import connect_reader, is_at, local_errors, read_meta
from swiftfs.model import Kind, ObjectVersion

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

DIRECTORY_PATHS_KEPT = 4096
"""Directories whose path is remembered; a path never changes while its inode number lives."""

WALK_AT_ONCE = 256
"""Entries asked for at a time when walking the tree."""

FIRST_COOKIE = 0
"""The cookie before a directory's first entry; every other cookie is the inode number of the entry it stands after."""

_BY_INO = """
SELECT ino, parent, name, size, etag, last_modified, kind, files, subdirs FROM entries WHERE ino = ?
"""
_GONE_BY_INO = """
SELECT ino, parent, name, size, etag, last_modified, kind, files, subdirs FROM gone WHERE ino = ?
"""
_BY_NAME = """
SELECT ino, parent, name, size, etag, last_modified, kind, files, subdirs FROM entries
WHERE parent = ? AND name IN (?, ?)
"""
_AFTER_NAME = """
SELECT ino, parent, name, size, etag, last_modified, kind, files, subdirs FROM entries
WHERE parent = ? AND name > ? ORDER BY name LIMIT ?
"""
_GENERATION = "SELECT value FROM meta WHERE key = 'generation'"
_MARKS_SINCE = """
SELECT generation, last_ino, last_gone FROM generations WHERE generation >= ? ORDER BY generation
"""
_KINDS = tuple(Kind)

_Row = tuple[int, int, bytes, int, str, int, int, int, int]


class Reader:
    """An index opened for reading. Use it from one thread; ``close`` it.

    Every method raises LocalFileError when the file cannot be read or is damaged.
    """

    def __init__(self, path: pathlib.Path) -> None:
        """Opens the index at ``path``. Raises LocalFileError when there is none."""
        self._path = path
        self._connection = connect_reader(path)
        with local_errors(path):
            self._prefix = read_meta(self._connection).source.listing_prefix
            self._file = os.stat(path)
        self._paths: OrderedDict[int, str] = OrderedDict({ROOT_INO: self._prefix})

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def replaced(self) -> bool:
        """Whether the file was deleted or made anew since it was opened: then open another Reader, and let the kernel
        forget everything."""
        return not is_at(self._file, self._path)

    def has_moved(self, generation: int) -> bool:
        """Whether there is another tree to show than that of ``generation``: a rebuild has come after it, or the file
        was made anew. Where the file is gone and no other is there yet, there is none."""
        return os.path.exists(self._path) and (self.replaced() or self.generation() != generation)

    def meta(self) -> Meta:
        """What the index says of itself."""
        with local_errors(self._path):
            return read_meta(self._connection)

    def generation(self) -> int:
        """A number that grows with every rebuild."""
        row: tuple[int] = self._one(_GENERATION, ())
        return row[0]

    def totals(self) -> Totals:
        """What the whole tree holds."""
        (directories,) = self._one("SELECT value FROM meta WHERE key = 'directories'", ())
        root = self._one(_BY_INO, (ROOT_INO,))
        return Totals(files=root[7], directories=directories, bytes=root[3])

    def entry(self, ino: int) -> Entry | None:
        """The entry with this inode number; None when it is not in the tree (any more)."""
        row = self._one(_BY_INO, (ino,))
        return _entry(row) if row else None

    def departed(self, ino: int) -> Entry | None:
        """The entry that had this inode number when a recent rebuild removed it; None when there was none."""
        row = self._one(_GONE_BY_INO, (ino,))
        return _entry(row) if row else None

    def child(self, parent: int, name: bytes) -> Entry | None:
        """The entry ``name`` in the directory ``parent``; None when there is none."""
        if b"/" in name:
            return None
        row = self._one(_BY_NAME, (parent, name, name + b"/"))
        return _entry(row) if row else None

    def children(self, parent: int, after: int, limit: int) -> list[Entry]:
        """At most ``limit`` entries of the directory ``parent`` in listing order, after the cookie ``after``.

        The cookie of an entry is its inode number, and FIRST_COOKIE begins. A cookie stands for the entry's name, also
        when a rebuild has removed or changed the entry since: so an entry that did not change is neither skipped
        nor shown twice by a reader that pages while the index is rebuilt. Raises Changed (ESTALE) for a cookie of
        this directory that is too old to be known.
        """
        name = b""
        if after != FIRST_COOKIE:
            row = self._any(after)
            if row is None or row[1] != parent:
                raise Changed("the directory was rebuilt since it was opened", hint="read it again from its start")
            name = row[2]
        return [_entry(row) for row in self._all(_AFTER_NAME, (parent, name, limit))]

    def hidden(self) -> Iterator[tuple[str, Reason]]:
        """The objects that are not in the tree (full names), each with the reason. Not to be held while it is rebuilt:
        a rebuild waits for no reader, but its log grows meanwhile."""
        with local_errors(self._path):
            for name, reason in self._connection.execute("SELECT name, reason FROM hidden ORDER BY rowid"):
                yield reported(name), Reason(reason)

    def object_name(self, ino: int) -> str:
        """The full name of the object, or of the directory with a slash at its end, also of one removed lately.

        Raises Changed (ESTALE) when the inode number is not known.
        """
        known = self._paths.get(ino)
        return known if known is not None else self._name_of(self._known(ino))

    def version(self, ino: int) -> ObjectVersion | None:
        """The version of the object that this inode stands for, also of one removed lately; None for a directory and
        for a number that is not known."""
        row = self._any(ino)
        if row is None or row[2].endswith(b"/") or ino == ROOT_INO:
            return None
        return ObjectVersion(self._name_of(row), row[3], row[4], row[5], _KINDS[row[6]])

    def version_of(self, entry: Entry) -> ObjectVersion:
        """The version of the object that the file ``entry`` stands for, without looking the entry up again."""
        name = self._path_of(entry.parent) + entry.name.decode()
        return ObjectVersion(name, entry.size, entry.etag, entry.last_modified, entry.kind)

    def files_after(self, ino: int, limit: int) -> list[Entry]:
        """The next ``limit`` files in the order of the listing, over the whole tree.

        They follow the file ``ino`` (also one removed lately), or begin in the directory ``ino``. Fewer at the end
        of the tree; none when the number is not known.
        """
        files: list[Entry] = []
        row = self._any(ino)
        if row is None or limit <= 0:
            return files
        is_dir = row[2].endswith(b"/") or ino == ROOT_INO
        stack = self._ancestors(row)
        stack.append((ino, b"") if is_dir else (row[1], row[2]))
        for entry in self._walk(stack, min(limit, WALK_AT_ONCE)):
            files.append(entry)
            if len(files) >= limit:
                break
        return files

    def subtree_files(self, ino: int) -> Iterator[Entry]:
        """All files below the directory ``ino`` in the order of the listing. Memory does not grow with their number."""
        return self._walk([(ino, b"")], WALK_AT_ONCE)

    def subtree_totals(self, ino: int) -> Totals | None:
        """What is below the directory ``ino``, with its direct subdirectories; None when it is not a directory."""
        if ino == ROOT_INO:
            return self.totals()
        entry = self.entry(ino)
        return Totals(entry.files, entry.subdirs, entry.size) if entry and entry.is_dir else None

    def changes_since(self, generation: int, only: int | None = None) -> tuple[Change, ...] | None:
        """What a kernel that knows the tree of ``generation``, or of it the directory ``only``, must forget; None when
        everything: the generation is too old to tell, or the changes are too many to name."""
        with local_errors(self._path):
            if generation == self.generation():
                return ()
            rows = self._connection.execute(_MARKS_SINCE, (generation,)).fetchall()
            if not rows or rows[0][0] != generation:
                return None
            return changes_after(self._connection, [Mark(row[1:]) for row in rows], only)

    def _walk(self, stack: list[tuple[int, bytes]], at_once: int) -> Iterator[Entry]:
        """The files after the places on ``stack``, innermost last: (directory, the name in it to go on after)."""
        while stack:
            parent, after = stack.pop()
            rows = self._all(_AFTER_NAME, (parent, after, at_once))
            for row in rows:
                if row[2].endswith(b"/"):
                    stack += [(parent, row[2]), (row[0], b"")]
                    break
                yield _entry(row)
            else:
                if len(rows) == at_once:
                    stack.append((parent, rows[-1][2]))

    def _ancestors(self, row: _Row) -> list[tuple[int, bytes]]:
        """Where to go on in each directory above that of ``row``, outermost first; for a directory, above itself."""
        places = []
        if not row[2].endswith(b"/") and row[0] != ROOT_INO:
            row = self._known(row[1])
        while row[0] != ROOT_INO:
            places.append((row[1], row[2]))
            row = self._known(row[1])
        return places[::-1]

    def _name_of(self, row: _Row) -> str:
        return self._path_of(row[1]) + row[2].decode() if row[0] != ROOT_INO else self._prefix

    def _path_of(self, directory: int) -> str:
        """The full name of a directory, with a slash at its end unless it is empty."""
        below: list[_Row] = []
        while (path := self._paths.get(directory)) is None:
            row = self._known(directory)
            below.append(row)
            directory = row[1]
        for row in reversed(below):
            path += row[2].decode()
            self._paths[row[0]] = path
        if len(self._paths) > DIRECTORY_PATHS_KEPT:
            for ino in list(self._paths)[1 : DIRECTORY_PATHS_KEPT // 2]:  # the first is the root
                del self._paths[ino]
        return path

    def _known(self, ino: int) -> _Row:
        row = self._any(ino)
        if row is None:
            raise Changed(f"inode {ino} is not known to the index any more", hint="open the file again")
        return row

    def _any(self, ino: int) -> _Row | None:
        row: _Row | None = self._one(_BY_INO, (ino,)) or self._one(_GONE_BY_INO, (ino,))
        return row

    def _one(self, query: str, arguments: tuple[object, ...]) -> Any:
        try:
            return self._connection.execute(query, arguments).fetchone()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _all(self, query: str, arguments: tuple[object, ...]) -> list[_Row]:
        try:
            return self._connection.execute(query, arguments).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: sqlite3.Error) -> LocalFileError:
        return LocalFileError(
            f"the index {self._path} cannot be read: {error}", hint="mount again: a damaged index is made anew"
        )


def _entry(row: _Row) -> Entry:
    ino, parent, name, size, etag, last_modified, kind, files, subdirs = row
    is_dir = name.endswith(b"/") or ino == ROOT_INO
    return Entry(ino, parent, bare(name), is_dir, size, etag, last_modified, _KINDS[kind], files, subdirs)
