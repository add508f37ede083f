"""Private files and locks: text that only its owner may read, written whole or not at all, and one writer at a time."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from swiftfs.config import make_private
from swiftfs.errors import Unavailable

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700

# Seconds between two looks at a lock that another process holds: soon enough for a person, rare enough to cost nothing.
LOCK_POLL = 0.1


def make_private_directory(path: Path) -> None:
    """Make the directory and its parents; the directory itself is for its owner alone from then on."""
    if not path.exists():
        make_private(path, os.environ)
    path.chmod(PRIVATE_DIRECTORY)


def write_private(path: Path, text: str) -> None:
    """Replace the file at once: a reader, or a crash, sees the old text or the new one."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_or_none(path: Path) -> str | None:
    """The text of the file, None when there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def last_line(path: Path) -> str:
    """The last line of a log that says something, for an error message; empty when there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


@contextmanager
def locked(path: Path, deadline: float, on_wait: Callable[[], None]) -> Iterator[int]:
    """Hold the lock file at `path`, and yield its descriptor: a child that inherits it holds the lock, too, should this
    process be killed. `on_wait` is called once, when another process holds the lock.

    Raises Unavailable when it was not free within `deadline` seconds.
    """
    give_up = time.monotonic() + deadline
    waited = False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            if _try_lock(descriptor) and _is_still(path, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)
        if not waited:
            waited = True
            on_wait()
        if time.monotonic() > give_up:
            raise Unavailable(f"{path} is still locked by another process after {deadline:.0f} s")
        time.sleep(LOCK_POLL)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the locked file is the one at `path`: its last holder may have removed it together with its directory."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
