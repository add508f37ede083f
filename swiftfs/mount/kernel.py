"""Kernel settings of a mount that pyfuse3 cannot ask for: read-ahead and requests in the background.

Best effort: they need root. The mount is looked up in the list of mounts, never with ``stat``: the process that serves
it would wait for itself.
"""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger(__name__)

READ_AHEAD_KB = 1024
"""One request may carry 1 MiB (256 pages), but the kernel's default read-ahead of 128 KiB never asks for that much;
with 1 MiB it sends an eighth of the requests."""
MAX_BACKGROUND = 64
CONGESTION_THRESHOLD = 48
"""The kernel's defaults of 12 and 9 hold back read-ahead as soon as a dozen requests are under way."""


def tune(device: str) -> list[str]:
    """Tune the mount on ``device`` (``major:minor``); returns what was set and what could not be, for the log."""
    connection = device.partition(":")[2]
    wanted = {
        Path(f"/sys/class/bdi/{device}/read_ahead_kb"): READ_AHEAD_KB,
        Path(f"/sys/fs/fuse/connections/{connection}/max_background"): MAX_BACKGROUND,
        Path(f"/sys/fs/fuse/connections/{connection}/congestion_threshold"): CONGESTION_THRESHOLD,
    }
    done = []
    for path, value in wanted.items():
        try:
            path.write_text(str(value))
            done.append(f"{path.name}={value}")
        except OSError as error:
            done.append(f"{path.name} left as it is ({error.strerror})")
    return done
