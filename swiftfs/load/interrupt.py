"""Ctrl-C in two steps: the first lets what runs finish within a bound, the second ends at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ParamSpec, TypeVar

from swiftfs.errors import Interrupted

FINISH = 30.0
"""Seconds that uploads in flight get after the first Ctrl-C."""

P = ParamSpec("P")
T = TypeVar("T")


class Interrupt:
    """The state of one run's Ctrl-C; ``halted`` is what the run's threads and tasks look at."""

    def __init__(self) -> None:
        self.halted = threading.Event()
        self.presses = 0
        self._task: asyncio.Task[Any] | None = None

    def press(self) -> None:
        """One Ctrl-C."""
        self.presses += 1
        self.halted.set()
        if self._task is None:
            return
        if self.presses == 1:
            asyncio.get_running_loop().call_later(FINISH, self._task.cancel)
        else:
            self._task.cancel()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` under Ctrl-C's two steps. Raises Interrupted when it had to be ended."""
        task: asyncio.Task[T] = asyncio.create_task(work)
        self._task = task
        with self._caught():
            try:
                return await task
            except asyncio.CancelledError:
                if self.presses:
                    raise Interrupted("stopped", hint="run it again to continue") from None
                raise

    @contextlib.contextmanager
    def _caught(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            yield  # signals reach the main thread only; who runs us elsewhere calls press()
            return
        loop.add_signal_handler(signal.SIGINT, self.press)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)


async def in_thread(halted: threading.Event, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``work``, which looks at ``halted``, in a thread; when cancelled, halt it and wait for its end.

    The loop's own end would wait for the thread whatever it does, and what it uses may be closed next.
    """
    task = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        halted.set()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # retrieved: what it ended with is nobody's any more
        raise
