"""A kernel that does not ask for opens: reads say their inode themselves.

A file system that answers FUSE_OPEN and FUSE_OPENDIR with ENOSYS is not asked again: the kernel opens by itself, keeps
the pages of files and the entries of directories, and sends neither open nor release (FUSE_NO_OPEN_SUPPORT since Linux
3.16, FUSE_NO_OPENDIR_SUPPORT since 5.1; include/uapi/linux/fuse.h). What it sends from then on has no handle, only an
inode. pyfuse3 hands its handlers the handle alone, so here libfuse is given pyfuse3's table of handlers with two of
them wrapped: they put the inode where the handle stands. Handles of this file system are inodes anyway.

Reached through the call of ``fuse_session_new`` that pyfuse3 makes (see :mod:`swiftfs.fs.interpose`); the table and the
struct are libfuse's public ABI (fuse_lowlevel.h, fuse_common.h).
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
from collections.abc import Iterator
from ctypes import c_int64, c_size_t, c_uint64, c_void_p
from typing import Any

from swiftfs.fs.interpose import address_of, replaced

log = logging.getLogger(__name__)

READ, READDIRPLUS = 15, 41
"""Places in ``struct fuse_lowlevel_ops``, which only ever grows at its end."""
HANDLE_OFFSET = 16
"""Bytes before ``fh`` in ``struct fuse_file_info``, the same in every libfuse 3 on 64 bits."""
POINTER = ctypes.sizeof(c_void_p)

# PYFUNCTYPE: all of this is called with the interpreter's lock held, and pyfuse3's handlers need it.
NewSession = ctypes.PYFUNCTYPE(c_void_p, c_void_p, c_void_p, c_size_t, c_void_p)
ReadHandler = ctypes.PYFUNCTYPE(None, c_void_p, c_uint64, c_size_t, c_int64, c_void_p)


class InodeHandles:
    """Has the session that ``library`` makes use inodes as handles. Must live as long as that session.

    ``active`` says whether it does.
    """

    def __init__(self, library: str) -> None:
        self._library = library
        self._callbacks: list[object] = []
        self.active = False

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """A session made while this lasts has inodes as handles, where that can be done; others are as ever."""
        original = NewSession(address_of(ctypes.PyDLL(self._library).fuse_session_new))

        def new_session(arguments: int, handlers: int, size: int, data: int) -> int:
            table = ctypes.create_string_buffer(ctypes.string_at(handlers, size), size)
            for place in (READ, READDIRPLUS):
                self._wrap(c_void_p.from_buffer(table, place * POINTER))
            session = original(arguments, ctypes.addressof(table), size, data)
            self.active = bool(session)
            return session or 0

        with contextlib.ExitStack() as stack:
            try:
                ours = address_of(self._kept(NewSession(new_session)))
                stack.enter_context(replaced(self._library, "fuse_session_new", ours))
            except OSError as error:
                log.warning("the kernel will ask for each open: %s", error)
            yield

    def _wrap(self, place: c_void_p) -> None:
        handler = ReadHandler(place.value or 0)

        def with_inode(request: int, ino: int, size: int, offset: int, info: int) -> None:
            c_uint64.from_address(info + HANDLE_OFFSET).value = ino
            handler(request, ino, size, offset, info)

        place.value = address_of(self._kept(ReadHandler(with_inode)))

    def _kept(self, callback: Any) -> Any:
        self._callbacks.append(callback)
        return callback
