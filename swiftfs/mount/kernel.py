"""The kernel's read-ahead of a mount, which a file system cannot ask for.

Best effort: it needs root. The mount is looked up in the list of mounts, never with ``stat``: the process that serves
it would wait for itself.
"""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger(__name__)

READ_AHEAD_KB = 1024
"""One request may carry 1 MiB (256 pages), but the kernel's default read-ahead of 128 KiB never asks for that much;
with 1 MiB it sends an eighth of the requests."""


def tune(device: str) -> str:
    """Tune the mount on ``device`` (``major:minor``); returns what was set or could not be, for the log."""
    path = Path(f"/sys/class/bdi/{device}/read_ahead_kb")
    try:
        path.write_text(str(READ_AHEAD_KB))
    except OSError as error:
        return f"{path.name} left as it is ({error.strerror})"
    return f"{path.name}={READ_AHEAD_KB}"
