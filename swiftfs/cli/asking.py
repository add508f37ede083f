"""Ask a mount over its control socket, from the command line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from swiftfs.errors import ConfigError

ASK_PATIENCE = 10.0
"""Seconds a mount gets to answer a question about itself."""
LISTED_PATIENCE = 600.0
"""Seconds for an answer that may need a listing first: of a million names that takes a minute or two."""


def ask_mount(
    mountpoint: Path, request: dict[str, Any], patience: float, stream: Iterable[bytes] | None = None
) -> dict[str, Any]:
    """The mount's reply. Raises ConfigError when none is there, Unavailable when it does not answer in time."""
    from swiftfs import config
    from swiftfs.mount.ask import ask, socket_path

    try:
        return ask(
            socket_path(config.runtime_directory(os.environ), mountpoint), request, patience=patience, stream=stream
        )
    except ConfigError as error:
        raise ConfigError(f"{mountpoint}: {error.message}", hint=error.hint) from None
