"""The side that asks: readers share fetches, and a fetch process may die."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from swiftfs.errors import Changed, ConfigError, ContainerNotFound, DeadlineExceeded, SwiftFSError, Unavailable
from swiftfs.fetch.client import FetchClient
from swiftfs.fetch.protocol import DEMAND, Have, HavePieces, Hello, Refreshed, Touch, Want

FAKE = Path(__file__).parent.parent / "fakes" / "fetch_process.py"
HELLO = Hello("local", "c", "", "/i", "/c", 1, 0, 4096, 8, 600.0, None, 1)
AT_ONCE = 60.0
"""Seconds: a tenth of the deadline, and more than a busy machine takes for what waits for nothing."""


def want(ino: int) -> Want:
    return Want(ino, f"f{ino}", 10, "0" * 32, 0, 0, 0, 1, DEMAND)


def is_there(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


@dataclass
class Asked:
    """A running client and what it was told."""

    client: FetchClient
    haves: list[Have | HavePieces] = field(default_factory=list)
    refreshed: list[Refreshed] = field(default_factory=list)
    started: list[int] = field(default_factory=list)


@asynccontextmanager
async def running(mode: str, deadline: float = 120.0, refusals: list[int] | None = None) -> AsyncIterator[Asked]:
    """A client whose fetch process is the fake in ``mode``; ends it, and checks that the process is gone.

    ``refusals`` are errors with which starts after the first one fail.
    """
    asked: Asked

    def start(sock: socket.socket) -> subprocess.Popen[bytes]:
        if asked.started and refusals:
            raise OSError(refusals.pop(0), "not now")
        command = [sys.executable, str(FAKE), str(sock.fileno()), mode]
        process = subprocess.Popen(command, pass_fds=[sock.fileno()])
        asked.started.append(process.pid)
        return process

    hello = Hello(*(getattr(HELLO, name) if name != "deadline" else deadline for name in HELLO.__struct_fields__))
    client = FetchClient(
        hello,
        on_have=lambda have: asked.haves.append(have),
        on_refreshed=lambda refreshed: asked.refreshed.append(refreshed),
        start=start,
    )
    asked = Asked(client)
    async with trio.open_nursery() as nursery:
        await nursery.start(asked.client.run)
        yield asked
        nursery.cancel_scope.cancel()
    assert [pid for pid in asked.started if is_there(pid)] == []


@pytest.mark.trio
async def test_readers_of_one_chunk_share_one_answer() -> None:
    """Ten readers of the same chunk get the same answer to one want."""
    async with running("ok") as asked:
        results: list[Have] = []

        async def read() -> None:
            results.append(await asked.client.chunk(want(1)))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(read)

        assert len(results) == 10
        assert len(asked.haves) == 1


@pytest.mark.trio
async def test_a_failure_reaches_every_reader_and_is_forgotten() -> None:
    """An error ends the reads that waited, and the next read asks anew."""
    async with running("fail") as asked:
        for _ in range(2):
            with pytest.raises(Changed, match="another version"):
                await asked.client.chunk(want(1))


def want_pieces(first: int, stop: int) -> Want:
    return Want(1, "f", 10**9, "0" * 32, 0, 0, first, stop, DEMAND, pieces=True)


@pytest.mark.trio
async def test_pieces_that_others_wait_for_are_not_asked_for_again() -> None:
    """Of runs that overlap each piece is asked for once, and each reader gets all that he waits for."""
    async with running("ok") as asked:
        got: dict[tuple[int, int], set[int]] = {}

        async def read(first: int, stop: int) -> None:
            answers = await asked.client.pieces(want_pieces(first, stop))
            got[first, stop] = {piece for answer in answers for piece in range(answer.first, answer.stop)}

        async with trio.open_nursery() as nursery:
            for first, stop in ((4, 8), (6, 10), (2, 12), (5, 7)):
                nursery.start_soon(read, first, stop)

        assert all(set(range(*span)) <= pieces for span, pieces in got.items())
        assert len(got) == 4
        asked_for = [piece for have in asked.haves for piece in range(have.first, have.stop)]  # type: ignore[union-attr]
        assert sorted(asked_for) == list(range(2, 12))
        assert (asked.client._pending, asked.client._pieces) == ({}, {})


@pytest.mark.trio
async def test_a_failure_of_pieces_reaches_the_reader() -> None:
    """The error of a run is its readers' own, and the next read asks anew."""
    async with running("fail") as asked:
        for _ in range(2):
            with pytest.raises(Changed, match="another version"):
                await asked.client.pieces(want_pieces(3, 5))


@pytest.mark.trio
async def test_a_reader_that_gives_up_leaves_nothing_behind() -> None:
    """A cancelled reader, and one whose deadline ends, are no longer waited for."""
    async with running("silent") as asked:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asked.client.chunk, want(1))
            await wait_all_tasks_blocked()
            assert asked.client._pending
            nursery.cancel_scope.cancel()
        assert asked.client._pending == {}
    async with running("silent", deadline=0.3) as asked:
        with pytest.raises(DeadlineExceeded):
            await asked.client.chunk(want(2))
        with pytest.raises(DeadlineExceeded):
            await asked.client.pieces(want_pieces(0, 3))
        assert asked.client._pieces == {}
        with pytest.raises(Unavailable):
            await asked.client.status()

        assert asked.client._pending == {}


@pytest.mark.trio
@pytest.mark.logs("the fetch process ended")
async def test_a_process_that_dies_under_a_read_is_replaced(tmp_path: Path) -> None:
    """The read that killed it is asked again of the next process, and its reader only waits a little longer."""
    async with running(f"once:{tmp_path / 'died'}") as asked:
        have = await asked.client.chunk(want(1))

        assert have.length == asked.started[1]
        assert asked.client.restarts == 1
        assert asked.refreshed == [Refreshed(0, 0, 0, 1)]


@pytest.mark.trio
@pytest.mark.logs("the fetch process ended")
async def test_a_killed_process_is_replaced() -> None:
    """kill -9 costs a restart, not an error."""
    async with running("ok") as asked:
        os.kill(asked.started[0], signal.SIGKILL)
        with trio.fail_after(60):
            # Sent to the dead process or to the next one: either way it is the next one that answers.
            have = await asked.client.chunk(want(5))

        assert have.length == asked.started[1]
        assert asked.client.restarts == 1


@pytest.mark.trio
@pytest.mark.logs("the fetch process ended")
async def test_a_restart_that_the_system_refuses_is_tried_again() -> None:
    """No process or descriptor to spare for a moment costs waiting readers that moment, and the mount nothing."""
    refusals = [errno.EAGAIN, errno.EMFILE]
    async with running("ok", refusals=refusals) as asked:
        os.kill(asked.started[0], signal.SIGKILL)
        with trio.fail_after(60):
            have = await asked.client.chunk(want(5))
        assert have.length == asked.started[1]
        assert refusals == []


@pytest.mark.trio
@pytest.mark.logs("the fetch process ended")
@pytest.mark.logs("the mount ends")
async def test_a_restart_with_another_account_is_an_error(tmp_path: Path) -> None:
    """The remote was set up anew meanwhile: what it fetches and lists would not be what is mounted, and nobody
    waits for it in vain."""
    with pytest.raises(ExceptionGroup) as caught, trio.fail_after(60):
        async with running(f"moved:{tmp_path / 'died'}") as asked:
            await asked.client.chunk(want(1))
    assert caught.group_contains(ConfigError, match="http://other now and not at http://store")


@pytest.mark.trio
async def test_a_process_that_cannot_start_says_why() -> None:
    """The reason of a first start that failed is raised as the error it was."""
    with pytest.raises(ExceptionGroup) as caught:
        async with running("refuse"):
            pass
    assert caught.group_contains(ContainerNotFound, match="container 'c' not found")


@pytest.mark.parametrize("mode", ["mute", "garbage"])
@pytest.mark.trio
async def test_a_process_that_ends_or_babbles_before_it_is_ready_is_an_error(mode: str) -> None:
    """Without a reason of its own a start that failed is still an error, not a wait."""
    with pytest.raises(ExceptionGroup) as caught:
        async with running(mode):
            pass
    assert caught.group_contains(SwiftFSError)


@pytest.mark.trio
async def test_questions_are_answered() -> None:
    """A refresh and a status come back to whoever asked."""
    async with running("ok") as asked:
        assert await asked.client.refresh() == Refreshed(1, 2, 3, 4, answers=1)
        assert (await asked.client.status()).requests == 0


@pytest.mark.trio
async def test_figures_are_not_waited_for_as_long_as_a_read() -> None:
    """Whoever asks for the status of a fetch process that hangs is told so long before the deadline of a read."""
    async with running("silent", deadline=600) as asked:
        with trio.fail_after(AT_ONCE), pytest.raises(Unavailable, match="does not answer"):
            await asked.client.status()


@pytest.mark.trio
@pytest.mark.logs("the fetch process ended")
async def test_figures_of_a_process_that_cannot_be_started_are_an_error_that_says_why() -> None:
    """At once, and with what ended the last attempt."""
    async with running("ok", refusals=[errno.EAGAIN] * 1000) as asked:
        os.kill(asked.started[0], signal.SIGKILL)
        with trio.fail_after(AT_ONCE):
            while True:
                await trio.sleep(0.01)
                if asked.client.restarts > 1:
                    break
            with pytest.raises(Unavailable, match="not now; another is being started"):
                await asked.client.status()


@pytest.mark.trio
async def test_messages_that_nobody_waits_for_never_block() -> None:
    """However much is asked for ahead, the asker goes on at once and memory stays bounded."""
    async with running("ok") as asked:
        for _ in range(2000):
            asked.client.ask(Touch([("k" * 32, 0)] * 100))

        assert asked.client._child.unsent < 8 * 1024 * 1024
        assert (await asked.client.chunk(want(1))).ino == 1


@pytest.mark.trio
async def test_a_question_between_two_processes_is_an_error_at_once() -> None:
    """While another process is about to be started nobody waits for an answer that cannot come."""
    client = FetchClient(HELLO, on_have=lambda have: None, on_refreshed=lambda refreshed: None)
    with trio.fail_after(AT_ONCE):
        with pytest.raises(Unavailable):
            await client.status()
        with pytest.raises(Unavailable):
            await client.refresh()
