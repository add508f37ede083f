"""A refresh is over when readers see it: the tree has moved on and the kernel has been told."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from swiftfs.errors import LocalFileError
from swiftfs.fetch.protocol import Refreshed
from swiftfs.index.entry import Change
from swiftfs.mount.refreshing import SETTLED, Refreshing

CHANGES = (Change(1, b"name", None),)


@dataclass
class Readers:
    """A tree and a kernel that takes a notice only when it is let; ``seen`` is what each of its notices was about."""

    changes: list[tuple[Change, ...] | LocalFileError | None] = field(default_factory=list)
    seen: list[tuple[Change, ...] | None] = field(default_factory=list)
    free: trio.Event = field(default_factory=trio.Event)

    def take(self) -> tuple[Change, ...] | None:
        found = self.changes.pop(0)
        if isinstance(found, LocalFileError):
            raise found
        return found

    async def tell(self, changes: tuple[Change, ...] | None) -> int:
        await self.free.wait()
        self.seen.append(changes)
        return 1


def found(error: str | None = None) -> Refreshed:
    return Refreshed(1, 0, 0, 1, error)


@pytest.mark.trio
async def test_who_asked_for_a_refresh_is_answered_after_the_kernel_was_told(autojump_clock: trio.abc.Clock) -> None:
    """While the kernel has not taken a notice, the refresh is not over; when it has, it is."""
    readers = Readers([CHANGES])
    refreshing = Refreshing(readers.take, readers.tell)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refreshing.run)
        refreshing.note(found())
        with trio.move_on_after(10) as waited:
            await refreshing.shown()
        assert waited.cancelled_caught

        readers.free.set()
        await refreshing.shown()
        assert readers.seen == [CHANGES]
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_the_kernel_is_told_twice(autojump_clock: trio.abc.Clock) -> None:
    """A second time when answers that were on their way have arrived: the kernel may have kept them."""
    readers = Readers([None])
    readers.free.set()
    refreshing = Refreshing(readers.take, readers.tell)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refreshing.run)
        refreshing.note(found())
        await trio.sleep(2 * SETTLED)
        assert readers.seen == [None, None]
        nursery.cancel_scope.cancel()


@pytest.mark.trio
@pytest.mark.logs("could not be listed")
@pytest.mark.logs("cannot be read")
async def test_a_refresh_that_fails_is_over_too_and_the_next_one_is_shown(autojump_clock: trio.abc.Clock) -> None:
    """Neither a listing that failed nor a tree that cannot be read keeps anybody waiting, nor the next refresh from
    being shown; where nothing has changed the kernel is left alone."""
    readers = Readers([LocalFileError("damaged"), (), CHANGES])
    readers.free.set()
    refreshing = Refreshing(readers.take, readers.tell)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refreshing.run)
        await refreshing.shown()
        for message in (found("no route to host"), found(), found()):
            refreshing.note(message)
            await refreshing.shown()
        assert readers.seen == []

        refreshing.note(found())
        await refreshing.shown()
        assert readers.seen == [CHANGES]
        nursery.cancel_scope.cancel()


@pytest.mark.trio
@pytest.mark.logs("cannot be read")
async def test_a_tree_that_could_not_be_read_is_looked_at_again(autojump_clock: trio.abc.Clock) -> None:
    """Though nobody tells of it a second time."""
    readers = Readers([LocalFileError("busy"), CHANGES])
    readers.free.set()
    refreshing = Refreshing(readers.take, readers.tell)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refreshing.run)
        refreshing.note(found())
        await refreshing.shown()
        assert readers.seen == []
        await trio.sleep(1.5 * SETTLED)
        assert readers.seen == [CHANGES]
        nursery.cancel_scope.cancel()


@pytest.mark.trio
@pytest.mark.logs("could not be told")
async def test_a_kernel_that_cannot_be_told_is_told_a_moment_later(autojump_clock: trio.abc.Clock) -> None:
    """And the mount goes on."""
    readers = Readers([CHANGES])
    readers.free.set()
    failing = True

    async def tell(changes: tuple[Change, ...] | None) -> int:
        nonlocal failing
        if failing:
            failing = False
            raise LocalFileError("damaged")
        return await readers.tell(changes)

    refreshing = Refreshing(readers.take, tell)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refreshing.run)
        refreshing.note(found())
        await trio.sleep(1.5 * SETTLED)
        assert readers.seen == [CHANGES]
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_tree_that_another_mount_moved_is_shown_though_nothing_was_listed(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Who looks and finds it moved needs no message of the fetch process; a refresh is over after it all the same."""
    readers = Readers([CHANGES, ()])
    readers.free.set()
    refreshing = Refreshing(readers.take, readers.tell)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refreshing.run)
        refreshing.look()
        await trio.sleep(0.5 * SETTLED)
        assert readers.seen == [CHANGES]
        refreshing.note(found())
        await refreshing.shown()
        assert readers.changes == []
        nursery.cancel_scope.cancel()
