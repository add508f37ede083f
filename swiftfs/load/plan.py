"""Decide from the source and one listing what each object needs: send, compare, or ask the store first. Pure.

No HEAD per object: a name that is missing or has another size is sent without hashing it, one with the same size is
hashed and compared with the listing's ETag. Only where the listing cannot tell (large objects, see
docs/SEMANTICS.md; an object's own time) the store is asked.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from swiftfs.model import Kind, ListingEntry, ObjectInfo

MAX_NAME = 1024
"""Bytes of UTF-8 in an object's name: Swift's ``max_object_name_length``, and Ceph RGW's limit as well."""
MAX_OBJECT = 1000 * 5 * 1024**3
"""Bytes in one object: 1,000 segments (``max_manifest_segments``) of 5 GiB, the most that one PUT may have (Swift's
default ``max_file_size``, Ceph RGW's ``rgw_max_put_size``)."""


class Sized(Protocol):
    """What a plan must know of a source object: its name in the container and its bytes."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...


S = TypeVar("S", bound=Sized)


class Compare(Enum):
    """What makes an object count as the same as its file, so that it is not sent. Named by rclone's options."""

    CONTENT = "checksum"
    """Size and MD5."""
    SIZE = "size-only"
    NAME = "ignore-existing"
    """That it is there."""
    NOTHING = "ignore-times"


class Action(Enum):
    """What an object needs next."""

    SEND = "send"
    SKIP = "skip"
    """The object counts as the same, and nothing is proven of it."""
    COMPARE = "compare"
    """Hash the source; equal to the listing's ETag means skip."""
    ASK = "ask"
    """The listing cannot tell: a HEAD does, then as COMPARE or SEND."""


@dataclass(frozen=True, slots=True)
class Step(Generic[S]):
    """One object of the plan. ``etag`` is what COMPARE compares with, and None for the other actions.

    ``there`` says that the container has an object of that name, which sending would replace.
    """

    source: S
    action: Action
    etag: str | None = None
    there: bool = False


class Steps(Generic[S]):
    """The steps of a plan, in the order of the source. Where nothing is there, as in most of a first load, the source
    object alone is held.
    """

    def __init__(self) -> None:
        self._kept: list[S | Step[S]] = []

    def append(self, step: Step[S]) -> None:
        """One step more."""
        is_plain = step.action is Action.SEND and not step.there
        self._kept.append(step.source if is_plain else step)

    def __iter__(self) -> Iterator[Step[S]]:
        return (self._step(one) for one in self._kept)

    def handed_over(self) -> Iterator[Step[S]]:
        """The steps for the last time: what has been taken is forgotten, and makes room for what becomes of it."""
        self._kept.reverse()
        while self._kept:
            yield self._step(self._kept.pop())

    @staticmethod
    def _step(kept: S | Step[S]) -> Step[S]:
        return kept if isinstance(kept, Step) else Step(kept, Action.SEND)

    def __len__(self) -> int:
        return len(self._kept)


@dataclass(frozen=True, slots=True)
class Plan(Generic[S]):
    """Every object of the source once, in the order of the source; ``clashes`` are later ones of the same name."""

    steps: Steps[S]
    clashes: tuple[S, ...]

    @property
    def size(self) -> int:
        """Bytes of all objects planned."""
        return sum(step.source.size for step in self.steps)


def make_plan(objects: Sequence[S], listed: Iterable[ListingEntry], compare: Compare = Compare.CONTENT) -> Plan[S]:
    """A step for each object from the entries that the destination lists under its prefix, in any order."""
    entries = {entry.name: entry for entry in listed}
    steps: Steps[S] = Steps()
    clashes: list[S] = []
    # Names that come in order can only be equal to their neighbours: no set of all of them is needed.
    ordered = all(one.name <= other.name for one, other in itertools.pairwise(objects))
    seen: set[str] = set()
    for source in objects:
        if source.name in seen:
            clashes.append(source)
            continue
        if ordered:
            seen.clear()
        seen.add(source.name)
        steps.append(_step(source, entries.get(source.name), compare))
    return Plan(steps, tuple(clashes))


def wanted(page: Iterable[ListingEntry], names: Collection[str]) -> list[ListingEntry]:
    """The entries of a listing page that the plan needs: memory grows with the source, not with the container."""
    return [entry for entry in page if entry.name in names]


def _step(source: S, entry: ListingEntry | None, compare: Compare) -> Step[S]:
    if entry is None or entry.is_directory_marker:
        return Step(source, Action.SEND)
    if compare is Compare.NAME:
        return Step(source, Action.SKIP, there=True)
    if entry.may_be_large:
        return Step(source, Action.ASK, there=True)
    return _compared(source, entry.size, entry.etag, compare)


def after_head(source: S, info: ObjectInfo, compare: Compare = Compare.CONTENT) -> Step[S]:
    """The step once a HEAD has told. A large object's ETag is not the MD5 of its bytes: ``load.large`` compares it.

    A symbolic link has the bytes of another object, and no listing proves that it still has them.
    """
    if (info.kind is not Kind.PLAIN or info.is_link) and compare is not Compare.SIZE:
        return Step(source, Action.SEND, there=True)
    return _compared(source, info.size, info.etag, compare)


def _compared(source: S, size: int, etag: str, compare: Compare) -> Step[S]:
    if compare is Compare.NOTHING or size != source.size:
        return Step(source, Action.SEND, there=True)
    if compare is Compare.SIZE:
        return Step(source, Action.SKIP, there=True)
    return Step(source, Action.COMPARE, etag, there=True)


def is_newer(info: ObjectInfo, mtime: int | None) -> bool:
    """Whether an object is newer than a file of ``mtime`` (nanoseconds; None, unknown, is never newer).

    The object's own time counts, and that of its upload where it has none, as with rclone.
    """
    return mtime is not None and (info.last_modified if info.mtime is None else info.mtime) > mtime


IMMUTABLE = "differs from the object that is there, which --immutable keeps as it is"
"""Why an object is not sent that would replace another."""
OWN_PLACE = "swiftfs keeps its own data there"
"""Why an object that ``model.in_dataset`` does not count is left out."""


def refusal(name: str, size: int) -> str | None:
    """Why an object of this name and size cannot be stored; None when it can.

    Limits of Swift's API reference: names have at most 1,024 bytes of UTF-8, one object at most 1,000 segments.
    """
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    if not length:
        return "its name is empty"
    if length > MAX_NAME:
        return f"its name has {length:,} bytes, more than the {MAX_NAME:,} that Swift allows"
    if "\0" in name:
        return "its name holds a NUL"
    if size > MAX_OBJECT:
        return f"it has {size:,} bytes, more than the {MAX_OBJECT:,} that one object may have"
    return None
