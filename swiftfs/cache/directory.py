"""The cache's directory on disk: opened with suspicion, reached by descriptors only, shared under locks.

Layout, below the directory that the user names::

    v1/lock            held shared by every writer; who gets it exclusively is alone
    v1/owners/ID       one per writer, locked while it lives: the files it may have written without a row so far
    v1/chunks.db       the table (cache.table)
    v1/files/ab/…      the bytes (cache.names)

Nothing is written or deleted through a symbolic link below the named directory, and nothing is read through one in a
file's place. Files are 0600 and directories 0700.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftfs.cache.names import file_name, parse_file_name, shard
from swiftfs.cache.outside import FORMAT, table_path
from swiftfs.errors import ConfigError, LocalFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_WAIT = 30.0
"""Seconds to wait for a writer that is alone to finish its start: sweeping a million files takes about ten."""

LOCK_POLL = 0.02
"""Seconds between two tries at a lock."""

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700

DAMAGE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO})
"""What the system says of a file that is gone, is another thing, or whose bytes the disk has lost. All else, such as no
descriptor, no memory or no permission, says nothing about the bytes: they may be had a moment later."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC


class CacheDirectory:
    """The open directories of one cache. ``close`` it; after that nothing else works."""

    def __init__(self, path: Path) -> None:
        """Opens, and makes where absent, the cache at ``path``.

        Raises ConfigError when the directory is another user's or others may write to it, LocalFileError when it
        cannot be used.
        """
        self.path = path
        with contextlib.ExitStack() as opened:
            try:
                path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
                base = os.open(path.resolve(), _DIRECTORY)
                opened.callback(os.close, base)
                _check_ours(base, path)
                self._root = _open_below(base, f"v{FORMAT}", opened)
                _check_ours(self._root, path)
                self._files = _open_below(self._root, "files", opened)
                self._owners = _open_below(self._root, "owners", opened)
            except OSError as error:
                raise LocalFileError(
                    f"the cache directory {path} cannot be used: {error.strerror or error}",
                    hint="name another with --cache-dir",
                ) from error
            self._opened = opened.pop_all()
        self.table_path = table_path(path)

    def close(self) -> None:
        """Closes the directories."""
        self._opened.close()

    def replaced(self) -> bool:
        """Whether another directory has been made in this one's place; False while nothing is there."""
        try:
            there = os.stat(self.path / f"v{FORMAT}", follow_symlinks=False)
        except OSError:
            return False
        return not os.path.samestat(os.fstat(self._root), there)

    def removed(self) -> bool:
        """Whether this directory was deleted, so that nothing can be put into it any more."""
        try:
            return not os.fstat(self._root).st_nlink
        except OSError:  # a network's file system knows it no more
            return True

    def make_table_file(self) -> None:
        """Makes the table's file where absent, so that it is never readable by others nor a link. Raises OSError."""
        os.close(os.open("chunks.db", os.O_RDWR | os.O_CREAT | _FILE, FILE_MODE, dir_fd=self._root))

    def delete_table(self) -> None:
        """Deletes the table with its journals."""
        for name in ("chunks.db", "chunks.db-wal", "chunks.db-shm", "chunks.db-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._root)

    def free_bytes(self) -> int:
        """What the disk has free for this user."""
        disk = os.fstatvfs(self._root)
        return disk.f_bavail * disk.f_frsize

    def open_to_write(self, key: str, extent: int) -> int:
        """A descriptor of an extent's file, made where absent. Raises OSError."""
        with self._shard(key) as directory:
            return os.open(file_name(key, extent), os.O_WRONLY | os.O_CREAT | _FILE, FILE_MODE, dir_fd=directory)

    def open_unnamed(self, key: str) -> int:
        """A descriptor of a new file for an extent of ``key`` that :meth:`name` can give its name. Raises OSError, also
        where the file system has no files without a name."""
        with self._shard(key) as directory:
            return os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, FILE_MODE, dir_fd=directory)

    def name(self, descriptor: int, key: str, extent: int) -> None:
        """Makes a file that :meth:`open_unnamed` has opened the extent's, in the place of one that is there. Raises
        OSError."""
        unnamed, name = f"/proc/self/fd/{descriptor}", file_name(key, extent)
        with self._shard(key) as directory:
            try:
                os.link(unnamed, name, dst_dir_fd=directory, follow_symlinks=True)
            except FileExistsError:
                os.unlink(name, dir_fd=directory)
                os.link(unnamed, name, dst_dir_fd=directory, follow_symlinks=True)

    @contextlib.contextmanager
    def _shard(self, key: str) -> Iterator[int]:
        """A descriptor of the directory that a key's files are in, made where absent. Raises OSError."""
        try:
            directory = os.open(shard(key), _DIRECTORY, dir_fd=self._files)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                os.mkdir(shard(key), DIRECTORY_MODE, dir_fd=self._files)
            directory = os.open(shard(key), _DIRECTORY, dir_fd=self._files)
        try:
            yield directory
        finally:
            os.close(directory)

    def open_to_read(self, key: str, extent: int) -> int:
        """A descriptor of an extent's file. Raises OSError."""
        return os.open(f"{shard(key)}/{file_name(key, extent)}", os.O_RDONLY | _FILE, dir_fd=self._files)

    def unlink(self, key: str, extent: int) -> bool:
        """Deletes an extent's file; whether it is gone now."""
        try:
            directory = os.open(shard(key), _DIRECTORY, dir_fd=self._files)
            try:
                os.unlink(file_name(key, extent), dir_fd=directory)
            finally:
                os.close(directory)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return True

    def files(self, shard_name: str) -> Iterator[tuple[str, int]]:
        """The (key, extent) of every file in a shard; what is not a cache file is passed over. Raises OSError."""
        try:
            directory = os.open(shard_name, _DIRECTORY, dir_fd=self._files)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            names = os.listdir(directory)
        finally:
            os.close(directory)
        for name in names:
            parsed = parse_file_name(name)
            if parsed is not None and shard(parsed[0]) == shard_name:
                yield parsed

    def lock(self) -> UseLock:
        """The lock that tells whether a writer is alone, not held yet. Raises OSError."""
        return UseLock(os.open("lock", os.O_RDWR | os.O_CREAT | _FILE, FILE_MODE, dir_fd=self._root))

    def new_owner(self) -> Owner:
        """A new writer's mark of life. Raises OSError."""
        while True:
            name = secrets.token_hex(8)
            descriptor = os.open(
                name, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | _FILE, FILE_MODE, dir_fd=self._owners
            )
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:  # else another took it for a dead one's before it was locked
                return Owner(name, descriptor)
            os.close(descriptor)

    def dead_owners(self) -> Iterator[DeadOwner]:
        """The writers that ended without a word, each held locked until the caller asks for the next."""
        for name in os.listdir(self._owners):
            try:
                descriptor = os.open(name, os.O_RDWR | _FILE, dir_fd=self._owners)
            except OSError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink:
                    yield DeadOwner(name, tuple(_noted(descriptor)))
            except BlockingIOError:
                continue
            finally:
                os.close(descriptor)

    def forget_owner(self, name: str) -> None:
        """Deletes a writer's mark."""
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._owners)


@dataclass(frozen=True, slots=True)
class DeadOwner:
    """A writer that ended without closing: its id, and the files it may have written bytes to that no row counts."""

    name: str
    files: tuple[tuple[str, int], ...]


class Owner:
    """A writer's mark of life: a locked file, in which it notes each file before it writes bytes that have no row.

    A write to it reaches the page cache, which outlives the process; after a power cut nobody is left and the first
    to come is alone and sweeps.
    """

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self._descriptor = descriptor
        self._noted: set[tuple[str, int]] = set()

    def note(self, key: str, extent: int) -> None:
        """Notes that the file is about to be written. Raises OSError."""
        if (key, extent) not in self._noted:
            os.write(self._descriptor, file_name(key, extent).encode() + b"\n")
            self._noted.add((key, extent))

    def settled(self) -> None:
        """All that was noted has its rows now. Raises OSError."""
        if self._noted:
            os.ftruncate(self._descriptor, 0)
            self._noted.clear()

    def close(self) -> None:
        """Ends the mark; the file must have been forgotten before."""
        os.close(self._descriptor)


class UseLock:
    """Shared by all writers of a cache, or exclusive for one that is alone (flock: it ends with the process)."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def try_alone(self) -> bool:
        """Takes the lock exclusively when nobody else holds it."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def share(self, patience: float) -> None:
        """Takes the lock shared, or makes an exclusive one so. Raises LocalFileError after ``patience`` seconds."""
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LocalFileError("the cache is held by another mount that does not finish its start") from None
                time.sleep(LOCK_POLL)
            else:
                return

    def close(self) -> None:
        """Gives the lock back."""
        os.close(self._descriptor)


def write_all(descriptor: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Writes all of ``data`` at ``offset``. Raises OSError."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


def read_all(descriptor: int, length: int, offset: int) -> bytes:
    """``length`` bytes from ``offset``, fewer only at the end of the file. Raises OSError."""
    data = os.pread(descriptor, length, offset)
    if len(data) == length or not data:
        return data
    parts = [data]
    while data and (length := length - len(data)):
        offset += len(data)
        data = os.pread(descriptor, length, offset)
        parts.append(data)
    return b"".join(parts)


def _open_below(parent: int, name: str, opened: contextlib.ExitStack) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, DIRECTORY_MODE, dir_fd=parent)
    descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
    opened.callback(os.close, descriptor)
    return descriptor


def _check_ours(descriptor: int, path: Path) -> None:
    """Raises ConfigError when another user could put bytes into the cache."""
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid():
        raise ConfigError(
            f"the cache directory {path} belongs to user {status.st_uid}", hint="name one of your own with --cache-dir"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"the cache directory {path} may be written by others", hint=f"chmod go-w {path}")


def _noted(descriptor: int) -> Iterator[tuple[str, int]]:
    """The files that a dead writer noted; a line that was cut is passed over, for its file was not begun."""
    with os.fdopen(os.dup(descriptor), "r", encoding="ascii", errors="replace") as lines:
        for line in lines:
            parsed = parse_file_name(line.rstrip("\n"))
            if parsed is not None and line.endswith("\n"):
                yield parsed
