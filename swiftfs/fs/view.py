"""How a mounted tree looks to those who read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """How the tree looks: owner, permission bits, and for how many seconds the kernel may believe it.

    ``negative_timeout`` is for names that are not there: those are the one thing that a change of the whole tree
    cannot take back one by one.
    """

    uid: int
    gid: int
    file_mode: int = 0o444
    directory_mode: int = 0o555
    entry_timeout: float = 3600.0
    attr_timeout: float = 3600.0
    negative_timeout: float = 60.0
