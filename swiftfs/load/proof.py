"""What became of an object: proven by what, or failed for what reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swiftfs.model import Segment


@dataclass(frozen=True, slots=True)
class Failure:
    """An object that is not in the store as it should be, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What the store must say of an object that was sent or skipped.

    ``segments`` is None for a plain object; for a large one it names them, and ``md5`` is its ETag: the MD5 of theirs.
    """

    size: int
    md5: str
    segments: tuple[Segment, ...] | None = None
