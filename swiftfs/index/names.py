"""Object names as paths: split a name into components, or say why no file system can show it.

No I/O here. The kernel refuses a whole directory when one entry of it is empty, holds a slash or is too long, and cuts
a name at a NUL, so such names never enter the tree (Linux fs/fuse/readdir.c, parse_dirfile).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from swiftfs.model import INTERNAL_PREFIX, SEGMENTS_PREFIX

NAME_MAX = 255
"""Longest component in bytes, as for the local file systems that users compare with (limits.h, NAME_MAX)."""


class Reason(StrEnum):
    """Why an object is not in the tree. The words are written to the index and shown to users."""

    DOTS = "a component is . or .."
    EMPTY = "a component is empty"
    LONG = "a component is longer than 255 bytes"
    NUL = "the name holds a NUL"
    ENCODING = "the name is not valid Unicode"
    INTERNAL = "written by swiftfs for itself"
    OUTSIDE = "the name is not below the mounted prefix"
    SHADOWED = "a directory has the same name"
    MARKER = "the bytes of a directory marker"


@dataclass(frozen=True, slots=True)
class Path:
    """Where an object stands in the tree: ``directory`` is '' or ends with a slash; ``name`` is b'' for a marker."""

    directory: bytes
    name: bytes


def split(name: str, listing_prefix: str, *, marker: bool = False) -> Path | Reason:
    """The place of object ``name`` below ``listing_prefix``, or why it has none.

    ``marker`` says that the object stands for a directory although its name does not end with a slash.
    """
    if not name.startswith(listing_prefix):
        return Reason.OUTSIDE
    relative = name[len(listing_prefix) :]
    if relative.startswith((INTERNAL_PREFIX, SEGMENTS_PREFIX)):
        return Reason.INTERNAL
    raw = _encoded(relative)
    if isinstance(raw, Reason):
        return raw
    if marker and raw and not raw.endswith(b"/"):
        raw += b"/"
    cut = raw.rfind(b"/") + 1
    directory, last = raw[:cut], raw[cut:]
    reason = hostile(last) if last else None
    if reason is None and directory:
        reason = next(filter(None, map(hostile, directory[:-1].split(b"/"))), None)
    return reason or Path(directory, last)


def leaf(directory: bytes, name: str) -> Path | Reason:
    """The place of ``name``, which has no slash, in a directory that has one; as :func:`split`."""
    raw = _encoded(name)
    return raw if isinstance(raw, Reason) else hostile(raw) or Path(directory, raw)


def _encoded(name: str) -> bytes | Reason:
    if "\0" in name:
        return Reason.NUL
    try:
        return name.encode()
    except UnicodeEncodeError:
        return Reason.ENCODING


def hostile(component: bytes) -> Reason | None:
    """Why ``component`` cannot be an entry of a directory; None when it can."""
    if not component:
        return Reason.EMPTY
    if component in (b".", b".."):
        return Reason.DOTS
    if len(component) > NAME_MAX:
        return Reason.LONG
    return None


def storable(name: str) -> bytes:
    """``name`` as bytes that can be kept for a report, lone surrogates included."""
    return name.encode("utf-8", "surrogatepass")


def reported(raw: bytes) -> str:
    """The inverse of ``storable``."""
    return raw.decode("utf-8", "surrogatepass")
