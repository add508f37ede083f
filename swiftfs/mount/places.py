"""Listening within bounds: a place is taken before a connection is accepted.

Who finds no place waits in the kernel's queue of the socket and costs this process no descriptor.
"""

from __future__ import annotations

import trio


class Bounded(trio.abc.Listener[trio.SocketStream]):
    """Accepts on ``listening`` while ``places`` has one to take; who serves a connection gives its place back."""

    def __init__(self, listening: trio.socket.SocketType, places: trio.Semaphore) -> None:
        self._listener = trio.SocketListener(listening)
        self._places = places

    async def accept(self) -> trio.SocketStream:
        """A connection and, with it, a place."""
        await self._places.acquire()
        try:
            return await self._listener.accept()
        except BaseException:
            self._places.release()
            raise

    async def aclose(self) -> None:
        """Listen no more."""
        await self._listener.aclose()
