"""Emptying a container: bulk deletes of whatever a listing shows, large objects with their segments.

Only what lies where clients keep segments goes with a large object (``model.is_segment_place``): somebody may have made
one of objects that stay. The server itself makes no such difference (``multipart-manifest=delete`` of Swift's ``slo``),
so it is asked to delete all of a large object only when every part has been looked at.

Nothing is deleted after a listing that failed: all names are read before the first is deleted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from swiftfs.errors import ContainerNotFound, Incomplete, NotFound, UsageError, printable
from swiftfs.model import Kind, ListingEntry, ObjectInfo, Part, Segment
from swiftfs.swift.heads import HEADS_AT_ONCE

if TYPE_CHECKING:
    from swiftfs.swift.client import Client

log = logging.getLogger(__name__)

Prove = Callable[[ObjectInfo], Awaitable[Sequence[Segment] | None]]
"""Finds the segments of an SLO whose manifest cannot be read (Ceph RGW); None where nothing proves which they are."""


async def nothing_proven(info: ObjectInfo) -> None:
    """Segments that no manifest tells stay."""


class BulkOutcome(Protocol):
    """Outcome of a bulk delete; ``errors`` holds quoted ``container/name`` and status of what is still there."""

    @property
    def deleted(self) -> int: ...

    @property
    def errors(self) -> tuple[tuple[str, str], ...]: ...


class Deleting(Protocol):
    """What removal needs of a store: methods of ``swift.client.Client``."""

    def spares_segments(self, container: str) -> bool: ...

    def list_objects(self, container: str, *, prefix: str = "") -> AsyncIterator[list[ListingEntry]]: ...

    async def head(self, container: str, name: str) -> ObjectInfo: ...

    async def parts(self, container: str, name: str) -> tuple[Part, ...] | None: ...

    async def delete(self, container: str, name: str, *, with_segments: int = 0) -> None: ...

    async def bulk_delete(self, container: str, names: Sequence[str]) -> BulkOutcome: ...


async def delete_objects(
    client: Client,
    container: str,
    prefix: str,
    *,
    dry_run: bool,
    say: Callable[[str], None],
    choose: Callable[[list[ListingEntry]], Awaitable[list[ListingEntry]]] | None = None,
    prove: Prove = nothing_proven,
) -> int:
    """Delete the object ``prefix``, or all below the directory of that name; returns how many there were.

    Only entries that ``choose`` returns are meant (None: all). ``prove`` as in :func:`delete_names`. With ``dry_run``
    each is only named to ``say``. Raises ContainerNotFound, also for a directory that is not there, UsageError for a
    filter of a single object, and Incomplete when some could not be deleted.
    """
    inside = f"{prefix}/" if prefix else ""
    entries = [entry async for page in client.list_objects(container, prefix=inside) for entry in page]
    missing = not entries
    if choose is not None:
        entries = await choose(entries)
    names = [entry.name for entry in entries]
    suspects = [entry.name for entry in entries if entry.may_be_large]
    if prefix and missing:
        try:
            await client.head(container, prefix)
        except NotFound:
            raise ContainerNotFound("directory not found", container=container, object=prefix) from None
        if choose is not None:
            raise UsageError("filters choose among what lies in a directory, and this is one object", object=prefix)
        names = suspects = [prefix]
    if dry_run:
        for name in names:
            say(name)
        return len(names)
    await delete_names(client, container, names, suspects, prove)
    return len(names)


async def delete_names(
    client: Deleting, container: str, names: Sequence[str], suspects: Sequence[str], prove: Prove = nothing_proven
) -> None:
    """Delete ``names``, 10,000 a request; those of them that are ``suspects`` with the segments they may have.

    Where no manifest can be read, segments are what ``prove`` says. A container that keeps old versions keeps the
    segments, too: as rclone does, for a version that is archived is a manifest and needs them. Raises Incomplete when
    some could not be deleted.
    """
    if suspects and client.spares_segments(container):
        suspects = ()
    gone = {name for name, _ in await _delete_large(client, container, suspects, prove)}
    rest = [name for name in names if name not in gone]
    if not rest:
        return
    all_gone(container, await client.bulk_delete(container, rest))


def all_gone(container: str, outcome: BulkOutcome) -> None:
    """Raises Incomplete when a bulk delete has left something."""
    if outcome.errors:
        path, status = outcome.errors[0]
        raise Incomplete(
            f"{len(outcome.errors)} objects could not be deleted, the first: {printable(unquote(path))}: {status}",
            container=container,
        )


async def _delete_large(client: Deleting, container: str, names: Sequence[str], prove: Prove) -> list[tuple[str, Kind]]:
    """Delete those of ``names`` that are large objects, segments included; returns them."""
    places = asyncio.Semaphore(HEADS_AT_ONCE)

    async def one(name: str) -> tuple[str, Kind] | None:
        async with places:
            try:
                info = await client.head(container, name)
                if info.is_link:
                    return None  # what it points to is an object of its own
                if info.kind is Kind.SLO:
                    await _delete_static(client, container, info, prove)
                elif info.kind is Kind.DLO:
                    await _delete_dynamic(client, container, info)
                else:
                    return None
            except NotFound:
                return None
            return name, info.kind

    return [found for found in await asyncio.gather(*(one(name) for name in names)) if found is not None]


async def _delete_static(client: Deleting, container: str, info: ObjectInfo, prove: Prove) -> None:
    """Delete an SLO with its segments: by one request, where all of its parts are plain segments."""
    name = info.name
    parts = await client.parts(container, name)
    if parts and all(part.is_segment and not part.is_manifest for part in parts):
        await client.delete(container, name, with_segments=len(parts))
        return
    if parts is None:
        proven = await prove(info)
        if proven is None:
            log.warning("the segments of %s cannot be told: they stay", printable(f"{container}/{name}"))
        doomed = [Part(one.container, one.name) for one in proven or ()]
    else:
        doomed = await _with_nested(client, parts)
    await client.delete(container, name)
    await _delete_segments(client, doomed)


async def _with_nested(client: Deleting, parts: Iterable[Part]) -> list[Part]:
    """``parts`` and, of those that are SLOs and can only be segments, the parts too, and so on.

    An SLO that is an object of its own stays, and so does what it needs.
    """
    found = list(parts)
    seen = set(found)
    for part in found:  # it grows on the way
        if not part.is_manifest or not part.is_segment:
            continue
        try:
            below = await client.parts(part.container, part.name) or ()
        except NotFound:
            continue
        found += [one for one in below if one not in seen]
        seen.update(below)
    return found


async def _delete_dynamic(client: Deleting, container: str, info: ObjectInfo) -> None:
    """Delete a DLO: its manifest first, so that nobody reads half of it, then what it pointed to."""
    await client.delete(container, info.name)
    if info.manifest is None:
        return
    home, _, prefix = info.manifest.partition("/")
    if not prefix:
        return  # a manifest without a prefix would name all of a container
    names = [entry.name async for page in client.list_objects(home, prefix=prefix) for entry in page]
    await _delete_segments(client, [Part(home, name) for name in names])


async def _delete_segments(client: Deleting, parts: Iterable[Part]) -> None:
    """Delete those of ``parts`` that can only be segments."""
    doomed: dict[str, list[str]] = {}
    for part in parts:
        if part.is_segment:
            doomed.setdefault(part.container, []).append(part.name)
    for home, names in doomed.items():
        all_gone(home, await client.bulk_delete(home, names))
