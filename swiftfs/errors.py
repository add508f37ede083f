"""The exception tree and its two tables: errno for the kernel, exit code for the shell.

An error is raised where it is first understood, with what was being read or written; it is translated once at
each edge: aiohttp's and keystoneauth1's errors to ours in ``swift``, ours to errno in ``fs.fuse``, ours to an exit
code in ``cli``. No message ever holds a token or a secret.
"""

from __future__ import annotations

import errno
from typing import ClassVar


class SwiftFSError(Exception):
    """Anything swiftfs can explain to its user in one line.

    ``hint`` says what the user can do about it; None when the message says it already. The remaining fields place
    the error in the store and are None where they do not apply. ``span`` is the half-open range of bytes asked for.
    """

    errno: ClassVar[int] = errno.EIO
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        container: str | None = None,
        object: str | None = None,
        span: tuple[int, int] | None = None,
        txid: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.container = container
        self.object = object
        self.span = span
        self.txid = txid
        self.status = status

    def __str__(self) -> str:
        return one_line(self)


class UsageError(SwiftFSError):
    """The command line cannot be understood (rclone's exit code 2)."""

    errno = errno.EINVAL
    exit_code = 2


class ConfigError(SwiftFSError):
    """A remote, a setting or a prerequisite on this machine is missing or wrong."""

    errno = errno.EINVAL


class AuthError(SwiftFSError):
    """Keystone or the store refuses these credentials, also after a fresh token."""

    errno = errno.EACCES


class Forbidden(AuthError):
    """The credentials are good but this request is not allowed (HTTP 403)."""


class NotFound(SwiftFSError):
    """The object is not there (HTTP 404)."""

    errno = errno.ENOENT
    exit_code = 4


class ContainerNotFound(NotFound):
    """The container, or the local directory a command names, is not there (rclone's "directory not found")."""

    exit_code = 3


class Conflict(SwiftFSError):
    """The store refuses because of what it holds: a container that is not empty, a segment that is missing."""


class Changed(SwiftFSError):
    """The object is no longer the version that was asked for."""

    errno = errno.ESTALE


class Truncated(SwiftFSError):
    """The store sent fewer or more bytes than the object has, or other bytes than its ETag says."""

    exit_code = 5


class Damaged(Truncated):
    """All bytes came, but they do not have the checksum that they must have."""


class Rejected(SwiftFSError):
    """The store refuses this request for good: too large, over quota, malformed (HTTP 4xx that no retry mends)."""

    exit_code = 6


class Unavailable(SwiftFSError):
    """The store or Keystone cannot be reached, or keeps failing after all retries."""

    exit_code = 5


class KeystoneUnavailable(Unavailable):
    """Keystone cannot be reached, so nothing has been begun (rclone ends with 1 here, too)."""

    exit_code = 1


class DeadlineExceeded(Unavailable):
    """The operation's own limit of time ended it."""


class LocalFileError(SwiftFSError):
    """A local file or directory cannot be read or written."""


class Incomplete(SwiftFSError):
    """A run ended with some objects failed, missing or wrong; they have been named already."""


class TooManyDeletes(SwiftFSError):
    """More objects would be deleted than the user allows; nothing was (rclone's "fatal error")."""

    exit_code = 7


class TransferLimit(SwiftFSError):
    """As many bytes were sent as the user allows in one run (rclone's ``--max-transfer``)."""

    exit_code = 8


class Interrupted(SwiftFSError):
    """The user stopped the run."""

    errno = errno.EINTR
    exit_code = 130  # 128 + SIGINT, as shells report it


def one_line(error: SwiftFSError) -> str:
    """The message with its place in the store and its hint, free of line breaks and control characters."""
    parts = [error.message]
    place = "/".join(part for part in (error.container, error.object) if part)
    if place and place not in error.message:
        parts.append(f" ({printable(place)})")
    if error.span is not None:
        parts.append(f" [bytes {error.span[0]}-{error.span[1]})")
    if error.txid:
        parts.append(f" [transaction {printable(error.txid)}]")
    if error.hint:
        parts.append(f"; {error.hint}")
    return printable("".join(parts))


def printable(text: str) -> str:
    """``text`` with control characters, line breaks and lone surrogates escaped, so that no name can fake a line."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode("ascii")
        for char in text
    )
