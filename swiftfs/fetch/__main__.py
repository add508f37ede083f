"""``python -m swiftfs.fetch FD``: the fetch process, serving the socket it inherited as descriptor FD."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from swiftfs.privacy import keep_private

if TYPE_CHECKING:
    from swiftfs.fetch.protocol import Hello


def main(descriptor: int, hello: Hello | None = None) -> int:
    """Serve until the socket closes; returns the exit code. ``hello`` None: what to serve is the first message."""
    keep_private()
    # Ctrl-C in a terminal goes to both processes: this one ends when the other closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from swiftfs.fetch import serve

    return serve.main(descriptor, hello)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
