"""Requests of the kernel are read without waiting for them.

pyfuse3 waits until the kernel announces a request and reads it then. When the reader is killed between the two, the
kernel takes its request back (fs/fuse/dev.c, request_wait_answer), and the read, which keeps the interpreter's lock,
waits for another one: until somebody happens to look at the mount, nothing in this process goes on. Here the
descriptor does not wait, and a read that finds nothing is told to pyfuse3 as an interrupted one, after which it waits
for the kernel's word again, beside everything else.

Reached through the call of ``fuse_session_receive_buf`` that pyfuse3 makes (see :mod:`swiftfs.fs.interpose`).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
from collections.abc import Iterator
from ctypes import c_int, c_void_p

from swiftfs.fs.interpose import address_of, replaced

log = logging.getLogger(__name__)

# PYFUNCTYPE: called with the interpreter's lock held, as pyfuse3 calls libfuse.
Receive = ctypes.PYFUNCTYPE(c_int, c_void_p, c_void_p)
Descriptor = ctypes.PYFUNCTYPE(c_int, c_void_p)


@contextlib.contextmanager
def reading_without_waiting(library: str) -> Iterator[None]:
    """While this lasts, ``library``, the path of pyfuse3's, never waits in a read for a request, where that can be
    arranged."""
    libfuse = ctypes.PyDLL(library)
    receive = Receive(address_of(libfuse.fuse_session_receive_buf))
    descriptor = Descriptor(address_of(libfuse.fuse_session_fd))
    is_ready = False

    def receive_what_is_there(session: int, buffer: int) -> int:
        nonlocal is_ready
        if not is_ready:
            os.set_blocking(descriptor(session), False)
            is_ready = True
        received: int = receive(session, buffer)
        return -errno.EINTR if received == -errno.EAGAIN else received

    ours = Receive(receive_what_is_there)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(replaced(library, "fuse_session_receive_buf", address_of(ours)))
        except OSError as error:
            log.warning("a reader that is killed may hold the mount up: %s", error)
        yield
