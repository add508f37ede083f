"""Remove the segments of large objects that nothing needs any more.

Removal comes last and only for objects that this run has proven: until then an old object could still need them. What
a run cannot remove it owes, and the next one pays. A run that is complete also pays for objects that its source has no
more: what the store has in their place, if anything, says which segments are still needed.

A container that keeps old versions of its objects keeps all segments: its archived manifests name them, and no request
tells which. What was owed for it is forgotten, for once it is archived nothing makes it removable again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from swiftfs.errors import ContainerNotFound, NotFound, SwiftFSError, printable
from swiftfs.load.segments import segment_of
from swiftfs.load.side_by_side import each
from swiftfs.model import Kind
from swiftfs.swift.removal import all_gone

if TYPE_CHECKING:
    from swiftfs.load.journal import Debt, Journal
    from swiftfs.load.ports import Store
    from swiftfs.load.proof import Proof

log = logging.getLogger(__name__)


async def remove_leftovers(
    store: Store, journal: Journal, container: str, proofs: Mapping[str, Proof], *, at_once: int
) -> None:
    """Delete the segments that the proven objects of ``proofs`` in ``container`` have left behind, ``at_once`` objects
    at a time.

    What cannot be deleted stays owed, with a warning: the objects are good without.
    """
    owed: dict[tuple[str, str], list[Debt]] = {}
    for debt in await _debts(store, journal, container):
        if debt.name in proofs:
            owed.setdefault((debt.name, debt.container), []).append(debt)

    async def pay(place: tuple[str, str]) -> None:
        name, home = place
        keep = {one.name for one in proofs[name].segments or () if one.container == home}
        try:
            await _pay(store, home, owed[place], keep)
        except SwiftFSError as error:
            log.warning("old segments of %s are still there: %s", printable(name), error)
        else:
            await asyncio.to_thread(journal.settle, owed[place])

    await each(owed, at_once, pay)


async def remove_abandoned(store: Store, journal: Journal, container: str) -> None:
    """Delete the segments owed by earlier runs whose objects this complete run had nothing to do with.

    An upload that was killed leaves segments; when its file is gone by the next run no proof will ever name it.
    What cannot be decided or deleted stays owed.
    """
    owed: dict[str, list[Debt]] = {}
    for debt in await _debts(store, journal, container):
        if debt.is_sweep:  # another client's segments may have another use
            owed.setdefault(debt.name, []).append(debt)
    for name, debts in owed.items():
        try:
            needed = await _needed(store, container, name)
            if needed is None:
                log.info("the segments of %s cannot be told, old ones stay", printable(name))
                continue
            for home in sorted({debt.container for debt in debts}):
                keep = {segment for place, segment in needed if place == home}
                await _pay(store, home, [debt for debt in debts if debt.container == home], keep)
        except SwiftFSError as error:
            log.warning("old segments of %s are still there: %s", printable(name), error)
            continue
        await asyncio.to_thread(journal.settle, debts)


async def _debts(store: Store, journal: Journal, container: str) -> list[Debt]:
    """What is owed and may be paid."""
    debts = journal.debts()
    if debts and store.spares_segments(container):
        await asyncio.to_thread(journal.settle, debts)
        return []
    return debts


async def _needed(store: Store, container: str, name: str) -> set[tuple[str, str]] | None:
    """Container and name of every segment that the object needs as it is in the store; None when nobody can tell."""
    try:
        info = await store.head(container, name)
        if info.kind is Kind.PLAIN:
            return set()
        segments = await store.segments(container, name) if info.kind is Kind.SLO else None
    except NotFound:
        return set()
    return None if segments is None else {(one.container, one.name) for one in segments}


async def _pay(store: Store, container: str, debts: list[Debt], keep: set[str]) -> None:
    names = {debt.segment for debt in debts if not debt.is_sweep}
    try:
        for prefix in (debt.segment for debt in debts if debt.is_sweep):
            async for page in store.list_objects(container, prefix=prefix):
                names.update(entry.name for entry in page if segment_of(prefix, entry.name) is not None)
        if not (gone := sorted(names - keep)):
            return
        outcome = await store.bulk_delete(container, gone)
    except ContainerNotFound:
        return
    all_gone(container, outcome)
