"""Write files below one directory and nowhere else; each appears whole or not at all.

Every component on the way is opened without following links, relative to the directory before it, so no name and no
link that is there already leads out. What is not whole yet lies in a directory of its own at the top, on the same
file system as the rest (the dataset's directory may be a mount point of its own); a lock keeps a second run away.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

from swiftfs.errors import LocalFileError, printable
from swiftfs.load.member import STAGING

PIECE = 256 * 1024
"""Bytes read at once when a file that is there is compared."""
HOPELESS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE})
"""Errors that the next file would meet as well: they end the run."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Staging:
    """An open directory that is being filled; made by :func:`open_staging`."""

    def __init__(self, root: int, work: int, path: str) -> None:
        self._root = root
        self._work = work
        self.path = path
        self._serial = 0
        self._last: tuple[str, int] | None = None

    def close(self) -> None:
        """Close what is open."""
        if self._last is not None:
            os.close(self._last[1])
            self._last = None

    def make_directory(self, path: str) -> None:
        """Make sure the directory ``path`` is there. Raises OSError."""
        self._parent(path + "/")

    def found(self, path: str) -> os.stat_result | None:
        """The regular file at ``path``, None when there is none. Raises OSError."""
        try:
            status = os.stat(_leaf(path), dir_fd=self._parent(path), follow_symlinks=False)
        except FileNotFoundError:
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def crc(self, path: str) -> int:
        """CRC-32 of the regular file at ``path``. Raises OSError."""
        descriptor = self._open(path)
        try:
            value = 0
            while piece := os.read(descriptor, PIECE):
                value = zlib.crc32(piece, value)
        finally:
            os.close(descriptor)
        return value

    def write(self, path: str, pieces: Iterable[bytes], mtime: int | None) -> None:
        """Make the file ``path`` hold ``pieces``, replacing what was there, once all of them are written.

        ``mtime`` is in nanoseconds. Raises OSError, and what ``pieces`` raises; then nothing has changed.
        """
        parent = self._parent(path)
        self._serial += 1
        partial = f"{self._serial}.partial"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(partial, flags, 0o666, dir_fd=self._work)
        try:
            try:
                for piece in pieces:
                    view = memoryview(piece)
                    while view:
                        view = view[os.write(descriptor, view) :]
                if mtime is not None:
                    # A time that this file system cannot hold is no reason to lose the file.
                    with contextlib.suppress(OSError, OverflowError):
                        os.utime(descriptor, ns=(mtime, mtime))
            finally:
                os.close(descriptor)
            os.rename(partial, _leaf(path), src_dir_fd=self._work, dst_dir_fd=parent)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(partial, dir_fd=self._work)
            raise

    def settle(self, path: str, pieces: Iterator[bytes], mtime: int | None) -> bool:
        """As :meth:`write`, but a regular file at ``path`` that holds the very same bytes is left alone.

        For archives that say nothing of their members' bytes beforehand: what is there is compared while ``pieces``
        go by. True when the file was written.
        """
        old = self._open(path)
        try:
            equal = 0
            for piece in pieces:
                if _read_exactly(old, len(piece)) != piece:
                    os.lseek(old, 0, os.SEEK_SET)
                    self.write(path, chain(_prefix(old, equal), [piece], pieces), mtime)
                    return True
                equal += len(piece)
            if not os.read(old, 1):
                return False
            os.lseek(old, 0, os.SEEK_SET)
            self.write(path, _prefix(old, equal), mtime)
            return True
        finally:
            os.close(old)

    def remove(self, path: str) -> None:
        """Remove the file ``path``. Raises OSError."""
        os.unlink(_leaf(path), dir_fd=self._parent(path))

    def _open(self, path: str) -> int:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(_leaf(path), flags, dir_fd=self._parent(path))

    def _parent(self, path: str) -> int:
        """The open directory that ``path`` lies in, made when it is missing; the last one stays open."""
        above = path.rpartition("/")[0]
        if self._last is not None and self._last[0] == above:
            return self._last[1]
        descriptor = os.dup(self._root)
        try:
            for part in above.split("/") if above else ():
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=descriptor)
                below = os.open(part, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
        except BaseException:
            os.close(descriptor)
            raise
        self.close()
        self._last = (above, descriptor)
        return descriptor


@contextlib.contextmanager
def open_staging(directory: str, *, keep: frozenset[str] = frozenset()) -> Iterator[Staging]:
    """``directory``, made when it is missing, ready to be filled by this process alone.

    Leftovers of a run that was killed are removed first, except files named in ``keep``. Raises LocalFileError.
    """
    path = os.path.join(directory, STAGING)
    with contextlib.ExitStack() as opened:
        try:
            os.makedirs(directory, exist_ok=True)
            root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, root)
            with contextlib.suppress(FileExistsError):
                os.mkdir(STAGING, 0o700, dir_fd=root)
            work = os.open(STAGING, _DIRECTORY, dir_fd=root)
            opened.callback(os.close, work)
            try:
                fcntl.flock(work, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LocalFileError(f"another run is extracting into {printable(directory)}") from None
            for name in os.listdir(work):
                if name not in keep:
                    os.unlink(name, dir_fd=work)
        except OSError as error:
            raise LocalFileError(f"cannot write into {printable(directory)}: {error.strerror}") from None
        staging = Staging(root, work, path)
        try:
            yield staging
        finally:
            staging.close()
            with contextlib.suppress(OSError):  # not empty: a download that can be continued
                os.rmdir(STAGING, dir_fd=root)


def _read_exactly(descriptor: int, size: int) -> bytes:
    """``size`` bytes from here on, fewer only at the end of the file."""
    found = b""
    while len(found) < size and (piece := os.read(descriptor, size - len(found))):
        found += piece
    return found


def _prefix(descriptor: int, size: int) -> Iterator[bytes]:
    """The next ``size`` bytes in pieces."""
    while size and (piece := os.read(descriptor, min(size, PIECE))):
        size -= len(piece)
        yield piece


def _leaf(path: str) -> str:
    return path.rpartition("/")[2]
