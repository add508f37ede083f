"""Which objects of the destination a load deletes: those the source does not have, or all.

What the filters leave out stays, and so does what is not part of a dataset: swiftfs's own data and segments. A
directory marker goes with its directory: it stays as long as the source has something below it.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from swiftfs.errors import TooManyDeletes, printable
from swiftfs.load.figures import noun_text
from swiftfs.load.plan import wanted
from swiftfs.load.sizes import within_sizes
from swiftfs.load.stored_large import prove_segments
from swiftfs.model import ListingEntry, in_dataset
from swiftfs.swift.removal import delete_names

if TYPE_CHECKING:
    from swiftfs.load.filters import Filters
    from swiftfs.load.options import LoadOptions
    from swiftfs.swift.heads import Heading
    from swiftfs.swift.removal import Deleting

log = logging.getLogger(__name__)


def directories_of(names: Iterable[str]) -> set[str]:
    """Every directory above one of ``names``, without a slash behind it."""
    found: set[str] = set()
    for name in names:
        above = name.rpartition("/")[0]
        while above and above not in found:
            found.add(above)
            above = above.rpartition("/")[0]
    return found


def is_doomed(
    entry: ListingEntry, prefix: str, filters: Filters, names: Collection[str], directories: Collection[str]
) -> bool:
    """Whether the entry, by its name, is to be deleted when the source has ``names`` in ``directories``.

    With neither: whether it is among all that the filters let a command see below ``prefix``.
    """
    if entry.name in names or not in_dataset(entry.name, prefix):
        return False
    path = entry.name.removeprefix(prefix)
    if not entry.is_directory_marker:
        return filters.keeps(path)
    directory = entry.name.rstrip("/")
    return directory not in directories and filters.enters(path.rstrip("/"))


def check_deletes(doomed: Collection[ListingEntry], most: int | None) -> None:
    """Raise TooManyDeletes when more than ``most`` objects would go (None: any number may)."""
    if most is not None and len(doomed) > most:
        raise TooManyDeletes(
            f"{noun_text(len(doomed), 'object')} would be deleted, more than --max-delete {most:,}",
            hint="nothing is deleted and nothing is sent",
        )


class Destination:
    """What listings say of the place a load goes to, as far as the load needs it.

    ``entries`` are those the source has too: memory grows with the source, not with the container. ``doomed`` are
    those to be deleted, none unless ``options`` ask for it. ``names`` None: what the source has shows only on the way.
    """

    def __init__(self, prefix: str, options: LoadOptions, names: Collection[str] | None) -> None:
        self.entries: list[ListingEntry] = []
        self.doomed: list[ListingEntry] = []
        self._prefix = prefix
        self._options = options
        self._names = names
        self._spared: Collection[str] = () if options.clean or names is None else names
        self._directories = directories_of(names) if options.delete_extra and names else frozenset[str]()

    def forget(self) -> None:
        """Let go of what the plan was made from: only what is to be deleted is needed from then on."""
        self.entries = []
        self._names = self._spared = ()

    async def add(self, store: Heading, container: str, page: list[ListingEntry]) -> None:
        """Take note of one page of ``container``. Raises what a HEAD raises, where a size decides what is deleted."""
        if self._options.deletes:
            options, spared = self._options, self._spared
            gone = [one for one in page if is_doomed(one, self._prefix, options.filters, spared, self._directories)]
            gone = await within_sizes(store, container, gone, options.filters)
            self.doomed.extend(gone)
            if self._options.clean:
                names = {entry.name for entry in gone}
                page = [entry for entry in page if entry.name not in names]
        self.entries.extend(page if self._names is None else wanted(page, self._names))


async def delete_all(store: Deleting, container: str, entries: list[ListingEntry], *, dry_run: bool) -> int:
    """Delete ``entries`` with the segments of large ones; a dry run names them. Returns how many there are.

    Raises Incomplete when some could not be deleted.
    """
    level, word = (logging.WARNING, "would delete") if dry_run else (logging.INFO, "delete")
    for entry in entries:
        log.log(level, "%s: %s", word, printable(entry.name))
    if not dry_run and entries:
        suspects = [entry.name for entry in entries if entry.may_be_large]
        prove = functools.partial(prove_segments, store, container)
        await delete_names(store, container, [entry.name for entry in entries], suspects, prove)
    return len(entries)
