"""aiohttp's errors and the store's statuses as ours: the one place where they are translated.

aiohttp's errors are never passed on: their ``repr`` holds the request's headers and so the token (aiohttp 3.14,
``ClientResponseError.request_info``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import aiohttp

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
from swiftfs.swift.retry import Verdict

if TYPE_CHECKING:
    from swiftfs.model import ByteRange

CONNECT_TIMEOUT = 10.0
"""Seconds for a TCP and TLS handshake; a lost SYN must not use up a deadline."""
MESSAGE = 200
"""Characters of a server's own explanation that are shown."""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn aiohttp's errors into ours, leaving behind what may hold the token."""
    try:
        yield
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        raise ConfigError(
            f"no trusted connection to the store at {error.host}:{error.port}: {printable(_check(error))}",
            hint="name your CA's file in OS_CACERT",
        ) from None
    except TimeoutError as error:
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            raise Unavailable(f"no connection to the store within {CONNECT_TIMEOUT:.0f} s") from None
        if isinstance(error, aiohttp.ServerTimeoutError):
            raise Unavailable("the store sent nothing for too long") from None
        raise
    except aiohttp.ClientConnectorError as error:
        raise Unavailable(f"cannot connect to the store at {error.host}:{error.port}: {_reason(error)}") from None
    except aiohttp.ClientPayloadError:
        raise Truncated("the answer broke off before its end") from None
    except aiohttp.ClientResponseError as error:
        raise Truncated(f"unreadable answer: {printable(error.message[:MESSAGE])}") from None
    except aiohttp.InvalidURL:
        raise Rejected("the storage URL of the catalogue cannot be used") from None
    except (aiohttp.ClientConnectionError, ConnectionError) as error:
        raise Unavailable(f"the connection broke off: {printable(type(error).__name__)}") from None


def _check(error: aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError) -> str:
    """What the handshake failed at, in OpenSSL's words: "certificate has expired", "WRONG_VERSION_NUMBER"."""
    certificate = isinstance(error, aiohttp.ClientConnectorCertificateError)
    cause = error.certificate_error if certificate else error.os_error
    return str(getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or type(cause).__name__)


def _reason(error: aiohttp.ClientConnectorError) -> str:
    return printable(error.os_error.strerror or type(error.os_error).__name__)


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
