"""A request that was announced and has gone again is not waited for."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from fakes.native import built

from swiftfs.fs.no_wait import reading_without_waiting

LIBFUSE = """
#include <errno.h>
#include <unistd.h>
int fuse_session_fd(int *session) { return *session; }
int fuse_session_receive_buf(int *session, char *buffer) {
    int received = read(*session, buffer, 1);
    return received < 0 ? -errno : received;
}
"""
"""A libfuse whose session is a descriptor and whose requests are bytes."""
PYFUSE = """
int fuse_session_receive_buf(int *session, char *buffer);
int received(int *session, char *buffer) { return fuse_session_receive_buf(session, buffer); }
"""


def test_a_read_that_finds_no_request_is_an_interrupted_one(tmp_path: Path) -> None:
    """What is there is read as ever; what went away leaves the loop free. It would wait for ever otherwise."""
    libfuse = built(tmp_path, "fuse", LIBFUSE)
    pyfuse = built(tmp_path, "pyfuse", PYFUSE, libfuse, f"-Wl,-rpath,{tmp_path}")
    receive = ctypes.CDLL(str(pyfuse)).received
    requests, kernel = os.pipe()
    session, buffer = ctypes.c_int(requests), ctypes.create_string_buffer(1)
    try:
        with reading_without_waiting(str(pyfuse)):
            os.write(kernel, b"a")
            there = receive(ctypes.byref(session), buffer)
            gone = receive(ctypes.byref(session), buffer)
        os.close(kernel)
        ended = receive(ctypes.byref(session), buffer)
    finally:
        os.close(requests)

    assert (there, buffer.value) == (1, b"a")
    assert gone == -errno.EINTR
    assert ended == 0
