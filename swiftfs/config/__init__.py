"""What swiftfs is told from outside: remotes, defaults and where its files lie. Nothing here touches the network.

A remote is looked up by name in rclone's configuration, then in clouds.yaml; ``env`` means the OS_* variables. The
environment is an argument everywhere, so that a test or another process can say what it is.
"""

from swiftfs.config.directories import cache_directory, runtime_directory, state_directory
from swiftfs.config.lookup import configured_remotes, find_remote
from swiftfs.config.remote import Remote, RemotePath, parse_remote_path
from swiftfs.config.settings import DEFAULT_CHECKERS, DEFAULT_DEADLINE, DEFAULT_TRANSFERS

__all__ = [
    "DEFAULT_CHECKERS",
    "DEFAULT_DEADLINE",
    "DEFAULT_TRANSFERS",
    "Remote",
    "RemotePath",
    "cache_directory",
    "configured_remotes",
    "find_remote",
    "parse_remote_path",
    "runtime_directory",
    "state_directory",
]
