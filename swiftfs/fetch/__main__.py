"""``python -m swiftfs.fetch FD [REMOTE]``: the fetch process, serving the socket it inherited as descriptor FD.

With the name of the remote it logs in before it imports the most of itself: a login is a wait, and imports are work.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from swiftfs.privacy import keep_private

if TYPE_CHECKING:
    from swiftfs.swift.auth import EarlyLogin


def main(descriptor: int, remote: str | None) -> int:
    """Serve until the socket closes; returns the exit code."""
    keep_private()
    # Ctrl-C in a terminal goes to both processes: this one ends when the other closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    login = log_in(remote) if remote is not None else None
    from swiftfs.fetch import worker

    return worker.main(descriptor, login)


def log_in(name: str) -> EarlyLogin | None:
    """A login at the remote ``name``; None where it has nothing to log in at, which is reported when it is needed."""
    from swiftfs.config import find_remote
    from swiftfs.errors import SwiftFSError

    try:
        remote = find_remote(name, os.environ)
    except SwiftFSError:
        return None
    from swiftfs.swift.auth import early_login

    return early_login(remote)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
