"""Takes orders in which files will be read, from a file or from the control socket, and has them followed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from swiftfs.errors import LocalFileError, SwiftFSError
from swiftfs.fs.order_names import OrderText

if TYPE_CHECKING:
    from swiftfs.fs.vfs import Vfs

log = logging.getLogger(__name__)

PIECE = 16 * 1024
"""Bytes of a file that are read and looked up at a time: some hundred names, a few milliseconds."""


class Ordering:
    """The order that one mount follows. The last one that was told counts."""

    def __init__(self, vfs: Vfs, mountpoint: Path) -> None:
        self._vfs = vfs
        self._mountpoint = mountpoint
        self._told = 0
        self._followed = 0

    async def take(self, pieces: AsyncIterator[bytes]) -> Mapping[str, Any]:
        """Follow the order whose text is ``pieces``, unless another was told since; returns the counts of its lines."""
        self._told += 1
        number = self._told
        await self._vfs.whole()
        text = OrderText(self._vfs.child, self._mountpoint)
        async for piece in pieces:
            text.feed(piece)
            await trio.lowlevel.checkpoint()  # readers go on between two pieces
        text.end()
        order = await trio.to_thread.run_sync(text.order)
        if number > self._followed:
            self._vfs.ahead.follow(order)
            self._followed = number
        log.info(
            "%s%s", text.counts.text(), "" if number == self._followed else "; one that was told later is followed"
        )
        return text.counts.as_dict()

    async def take_file(self, path: Path) -> None:
        """Follow the order in a file. One that cannot be read is told in the log and costs the mount nothing more."""
        try:
            async with await trio.open_file(path, "rb") as file:

                async def pieces() -> AsyncIterator[bytes]:
                    while piece := await file.read(PIECE):
                        yield piece

                await self.take(pieces())
        except OSError as error:
            log.warning("%s", LocalFileError(f"the order {path} cannot be read: {error.strerror}"))
        except SwiftFSError as error:
            log.warning("the order %s is not followed: %s", path, error)

    def status(self) -> Mapping[str, Any] | None:
        """Where the readers are in the order; None without one."""
        planner = self._vfs.ahead.order
        if planner is None:
            return None
        return {"files": len(planner.order), "position": planner.position, "bytes_ahead": planner.bytes_ahead}
