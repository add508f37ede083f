"""Counts of a run while it runs: the loader writes them, the progress display reads them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Files and bytes of one run. ``moved`` counts bytes sent or skipped, also those of objects in flight.

    ``trusted`` are those skipped files of which nothing is proven, because the user wants them not compared.
    """

    phase: str = "listing"
    files: int = 0
    size: int = 0
    moved: int = 0
    sent: int = 0
    sent_size: int = 0
    skipped: int = 0
    trusted: int = 0
    failed: int = 0
    large: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    """Large objects on their way: bytes that are in the store, and all of them (None: not known yet)."""

    @property
    def done(self) -> int:
        """Files that are settled, well or badly."""
        return self.sent + self.skipped + self.failed
