"""Decide of an archive's member whether it may be used, by its name and what it claims. Pure.

A refused member is named with its reason and the others go on. The names of `unsafe` also serve for any other path
that comes from outside and is to be made below a directory.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import chain

STAGING = ".swiftfs-partial"
"""Directory at the top of a dataset in which `extract` keeps what is not whole yet; it is never loaded."""
MAX_COMPONENT = 255
"""Bytes in one name of a path: NAME_MAX of Linux."""
MAX_PATH = 1024
"""Bytes in a path: what an object's name may have in Swift."""

_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may claim before it is taken for a bomb. Sizes are bytes after decompression."""

    members: int = 2_000_000
    """ImageNet has 1.4 million; each member costs memory before the first is written."""
    member_size: int = 1024**4
    total_size: int = 16 * 1024**4
    ratio: int = 1100
    """Uncompressed to compressed bytes: deflate cannot exceed 1,032, images stay near 1."""
    ratio_from: int = 16 * 1024 * 1024
    """Uncompressed bytes from which the ratio counts: a small file of zeros harms nobody."""


@dataclass(slots=True)
class Budget:
    """What of the limits an archive has used up so far."""

    limits: Limits
    members: int = 0
    size: int = 0

    def admit(self, size: int, compressed: int | None) -> str | None:
        """Why a member that claims ``size`` bytes from ``compressed`` (None: unknown) is refused; None admits it."""
        self.members += 1
        if self.members > self.limits.members:
            return f"the archive has more than {self.limits.members:,} members"
        if size > self.limits.member_size:
            return f"claims {size:,} bytes, more than the {self.limits.member_size:,} a member may have"
        if compressed is not None and size >= self.limits.ratio_from and size > compressed * self.limits.ratio:
            return f"claims {size:,} bytes from {compressed:,}, as only a zip bomb does"
        if self.size + size > self.limits.total_size:
            return f"the archive has more than {self.limits.total_size:,} bytes"
        self.size += size
        return None

    def grown(self, size: int, compressed: int) -> str | None:
        """Why a member that claimed no size is refused now that ``size`` bytes have come from ``compressed``."""
        if size > self.limits.member_size:
            return f"has more than the {self.limits.member_size:,} bytes a member may have"
        if size >= self.limits.ratio_from and size > compressed * self.limits.ratio:
            return f"has {size:,} bytes from {compressed:,}, as only a zip bomb does"
        if self.size + size > self.limits.total_size:
            return f"the archive has more than {self.limits.total_size:,} bytes"
        return None


def unsafe(path: str) -> str | None:
    """Why ``path`` may not be created below a directory; None when it may.

    What passes is relative, has no empty, ``.`` or ``..`` component, no backslash, drive letter or NUL (they mean
    something on the system the archive was made for), is UTF-8 and not too long for the file system or for Swift.
    """
    if not path:
        return "is an empty name"
    if path.startswith("/"):
        return "is an absolute path"
    if "\0" in path:
        return "holds a NUL"
    if "\\" in path:
        return "holds a backslash"
    if _DRIVE.match(path):
        return "begins with a drive letter"
    try:
        encoded = path.encode("utf-8")
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    if len(encoded) > MAX_PATH:
        return f"has {len(encoded):,} bytes, more than {MAX_PATH:,}"
    parts = path.split("/")
    if ".." in parts:
        return "leads upwards with '..'"
    if "" in parts or "." in parts:
        return "has an empty or '.' component"
    if any(len(part.encode("utf-8")) > MAX_COMPONENT for part in parts):
        return f"has a component of more than {MAX_COMPONENT} bytes"
    if parts[0] == STAGING:
        return f"begins with {STAGING}, which swiftfs keeps for itself"
    return None


def stripped(path: str, count: int) -> str | None:
    """``path`` without its first ``count`` components; None when nothing is left of it."""
    parts = path.split("/")[count:]
    return "/".join(parts) or None


def placed(name: str, strip: int) -> tuple[str, str | None]:
    """Where a member goes without its first ``strip`` components, and why it may not; None when it may."""
    if reason := unsafe(name):
        return name, reason
    path = stripped(name, strip)
    if path is None:
        return name, f"has no name left without its first {strip} components"
    return path, unsafe(path)


def strip_count(names: Iterable[str], called: Collection[str]) -> int:
    """1 when everything lies in one top-level directory whose name is in ``called``, else 0.

    Only when the first name looks so are the others asked for.
    """
    rest = iter(names)
    first = next(rest, None)
    if first is None or first.partition("/")[0] not in called:
        return 0
    return 1 if common_top(chain([first], rest)) in called else 0


def common_top(paths: Iterable[str]) -> str | None:
    """The one top-level directory that every path lies in; None when there are several, files beside it, or none."""
    top: str | None = None
    for path in paths:
        first, slash, _ = path.partition("/")
        if not slash or (top is not None and first != top):
            return None
        top = first
    return top


def normal(name: str) -> str:
    """A member's name as archivers write it, without a leading ``./`` and a directory's final slash.

    Those two say nothing and are common (``tar c .``); whatever else is odd stays, to be judged by :func:`unsafe`.
    """
    while name.startswith("./"):
        name = name[2:]
    return name[:-1] if name.endswith("/") and len(name) > 1 else name
