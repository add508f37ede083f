"""Where swiftfs keeps its own files: the XDG Base Directory Specification's places, or what SWIFTFS_* say.

Only names are made here; who writes there makes the directory, with mode 0700.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

APPLICATION = "swiftfs"


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Where chunks of objects are kept: $SWIFTFS_CACHE_DIR, else ``chunks`` in the user's cache directory."""
    return _own(environ, "SWIFTFS_CACHE_DIR") or _base(environ, "XDG_CACHE_HOME", "user_cache_path") / "chunks"


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
