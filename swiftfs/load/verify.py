"""Prove from one listing that the container holds what was loaded, byte for byte.

A listing may lag behind the objects (Swift's container servers are updated behind the PUT when they are busy), so
what is not proven is looked for again, a bounded number of times with growing pauses, before it is called missing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftfs.errors import ContainerNotFound
from swiftfs.load.proof import Failure, Proof

if TYPE_CHECKING:
    from swiftfs.load.ports import Store
    from swiftfs.model import ListingEntry

PAUSES = (1.0, 4.0)
"""Seconds before the second and the third listing: longer waits would hide a lost object behind patience."""

MISSING = "is missing from the container"


@dataclass(frozen=True, slots=True)
class Verified:
    """How many objects and bytes the listing proves, and every object that it does not prove, with the reason."""

    count: int
    size: int
    unproven: tuple[Failure, ...]


async def verify(
    store: Store,
    container: str,
    prefix: str,
    proofs: Mapping[str, Proof],
    pause: Callable[[float], Awaitable[None]],
) -> Verified:
    """List ``container`` below ``prefix`` until every proof holds, three times at the most."""
    left: Mapping[str, Proof] = proofs
    reasons: dict[str, str] = {}
    for wait in (0.0, *PAUSES):
        if not left:
            break
        if wait:
            await pause(wait)
        try:
            reasons = await _unproven(store, container, prefix, left)
        except ContainerNotFound:
            reasons = dict.fromkeys(left, "the container is gone")
        left = {name: left[name] for name in reasons}
    unproven = tuple(Failure(name, reasons[name]) for name in left)
    return Verified(
        len(proofs) - len(left),
        sum(proof.size for proof in proofs.values()) - sum(proof.size for proof in left.values()),
        unproven,
    )


async def _unproven(store: Store, container: str, prefix: str, proofs: Mapping[str, Proof]) -> dict[str, str]:
    """What one listing does not prove, with the reason, by name.

    Both sides are in the order of a listing, so they are gone through side by side: of a million objects no more than
    their names are held for it.
    """
    reasons: dict[str, str] = {}
    names = iter(sorted(proofs))
    name = next(names, None)
    async for page in store.list_objects(container, prefix=prefix):
        for entry in page:
            while name is not None and name < entry.name:
                reasons[name] = MISSING
                name = next(names, None)
            if name == entry.name:
                if reason := mismatch(proofs[name], entry):
                    reasons[name] = reason
                name = next(names, None)
        del page  # while the next one is read
    if name is not None:
        reasons |= dict.fromkeys((name, *names), MISSING)
    return reasons


def mismatch(proof: Proof, entry: ListingEntry) -> str | None:
    """What is wrong with a listing entry; None when it proves the object. Pure."""
    if entry.size != proof.size:
        return f"the container has {entry.size:,} bytes of it, not {proof.size:,}"
    if entry.etag != proof.md5:
        return f"the container has other bytes of it (MD5 {entry.etag}, not {proof.md5})"
    return None
