"""Lookup counts: which inodes the kernel knows.

The kernel counts every reply that names an inode and gives the counts back with FORGET (pyfuse3's lookup count rules).
Everything else about an inode stands in the index, so this is one number per name that was looked up.
"""

from __future__ import annotations

ROOT = 1
"""The root's inode: FUSE fixes it, and the kernel knows it without a lookup."""


class Inodes:
    """Lookup counts by inode. The root is always known."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def __contains__(self, ino: int) -> bool:
        return ino == ROOT or ino in self._counts

    def known(self) -> list[int]:
        """The inodes that the kernel knows, without the root."""
        return list(self._counts)

    def looked_up(self, ino: int) -> None:
        """One reply that names ``ino`` went to the kernel."""
        if ino != ROOT:
            self._counts[ino] = self._counts.get(ino, 0) + 1

    def forget(self, ino: int, count: int) -> None:
        """The kernel gives ``count`` lookups back. A count that goes below zero is the kernel's or our mistake and
        must not keep an inode that nobody knows: it counts as zero."""
        if ino == ROOT:
            return
        left = self._counts.get(ino, 0) - count
        if left > 0:
            self._counts[ino] = left
        else:
            self._counts.pop(ino, None)
