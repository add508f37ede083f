"""Connections of our own with TLS: what is not sent yet is known, and an end that anybody can make is no end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from fakes.certificates import Authority

from swiftfs.errors import ConfigError, Truncated
from swiftfs.swift.answer import Answer
from swiftfs.swift.connections import Connections

LARGE = bytes(12 * 1024 * 1024)
"""More than the buffers of a socket hold."""
NO_TOKEN = {"X-Auth-Token": "t"}
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
LATER = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\n\r\nall of it?"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def encrypted(serve: Serve, top: Path) -> AsyncIterator[tuple[str, Connections]]:
    """A server with a certificate, its URL, and connections that trust it."""
    authority = Authority.made(top / "ca.pem")
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=authority.server(top))
    connections = Connections(lambda: ssl.create_default_context(cafile=authority.file))
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/AUTH_x", connections
    finally:
        await connections.close()
        server.close()


async def ask(connections: Connections, method: str, url: str, body: bytes | None = None, stall: float = 10) -> Answer:
    return await connections.exchange(method, url, NO_TOKEN, body, limit=1 << 20, stall=stall)


@pytest.mark.asyncio
async def test_a_connection_with_tls_is_kept(tmp_path: Path) -> None:
    """One handshake serves many requests, large ones among them."""
    made: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.append(1)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if b"Content-Length: " in head:
                    await reader.readexactly(int(head.partition(b"Content-Length: ")[2].partition(b"\r")[0]))
                writer.write(GOOD)
        writer.close()

    async with encrypted(serve, tmp_path) as (url, connections):
        for _ in range(3):
            assert bytes((await ask(connections, "GET", url)).body) == b"good"
            assert (await ask(connections, "PUT", url, LARGE)).status == 200
    assert len(made) == 1


@pytest.mark.asyncio
async def test_an_answer_before_all_was_sent_ends_its_connection(tmp_path: Path) -> None:
    """A server that refuses a body early and does not read it: the next request is not sent behind its bytes."""
    made: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(LATER)

    async with encrypted(serve, tmp_path) as (url, connections):
        assert (await ask(connections, "PUT", url, LARGE)).status == 503
        assert (await ask(connections, "GET", url)).status == 503
        assert len(made) == 2
        for writer in made:
            writer.transport.abort()


@pytest.mark.asyncio
async def test_silence_counts_from_when_all_was_sent(tmp_path: Path) -> None:
    """A body that takes longer to leave than a server may be silent is not given up."""
    stall = 0.3

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        left, pieces = len(LARGE), 0
        while left:
            left -= len(await reader.read(65_536))
            pieces += 1
            if pieces % 16 == 0:
                await asyncio.sleep(stall / 8)  # the line is slow: that is what is tested
        writer.write(GOOD)
        await writer.drain()

    async with encrypted(serve, tmp_path) as (url, connections):
        began = asyncio.get_running_loop().time()
        assert (await ask(connections, "PUT", url, LARGE, stall)).status == 200
        assert asyncio.get_running_loop().time() - began > stall


@pytest.mark.asyncio
async def test_an_end_that_anybody_can_make_does_not_make_an_answer_whole(tmp_path: Path) -> None:
    """An answer without a length whose connection is cut: RFC 9112, 9.8."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(UNTIL_CLOSED)
        held = writer.get_extra_info("socket")
        held.shutdown(socket.SHUT_WR)

    async with encrypted(serve, tmp_path) as (url, connections):
        with pytest.raises(Truncated):
            await ask(connections, "GET", url)


@pytest.mark.asyncio
async def test_a_certificate_of_nobody_known_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    """Nor is that of another host taken."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))

    async with encrypted(serve, tmp_path) as (url, _):
        stranger = Connections(ssl.create_default_context)
        with pytest.raises(ConfigError, match="no trusted connection"):
            await ask(stranger, "GET", url)
        await stranger.close()
    assert heard == []
