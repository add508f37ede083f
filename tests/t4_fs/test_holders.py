"""Who keeps a mount busy, found in /proc; any directory can be asked about."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from swiftfs.mount.holders import holders

OPEN = "import sys\nkept = open(sys.argv[1])"
MAPPED = """
import ctypes, mmap, sys
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
with open(sys.argv[1], "rb") as file:
    kept = libc.mmap(None, ctypes.c_size_t(1), mmap.PROT_READ, mmap.MAP_PRIVATE, file.fileno(), ctypes.c_long(0))
assert kept != ctypes.c_void_p(-1).value
"""
"""As a program in C does it: the mmap of Python keeps a descriptor of its own."""
STANDS = "import os, sys\nos.chdir(os.path.dirname(sys.argv[1]))"


@contextmanager
def program(code: str, path: Path) -> Iterator[int]:
    """The number of a process that has run ``code`` with ``path`` as its argument and waits."""
    waiting = f"{code}\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", waiting, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate()


@pytest.mark.parametrize("code", [OPEN, MAPPED, STANDS], ids=["open", "mapped", "stands in it"])
@pytest.mark.parametrize("name", ["mnt", "two  words", "new\nline", "b\\012"])
def test_who_uses_a_mount_is_named(tmp_path: Path, code: str, name: str) -> None:
    """An open file, a mapped one whose descriptor is closed, and a working directory each name their process, and no
    process beside them."""
    mountpoint, beside = tmp_path / name, tmp_path / f"{name}-other"
    for place in (mountpoint, beside):
        place.mkdir()
        (place / "file").write_bytes(b"x")
    with program(code, mountpoint / "file") as pid, program(code, beside / "file"):
        found = holders(mountpoint)

    assert [f"({pid})"] == [one.split()[-1] for one in found]
