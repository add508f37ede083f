"""A kernel that does not ask for opens: reads say their inode themselves.

A file system that answers FUSE_OPEN and FUSE_OPENDIR with ENOSYS is not asked again: the kernel opens by itself, keeps
the pages of files and the entries of directories, and sends neither open nor release (FUSE_NO_OPEN_SUPPORT since Linux
3.16, FUSE_NO_OPENDIR_SUPPORT since 5.1; include/uapi/linux/fuse.h). What it sends from then on has no handle, only an
inode. pyfuse3 hands its handlers the handle alone, so two of them are wrapped: they put the inode where the handle
stands. Handles of this file system are inodes anyway.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_int64, c_size_t, c_uint64, c_void_p

from swiftfs.fs.handlers import Wrapper

READ, READDIRPLUS = 15, 41
"""Places in ``struct fuse_lowlevel_ops``."""
HANDLE_OFFSET = 16
"""Bytes before ``fh`` in ``struct fuse_file_info``, the same in every libfuse 3 on 64 bits."""

ReadHandler = ctypes.PYFUNCTYPE(None, c_void_p, c_uint64, c_size_t, c_int64, c_void_p)


def _with_inode(handler: Callable[..., None]) -> Callable[..., None]:
    def read(request: int, ino: int, size: int, offset: int, info: int) -> None:
        c_uint64.from_address(info + HANDLE_OFFSET).value = ino
        handler(request, ino, size, offset, info)

    return read


INODES_AS_HANDLES = (Wrapper(READ, ReadHandler, _with_inode), Wrapper(READDIRPLUS, ReadHandler, _with_inode))
