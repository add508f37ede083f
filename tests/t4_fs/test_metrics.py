"""The server of a mount's figures: whoever connects and whatever goes wrong, the mount goes on."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import pytest
import trio
import trio.testing

from swiftfs.errors import Unavailable
from swiftfs.mount import metrics

ASK = b"GET /metrics HTTP/1.1\r\n\r\n"


async def status(request: Mapping[str, Any]) -> Mapping[str, Any]:
    raise Unavailable("not now")


async def answer(port: int) -> bytes:
    """What a scrape is told."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(ASK)
        return b"".join([piece async for piece in stream])


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.trio
async def test_connections_that_wait_cost_no_descriptors(autojump_clock: trio.testing.MockClock) -> None:
    """However many connect and say nothing, a few descriptors are held at a time; who asks has an answer in the end."""
    async with trio.open_nursery() as nursery:
        port = await nursery.start(metrics.serve, ("127.0.0.1", 0), status)
        before = descriptors()
        with ExitStack() as silent:
            for _ in range(5 * metrics.MOST_CLIENTS):
                silent.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            await trio.testing.wait_all_tasks_blocked(0.05)

            assert descriptors() - before == 6 * metrics.MOST_CLIENTS
            assert b"503 Service Unavailable" in await answer(port)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
@pytest.mark.logs("a request for metrics failed")
async def test_no_error_ends_the_figures() -> None:
    """A scrape that fails as nobody foresaw is told so, and the next one is answered."""
    broken = True

    async def sometimes(request: Mapping[str, Any]) -> Mapping[str, Any]:
        if broken:
            raise RuntimeError("out of order")
        raise Unavailable("not now")

    async with trio.open_nursery() as nursery:
        port = await nursery.start(metrics.serve, ("127.0.0.1", 0), sometimes)
        assert b"500 Internal Server Error" in await answer(port)
        broken = False
        assert b"503 Service Unavailable" in await answer(port)
        nursery.cancel_scope.cancel()
