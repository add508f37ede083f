"""How many requests run at once: additive increase, halving when the store says that it is too much.

Used from one event loop. The limit moves between 1 and the most allowed; a halving counts once for all requests that
were sent before it, or one burst of refusals would take the limit down to 1.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Throttle:
    """A gate of adaptive width, in requests at once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(most)
        self.running = 0
        self._epoch = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> int:
        """Wait for a place; returns the epoch to leave with. Cancellation gives the place back."""
        if self.running < int(self.limit) and not self._waiting:
            self.running += 1
            return self._epoch
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.running -= 1
                self._admit()
            elif waiter in self._waiting:  # else its turn came after it was cancelled, and it was passed over
                self._waiting.remove(waiter)
            raise
        return self._epoch

    def leave(self, epoch: int, *, slower: bool = False, ok: bool = False) -> None:
        """Give the place back; ``slower`` halves the limit once per epoch, ``ok`` lets it grow."""
        self.running -= 1
        if slower and epoch == self._epoch:
            self.limit = max(1.0, self.limit / 2)
            self._epoch += 1
        elif ok and self.limit < self.most:
            self.limit = min(float(self.most), self.limit + 1.0 / self.limit)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.running < int(self.limit):
            waiter = self._waiting.popleft()
            if not waiter.done():
                self.running += 1
                waiter.set_result(None)
