"""Commands of swiftfs in processes of their own that start in a hundredth of a second, to be killed at will.

``python forked.py`` reads one command a line (JSON), forks, and runs it in the child as ``python -m swiftfs`` would;
everything has been imported before. It has one thread, so that forking it is safe.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRELOADED = (
    "aiohttp", "swiftfs.__main__", "swiftfs.cli.app", "swiftfs.cli.load", "swiftfs.load.run", "swiftfs.load.sources",
    "swiftfs.load.apply", "swiftfs.swift.client", "swiftfs.config",
)  # fmt: skip


@dataclass
class Running:
    """A command that was started; ``output`` is the file its messages go to."""

    pid: int
    output: Path
    server: subprocess.Popen[bytes]
    code: int | None = None

    def kill(self) -> None:
        """``kill -9``. It is reaped when the next one starts: until then the number is nobody else's."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """The exit code; -9 when it was killed."""
        if self.code is None:
            assert self.server.stdout is not None
            self.code = int(json.loads(self.server.stdout.readline())["code"])
        return self.code

    def said(self) -> str:
        """What it has written to standard output and error."""
        return self.output.read_text(errors="replace")


class Forked:
    """The server; use it with ``with``. ``constants`` are set in it: dotted module, a colon, the name."""

    def __init__(self, top: Path, constants: Mapping[str, float] | None = None) -> None:
        self._top = top
        self._constants = dict(constants or {})
        self._number = 0

    def __enter__(self) -> Forked:
        words = [sys.executable, __file__, json.dumps(self._constants)]
        self._server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(60)
        self._server.stdout.close()

    def start(self, *words: str | Path, environ: Mapping[str, str]) -> Running:
        """Start ``swiftfs`` with these arguments. One at a time."""
        self._number += 1
        output = self._top / f"command-{self._number}.txt"
        order = {
            "words": [os.fspath(word) for word in words],
            "environ": dict(environ),
            "output": os.fspath(output),
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(order).encode() + b"\n")
        self._server.stdin.flush()
        return Running(json.loads(self._server.stdout.readline())["pid"], output, self._server)


def _serve() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    for place, value in json.loads(sys.argv[1]).items():
        module, _, name = place.partition(":")
        found = importlib.import_module(module)
        assert hasattr(found, name), place
        setattr(found, name, value)
    last = None
    for line in sys.stdin:
        order = json.loads(line)
        if last is not None:
            os.waitpid(last, 0)
        pid = os.fork()
        if pid == 0:
            _become(order)
        _say({"pid": pid})
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        _say({"code": ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status})
        last = pid


def _become(order: dict[str, Any]) -> None:
    """Run the command, and never return."""
    code = 70
    try:
        output = os.open(order["output"], os.O_WRONLY | os.O_CREAT, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.environ.clear()
        os.environ.update(order["environ"])
        sys.argv[:] = ["swiftfs", *order["words"]]
        from swiftfs.__main__ import main

        code = main()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _say(message: dict[str, int]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _serve()
