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
    left: dict[str, Proof] = dict(proofs)
    reasons: dict[str, str] = {}
    for wait in (0.0, *PAUSES):
        if not left:
            break
        if wait:
            await pause(wait)
        reasons = {}
        try:
            async for page in store.list_objects(container, prefix=prefix):
                for entry in page:
                    if (proof := left.get(entry.name)) is None:
                        continue
                    if reason := mismatch(proof, entry):
                        reasons[entry.name] = reason
                    else:
                        del left[entry.name]
        except ContainerNotFound:
            reasons = dict.fromkeys(left, "the container is gone")
    unproven = tuple(Failure(name, reasons.get(name, "is missing from the container")) for name in left)
    return Verified(
        len(proofs) - len(left),
        sum(proof.size for name, proof in proofs.items() if name not in left),
        unproven,
    )


def mismatch(proof: Proof, entry: ListingEntry) -> str | None:
    """What is wrong with a listing entry; None when it proves the object. Pure."""
    if entry.size != proof.size:
        return f"the container has {entry.size:,} bytes of it, not {proof.size:,}"
    if entry.etag != proof.md5:
        return f"the container has other bytes of it (MD5 {entry.etag}, not {proof.md5})"
    return None
