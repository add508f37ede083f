"""An answer that nobody asked for, which comes when the next request is on its way already."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib

import pytest

from swiftfs.config import Remote
from swiftfs.swift.client import open_client

EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
STORED = (
    "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nETag: {etag}\r\nLast-Modified: Sat, 28 Nov 2026 00:00:00 GMT\r\n\r\n"
)


@pytest.mark.asyncio
async def test_an_answer_to_nobody_is_not_taken_for_the_proof_of_what_is_sent() -> None:
    """It comes first, and every later answer on that connection would be one late: each object is proven by its own."""
    held: dict[bytes, str] = {}
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        requests = 0
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, path, _ = head.split(b" ", 2)
                if method == b"PUT":
                    size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                    held[path] = hashlib.md5(await reader.readexactly(size)).hexdigest()
                requests += 1
                if len(connections) == 1 and requests == 2:
                    writer.write(EVIL)
                answer = STORED.format(etag=held.get(path, "")) if path in held else "HTTP/1.1 404 X\r\n\r\n"
                writer.write(answer.encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/AUTH_x"
    remote = Remote(
        name="r", source="r", auth_type="none", auth_options={}, storage_url=url, auth_token="not a token of anybody"
    )
    async with open_client(remote, deadline=10.0) as client:
        for number in range(6):
            body = b"%d" % number
            md5 = hashlib.md5(body).hexdigest()
            assert await client.put("c", f"o{number}", body, md5=md5) == md5
    server.close()
    assert len(connections) == 2
