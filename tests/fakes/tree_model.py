"""The trivially right version of the index: a container's tree as a dict, and the diff of two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftfs.model import Kind, ListingEntry, ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

TIME = 1_700_000_000_000_000_000
"""Nanoseconds; a model object's version counts seconds from here."""


@dataclass(frozen=True, slots=True)
class ModelObject:
    """One object: its bytes are told apart by ``content``, its uploads by ``upload``."""

    content: int = 0
    size: int = 0
    upload: int = 0
    marker: bool = False
    kind: Kind = Kind.PLAIN

    @property
    def etag(self) -> str:
        return f"{self.content:x}".zfill(32)

    @property
    def last_modified(self) -> int:
        return TIME + self.upload * 10**9

    def listed(self, name: str) -> ListingEntry:
        content_type = "application/directory" if self.marker else "image/jpeg"
        return ListingEntry(name, self.size, self.etag, self.last_modified, content_type)

    def info(self, name: str) -> ObjectInfo | None:
        if self.kind is Kind.PLAIN:
            return None
        return ObjectInfo(name, self.size, self.etag, self.last_modified, self.kind)


@dataclass(frozen=True, slots=True)
class ModelTree:
    """``files`` by path, ``directories`` by path without the root, ``hidden`` by full name."""

    files: dict[str, ModelObject]
    directories: set[str]
    hidden: set[str]

    def paths(self) -> dict[str, object]:
        """Every entry by path, with what its inode number stands for; "" is the root."""
        found: dict[str, object] = dict.fromkeys(self.directories, "directory")
        for path, each in self.files.items():
            found[path] = (each.size, each.etag, each.kind, each.upload if each.kind is Kind.DLO else None)
        return found


def tree_of(objects: Mapping[str, ModelObject], prefix: str = "") -> ModelTree:
    """The tree that a container with ``objects`` shows below ``prefix`` ('' or ending with a slash)."""
    files: dict[str, ModelObject] = {}
    directories: set[str] = set()
    hidden: set[str] = set()
    for name, each in objects.items():
        path = name.removeprefix(prefix)
        marker = path == "" or path.endswith("/") or (each.size == 0 and each.marker)
        parts = path.removesuffix("/").split("/") if path else []
        if not name.startswith(prefix) or {"", ".", ".."} & set(parts):
            hidden.add(name)
            continue
        if not marker:
            files[path] = each
        elif each.size:
            hidden.add(name)
        above = parts if marker else parts[:-1]
        directories.update("/".join(above[: depth + 1]) for depth in range(len(above)))
    for path in directories & files.keys():
        del files[path]
        hidden.add(prefix + path)
    return ModelTree(files, directories, hidden)
