"""Event loops that run what is ready in an order drawn from a seed: another schedule for each."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import trio
from hypothesis import settings
from trio._core import _run
from trio.testing import MockClock

T = TypeVar("T")
SEEDS = range(100_000 if settings.get_current_profile_name() == "long" else 1_000)


class _AnyFirst(deque[Any]):
    """A queue that gives any of what is in it."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        self._draw = draw

    def popleft(self) -> Any:
        self.rotate(-self._draw.randrange(len(self)))
        return super().popleft()


class _ShuffledLoop(asyncio.SelectorEventLoop):
    """Callbacks run in any order, and time passes at once when nothing is ready. For tasks, not for transports: those
    rely on the order of their callbacks."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._ready = _AnyFirst(random.Random(seed))
        self._skipped = 0.0

    def time(self) -> float:
        return super().time() + self._skipped

    def skip(self) -> None:
        """Let time pass until the next thing that waits for it."""
        waiting = [handle.when() for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        if not self._ready and waiting:
            self._skipped += max(0.0, min(waiting) - self.time())

    def _run_once(self) -> None:
        self.skip()
        super()._run_once()  # type: ignore[misc]


def run_asyncio(seed: int, main: Callable[[random.Random], Coroutine[Any, Any, T]]) -> T:
    """Run ``main`` under the asyncio schedule of ``seed``."""
    with asyncio.Runner(loop_factory=lambda: _ShuffledLoop(seed)) as runner:
        return runner.run(main(random.Random(seed)))


def run_trio(seed: int, main: Callable[[random.Random], Awaitable[T]]) -> T:
    """Run ``main`` under the trio schedule of ``seed``; time passes at once when nothing is ready."""
    before = _run._ALLOW_DETERMINISTIC_SCHEDULING
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True
    _run._r.seed(seed)
    try:
        return trio.run(main, random.Random(seed), clock=MockClock(autojump_threshold=0))
    finally:
        _run._ALLOW_DETERMINISTIC_SCHEDULING = before
