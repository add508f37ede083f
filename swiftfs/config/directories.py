"""Where swiftfs keeps its own files: the XDG Base Directory Specification's places, or what SWIFTFS_* say.

Whoever writes there has :func:`make_private` make the directory, for its owner alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from swiftfs.errors import ConfigError, LocalFileError, printable

APPLICATION = "swiftfs"
PRIVATE = 0o700
"""The mode of what is made, here and on the way here: "XDG Base Directory Specification", "Referencing this
specification"."""

_CACHE = ("XDG_CACHE_HOME", "user_cache_path")


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Where chunks of objects are kept: $SWIFTFS_CACHE_DIR, else ``chunks`` in the user's cache directory."""
    return _own(environ, "SWIFTFS_CACHE_DIR") or _base(environ, *_CACHE) / "chunks"


def state_directory(environ: Mapping[str, str]) -> Path:
    """Where indexes, journals and logs are kept: $SWIFTFS_STATE_DIR, else the user's state directory."""
    return _own(environ, "SWIFTFS_STATE_DIR") or _base(environ, "XDG_STATE_HOME", "user_state_path")


def runtime_directory(environ: Mapping[str, str]) -> Path:
    """Where sockets lie: in $XDG_RUNTIME_DIR, else in /run/user/<uid>, else ``run`` in the state directory.

    Never in /tmp, where another user could have made the directory first.
    """
    base = _absolute(environ.get("XDG_RUNTIME_DIR"))
    if base is None:
        base = Path(f"/run/user/{os.getuid()}")
        if not os.access(base, os.W_OK | os.X_OK):
            return state_directory(environ) / "run"
    return base / APPLICATION


def make_private(path: Path, environ: Mapping[str, str]) -> None:
    """Make the directory ``path`` where it is absent, and see to it that nobody else can replace what is in it.

    Of what is there, those directories are looked at that are ours: from the user's one for swiftfs down. What a group
    may write to, because of a umask of 002 when it was made, it may not any more.

    Raises ConfigError when one belongs to another user or anybody may write to it, LocalFileError when one cannot be
    made.
    """
    try:
        for missing in reversed([one for one in (path, *path.parents) if not one.exists()]):
            missing.mkdir(PRIVATE, exist_ok=True)
        tops = (state_directory(environ), runtime_directory(environ), _base(environ, *_CACHE))
        for one in (path, *path.parents):
            if any(one.is_relative_to(top) for top in tops):
                _keep_private(one)
    except OSError as error:
        raise LocalFileError(f"the directory {printable(str(path))} cannot be used: {error.strerror}") from None


def _keep_private(path: Path) -> None:
    """Raises ConfigError when the directory is not ours alone to write to and cannot be trusted, and OSError."""
    status = path.stat()
    if status.st_uid != os.geteuid():
        raise ConfigError(
            f"the directory {printable(str(path))} belongs to user {status.st_uid}",
            hint="XDG_CACHE_HOME, XDG_STATE_HOME and XDG_RUNTIME_DIR name other places",
        )
    if status.st_mode & stat.S_IWOTH:
        raise ConfigError(
            f"anybody may write to the directory {printable(str(path))}",
            hint="see that all in it is yours, then take the right away: chmod go-w",
        )
    if status.st_mode & stat.S_IWGRP:
        path.chmod(stat.S_IMODE(status.st_mode) & ~stat.S_IWGRP)


def _own(environ: Mapping[str, str], name: str) -> Path | None:
    text = environ.get(name)
    return Path(os.path.abspath(text)) if text else None


def _base(environ: Mapping[str, str], name: str, default: str) -> Path:
    """Our directory where the variable ``name`` says, else where the function ``default`` of platformdirs does."""
    import platformdirs  # most commands have no files of their own, and it takes as long as a request

    found: Path = _absolute(environ.get(name)) or getattr(platformdirs, default)()
    return found / APPLICATION


def _absolute(text: str | None) -> Path | None:
    """The path, None when it is not absolute: the specification says that such a value is to be ignored."""
    return Path(text) if text and os.path.isabs(text) else None
