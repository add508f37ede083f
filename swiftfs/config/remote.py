"""A remote, resolved: who to be, where to log in, which region; and the ``NAME:container/prefix`` that names a place.

Pure values: nothing is read here. Secrets are left out of every repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from swiftfs.errors import UsageError, printable

GIB = 1 << 30
LARGEST_OBJECT = 5 * GIB
"""Bytes of the largest object that is no manifest (Swift's ``max_file_size``, also on Ceph RGW): rclone's default and
bound for segments."""
PREAUTHENTICATED = "none"
"""``Remote.auth_type`` of a remote that has a storage URL and a token, and no way to get another token."""
ENVIRONMENT = "env"
"""The name that means the OS_* variables."""


@dataclass(frozen=True, slots=True)
class Remote:
    """One account of one store and how to get into it.

    ``source`` says where it was found, for messages: ``/home/x/.config/rclone/rclone.conf [chi_tacc]``.
    ``auth_type`` is the name of a keystoneauth1 plugin and ``auth_options`` are its options, or ``none`` when
    ``storage_url`` and ``auth_token`` are given. A ``storage_url`` beside other credentials replaces the catalogue's.
    ``region`` None takes the only, or first, region of the catalogue. ``verify`` is a file of trusted CAs, True for
    the system's, False for none. ``chunk_size`` is the size of a segment in bytes. ``use_segments_container`` None
    leaves the choice to who writes segments.
    """

    name: str
    source: str
    auth_type: str
    auth_options: Mapping[str, str] = field(repr=False)
    region: str | None = None
    interface: str = "public"
    storage_url: str | None = None
    auth_token: str | None = field(default=None, repr=False)
    verify: bool | str = True
    storage_policy: str | None = None
    no_large_objects: bool = False
    use_segments_container: bool | None = None
    chunk_size: int = LARGEST_OBJECT


@dataclass(frozen=True, slots=True)
class RemotePath:
    """``NAME:container/prefix``. An empty container means the account, an empty prefix the container.

    ``prefix`` neither begins nor ends with a slash; it names an object or a pseudo-directory.
    """

    remote: str
    container: str
    prefix: str

    def __str__(self) -> str:
        path = "/".join(part for part in (self.container, self.prefix) if part)
        return f"{self.remote}:{path}"


def parse_remote_path(text: str) -> RemotePath:
    """Split ``NAME:container/prefix`` as rclone does for stores that have containers.

    Slashes at both ends of the path are dropped, those inside are kept. Raises UsageError for a local path, a
    connection string and names no store can hold.
    """
    shown = printable(text)
    name, colon, path = text.partition(":")
    example = "write NAME:container or NAME:container/prefix, NAME as in rclone.conf or clouds.yaml"
    if not text or not colon or "/" in name:
        raise UsageError(f"'{shown}' names no remote", hint=example)
    if not name:
        raise UsageError(
            f"'{shown}': remotes that are described on the command line are not supported",
            hint=f"name a remote; {ENVIRONMENT}: takes the OS_* variables",
        )
    if "," in name:
        raise UsageError(
            f"'{shown}': options after the remote's name are not supported", hint="write them into the configuration"
        )
    if "\0" in text:
        raise UsageError(f"'{shown}' holds a NUL", hint=example)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"'{shown}' is not valid UTF-8", hint="Swift keeps names as UTF-8") from None
    container, _, prefix = path.strip("/").partition("/")
    return RemotePath(name, container, prefix.strip("/"))
