"""Which objects of a listing are within ``--min-size`` and ``--max-size``, by the bytes that they really have.

A listing gives a DLO no bytes, and Ceph RGW's an SLO those of its manifest: taken for true, such an object would be
chosen, or deleted, by a size that nobody ever gave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swiftfs.swift.heads import heads

if TYPE_CHECKING:
    from swiftfs.load.filters import Filters
    from swiftfs.model import ListingEntry
    from swiftfs.swift.heads import Heading


async def within_sizes(
    store: Heading, container: str, entries: Sequence[ListingEntry], filters: Filters
) -> list[ListingEntry]:
    """Those of ``entries`` whose size the filters keep, in their order; all of them when no size matters.

    Entries that may be large cost a HEAD each then. One that is gone since is left out. Directory markers have no
    size, and stay. Raises what a HEAD raises: without its size nothing is chosen.
    """
    if not filters.sized:
        return list(entries)
    infos = await heads(store, container, [entry for entry in entries if entry.may_be_large])

    def fits(entry: ListingEntry) -> bool:
        if entry.is_directory_marker:
            return True
        if not entry.may_be_large:
            return filters.fits(entry.size)
        info = infos.get(entry.name)
        return info is not None and filters.fits(info.size)

    return [entry for entry in entries if fits(entry)]
