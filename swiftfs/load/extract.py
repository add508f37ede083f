"""Extract an archive into a directory: every safe member, whole, once; the others named with their reasons."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING

from swiftfs.errors import Interrupted, LocalFileError, printable
from swiftfs.load.archive import ArchiveError, DirectoryMember, Member, MemberReader, RefusedMember, open_archive
from swiftfs.load.figures import noun_text
from swiftfs.load.member import Limits, placed, strip_count, stripped
from swiftfs.load.source import os_reason
from swiftfs.load.staging import HOPELESS, Staging

if TYPE_CHECKING:
    from swiftfs.load.tally import Tally

PIECE = 256 * 1024
"""Bytes decompressed at once: bounds memory per member."""


@dataclass(slots=True)
class Extracted:
    """What became of an archive's members; ``fatal`` ended it early and is None when its end was reached."""

    written: int = 0
    written_size: int = 0
    skipped: int = 0
    refused: list[RefusedMember] = field(default_factory=list)
    fatal: LocalFileError | None = None
    interrupted: bool = False


def components_to_strip(archive: str, directory: str, limits: Limits, halted: threading.Event) -> int:
    """1 when everything in the archive lies in one top-level directory that is called as ``directory`` is, else 0.

    So ``Food-11.zip`` with ``Food-11/training/…`` fills ``./Food-11`` and makes no ``./Food-11/Food-11``.
    Ends early, with no meaning, once ``halted`` is set. Raises as ``open_archive``.
    """
    base = os.path.basename(os.path.abspath(directory))
    with contextlib.suppress(Interrupted), open_archive(archive, limits, halted) as opened:
        names = (
            member.name
            for member in takewhile(lambda _: not halted.is_set(), opened.members())
            if not isinstance(member, RefusedMember | DirectoryMember)
        )
        # Only when the first member looks so is the whole archive read for it: a compressed tar is read twice then.
        return strip_count(names, {base})
    return 0


def extract(
    archive: str,
    staging: Staging,
    *,
    strip: int,
    limits: Limits,
    tally: Tally,
    halted: threading.Event,
) -> Extracted:
    """Make the staging's directory hold every member that may be used, each without its first ``strip`` components.

    A file that is there with the member's size and CRC, or with the very same bytes where the archive has no CRC, is
    left alone. Blocks; ends early once ``halted`` is set. Raises as ``open_archive``.
    """
    run = _Run(staging, strip, tally, halted)
    with open_archive(archive, limits, halted) as opened:
        try:
            for member in opened.members():
                if halted.is_set():
                    run.result.interrupted = True
                    break
                run.take(member)
        except Interrupted:
            run.result.interrupted = True
        except LocalFileError as error:
            run.result.fatal = error
            if opened.proven_at_end and isinstance(error, ArchiveError):
                run.take_back()
    return run.result


class _Run:
    def __init__(self, staging: Staging, strip: int, tally: Tally, halted: threading.Event) -> None:
        self.result = Extracted()
        self._staging = staging
        self._strip = strip
        self._tally = tally
        self._halted = halted
        self._seen: set[str] = set()
        self._written: list[str] = []

    def take(self, member: Member | RefusedMember | DirectoryMember) -> None:
        """Write one member, or note why not. Raises LocalFileError for what ends the run."""
        self._tally.files += not isinstance(member, DirectoryMember)
        try:
            reason = self._taken(member)
        except ArchiveError as error:
            reason = error.message
        except OSError as error:
            if error.errno in HOPELESS:
                raise LocalFileError(f"cannot write {printable(member.name)}: {error.strerror}") from None
            reason = f"cannot be written: {os_reason(error)}"
        if reason is not None:
            self.result.refused.append(RefusedMember(member.name, reason))
            self._tally.failed += 1

    def take_back(self) -> None:
        """Remove what this run wrote: the archive's checksum covers all of it, and is wrong."""
        for path in self._written:
            with contextlib.suppress(OSError):
                self._staging.remove(path)
        assert self.result.fatal is not None
        if self._written:
            self.result.fatal.hint = f"{noun_text(len(self._written), 'file')} extracted from it are removed again"
        self.result.written = self.result.written_size = 0

    def _taken(self, member: Member | RefusedMember | DirectoryMember) -> str | None:
        if isinstance(member, RefusedMember):
            return member.reason
        if isinstance(member, DirectoryMember) and member.name in {"", "."}:
            return None  # the archive's own top: the directory itself
        path, reason = placed(member.name, self._strip)
        if isinstance(member, DirectoryMember) and stripped(member.name, self._strip) is None:
            return None
        if reason is not None:
            return reason
        if isinstance(member, DirectoryMember):
            self._staging.make_directory(path)
            return None
        if path in self._seen:
            return "has the name of a member before it"
        self._seen.add(path)
        self._tally.size += member.size
        if self._write(member, path):
            self._written.append(path)
            self.result.written += 1
            self.result.written_size += member.size
            self._tally.sent += 1
            self._tally.sent_size += member.size
        else:
            self.result.skipped += 1
            self._tally.skipped += 1
        return None

    def _write(self, member: Member, path: str) -> bool:
        """Make the file hold the member; False when it did already."""
        found = self._staging.found(path)
        there = found is not None and found.st_size == member.size
        if there and member.crc is not None and self._staging.crc(path) == member.crc:
            self._tally.moved += member.size
            return False
        with member.open() as stream:
            if there and member.crc is None:
                return self._staging.settle(path, self._pieces(stream), member.mtime)
            self._staging.write(path, self._pieces(stream), member.mtime)
            return True

    def _pieces(self, stream: MemberReader) -> Iterator[bytes]:
        while piece := stream.read(PIECE):
            if self._halted.is_set():
                raise Interrupted("stopped while extracting")
            self._tally.moved += len(piece)
            yield piece
