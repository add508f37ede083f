"""An http(s) URL's content as one stream, read once from front to back and continued where it breaks off.

A break is mended by a range of the same version; a server that has no ranges, or another version by then, ends the
stream with an error, for what was read of it is used already.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from swiftfs.errors import Changed, Truncated, Unavailable
from swiftfs.load.download import (
    CONTENT_RANGE,
    PIECE,
    Patience,
    Pause,
    Validator,
    check_status,
    opened,
    shown_url,
)

if TYPE_CHECKING:
    import aiohttp

AHEAD = 8
"""Pieces fetched before they are asked for: 8 MiB at the most."""


async def stream_url(
    session: aiohttp.ClientSession, url: str, *, sha256: str | None = None, pause: Pause = asyncio.sleep
) -> AsyncIterator[bytes]:
    """The content in pieces of up to 1 MiB; the last ``next`` fails unless all of it came with this SHA-256.

    Raises NotFound, Forbidden, Rejected, Unavailable, Changed, Truncated (wrong length or SHA-256).
    """
    stream = _Stream(session, url)
    patience = Patience(pause)
    while True:
        before = stream.position
        try:
            async for piece in stream.attempt():
                yield piece
            break
        except (Unavailable, Truncated) as error:
            await patience.failed(error, fruitful=stream.position > before)
    if sha256 is not None and (found := stream.digest.hexdigest()) != sha256:
        raise Truncated(
            f"{shown_url(url)} has the SHA-256 {found}, not {sha256}; what was sent of it is not to be used"
        )


class _Stream:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._known: Validator | None = None
        self.position = 0
        self.digest = hashlib.sha256()

    async def attempt(self) -> AsyncIterator[bytes]:
        """What is still missing, by one request."""
        headers = {}
        if self.position:
            assert self._known is not None
            headers = {"Range": f"bytes={self.position}-", "If-Range": self._known.if_range or ""}
            if not self._known.if_range:
                raise Changed(f"{shown_url(self._url)} broke off, and its server has no mark of its version")
        async with opened(self._session, self._url, headers) as response:
            check_status(response.status, self._url)
            if self.position:
                match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
                if response.status != 206 or match is None or int(match[1]) != self.position:
                    raise Changed(f"{shown_url(self._url)} broke off and cannot be continued", hint="run it again")
            else:
                fields = response.headers
                self._known = Validator(
                    self._url, fields.get("ETag"), fields.get("Last-Modified"), response.content_length
                )
            async for piece in response.content.iter_chunked(PIECE):
                self.position += len(piece)
                self.digest.update(piece)
                yield piece
        size = self._known.size if self._known is not None else None
        if size is not None and self.position != size:
            raise Truncated(f"{shown_url(self._url)} broke off at byte {self.position:,} of {size:,}")


class StreamFile:
    """The stream as a file for a thread; ``ahead`` pieces are fetched before they are asked for, by a task of the loop
    that opened it."""

    def __init__(self, pieces: AsyncIterator[bytes], *, ahead: int = AHEAD) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes | BaseException] = asyncio.Queue(ahead)
        self._task = self._loop.create_task(self._fill(pieces))
        self._task.add_done_callback(self._done)
        self._piece = b""
        self._used = 0
        self._end: BaseException | None = None

    async def _fill(self, pieces: AsyncIterator[bytes]) -> None:
        try:
            async for piece in pieces:
                await self._queue.put(piece)
        except Exception as error:
            await self._queue.put(error)
        else:
            await self._queue.put(EOFError())

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes, empty only at the end; blocks, so never in the loop. Raises as ``stream_url``."""
        if self._used == len(self._piece):
            if self._end is None:
                found = asyncio.run_coroutine_threadsafe(self._queue.get(), self._loop).result()
                if isinstance(found, BaseException):
                    self._end = found
                else:
                    self._piece, self._used = found, 0
            if self._end is not None:
                if isinstance(self._end, EOFError):
                    return b""
                raise self._end
        piece = self._piece[self._used : self._used + size]
        self._used += len(piece)
        return piece

    def unread(self, head: bytes) -> None:
        """Put bytes that were read back in front."""
        self._piece, self._used = head + self._piece[self._used :], 0

    def stop(self) -> None:
        """End the fetching, from any thread; a read that waits ends with an error."""
        self._loop.call_soon_threadsafe(self._task.cancel)

    async def close(self) -> None:
        """As :meth:`stop`, and wait for it; for the loop."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def _done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            while not self._queue.empty():
                self._queue.get_nowait()
            self._queue.put_nowait(Unavailable("stopped"))
