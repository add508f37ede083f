"""An HTTP server of one file that answers ranges, breaks off, changes its content, or refuses, as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import web

WRITTEN = 65_536


@dataclass
class FileServer:
    """Serves ``body`` with or without ranges. ``cuts`` are how many bytes the next answers send before they break off
    (None: they do not), ``statuses`` what the next ones answer instead; after ``change_after`` answers the content is
    another; a range has ``most`` bytes; ``chunked`` answers tell no length."""

    body: bytes
    ranges: bool = True
    etag: str | None = '"v1"'
    cuts: list[int | None] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    change_after: int | None = None
    most: int | None = None
    chunked: bool = False
    asked: list[str | None] = field(default_factory=list)
    sent: int = 0
    headers: set[str] = field(default_factory=set)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("Range")
        self.asked.append(asked)
        self.headers |= {name.lower() for name in request.headers}
        if self.change_after is not None and len(self.asked) > self.change_after:
            self.etag, self.body = '"v2"', self.body[::-1]
        if self.statuses:
            return web.Response(status=self.statuses.pop(0))
        start, stop, status = 0, len(self.body), 200
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", asked or "")
        if self.ranges and match and request.headers.get("If-Range", self.etag) == self.etag:
            status = 206
            if match[1]:
                start, stop = int(match[1]), min(int(match[2] or stop - 1) + 1, stop)
            else:
                start = max(0, stop - int(match[2]))
            if start >= len(self.body):
                return web.Response(status=416)
            stop = stop if self.most is None else min(start + self.most, stop)
        response = web.StreamResponse(status=status)
        if self.etag:
            response.headers["ETag"] = self.etag
        if status == 206:
            response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(self.body)}"
        if self.chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = stop - start
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            cut = self.cuts.pop(0) if self.cuts else None
            part = self.body[start : stop if cut is None else min(start + cut, stop)]
            for place in range(0, len(part), WRITTEN):
                await response.write(part[place : place + WRITTEN])
            self.sent += len(part)
            if cut is not None and request.transport is not None:
                await asyncio.sleep(0)
                request.transport.close()
        return response


@contextlib.asynccontextmanager
async def serving(server: FileServer) -> AsyncIterator[str]:
    """The server's URL, which has a secret in it."""
    app = web.Application()
    app.router.add_get("/data/{name}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}/data/Food-11.zip?signature=secret"
    finally:
        await runner.cleanup()
