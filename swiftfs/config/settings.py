"""Defaults that several rooms share, each with its reason."""

from __future__ import annotations

from typing import Final

DEFAULT_TRANSFERS: Final = 32
"""Requests with a body at once: what the courses give rclone as --transfers; more gains nothing against one proxy."""

DEFAULT_CHECKERS: Final = 16
"""Requests without a body at once (HEAD, DELETE) and files hashed at once: rclone's --checkers in the same courses."""

DEFAULT_STREAMS: Final = 4
"""Segments of one large file at once: rclone's --multi-thread-streams; one stream alone rarely fills a path."""

DEFAULT_DEADLINE: Final = 60.0
"""Seconds that one call may take with all its retries: a store that restarts is back by then, and a reader that waits
longer is taken for hung by the one who watches it."""
