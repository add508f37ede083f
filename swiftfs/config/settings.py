"""Defaults that several rooms share, each with its reason."""

from __future__ import annotations

from typing import Final

DEFAULT_TRANSFERS: Final = 64
"""Requests with a body at once. Small files from another site cost round trips and little else: twice the 32 that the
courses give rclone is half the time there, and no more work for a store nearby. A store that has too many says so
(429, 498, 503), and gets fewer."""

DEFAULT_CHECKERS: Final = 16
"""Requests without a body at once (HEAD, DELETE) and files hashed at once: rclone's --checkers in the same courses."""

DEFAULT_STREAMS: Final = 4
"""Segments of one large file at once: rclone's --multi-thread-streams; one stream alone rarely fills a path."""

DEFAULT_DEADLINE: Final = 60.0
"""Seconds that one call may take with all its retries: a store that restarts is back by then, and a reader that waits
longer is taken for hung by the one who watches it."""
