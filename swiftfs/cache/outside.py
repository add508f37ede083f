"""A look at a cache from outside, before it is opened: light to import, for a mount does it before anything else."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
"""Goes into the path: another number, other files."""


def table_path(path: Path) -> Path:
    """Where the table of the cache at ``path`` is, or would be."""
    return path / f"v{FORMAT}" / "chunks.db"


def used_bytes(path: Path) -> int:
    """Bytes in the files of the cache at ``path``, by its table; 0 where none is there that can be read.

    Makes nothing and waits for nobody.
    """
    table = table_path(path)
    if not table.exists():
        return 0
    import sqlite3  # only now: the first mount need not wait for it

    try:
        with contextlib.closing(sqlite3.connect(f"{table.absolute().as_uri()}?mode=ro", uri=True, timeout=0)) as opened:
            (used,) = opened.execute("SELECT value FROM state WHERE name = 'used'").fetchone()
    except (sqlite3.Error, TypeError):
        return 0
    return max(0, int(used))
