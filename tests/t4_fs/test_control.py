"""A mount's control socket: whatever comes in, a reply goes out, and the mount goes on."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from swiftfs.mount import control

NESTED = b"[" * 200_000
"""JSON that is deeper than Python parses."""


async def status(request: Mapping[str, Any]) -> Mapping[str, Any]:
    if request.get("fail"):
        raise RuntimeError("out of order")
    return {"well": True}


async def answer(path: Path, sent: bytes) -> dict[str, Any]:
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        await connection.connect(str(path))
        stream = trio.SocketStream(connection)
        await stream.send_all(sent + b"\n")
        reply = b""
        async for piece in stream:
            reply += piece
    found: dict[str, Any] = json.loads(reply)
    return found


@pytest.mark.trio
@pytest.mark.logs("a command on the control socket failed")
@pytest.mark.parametrize(
    "sent", [NESTED, b"{", b"[]", b"{}", b'{"command": "no"}', b'{"command": "status", "fail": 1}']
)
async def test_no_request_ends_the_socket(tmp_path: Path, sent: bytes) -> None:
    """A request that is no command, or that fails as nobody foresaw, is an error to who sent it and to nobody else."""
    async with trio.open_nursery() as nursery:
        path = tmp_path / "run" / "socket"
        await nursery.start(control.serve, path, {"status": status}, {})
        assert "error" in await answer(path, sent)
        assert await answer(path, b'{"command": "status"}') == {"well": True}
        nursery.cancel_scope.cancel()
    assert not path.exists()


@pytest.mark.trio
async def test_a_socket_that_another_has_replaced_is_left_alone(tmp_path: Path) -> None:
    """A mount that ends after its successor at the same place has begun takes nothing of it along."""
    path = tmp_path / "run" / "socket"
    async with trio.open_nursery() as successor:
        async with trio.open_nursery() as first:
            await first.start(control.serve, path, {}, {})
            await successor.start(control.serve, path, {"status": status}, {})
            first.cancel_scope.cancel()

        assert await answer(path, b'{"command": "status"}') == {"well": True}
        successor.cancel_scope.cancel()
    assert not path.exists()


@pytest.mark.trio
async def test_connections_are_answered_some_at_a_time(tmp_path: Path) -> None:
    """However many connect, no more than a few are looked at, and all get their answer in the end."""
    begun = 0
    go_on = trio.Event()

    async def slow(request: Mapping[str, Any]) -> Mapping[str, Any]:
        nonlocal begun
        begun += 1
        await go_on.wait()
        return {"well": True}

    answers: list[dict[str, Any]] = []
    async with trio.open_nursery() as nursery:
        path = tmp_path / "run" / "socket"
        await nursery.start(control.serve, path, {"slow": slow}, {})

        async def ask() -> None:
            answers.append(await answer(path, b'{"command": "slow"}'))

        async with trio.open_nursery() as clients:
            for _ in range(3 * control.MOST_CLIENTS):
                clients.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert begun == control.MOST_CLIENTS
            go_on.set()
        nursery.cancel_scope.cancel()
    assert answers == [{"well": True}] * (3 * control.MOST_CLIENTS)
