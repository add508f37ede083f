"""Fetch an archive from an http(s) URL into a file, continued after a break under the same validator.

The store's credentials have no part in this: the request carries no token. A URL's query and password may be secrets,
so messages name only its host and path.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from swiftfs.errors import (
    Forbidden,
    Interrupted,
    LocalFileError,
    NotFound,
    Rejected,
    SwiftFSError,
    Truncated,
    Unavailable,
    UsageError,
    printable,
)
from swiftfs.load.interrupt import in_thread

if TYPE_CHECKING:
    import aiohttp

    from swiftfs.load.tally import Tally

CONNECT = 10.0
"""Seconds for a connection."""
STALL = 30.0
"""Seconds without a byte after which the connection is given up."""
FRUITLESS = 5
"""Attempts in a row that may bring no byte."""
PIECE = 1024 * 1024
"""Bytes written or hashed at once."""
PAUSE_LIMIT = 15.0
"""Seconds between two attempts at the most."""
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of a server that may answer better later."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

Pause = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Validator:
    """What pins one version of the URL's content, kept beside the part that is there; ``size`` None: unknown."""

    url: str
    etag: str | None = None
    last_modified: str | None = None
    size: int | None = None

    @property
    def if_range(self) -> str | None:
        """The value of ``If-Range``: a strong ETag, else the date (RFC 9110, 13.1.5); None forbids to continue."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


def shown_url(url: str) -> str:
    """The URL without user, password, query and fragment."""
    parts = urlsplit(url)
    return printable(f"{parts.scheme}://{parts.hostname or ''}{parts.path}")


def check_sha256(text: str) -> str:
    """``text`` as 64 lower-case hexadecimal digits. Raises UsageError."""
    if not _SHA256.fullmatch(text.lower()):
        raise UsageError("a SHA-256 has 64 hexadecimal digits")
    return text.lower()


def download_names(url: str) -> tuple[str, str]:
    """Names of the file and of its validator, the same for the same URL in every run."""
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    return f"{key}.download", f"{key}.json"


def open_session() -> aiohttp.ClientSession:
    """A session for plain URLs: bytes come as they are stored, every wait is bounded, no credentials are known."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=STALL)
    return aiohttp.ClientSession(timeout=timeout, auto_decompress=False, headers={"Accept-Encoding": "identity"})


@contextlib.asynccontextmanager
async def opened(
    session: aiohttp.ClientSession, url: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to a GET, whatever its status, to be read inside; redirects have been followed.

    Raises what aiohttp's errors mean, and Rejected when an https URL has led to http.
    """
    with translated(url):
        async with session.get(url, headers=headers) as response:
            if url.lower().startswith("https:") and response.url.scheme != "https":
                raise Rejected(f"{shown_url(url)} leads from https to http, which is refused")
            yield response


class Patience:
    """How often something at a URL is tried again: as long as each attempt brings bytes, and some times without."""

    def __init__(self, pause: Pause) -> None:
        self._pause = pause
        self._fruitless = 0

    async def failed(self, error: SwiftFSError, *, fruitful: bool) -> None:
        """Wait until the next attempt, or raise ``error`` when there is to be none."""
        self._fruitless = 0 if fruitful else self._fruitless + 1
        if self._fruitless >= FRUITLESS:
            raise error from None
        await self._pause(min(2.0**self._fruitless, PAUSE_LIMIT))


async def download(
    url: str,
    directory: str,
    *,
    tally: Tally,
    sha256: str | None = None,
    pause: Pause = asyncio.sleep,
) -> str:
    """The path of the URL's whole content in ``directory``; continues what an earlier run left there.

    ``sha256`` must be the content's, when given. Raises NotFound, Forbidden, Rejected, Unavailable, Truncated (wrong
    length or SHA-256), LocalFileError.
    """
    name, beside = (os.path.join(directory, one) for one in download_names(url))
    patience = Patience(pause)
    async with open_session() as session:
        while True:
            before = _length(name)
            try:
                await _attempt(session, url, name, beside, tally)
                break
            except (Unavailable, Truncated) as error:
                await patience.failed(error, fruitful=_length(name) > before)
    if sha256 is not None:
        try:
            halted = threading.Event()
            await in_thread(halted, check_file, name, sha256, shown_url(url), halted)
        except Truncated:
            for path in (name, beside):
                os.unlink(path)
            raise
    return name


def check_file(path: str, sha256: str, called: str | None = None, halted: threading.Event | None = None) -> None:
    """Raise Truncated unless the file at ``path`` has this SHA-256; ``called`` is its name in the message.

    Raises Interrupted once ``halted`` is set.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(PIECE):
                if halted is not None and halted.is_set():
                    raise Interrupted("stopped before the archive's SHA-256 was known")
                digest.update(piece)
    except OSError as error:
        raise LocalFileError(f"cannot read {printable(path)}: {error.strerror}") from None
    if (found := digest.hexdigest()) != sha256:
        raise Truncated(f"{called or printable(path)} has the SHA-256 {found}, not {sha256}")


async def _attempt(session: aiohttp.ClientSession, url: str, name: str, beside: str, tally: Tally) -> None:
    """One request that brings the rest, or everything when it cannot be continued."""
    known = _remembered(beside, url)
    have = _length(name) if known is not None else 0
    if known is not None and known.size == have and have:
        tally.size = tally.moved = have
        return
    headers = {}
    if known is not None and have and known.if_range:
        headers = {"Range": f"bytes={have}-", "If-Range": known.if_range}
    async with opened(session, url, headers) as response:
        if response.status == 416:
            _forget(beside)
            raise Truncated(f"{shown_url(url)} is shorter than what was fetched before")
        check_status(response.status, url)
        if response.status == 206 and known is not None:
            if _resumed_at(response.headers.get("Content-Range", ""), known) != have:
                _forget(beside)
                raise Truncated(f"{shown_url(url)}: the server sends another range than was asked for")
        else:
            have = 0
            fields = response.headers
            known = Validator(url, fields.get("ETag"), fields.get("Last-Modified"), response.content_length)
            # Emptied first: a new validator must never stand beside old bytes.
            _empty(name)
            _remember(beside, known)
        tally.size, tally.moved = known.size or 0, have
        with open_part(name) as part:
            async for piece in response.content.iter_chunked(PIECE):
                part(piece)
                tally.moved += len(piece)
    length = _length(name)
    if known.size is None:
        _remember(beside, replace(known, size=length))
    elif length != known.size:
        raise Truncated(f"{shown_url(url)} broke off at byte {length:,} of {known.size:,}")


def _resumed_at(content_range: str, known: Validator) -> int | None:
    """The first byte of a 206 answer; None when it is no range of the content that is known."""
    match = CONTENT_RANGE.fullmatch(content_range)
    if match is None or (known.size is not None and match[2] not in {"*", str(known.size)}):
        return None
    return int(match[1])


def check_status(status: int, url: str) -> None:
    """Raise what a status other than 200 and 206 means: Forbidden, NotFound, Unavailable, Rejected."""
    where = shown_url(url)
    if status in {200, 206}:
        return
    if status in {401, 403}:
        raise Forbidden(f"{where} is not for everybody (status {status})", hint="give a URL that needs no login")
    if status in {404, 410}:
        raise NotFound(f"{where} is not there (status {status})")
    if status in RETRIED:
        raise Unavailable(f"{where} answers with status {status}")
    raise Rejected(f"{where} answers with status {status}")


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn aiohttp's errors into ours, without their text: it may hold the URL's query."""
    import aiohttp

    try:
        yield
    except aiohttp.InvalidURL:
        raise UsageError(f"{shown_url(url)} is not a URL") from None
    except aiohttp.TooManyRedirects:
        raise Rejected(f"{shown_url(url)} redirects without end") from None
    except aiohttp.ClientConnectorError as error:
        reason = printable(error.os_error.strerror or type(error.os_error).__name__)
        raise Unavailable(f"cannot connect to {printable(error.host)}:{error.port}: {reason}") from None
    except TimeoutError:
        raise Unavailable(f"{shown_url(url)} sent nothing for {STALL:.0f} s") from None
    except (aiohttp.ClientError, ConnectionError) as error:
        raise Unavailable(f"{shown_url(url)} broke off ({type(error).__name__})") from None


@contextlib.contextmanager
def open_part(name: str) -> Iterator[Callable[[bytes], None]]:
    """A function that appends to the file ``name`` and raises LocalFileError."""
    with _local(name):
        descriptor = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def append(piece: bytes) -> None:
        view = memoryview(piece)
        with _local(name):
            while view:
                view = view[os.write(descriptor, view) :]

    try:
        yield append
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _local(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalFileError(f"cannot write {printable(name)}: {error.strerror}") from None


def _length(name: str) -> int:
    try:
        return os.path.getsize(name)
    except FileNotFoundError:
        return 0


def _empty(name: str) -> None:
    with _local(name), open(name, "wb"):
        pass


def _remember(beside: str, known: Validator) -> None:
    partial = beside + ".partial"
    with _local(beside):
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(asdict(known), file)
        os.replace(partial, beside)


def _remembered(beside: str, url: str) -> Validator | None:
    """What an earlier attempt knew of the URL's content; None when nothing is known or it cannot be read."""
    try:
        with open(beside, encoding="utf-8") as file:
            known = Validator(**json.load(file))
    except (OSError, ValueError, TypeError):
        return None
    return known if known.url == url else None


def _forget(beside: str) -> None:
    with _local(beside), contextlib.suppress(FileNotFoundError):
        os.unlink(beside)
