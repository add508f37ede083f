"""What swiftfs is told from outside: remotes, defaults and where its files lie. Nothing here touches the network.

A remote is looked up by name in rclone's configuration, then in clouds.yaml; ``env`` means the OS_* variables. The
environment is an argument everywhere, so that a test or another process can say what it is.

What is named here is imported when it is used: a mount leaves looking remotes up to its fetch process.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swiftfs.config.directories import cache_directory, make_private, runtime_directory, state_directory
    from swiftfs.config.lookup import configured_remotes, find_remote
    from swiftfs.config.remote import Remote
    from swiftfs.config.remote_path import RemotePath, parse_remote_path

_MODULES = {
    "Remote": "remote",
    "RemotePath": "remote_path",
    "cache_directory": "directories",
    "configured_remotes": "lookup",
    "find_remote": "lookup",
    "make_private": "directories",
    "parse_remote_path": "remote_path",
    "runtime_directory": "directories",
    "state_directory": "directories",
}

__all__ = [
    "Remote",
    "RemotePath",
    "cache_directory",
    "configured_remotes",
    "find_remote",
    "make_private",
    "parse_remote_path",
    "runtime_directory",
    "state_directory",
]


def __getattr__(name: str) -> Any:
    """What this package names, from the module that has it (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'swiftfs.config' has no attribute '{name}'")
    return getattr(importlib.import_module(f"swiftfs.config.{_MODULES[name]}"), name)
