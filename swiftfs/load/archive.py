"""Open a local zip or tar archive and go through its members, refusing one by one what may not be used.

What a member claims is judged before a byte of it is read; what it turns out to be is judged while it is read: its
length, its CRC, the end mark of the archive. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from swiftfs.errors import LocalFileError, UsageError, printable

if TYPE_CHECKING:
    import threading

    from swiftfs.load.member import Limits

MAGIC = 512
"""Bytes that tell an archive's kind: a tar's own magic is at 257."""


COMPRESSIONS = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zst"}
"""First bytes of compressed files."""


class ArchiveError(LocalFileError):
    """The archive is damaged or not one; what was taken from it before is whole."""


class MemberReader(Protocol):
    """A member's bytes, checked: the read that reaches the end raises ArchiveError when length or CRC are wrong."""

    def read(self, size: int, /) -> bytes: ...


class Member(Protocol):
    """A member that may be used: ``name`` as in the archive, ``size`` in bytes, ``mtime`` in nanoseconds or None,
    ``crc`` its CRC-32, None where the archive has none."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def mtime(self) -> int | None: ...

    @property
    def crc(self) -> int | None: ...

    def open(self) -> AbstractContextManager[MemberReader]:
        """Its bytes; of a tar only before the next member is asked for. Raises ArchiveError."""


@dataclass(frozen=True, slots=True)
class RefusedMember:
    """A member that may not be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class DirectoryMember:
    """A directory of the archive; it holds nothing and only makes an empty directory appear."""

    name: str


class Archive(Protocol):
    """An open archive. ``proven_at_end``: its bytes are known to be right only when its end was reached without error,
    for one checksum covers all of them. ``in_order``: a member is reached only by what is before it."""

    @property
    def in_order(self) -> bool: ...

    @property
    def proven_at_end(self) -> bool: ...

    def members(self) -> Iterator[Member | RefusedMember | DirectoryMember]:
        """Every member in the archive's order. Raises ArchiveError when the archive is damaged."""


def open_archive(path: str, limits: Limits, halted: threading.Event | None = None) -> AbstractContextManager[Archive]:
    """The archive at ``path``, whose kind its first bytes tell.

    Once ``halted`` is set, what is read of a tar raises Interrupted, also where only its next member is looked for.
    Raises LocalFileError when it cannot be read, UsageError when it is of no kind that is known, ArchiveError when it
    is damaged.
    """
    from swiftfs.load.tarfiles import open_tar
    from swiftfs.load.zipfiles import open_zip

    try:
        with open(path, "rb") as file:
            head = file.read(MAGIC)
    except OSError as error:
        raise LocalFileError(f"cannot read the archive {printable(path)}: {error.strerror}") from None
    if not head:
        raise ArchiveError(f"{printable(path)} is empty")
    kind = kind_of(head, path)
    if kind is None:
        raise UsageError(
            f"{printable(path)} is neither a zip nor a tar archive",
            hint="zip, tar, tar.gz, tar.bz2, tar.xz, tar.zst are",
        )
    return open_zip(path, limits) if kind == "zip" else open_tar(path, kind, limits, halted)


def kind_of(head: bytes, name: str) -> str | None:
    """What an archive of these first bytes and this name is: ``zip``, or a tar's compression (gz, bz2, xz, zst, empty
    for none); None for no archive. Pure."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")) or name.lower().endswith(".zip"):
        return "zip"
    for magic, compression in COMPRESSIONS.items():
        if head.startswith(magic):
            return compression
    return "" if head[257:262] == b"ustar" or name.lower().endswith(".tar") else None
