"""What a user may ask of a load beyond its source and destination. Plain values."""

from __future__ import annotations

from dataclasses import dataclass, field

from swiftfs.load.filters import Filters
from swiftfs.load.plan import Compare


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How objects are compared, which are looked at, what is deleted, and where the run ends.

    ``update``: of those that differ, an object that is newer than its file stays. ``immutable``: an object that differs
    is an error of its file, never replaced. ``delete_extra`` deletes what the
    source does not have, after everything is proven; ``clean`` deletes all before anything is sent. ``max_delete``
    objects at the most may go (None: any number). No object is begun that would go past ``max_transfer`` bytes.
    ``manifest`` writes the dataset's manifest at the end.
    """

    compare: Compare = Compare.CONTENT
    update: bool = False
    immutable: bool = False
    filters: Filters = field(default_factory=Filters)
    delete_extra: bool = False
    clean: bool = False
    max_delete: int | None = None
    max_transfer: int | None = None
    manifest: bool = False

    @property
    def deletes(self) -> bool:
        """Whether the destination's other objects matter."""
        return self.delete_extra or self.clean
