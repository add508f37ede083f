"""``python -m swiftfs.fetch FD``: the fetch process, serving the socket it inherited as descriptor FD."""

from __future__ import annotations

import signal
import sys

from swiftfs.fetch.start import take_title
from swiftfs.privacy import keep_private


def main(descriptor: int) -> int:
    """Serve until the socket closes; returns the exit code."""
    keep_private()
    take_title()
    # Ctrl-C in a terminal goes to both processes: this one ends when the other closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from swiftfs.fetch import serve

    return serve.main(descriptor)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
