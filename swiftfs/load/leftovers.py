"""Prove large objects, and remove the segments that nothing needs any more.

Removal comes last and only for objects that this run has proven: until then an old object could still need them. What
a run cannot remove it owes, and the next one pays. A run that is complete also pays for objects that its source has no
more: what the store has in their place, if anything, says which segments are still needed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from swiftfs.errors import ContainerNotFound, Incomplete, NotFound, SwiftFSError, printable
from swiftfs.load.journal import Debt, Journal
from swiftfs.load.proof import Failure, Proof
from swiftfs.load.segments import LargePolicy, segment_of
from swiftfs.load.verify import PAUSES, Verified
from swiftfs.model import Kind

if TYPE_CHECKING:
    from swiftfs.load.ports import Store

log = logging.getLogger(__name__)


async def verify_large(
    store: Store,
    container: str,
    policy: LargePolicy,
    journal: Journal,
    proofs: Mapping[str, Proof],
    pause: Callable[[float], Awaitable[None]],
) -> Verified:
    """Prove every large object of ``proofs`` by its HEAD and by the listing of its segments.

    The ETag must be the MD5 of the segments' MD5s, and each segment must be listed with its size and MD5: that holds on
    Ceph RGW as well, where nobody can read a manifest. Segments of ours that no proof names are owed to the journal.
    """
    proven: list[Proof] = []
    failures: list[Failure] = []
    for name, proof in sorted(proofs.items()):
        reason = None
        for wait in (0.0, *PAUSES):
            if wait:
                await pause(wait)
            if (reason := await _mismatch(store, container, policy, journal, name, proof)) is None:
                proven.append(proof)
                break
        else:
            failures.append(Failure(name, reason or "is not proven"))
    return Verified(len(proven), sum(one.size for one in proven), tuple(failures))


async def _mismatch(
    store: Store, container: str, policy: LargePolicy, journal: Journal, name: str, proof: Proof
) -> str | None:
    try:
        info = await store.head(container, name)
    except ContainerNotFound:
        return "the container is gone"
    except NotFound:
        return "is missing from the container"
    if info.size != proof.size:
        return f"the container has {info.size:,} bytes of it, not {proof.size:,}"
    if info.etag != proof.md5 or info.kind is Kind.PLAIN:
        return f"the container has other bytes of it (ETag {info.etag}, not {proof.md5})"
    needed = {(one.container, one.name): (one.size, one.md5) for one in proof.segments or ()}
    places = {(home, segment.rpartition("/")[0] + "/") for home, segment in needed}
    own = policy.prefix(name)
    if any(home == policy.home(container) and prefix.startswith(own) for home, prefix in places):
        # One listing shows the segments and what earlier uploads have left beside them.
        places = {place for place in places if not place[1].startswith(own)} | {(policy.home(container), own)}
    missing = dict(needed)
    left = False
    for home, prefix in sorted(places):
        try:
            async for page in store.list_objects(home, prefix=prefix):
                for entry in page:
                    if missing.get((home, entry.name)) == (entry.size, entry.etag):
                        del missing[home, entry.name]
                    elif (home, entry.name) not in needed and segment_of(own, entry.name) is not None:
                        left = True
        except ContainerNotFound:
            return "its segments are gone"
    if left:
        await asyncio.to_thread(journal.owe, [Debt(name, policy.home(container), own)])
    if missing:
        return f"{len(missing)} of its {len(needed)} segments are missing or other than they should be"
    return None


async def remove_leftovers(store: Store, journal: Journal, proofs: Mapping[str, Proof]) -> int:
    """Delete the segments that the proven objects of ``proofs`` have left behind; returns how many there were.

    What cannot be deleted stays owed, with a warning: the objects are good without.
    """
    removed = 0
    owed: dict[tuple[str, str], list[Debt]] = {}
    for debt in journal.debts():
        if debt.name in proofs:
            owed.setdefault((debt.name, debt.container), []).append(debt)
    for (name, container), debts in owed.items():
        keep = {one.name for one in proofs[name].segments or () if one.container == container}
        try:
            removed += await _pay(store, container, debts, keep)
        except SwiftFSError as error:
            log.warning("old segments of %s are still there: %s", printable(name), error)
            continue
        await asyncio.to_thread(journal.settle, debts)
    return removed


async def remove_abandoned(store: Store, journal: Journal, container: str) -> int:
    """Delete the segments owed by earlier runs whose objects this complete run had nothing to do with.

    An upload that was killed leaves segments; when its file is gone by the next run no proof will ever name it.
    Returns how many there were; what cannot be decided or deleted stays owed.
    """
    removed = 0
    owed: dict[str, list[Debt]] = {}
    for debt in journal.debts():
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
                removed += await _pay(store, home, [debt for debt in debts if debt.container == home], keep)
        except SwiftFSError as error:
            log.warning("old segments of %s are still there: %s", printable(name), error)
            continue
        await asyncio.to_thread(journal.settle, debts)
    return removed


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


async def _pay(store: Store, container: str, debts: list[Debt], keep: set[str]) -> int:
    names = {debt.segment for debt in debts if not debt.is_sweep}
    try:
        for prefix in (debt.segment for debt in debts if debt.is_sweep):
            async for page in store.list_objects(container, prefix=prefix):
                names.update(entry.name for entry in page if segment_of(prefix, entry.name) is not None)
        if not (gone := sorted(names - keep)):
            return 0
        outcome = await store.bulk_delete(container, gone)
    except ContainerNotFound:
        return 0
    if outcome.errors:
        path, status = outcome.errors[0]
        raise Incomplete(f"{len(outcome.errors)} could not be deleted, the first: {printable(path)}: {status}")
    return outcome.deleted
