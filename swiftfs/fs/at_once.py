"""How many requests the kernel sends before it waits for answers.

Reads of file pages are requests in the background, of which a kernel sends twelve unless it is told otherwise when it
first speaks to a file system (FUSE_INIT, ``max_background``). The thirteenth reader waits in the kernel, where nobody
counts its deadline. pyfuse3 does not say a number, so its handler of FUSE_INIT is wrapped.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_uint32, c_void_p

from swiftfs.fs.handlers import Wrapper

MAX_BACKGROUND = 512
"""Reads under way at the most: many times the workers of a training machine. Each costs some KiB while it waits. The
kernel may allow a user less (``max_user_bgreq``, fs/fuse/inode.c)."""
CONGESTION_THRESHOLD = 384
"""Requests from which on the kernel reads nothing ahead: three quarters, the kernel's own proportion."""

INIT = 0
"""Place in ``struct fuse_lowlevel_ops``."""
BACKGROUND_OFFSET, CONGESTION_OFFSET = 28, 32
"""Bytes before ``max_background`` and ``congestion_threshold`` in ``struct fuse_conn_info``, the same in every libfuse
3."""

InitHandler = ctypes.PYFUNCTYPE(None, c_void_p, c_void_p)


def _with_limits(handler: Callable[..., None]) -> Callable[..., None]:
    def init(data: int, connection: int) -> None:
        handler(data, connection)
        c_uint32.from_address(connection + BACKGROUND_OFFSET).value = MAX_BACKGROUND
        c_uint32.from_address(connection + CONGESTION_OFFSET).value = CONGESTION_THRESHOLD

    return init


MANY_AT_ONCE = Wrapper(INIT, InitHandler, _with_limits)
