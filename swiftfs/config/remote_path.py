"""``NAME:container/prefix``: how a place in a store is written on a command line. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from swiftfs.errors import UsageError, printable

ENVIRONMENT = "env"
"""The name that means the OS_* variables."""


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
