"""The kernel's side: pyfuse3's handlers, each a few lines over :mod:`swiftfs.fs.vfs`.

The only module that knows pyfuse3, and the only place where our errors become errno. pyfuse3 brings the whole mount
down when a handler raises anything but FUSEError, so every handler goes through :func:`answered`. What is not defined
here (flush, access, getxattr, fsync …) is answered ENOSYS by pyfuse3, after which the kernel does not ask again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import pyfuse3
import trio

from swiftfs.errors import SwiftFSError
from swiftfs.fs.at_once import MANY_AT_ONCE, MAX_BACKGROUND
from swiftfs.fs.handlers import Handlers
from swiftfs.fs.inodes import ROOT, Inodes
from swiftfs.fs.no_open import INODES_AS_HANDLES
from swiftfs.fs.no_wait import reading_without_waiting
from swiftfs.fs.repeats import Repeats

if TYPE_CHECKING:
    from swiftfs.fs.vfs import Vfs
    from swiftfs.fs.view import View
    from swiftfs.index.entry import Change, Entry

log = logging.getLogger(__name__)

BLOCK = 512
"""Bytes in a unit of ``st_blocks`` (stat(2))."""
PREFERRED_READ = 1024 * 1024
"""``st_blksize``: asks tools for large reads; the kernel sends at most 1 MiB in one request."""
NAME_MAX = 255
"""Longest component the kernel takes (``FUSE_NAME_MAX`` is longer; ``NAME_MAX`` of the VFS is 255 bytes)."""
READDIR_BATCH = 200
"""Entries read from the index at once: as many as one reply of 32 KiB takes (195 with short names)."""
AT_ONCE = 1000
"""Inodes looked up before readers have their turn: some ten milliseconds."""
MIN_TASKS = 16
"""Request handlers that pyfuse3 keeps: with its default of 1 they are born and die all the time."""
MAX_TASKS = 2 * MAX_BACKGROUND
"""Request handlers at the most: besides all reads that the kernel sends at once, what it asks for in the foreground,
such as names and attributes. With pyfuse3's default of 99, so many blocked readers would hold everybody up."""

P = ParamSpec("P")
R = TypeVar("R")
Handler = Callable[Concatenate["Operations", P], Coroutine[Any, Any, R]]


def answered(handler: Handler[P, R]) -> Handler[P, R]:
    """A handler that ends with data or an errno, whatever happens inside."""

    @wraps(handler)
    async def wrapper(self: Operations, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await handler(self, *args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except SwiftFSError as error:
            self.note_error(error)
            raise pyfuse3.FUSEError(error.errno) from None
        except Exception as error:
            self.note_unexpected(handler.__name__, error)
            raise pyfuse3.FUSEError(errno.EIO) from None

    return wrapper


def _repeated(more: int) -> str:
    return f"; {more:,} more like it since the last line about it" if more else ""


class Operations(pyfuse3.Operations):
    """One mount's handlers. File handles are inode numbers: an inode is one version of one object."""

    supports_dot_lookup = True
    enable_writeback_cache = False
    enable_acl = False

    def __init__(self, vfs: Vfs, view: View) -> None:
        super().__init__()
        self._vfs = vfs
        self._view = view
        self.inodes = Inodes()
        self.requests = 0
        self._repeats = Repeats()
        self.handlers = Handlers(pyfuse3.__file__)
        self.kernel_opens = False
        """Whether the kernel opens files and directories itself once it is told so."""

    def note_error(self, error: SwiftFSError) -> None:
        """Log what a reader only sees as an errno, the same of the same file once in a while. Lookups of names that
        are not there are no news."""
        if error.errno == errno.ENOENT:
            return
        self._vfs.counters.errors += 1
        more = self._repeats.say((error.errno, error.object or error.message), time.monotonic())
        if more is not None:
            number = errno.errorcode.get(error.errno, error.errno)
            log.warning("a request failed with %s: %s%s", number, error, _repeated(more))

    def note_unexpected(self, handler: str, error: Exception) -> None:
        """Log an error that nobody has foreseen; likewise."""
        more = self._repeats.say((handler, type(error)), time.monotonic())
        if more is not None:
            log.error("unexpected error in %s%s", handler, _repeated(more), exc_info=error)

    @answered
    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Entry of ``name``; a name that is not there is answered so that the kernel remembers that, too."""
        self.requests += 1
        if name == b".":
            entry = self._vfs.entry(parent_inode)
        elif name == b"..":
            entry = self._vfs.entry(self._vfs.entry(parent_inode).parent or ROOT)
        elif len(name) > NAME_MAX:
            raise pyfuse3.FUSEError(errno.ENAMETOOLONG)
        else:
            await self._vfs.known(parent_inode)
            found = self._vfs.child(parent_inode, name)
            if found is None and not self._vfs.is_whole:
                await self._vfs.known()  # a store may tell of fewer names on top than there are
                found = self._vfs.child(parent_inode, name)
            if found is None:
                return self._absent()
            entry = found
        self.inodes.looked_up(entry.ino)
        return self._attributes(entry)

    @answered
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Attributes from the index; never waits for the network."""
        self.requests += 1
        return self._attributes(self._vfs.entry(inode))

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """The kernel gives lookups back. May not fail, and gets no reply."""
        for ino, count in inode_list:
            self.inodes.forget(ino, count)

    @answered
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Nothing to do: the inode pins the version. Pages of an earlier open are kept.

        Where reads say their inode the kernel is told so at the first open, and asks for no other.
        """
        self.requests += 1
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise pyfuse3.FUSEError(errno.EROFS)
        if self.kernel_opens:
            raise pyfuse3.FUSEError(errno.ENOSYS)
        return pyfuse3.FileInfo(fh=inode, keep_cache=True)

    @answered
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Exactly the bytes there are: pyfuse3 fills a short answer with zeroes."""
        self.requests += 1
        return await self._vfs.read(fh, off, size)

    async def release(self, fh: int) -> None:
        """A handle holds nothing."""
        self.requests += 1

    @answered
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """A directory's handle is its inode, too, and the kernel may keep what it listed."""
        self.requests += 1
        if self.kernel_opens:
            raise pyfuse3.FUSEError(errno.ENOSYS)
        if not self._vfs.entry(inode).is_dir:
            raise pyfuse3.FUSEError(errno.ENOTDIR)
        return inode

    @answered
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Entries after the cookie ``start_id``, as many as the kernel's buffer takes.

        A cookie is the inode number of the entry before it, so an entry that did not change is shown once even when
        the directory is rebuilt between two requests.
        """
        self.requests += 1
        await self._vfs.known(fh)
        after = start_id
        if not after and not self._vfs.entry(fh).is_dir:
            raise pyfuse3.FUSEError(errno.ENOTDIR)
        while True:
            entries = self._vfs.children(fh, after, READDIR_BATCH)
            for entry in entries:
                if not pyfuse3.readdir_reply(token, entry.name, self._attributes(entry), entry.ino):
                    return
                self.inodes.looked_up(entry.ino)
                after = entry.ino
            if len(entries) < READDIR_BATCH:
                return

    async def releasedir(self, fh: int) -> None:
        """A handle holds nothing."""
        self.requests += 1

    @answered
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """Size of the dataset, nothing free; from the index alone."""
        self.requests += 1
        totals = self._vfs.totals()
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = PREFERRED_READ
        data.f_blocks = -(-totals.bytes // PREFERRED_READ)
        data.f_bfree = data.f_bavail = 0
        data.f_files = totals.files + totals.directories
        data.f_ffree = data.f_favail = 0
        data.f_namemax = NAME_MAX
        return data

    def _attributes(self, entry: Entry) -> pyfuse3.EntryAttributes:
        view = self._view
        attributes = pyfuse3.EntryAttributes()
        attributes.st_ino = entry.ino
        attributes.generation = 0
        attributes.entry_timeout = view.entry_timeout
        attributes.attr_timeout = view.attr_timeout
        attributes.st_uid = view.uid
        attributes.st_gid = view.gid
        if entry.is_dir:
            attributes.st_mode = stat.S_IFDIR | view.directory_mode
            attributes.st_nlink = 2 + entry.subdirs
            attributes.st_size = 0
            if not self._vfs.is_whole:
                # 1: how many directories are in it is not to be told from this. Asked again, it will be known.
                attributes.st_nlink = 1
                attributes.entry_timeout = attributes.attr_timeout = 0
        else:
            attributes.st_mode = stat.S_IFREG | view.file_mode
            attributes.st_nlink = 1
            attributes.st_size = entry.size
            attributes.st_blksize = PREFERRED_READ
            attributes.st_blocks = -(-entry.size // BLOCK)
        attributes.st_atime_ns = attributes.st_mtime_ns = attributes.st_ctime_ns = entry.last_modified
        return attributes

    def _absent(self) -> pyfuse3.EntryAttributes:
        attributes = pyfuse3.EntryAttributes()
        attributes.st_ino = 0
        attributes.entry_timeout = min(self._view.entry_timeout, self._view.negative_timeout)
        return attributes


def option_text(text: str) -> str:
    """``text`` as the value of a mount option: a comma would begin another one, and pyfuse3 takes nothing but ASCII.
    libfuse reads three octal digits after a backslash as a byte (lib/fuse_opt.c)."""
    return "".join(
        chr(byte) if 0x20 < byte < 0x7F and byte not in b"\\," else f"\\{byte:03o}" for byte in os.fsencode(text)
    )


def mount(
    operations: Operations,
    mountpoint: str,
    *,
    fsname: str,
    allow_other: bool,
    options: Sequence[str],
    ask_opens: bool = False,
) -> bool:
    """Attach to the kernel. Read-only, no set-user-id, no devices, permissions checked by the kernel. Raises OSError
    or RuntimeError as libfuse reports it.

    Says whether the kernel will ask for each open, which it does where it must and with ``ask_opens``.
    """
    wanted = {
        "ro",
        "nosuid",
        "nodev",
        "default_permissions",
        "subtype=swiftfs",
        f"fsname={option_text(fsname)}",
        *options,
    }
    if allow_other:
        wanted.add("allow_other")
    with operations.handlers.wrapped([MANY_AT_ONCE] if ask_opens else [MANY_AT_ONCE, *INODES_AS_HANDLES]):
        pyfuse3.init(operations, mountpoint, wanted)
    operations.kernel_opens = operations.handlers.are_wrapped and not ask_opens
    return not operations.kernel_opens


async def serve() -> None:
    """Answer the kernel until the tree is unmounted or :func:`stop` is called."""
    with reading_without_waiting(pyfuse3.__file__):
        await pyfuse3.main(min_tasks=MIN_TASKS, max_tasks=MAX_TASKS)


def stop() -> None:
    """Let :func:`serve` end; requests being answered end first."""
    pyfuse3.terminate()


def unmount() -> None:
    """Detach from the kernel, also when somebody else has unmounted already."""
    with contextlib.suppress(OSError, RuntimeError):
        pyfuse3.close(unmount=True)


async def invalidate(vfs: Vfs, inodes: Inodes, changes: tuple[Change, ...] | None) -> int:
    """Have the kernel drop what a rebuilt index changed (None: everything); returns how many notices were sent.

    In a worker thread: the kernel may hold locks that a request of ours needs (libfuse README.notifications). What the
    kernel does not know is skipped. A directory of which any name changed is told, too: the kernel may keep its list.
    """
    if changes is None:
        gone = inodes.known()
        names = []
        for number, ino in enumerate(gone):
            if number % AT_ONCE == AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
            if (place := vfs.place(ino)) is not None:
                names.append(place)
    else:
        gone = [change.old_ino for change in changes if change.old_ino is not None and change.old_ino in inodes]
        gone += {change.parent for change in changes if change.parent in inodes}
        names = [(change.parent, change.name) for change in changes if change.parent in inodes]

    def tell() -> None:
        for parent, name in names:
            with contextlib.suppress(OSError):
                pyfuse3.invalidate_entry(parent, name)
        for ino in gone:
            with contextlib.suppress(OSError):
                pyfuse3.invalidate_inode(ino)

    await trio.to_thread.run_sync(tell)
    return len(gone) + len(names)


__all__ = ["Operations", "invalidate", "mount", "serve", "stop", "unmount"]
