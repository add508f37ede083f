"""A cache as seen from outside: what its files hold, and a writer's sudden death."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from swiftfs.cache.writer import Writer

BLOCK_UNIT = 512
"""Bytes of one unit of ``st_blocks``, whatever the file system."""


def stored_files(path: Path) -> list[Path]:
    """The files of the cache at ``path`` that hold content."""
    return [file for file in path.glob("v1/files/*/*") if file.stat().st_blocks]


def content_bytes(path: Path) -> int:
    """The bytes that the cache's files held at one moment; a hole holds none.

    Files come and go while they are counted, and one evicted behind the count would stand beside the one that took its
    room. So they are counted twice: what both counts found was there all at once between the two.
    """
    first, second = _sizes(path), _sizes(path)
    return sum(min(size, second[file]) for file, size in first.items() if file in second)


def _sizes(path: Path) -> dict[tuple[str, int], int]:
    """Bytes by name and inode: a name may come to stand for another file."""
    sizes = {}
    for file in path.glob("v1/files/*/*"):
        try:
            status = file.stat()
        except FileNotFoundError:
            continue
        sizes[file.name, status.st_ino] = min(status.st_size, status.st_blocks * BLOCK_UNIT)
    return sizes


def data_bytes(path: Path) -> int:
    """As ``content_bytes``, exact also where a file's last chunk is shorter than a block and those before are holes."""
    total = 0
    for file in stored_files(path):
        with file.open("rb") as opened:
            place = 0
            with contextlib.suppress(OSError):  # there is no data after the last
                while True:
                    start = os.lseek(opened.fileno(), place, os.SEEK_DATA)
                    place = os.lseek(opened.fileno(), start, os.SEEK_HOLE)
                    total += place - start
    return total


def kill(writer: Writer) -> None:
    """Ends ``writer`` as the kernel ends a killed process's: its descriptors are closed and nothing else happens."""
    for filling in writer.fillings._open:
        filling.close()
    writer._table.close()
    os.close(writer._owner._descriptor)
    writer._lock.close()
    writer._directory.close()
