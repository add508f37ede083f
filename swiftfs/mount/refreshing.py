"""Brings what a rebuilt index changed to readers: first the tree, then the kernel, which keeps what it was told."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from swiftfs.errors import SwiftFSError

if TYPE_CHECKING:
    from swiftfs.fetch.protocol import Refreshed
    from swiftfs.index.entry import Change

    Changes = tuple[Change, ...] | None

log = logging.getLogger(__name__)

SETTLED = 1.0
"""Seconds after which a reader has surely taken up an answer that the kernel had for it."""


class Refreshing:
    """The rebuilds that one mount's fetch process tells of.

    ``take`` moves the tree on to the rebuilt index and says what changed, None for everything; ``tell`` has the kernel
    drop that, and says with how many notices.
    """

    def __init__(self, take: Callable[[], Changes], tell: Callable[[Changes], Awaitable[int]]) -> None:
        self._take = take
        self._tell = tell
        self._noted: list[Refreshed] = []
        self._has_noted = trio.Event()
        self._is_owed = False
        self._notes = 0
        self._shown = 0
        self._has_shown = trio.Event()

    def note(self, message: Refreshed) -> None:
        """Keep what the fetch process says of a listing for the task that runs here; never waits."""
        self._noted.append(message)
        self._notes += 1
        self._has_noted.set()

    def look(self) -> None:
        """The tree has moved and nobody may have told of it: show what it has become. Never waits."""
        if not self._is_owed:  # else it is looked at soon
            self._is_owed = True
            self._has_noted.set()

    async def shown(self) -> None:
        """Wait until readers see what was noted before this call: who asked for a refresh looks at once."""
        notes = self._notes
        while self._shown < notes:
            await self._has_shown.wait()

    async def run(self) -> None:
        """Show every rebuild, in a task of its own: the kernel may make it wait."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._has_noted.wait()
                self._has_noted = trio.Event()
                noted, self._noted = self._noted, []
                await self._show(noted, nursery)
                self._shown += len(noted)
                self._has_shown.set()
                self._has_shown = trio.Event()

    async def _show(self, noted: list[Refreshed], nursery: trio.Nursery) -> None:
        for message in noted:
            if message.error is not None:
                log.warning("the container could not be listed, the tree stays as it was: %s", message.error)
        rebuilt = [message for message in noted if message.error is None]
        if not rebuilt and not self._is_owed:
            return
        self._is_owed = False
        try:
            changes = self._take()
        except SwiftFSError as error:
            log.warning("the new tree cannot be read, the old one stays for now: %s", error)
            self._is_owed = True
            nursery.start_soon(self._try_again)
            return
        if changes is not None and not changes:
            return
        try:
            told = await self._tell(changes)
        except SwiftFSError as error:
            log.warning("the kernel could not be told of the changes yet: %s", error)
            nursery.start_soon(self._tell_again, changes)
            return
        nursery.start_soon(self._tell_again, changes)
        if not rebuilt:
            log.info("the tree was rebuilt, by this mount or by another; %d notices to the kernel", told)
            return
        log.info(
            "the container has changed: %d added, %d changed, %d removed; %d notices to the kernel",
            sum(message.added for message in rebuilt),
            sum(message.changed for message in rebuilt),
            sum(message.removed for message in rebuilt),
            told,
        )

    async def _try_again(self) -> None:
        """Nobody else may tell of the tree that could not be read."""
        await trio.sleep(SETTLED)
        self._has_noted.set()

    async def _tell_again(self, changes: Changes) -> None:
        """An answer that was on its way to a reader when the kernel was told may have been kept by it after that."""
        await trio.sleep(SETTLED)
        try:
            await self._tell(changes)
        except SwiftFSError as error:
            log.warning("the kernel was told of the changes once, not twice: %s", error)
