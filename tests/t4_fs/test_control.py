"""A mount's control socket: whatever comes in, a reply goes out, and the mount goes on."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from swiftfs.errors import Unavailable
from swiftfs.mount import control
from swiftfs.mount.control import Commands
from swiftfs.mount.warmer import is_quick

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
        await nursery.start(control.serve, path, Commands({"status": status}))
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
            await first.start(control.serve, path, Commands())
            await successor.start(control.serve, path, Commands({"status": status}))
            first.cancel_scope.cancel()

        assert await answer(path, b'{"command": "status"}') == {"well": True}
        successor.cancel_scope.cancel()
    assert not path.exists()


def is_status(request: Mapping[str, Any]) -> bool:
    return request["command"] == "status"


@dataclass
class Slow:
    """A command that waits until it is let go on; counts those under way."""

    go_on: trio.Event = field(default_factory=trio.Event)
    under_way: int = 0
    ended: trio.Event = field(default_factory=trio.Event)

    async def __call__(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.under_way += 1
        try:
            await self.go_on.wait()
        finally:
            self.under_way -= 1
            self.ended.set()
        return {"well": True}


@pytest.mark.trio
async def test_connections_are_answered_some_at_a_time(tmp_path: Path) -> None:
    """However many connect, no more than a few are looked at, and all get their answer in the end."""
    slow = Slow()
    answers: list[dict[str, Any]] = []
    async with trio.open_nursery() as nursery:
        path = tmp_path / "run" / "socket"
        await nursery.start(control.serve, path, Commands({"slow": slow}))

        async def ask() -> None:
            answers.append(await answer(path, b'{"command": "slow"}'))

        async with trio.open_nursery() as clients:
            for _ in range(3 * control.MOST_SLOW):
                clients.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert slow.under_way == control.MOST_SLOW
            slow.go_on.set()
        nursery.cancel_scope.cancel()
    assert answers == [{"well": True}] * (3 * control.MOST_SLOW)


@pytest.mark.trio
async def test_the_status_is_told_however_many_commands_wait(tmp_path: Path) -> None:
    """Commands that wait for a listing hold up no question about the mount; of too many, the last are refused."""
    most = control.MOST_SLOW + control.MOST_WAITING
    slow = Slow()
    answers: list[dict[str, Any]] = []
    async with trio.open_nursery() as nursery:
        path = tmp_path / "run" / "socket"
        await nursery.start(control.serve, path, Commands({"slow": slow, "status": status}, quick=is_status))

        async def ask() -> None:
            answers.append(await answer(path, b'{"command": "slow"}'))

        async with trio.open_nursery() as clients:
            for _ in range(most + 1):
                clients.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked(0.05)
            with trio.fail_after(control.ASKING):
                assert await answer(path, b'{"command": "status"}') == {"well": True}
            assert [refused["error"] for refused in answers] == ["Unavailable"]
            slow.go_on.set()
        nursery.cancel_scope.cancel()
    assert answers.count({"well": True}) == most


@pytest.mark.parametrize(
    ("asked", "quick"), [({}, False), ({"paths": ["a"]}, False), ({"plan": 0}, True), ({"cancel": True}, True)]
)
def test_only_beginning_a_warm_may_have_to_wait(asked: dict[str, Any], quick: bool) -> None:
    """How far one has come, and giving all up, are answered beside any number of those that wait."""
    assert is_quick({"command": "warm", **asked}) is quick


@pytest.mark.trio
async def test_a_client_that_goes_ends_its_waiting_command(tmp_path: Path) -> None:
    """Nobody waits for the listing on behalf of a command that was killed."""
    slow = Slow()
    async with trio.open_nursery() as nursery:
        path = tmp_path / "run" / "socket"
        await nursery.start(control.serve, path, Commands({"slow": slow}))
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            await connection.connect(str(path))
            await connection.send(b'{"command": "slow"}\n')
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert slow.under_way == 1

        with trio.fail_after(60):
            await slow.ended.wait()
        assert slow.under_way == 0
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_client_that_has_said_all_is_waited_for(tmp_path: Path) -> None:
    """Shutting the side that is not needed any more, as programs at the end of a pipe do, is not going away."""
    slow = Slow()
    async with trio.open_nursery() as nursery:
        path = tmp_path / "run" / "socket"
        await nursery.start(control.serve, path, Commands({"slow": slow}))
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            await connection.connect(str(path))
            await connection.send(b'{"command": "slow"}\n')
            connection.shutdown(socket.SHUT_WR)
            with trio.move_on_after(3 * control.LOOK):
                await slow.ended.wait()
            slow.go_on.set()
            reply = await connection.recv(1024)
        nursery.cancel_scope.cancel()
    assert json.loads(reply) == {"well": True}


@pytest.mark.trio
async def test_half_an_order_is_none(tmp_path: Path) -> None:
    """Who is killed while telling an order has told none: what had come ends in an error."""
    told: list[bytes] = []
    outcomes: list[str] = []
    ended = trio.Event()

    async def take(pieces: AsyncIterator[bytes]) -> Mapping[str, Any]:
        try:
            async for piece in pieces:
                told.append(piece)
            outcomes.append("all of it")
        except Unavailable as error:
            outcomes.append(error.message)
        finally:
            ended.set()
        return {}

    async with trio.open_nursery() as nursery:
        path = tmp_path / "run" / "socket"
        await nursery.start(control.serve, path, Commands(streams={"order": take}))
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            await connection.connect(str(path))
            await connection.send(b'{"command": "order"}\na/1\na/')
            await trio.testing.wait_all_tasks_blocked(0.05)
        with trio.fail_after(60):
            await ended.wait()
        nursery.cancel_scope.cancel()
    assert (told, outcomes) == ([b"a/1\na/"], ["the order broke off: who told it has gone"])
