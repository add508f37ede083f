"""Where objects come from: the port every source has, and the one for a local directory.

A source yields its objects in the order of a listing (bytes of the UTF-8 name). What cannot become an object is
yielded as well, with its reason: nothing is left out in silence.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from swiftfs.errors import Changed, ContainerNotFound, Interrupted, LocalFileError, UsageError, printable
from swiftfs.load.member import STAGING
from swiftfs.load.plan import refusal


class OpenedSource(Protocol):
    """The bytes of one source object, once; every method may block and may raise Changed or LocalFileError."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; empty only at the end."""

    def settle(self) -> None:
        """Raise Changed unless what was read is still what the source holds."""

    def close(self) -> None:
        """Let go of it; never raises."""


class SourceObject(Protocol):
    """One object to be: ``name`` in the container, ``size`` in bytes, ``mtime`` in nanoseconds or None."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def mtime(self) -> int | None: ...

    def open(self) -> OpenedSource:
        """Start at the first byte; may be called again for another attempt. Raises Changed, LocalFileError."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Something in the source that should be an object and cannot; the run is not complete.

    ``is_directory``: what lies in it is not known.
    """

    name: str
    reason: str
    is_directory: bool = False


@dataclass(frozen=True, slots=True)
class Omitted:
    """Something in the source that is left out by rule, as rclone does; the run is complete without it."""

    name: str
    reason: str


class OpenedPart(OpenedSource, Protocol):
    """The bytes of a source object from some byte on."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill ``buffer`` as far as one read does; 0 only at the end."""


class Seekable(SourceObject, Protocol):
    """A source object that can be read from any byte, by several readers at once."""

    def open(self, start: int = 0) -> OpenedPart:
        """As of every object, from byte ``start`` on."""

    def identity(self) -> tuple[str, int] | None:
        """What is different whenever its bytes may be, and the nanosecond of its last change.

        None when it is no longer what the walk found.
        """


class Source(Protocol):
    """A set of objects to load."""

    def scan(self, halted: threading.Event | None = None) -> Iterator[SourceObject | Refused | Omitted]:
        """Everything in the source, ordered by name; blocks. Raises Interrupted once ``halted`` is set."""


def open_source(path: str, *, prefix: str = "", follow_links: bool = False) -> Source:
    """The source that ``path`` names; its objects get ``prefix`` in front of their names.

    Raises ContainerNotFound (rclone's "directory not found") and UsageError when it is not a directory.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise ContainerNotFound(f"directory not found: {printable(path)}") from None
    except OSError as error:
        raise LocalFileError(f"cannot read {printable(path)}: {error.strerror}") from None
    if not stat.S_ISDIR(mode):
        raise UsageError(f"{printable(path)} is not a directory", hint="give the directory that holds it")
    return DirectorySource(path, prefix, follow_links=follow_links)


@dataclass(frozen=True, slots=True)
class DirectorySource:
    """The regular files below ``root``; ``prefix`` ends with a slash or is empty.

    Names stay as they are on disk: no normal form is applied, and a name that is not UTF-8 is refused. Symbolic links
    are left out unless ``follow_links``; then a link that leads back to a directory above it is refused.
    """

    root: str
    prefix: str = ""
    follow_links: bool = False

    def scan(self, halted: threading.Event | None = None) -> Iterator[SourceObject | Refused | Omitted]:
        """Every regular file in listing order, and what is refused or left out."""
        # An explicit stack: the depth of a tree is bounded by its paths, not by Python's recursion limit.
        above = self._identity(self.root)
        stack = [(iter(self._entries(self.root, "", halted)), above)]
        while stack:
            entries, parents = stack[-1]
            for found in entries:
                if isinstance(found, Refused | Omitted | FileObject):
                    yield found
                    continue
                identity = self._identity(found.path) if self.follow_links else frozenset()
                if identity & parents:
                    yield Refused(found.relative, "a symbolic link leads back to a directory above it", True)
                    continue
                stack.append((iter(self._entries(found.path, found.relative, halted)), parents | identity))
                break
            else:
                stack.pop()

    def _identity(self, path: str) -> frozenset[tuple[int, int]]:
        try:
            status = os.stat(path)
        except OSError:
            return frozenset()
        return frozenset({(status.st_dev, status.st_ino)})

    def _entries(
        self, path: str, relative: str, halted: threading.Event | None
    ) -> list[FileObject | Refused | Omitted | _Directory]:
        """One directory's entries; directories sort with their slash, so that the whole walk is in listing order."""
        found: list[tuple[str, FileObject | Refused | Omitted | _Directory]] = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    # For each: one directory may have millions, and a file system over a network takes its time.
                    if halted is not None and halted.is_set():
                        raise Interrupted("stopped while the directory was walked", hint="run it again")
                    if not relative and entry.name == STAGING:
                        found.append((entry.name, Omitted(STAGING, "unfinished work of swiftfs extract")))
                        continue
                    one = self._entry(entry, relative)
                    found.append((entry.name + ("/" if isinstance(one, _Directory) else ""), one))
        except OSError as error:
            if not relative:
                raise LocalFileError(f"cannot list the directory {printable(path)}: {error.strerror}") from None
            return [Refused(_shown(relative), f"cannot list the directory: {error.strerror}", True)]
        found.sort(key=lambda pair: pair[0])
        return [one for _, one in found]

    def _entry(self, entry: os.DirEntry[str], relative: str) -> FileObject | Refused | Omitted | _Directory:
        below = f"{relative}/{entry.name}" if relative else entry.name
        try:
            if entry.is_symlink() and not self.follow_links:
                return Omitted(_shown(below), "symbolic link (use --copy-links to follow it)")
            if entry.is_dir(follow_symlinks=self.follow_links):
                return _Directory(entry.path, below)
            status = entry.stat(follow_symlinks=self.follow_links)
        except OSError as error:
            return Refused(_shown(below), os_reason(error))
        if not stat.S_ISREG(status.st_mode):
            return Refused(_shown(below), f"is a {_kind(status.st_mode)}, not a regular file")
        name = self.prefix + below if self.prefix else below
        if reason := refusal(name, status.st_size):
            return Refused(_shown(below), reason)
        return FileObject(name, status.st_size, status.st_mtime_ns, self.root, below, self.follow_links)


_NOT_IN_MEMORY = frozenset({errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
"""What preadv2(2) answers to RWF_NOWAIT when it would wait for the disk, or cannot tell."""


def _identity(status: os.stat_result) -> tuple[str, int]:
    # The time of the last change of the inode is there as well: tools restore the other time after writing.
    parts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return ":".join(map(str, parts)), max(status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class _Directory:
    path: str
    relative: str


@dataclass(frozen=True, slots=True)
class FileObject:
    """A regular file as it was when the directory was walked: ``below``, a path, under the directory ``root``.

    A dataset has very many of them: without a prefix, ``name`` and ``below`` are one string.
    """

    name: str
    size: int
    mtime: int
    root: str
    below: str
    follow_links: bool = False

    @property
    def path(self) -> str:
        """Where the file is."""
        return os.path.join(self.root, self.below)

    def identity(self) -> tuple[str, int] | None:
        """Device, inode, size and times, as :class:`Seekable`."""
        try:
            status = os.stat(self.path, follow_symlinks=self.follow_links)
        except OSError:
            return None
        return _identity(status) if self.is_as_walked(status) else None

    def is_as_walked(self, status: os.stat_result) -> bool:
        """Whether a file with this ``status`` is what the walk has found."""
        return status.st_size == self.size and status.st_mtime_ns == self.mtime and stat.S_ISREG(status.st_mode)

    def cached(self, memory: bytearray) -> tuple[bytes, tuple[str, int]] | None:
        """Bytes and identity when the page cache has them all, as :class:`swiftfs.load.ready.Cached`."""
        descriptor = self._descriptor()
        try:
            before = os.fstat(descriptor)
            count = os.preadv(descriptor, [memoryview(memory)[: self.size + 1]], 0, os.RWF_NOWAIT)
            after = os.fstat(descriptor)
        except OSError as error:
            if error.errno in _NOT_IN_MEMORY:
                return None
            raise LocalFileError(os_reason(error)) from None
        finally:
            os.close(descriptor)
        if count > self.size or not self.is_as_walked(before) or not self.is_as_walked(after):
            raise Changed("changed while it was read")
        return (bytes(memoryview(memory)[:count]), _identity(before)) if count == self.size else None

    def _descriptor(self) -> int:
        # O_NONBLOCK: a FIFO that took the file's place since the walk must not block.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if self.follow_links else os.O_NOFOLLOW)
        try:
            return os.open(self.path, flags)
        except OSError as error:
            raise LocalFileError(os_reason(error)) from None

    def open(self, start: int = 0) -> OpenedFile:
        """Open at byte ``start``. Raises Changed when it is no longer the file that was walked, LocalFileError."""
        opened = OpenedFile(self, self._descriptor())
        try:
            opened.settle()
            opened.seek(start)
        except BaseException:
            opened.close()
            raise
        return opened


class OpenedFile:
    """An open regular file that must stay as it was walked.

    Its reads run in threads that cannot be stopped: the lock keeps the descriptor from being closed, and its number
    from being given to another file, under a read whose result nobody waits for any more.
    """

    def __init__(self, source: FileObject, descriptor: int) -> None:
        self._source = source
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes. Raises LocalFileError."""
        with self._lock:
            try:
                return os.read(self._descriptor, size)
            except OSError as error:
                raise LocalFileError(os_reason(error)) from None

    def readinto(self, buffer: memoryview, /) -> int:
        """Read into ``buffer``; returns the number of bytes. Raises LocalFileError."""
        with self._lock:
            try:
                return os.readv(self._descriptor, [buffer])
            except OSError as error:
                raise LocalFileError(os_reason(error)) from None

    def seek(self, start: int) -> None:
        """Go on reading at byte ``start``."""
        os.lseek(self._descriptor, start, os.SEEK_SET)

    def settle(self) -> None:
        """Raise Changed unless size and modification time are those of the walk."""
        if not self._source.is_as_walked(os.fstat(self._descriptor)):
            raise Changed("changed while it was read")

    def close(self) -> None:
        """Close the file; later reads fail."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


def os_reason(error: OSError) -> str:
    """Why a local file cannot be read, in few words."""
    if isinstance(error, FileNotFoundError):
        return "is gone"
    return (error.strerror or type(error).__name__).lower()


def _shown(name: str) -> str:
    """A name from the file system that can be printed, also when it is not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "FIFO"
    if stat.S_ISSOCK(mode):
        return "socket"
    if stat.S_ISLNK(mode):
        return "symbolic link"
    return "device" if stat.S_ISBLK(mode) or stat.S_ISCHR(mode) else "special file"
