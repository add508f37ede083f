"""``python -m swiftfs.fetch FD``: the fetch process, serving the socket it inherited as descriptor FD."""

from __future__ import annotations

import sys

from swiftfs.fetch.worker import main

if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
