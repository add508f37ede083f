"""Prove large objects: each by its HEAD and by the listing of its segments.

The ETag must be the MD5 of the segments' MD5s, and each segment must be listed with its size and MD5: that holds on
Ceph RGW as well, where nobody can read a manifest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftfs.errors import ContainerNotFound, NotFound
from swiftfs.load.journal import Debt, Journal
from swiftfs.load.proof import Failure, Proof
from swiftfs.load.segments import LargePolicy, segment_of
from swiftfs.load.side_by_side import each
from swiftfs.load.verify import PAUSES, Verified
from swiftfs.model import Kind, Segment

if TYPE_CHECKING:
    from swiftfs.load.ports import Store


@dataclass(frozen=True, slots=True)
class SegmentsFound:
    """What listings show of an object's segments: how many are not there as they should be, and whether there are
    others of ours beside them, from other uploads."""

    missing: int
    others: bool


async def find_segments(store: Store, segments: Iterable[Segment], home: str, prefix: str) -> SegmentsFound:
    """Look for ``segments``; ours of this object lie in container ``home`` below ``prefix``."""
    needed = {(one.container, one.name): (one.size, one.md5) for one in segments}
    # By directory, as all clients name segments; one that lies in none is looked for by itself.
    places = {(container, name[: name.rindex("/") + 1] if "/" in name else name) for container, name in needed}
    if any(container == home and place.startswith(prefix) for container, place in places):
        # One listing shows the segments and what earlier uploads have left beside them.
        places = {place for place in places if not place[1].startswith(prefix)} | {(home, prefix)}
    missing = dict(needed)
    others = False
    for container, place in sorted(places):
        try:
            async for page in store.list_objects(container, prefix=place):
                for entry in page:
                    if missing.get((container, entry.name)) == (entry.size, entry.etag):
                        del missing[container, entry.name]
                    elif (container, entry.name) not in needed and segment_of(prefix, entry.name) is not None:
                        others = True
        except ContainerNotFound:
            continue
    return SegmentsFound(len(missing), others)


async def verify_large(
    store: Store,
    container: str,
    policy: LargePolicy,
    journal: Journal,
    proofs: Mapping[str, Proof],
    pause: Callable[[float], Awaitable[None]],
    *,
    at_once: int,
) -> Verified:
    """Prove every large object of ``proofs``, ``at_once`` at a time, all of them three times at the most.

    Segments of ours that no proof names are owed to ``journal``; what is owed and is not there is settled.
    """
    left = dict(proofs)
    reasons: dict[str, str] = {}

    async def look(name: str) -> None:
        if (reason := await _mismatch(store, container, policy, journal, name, proofs[name])) is not None:
            reasons[name] = reason

    for wait in (0.0, *PAUSES):
        if not left:
            break
        if wait:
            await pause(wait)
        reasons.clear()
        await each(sorted(left), at_once, look)
        left = {name: proofs[name] for name in sorted(reasons)}
    proven = [proof for name, proof in proofs.items() if name not in left]
    unproven = tuple(Failure(name, reasons[name]) for name in left)
    return Verified(len(proven), sum(proof.size for proof in proven), unproven)


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
    home, prefix = policy.home(container), policy.prefix(name)
    segments = proof.segments or ()
    found = await find_segments(store, segments, home, prefix)
    if found.others and not store.spares_segments(container):
        await asyncio.to_thread(journal.owe, [Debt(name, home, prefix)])
    if found.missing:
        return f"{found.missing} of its {len(segments)} segments are missing or other than they should be"
    if not found.others and any(one.container == home and one.name.startswith(prefix) for one in segments):
        await asyncio.to_thread(journal.settle, [Debt(name, home, prefix)])
    return None
