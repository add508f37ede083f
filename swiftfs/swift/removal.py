"""Emptying a container: bulk deletes of whatever a listing shows, large objects with their segments.

Only what lies where clients keep segments goes with a large object (``model.is_segment_place``): somebody may have made
one of objects that stay.

Nothing is deleted after a listing that failed: all names are read before the first is deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from swiftfs.errors import ContainerNotFound, Incomplete, NotFound, UsageError, printable
from swiftfs.model import Kind, ListingEntry, ObjectInfo, Segment, is_segment_place
from swiftfs.swift.heads import HEADS_AT_ONCE

if TYPE_CHECKING:
    from swiftfs.swift.client import Client


class BulkOutcome(Protocol):
    """Outcome of a bulk delete; ``errors`` holds quoted ``container/name`` and status of what is still there."""

    @property
    def deleted(self) -> int: ...

    @property
    def errors(self) -> tuple[tuple[str, str], ...]: ...


class Deleting(Protocol):
    """What removal needs of a store: methods of ``swift.client.Client``."""

    def list_objects(self, container: str, *, prefix: str = "") -> AsyncIterator[list[ListingEntry]]: ...

    async def head(self, container: str, name: str) -> ObjectInfo: ...

    async def segments(self, container: str, name: str) -> tuple[Segment, ...] | None: ...

    async def delete(self, container: str, name: str, *, with_segments: bool = False) -> None: ...

    async def bulk_delete(self, container: str, names: Sequence[str]) -> BulkOutcome: ...


async def delete_objects(
    client: Client,
    container: str,
    prefix: str,
    *,
    dry_run: bool,
    say: Callable[[str], None],
    choose: Callable[[list[ListingEntry]], Awaitable[list[ListingEntry]]] | None = None,
) -> int:
    """Delete the object ``prefix``, or all below the directory of that name; returns how many there were.

    Only entries that ``choose`` returns are meant (None: all). With ``dry_run`` each is only named to ``say``. Raises
    ContainerNotFound, also for a directory that is not there, UsageError for a filter of a single object, and
    Incomplete when some could not be deleted.
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
    await delete_names(client, container, names, suspects)
    return len(names)


async def delete_names(client: Deleting, container: str, names: Sequence[str], suspects: Sequence[str]) -> None:
    """Delete ``names``, 10,000 a request; those of them that are ``suspects`` with the segments they may have.

    Raises Incomplete when some could not be deleted.
    """
    gone = {name for name, _ in await _delete_large(client, container, suspects)}
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


async def _delete_large(client: Deleting, container: str, names: Sequence[str]) -> list[tuple[str, Kind]]:
    """Delete those of ``names`` that are large objects, segments included; returns them."""
    places = asyncio.Semaphore(HEADS_AT_ONCE)

    async def one(name: str) -> tuple[str, Kind] | None:
        async with places:
            try:
                info = await client.head(container, name)
                if info.kind is Kind.SLO:
                    await _delete_static(client, container, name)
                elif info.kind is Kind.DLO:
                    await _delete_dynamic(client, container, info)
                else:
                    return None
            except NotFound:
                return None
            return name, info.kind

    return [found for found in await asyncio.gather(*(one(name) for name in names)) if found is not None]


async def _delete_static(client: Deleting, container: str, name: str) -> None:
    """Delete an SLO with its segments: by one request, unless some of them are objects of their own."""
    segments = await client.segments(container, name)
    if segments is None or all(is_segment_place(one.container, one.name) for one in segments):
        await client.delete(container, name, with_segments=True)
        return
    await client.delete(container, name)
    await _delete_segments(client, [(one.container, one.name) for one in segments])


async def _delete_dynamic(client: Deleting, container: str, info: ObjectInfo) -> None:
    """Delete a DLO: its manifest first, so that nobody reads half of it, then what it pointed to."""
    await client.delete(container, info.name)
    if info.manifest is None:
        return
    home, _, prefix = info.manifest.partition("/")
    if not prefix:
        return  # a manifest without a prefix would name all of a container
    names = [entry.name async for page in client.list_objects(home, prefix=prefix) for entry in page]
    await _delete_segments(client, [(home, name) for name in names])


async def _delete_segments(client: Deleting, places: Iterable[tuple[str, str]]) -> None:
    """Delete those of ``places``, container and name, that can only be segments."""
    doomed: dict[str, list[str]] = {}
    for home, name in places:
        if is_segment_place(home, name):
            doomed.setdefault(home, []).append(name)
    for home, names in doomed.items():
        all_gone(home, await client.bulk_delete(home, names))
