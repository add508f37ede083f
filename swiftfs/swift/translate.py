"""What can go wrong with a request, in our words: connections, answers, statuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from swiftfs.errors import (
    AuthError,
    Changed,
    ConfigError,
    Conflict,
    ContainerNotFound,
    Forbidden,
    NotFound,
    Rejected,
    SwiftFSError,
    Truncated,
    Unavailable,
    printable,
)
from swiftfs.swift import retry
from swiftfs.swift.pace import SLOWEST
from swiftfs.swift.retry import Verdict

if TYPE_CHECKING:
    from swiftfs.model import ByteRange

CONNECT_TIMEOUT = 10.0
"""Seconds for a TCP and TLS handshake; a lost SYN must not use up a deadline."""
MESSAGE = 200
"""Characters of a server's own explanation that are shown."""


UNUSABLE_URL = "the storage URL of the catalogue cannot be used"


def untrusted(host: str, port: int, error: BaseException) -> SwiftFSError:
    """Our error for a TLS handshake that failed, in OpenSSL's words: "certificate has expired"."""
    check = getattr(error, "verify_message", None) or getattr(error, "reason", None) or type(error).__name__
    return ConfigError(
        f"no trusted connection to the store at {host}:{port}: {printable(str(check))}",
        hint="name your CA's file in OS_CACERT",
    )


def unreachable(host: str, port: int, error: OSError) -> SwiftFSError:
    """Our error for a connection that could not be made."""
    reason = printable(error.strerror or type(error).__name__)
    return Unavailable(f"cannot connect to the store at {host}:{port}: {reason}")


def too_late_to_connect() -> SwiftFSError:
    """Our error for a connection that was not made in time."""
    return Unavailable(f"no connection to the store within {CONNECT_TIMEOUT:.0f} s")


def broken_connection(kind: str) -> SwiftFSError:
    """Our error for a connection that was lost before its answer began; ``kind`` names how."""
    return Unavailable(f"the connection broke off: {printable(kind)}")


def broken_answer() -> SwiftFSError:
    """Our error for an answer whose connection was lost before its end."""
    return Truncated("the answer broke off before its end")


def unreadable(why: str) -> SwiftFSError:
    """Our error for an answer that is not HTTP."""
    return Truncated(f"unreadable answer: {printable(why[:MESSAGE])}")


def too_long(limit: int) -> SwiftFSError:
    """Our error for an answer of more than ``limit`` bytes."""
    return Truncated(f"the answer is longer than {limit} bytes")


def stalled() -> SwiftFSError:
    """Our error for an answer of which nothing comes."""
    return Unavailable("the store sent nothing for too long")


def not_taken() -> SwiftFSError:
    """Our error for a request of which the other side takes nothing any more."""
    return Unavailable("the store took nothing of the request for too long")


def trickling() -> SwiftFSError:
    """Our error for an answer that comes too slowly to go on waiting."""
    return Unavailable(f"the store sends fewer than {SLOWEST} bytes a second")


def status_error(status: int, headers: Mapping[str, str], body: bytes | bytearray) -> SwiftFSError:
    """Our error for an answer that is not 2xx."""
    txid = headers.get("X-Trans-Id") or headers.get("X-Openstack-Request-Id")
    text = "" if body.lstrip().startswith((b"<", b"{")) else body.decode("utf-8", "replace").strip()
    said = f": {printable(text[:MESSAGE])}" if text else ""
    kind: type[SwiftFSError]
    if 300 <= status < 400:
        kind, message = Rejected, "the store redirects elsewhere, which is refused: it could take the token along"
    elif status == 401:
        kind, message = AuthError, "the store refuses the token"
    elif status == 403:
        kind, message = Forbidden, "the store forbids this request"
    elif status == 404:
        kind, message = NotFound, "not found"
    elif status == 409:
        kind, message = Conflict, f"the store refuses because of what it holds (status 409){said}"
    elif status in {412, 416}:
        kind, message = Changed, "the object has changed in the store"
    elif status == 422:
        kind, message = Rejected, "the store got other bytes than were announced"
    elif status == 413:
        kind, message = Rejected, f"the store refuses the size: over its limit or your quota{said}"
    elif retry.verdict(status) is not Verdict.FAIL or status >= 500:
        kind, message = Unavailable, f"the store answers with status {status}{said}"
    else:
        kind, message = Rejected, f"the store refuses the request with status {status}{said}"
    return kind(message, txid=txid, status=status)


def about_container(error: SwiftFSError, container: str) -> SwiftFSError:
    """``error`` with its container; "not found" becomes the container's."""
    if isinstance(error, NotFound):
        return ContainerNotFound(
            f"container '{container}' not found", container=container, txid=error.txid, status=error.status
        )
    error.container = error.container or container
    return error


def about_object(error: SwiftFSError, container: str, name: str, span: ByteRange | None = None) -> SwiftFSError:
    """``error`` with its place in the store."""
    error.container = error.container or container
    error.object = error.object or name
    if span is not None and error.span is None:
        error.span = (span.start, span.stop)
    return error
