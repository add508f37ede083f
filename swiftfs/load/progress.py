"""Show a run while it goes on: a live bar on a terminal, a plain line now and then elsewhere, or nothing.

The display looks at the tally at its own pace; no object pays for being shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Protocol, TextIO

from swiftfs.errors import printable
from swiftfs.load.figures import count_text, duration_text, noun_text, size_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from swiftfs.load.tally import Tally

log = logging.getLogger(__name__)

LARGE = 4
"""Large objects that have a bar of their own at once."""
LIVE = 0.5
"""Seconds between two looks of the live display, as rclone's --progress."""


class Display(Protocol):
    """Something that shows a tally every ``interval`` seconds (None: never)."""

    @property
    def interval(self) -> float | None: ...

    def show(self, tally: Tally) -> None: ...

    def close(self, tally: Tally) -> None: ...


class Silent:
    """Shows nothing."""

    interval: float | None = None

    def show(self, tally: Tally) -> None:
        """Nothing."""

    def close(self, tally: Tally) -> None:
        """Nothing."""


class Lines:
    """One line of figures on ``stream`` every ``interval`` seconds; None or 0 means never."""

    def __init__(self, stream: TextIO, interval: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.interval = interval or None
        self._stream = stream
        self._clock = clock
        self._start = clock()

    def show(self, tally: Tally) -> None:
        """Print the line."""
        print(status_line(tally, self._clock() - self._start), file=self._stream, flush=True)

    def close(self, tally: Tally) -> None:
        """Nothing: the summary follows."""


class Logged:
    """One message of figures to the log every ``interval`` seconds; None or 0 means never."""

    def __init__(self, interval: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.interval = interval or None
        self._clock = clock
        self._start = clock()

    def show(self, tally: Tally) -> None:
        """Log the figures, for machines in ``stats`` with rclone's names for them."""
        elapsed = self._clock() - self._start
        stats = {
            "bytes": tally.moved,
            "totalBytes": tally.size,
            "transfers": tally.sent,
            "checks": tally.skipped,
            "errors": tally.failed,
            "totalFiles": tally.files,
            "elapsedTime": round(elapsed, 3),
            "speed": round(tally.moved / elapsed, 1) if elapsed > 0 else 0.0,
            "phase": tally.phase,
        }
        log.warning("%s", status_line(tally, elapsed), extra={"stats": stats})

    def close(self, tally: Tally) -> None:
        """The figures at the end."""
        if self.interval is not None:
            self.show(tally)


class Bar:
    """A live bar of rich on ``stream``: bytes, rate, time left, files, errors."""

    interval: float | None = LIVE

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as Speed

        self._progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            Speed(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[files]}"),
            console=Console(file=stream),
            auto_refresh=False,
            transient=True,
        )
        self._task: TaskID = self._progress.add_task("", total=None, files="")
        self._large: dict[str, TaskID] = {}
        self._progress.start()

    def show(self, tally: Tally) -> None:
        """Draw the bar anew, with one below it for each large object on its way."""
        from rich.markup import escape

        for name in [name for name in self._large if name not in tally.large]:
            self._progress.remove_task(self._large.pop(name))
        for name, (moved, size) in list(tally.large.items())[:LARGE]:
            if name not in self._large:
                label = escape(printable(name.rpartition("/")[2]))
                self._large[name] = self._progress.add_task(f"  {label}", total=size, files="")
            self._progress.update(self._large[name], completed=moved, total=size)
        total = tally.size if tally.files else None
        self._progress.update(
            self._task, description=tally.phase, completed=tally.moved, total=total, files=_files(tally), refresh=True
        )

    def close(self, tally: Tally) -> None:
        """Take the bar away; the summary follows."""
        self.show(tally)
        self._progress.stop()


def choose_display(
    *, progress: bool, quiet: bool, stats: float | None, logged: bool = False, stream: TextIO = sys.stderr
) -> Display:
    """The live bar on a terminal or when ``progress`` forces it, else lines every ``stats`` seconds (None, 0: none).

    ``logged``: the lines go to the log, and a terminal alone makes no bar.
    """
    if quiet and not progress:
        return Silent()
    if logged and not progress:
        return Logged(stats)
    if progress or stream.isatty():
        return Bar(stream)
    return Lines(stream, stats)


@contextlib.asynccontextmanager
async def shown(display: Display, tally: Tally) -> AsyncIterator[None]:
    """Show ``tally`` while the block runs."""

    async def watch(interval: float) -> None:
        while True:
            display.show(tally)
            await asyncio.sleep(interval)

    # A line at the start would say nothing yet; the bar appears at once.
    async def later(interval: float) -> None:
        await asyncio.sleep(interval)
        await watch(interval)

    watching = None
    if display.interval is not None:
        start = watch if isinstance(display, Bar) else later
        watching = asyncio.create_task(start(display.interval))
    try:
        yield
    finally:
        if watching is not None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        display.close(tally)


def status_line(tally: Tally, elapsed: float) -> str:
    """The figures of a run after ``elapsed`` seconds in one line. Pure."""
    if not tally.files:
        return f"{tally.phase}, {duration_text(elapsed)}"
    parts = [f"{tally.phase}: {size_text(tally.moved)} of {size_text(tally.size)}"]
    if tally.size:
        parts.append(f"{100 * tally.moved // tally.size}%")
    if elapsed > 0:
        rate = tally.moved / elapsed
        parts.append(f"{size_text(rate)}/s")
        if rate > 0 and tally.moved < tally.size:
            parts.append(f"{duration_text((tally.size - tally.moved) / rate)} left")
    parts.append(_files(tally))
    return ", ".join(parts)


def _files(tally: Tally) -> str:
    if not tally.files:
        return ""
    text = f"{count_text(tally.done)}/{noun_text(tally.files, 'file')}"
    return f"{text}, {noun_text(tally.failed, 'error')}" if tally.failed else text
