"""load.progress: what a run shows, at its own pace."""

from __future__ import annotations

import asyncio
import io

import pytest

from swiftfs.load.progress import Bar, Lines, Silent, choose_display, shown, status_line
from swiftfs.load.tally import Tally


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("tally", "elapsed", "line"),
    [
        (Tally(), 3.0, "listing, 3.0 s"),
        (
            Tally("loading", files=1797, size=132_000_000, moved=33_000_000, sent=400, skipped=40, failed=10),
            10.0,
            "loading: 33.0 MB of 132 MB, 25%, 3.3 MB/s, 30.0 s left, 450/1,797 files, 10 errors",
        ),
        (
            Tally("verifying", files=1, size=10, moved=10, sent=1),
            1.0,
            "verifying: 10 B of 10 B, 100%, 10 B/s, 1/1 file",
        ),
        (Tally("loading", files=1, size=0), 0.0, "loading: 0 B of 0 B, 0/1 file"),
    ],
)
def test_a_status_line_says_where_a_run_is(tally: Tally, elapsed: float, line: str) -> None:
    """Bytes, share, rate, time left, files and errors, as far as they are known."""
    assert line == status_line(tally, elapsed)


@pytest.mark.parametrize(
    ("progress", "quiet", "terminal", "kind"),
    [
        (False, False, False, Lines),
        (False, False, True, Bar),
        (True, False, False, Bar),
        (False, True, True, Silent),
        (True, True, False, Bar),
    ],
)
def test_the_display_fits_the_stream(progress: bool, quiet: bool, terminal: bool, kind: type) -> None:
    """A bar on a terminal or when forced, lines elsewhere, nothing when quiet."""
    display = choose_display(
        progress=progress, quiet=quiet, stats=60.0, stream=Terminal() if terminal else io.StringIO()
    )
    assert kind is type(display)
    display.close(Tally())


def test_the_bar_shows_bytes_files_and_errors() -> None:
    """The bar has the phase, the bytes, the files done and the errors, and is gone afterwards."""
    stream = Terminal()
    bar = Bar(stream)
    bar.show(Tally("loading", files=10, size=2_000_000, moved=1_000_000, sent=4, failed=1))
    bar.close(Tally("loading", files=10, size=2_000_000, moved=2_000_000, sent=9, failed=1))
    text = stream.getvalue()
    for part in ("loading", "1.0/2.0 MB", "5/10 files", "1 error"):
        assert part in text


def test_large_objects_have_bars_of_their_own_while_they_are_on_their_way() -> None:
    """By the last part of their name, with their bytes; gone once they are there. A name is no markup."""
    stream = Terminal()
    bar = Bar(stream)
    tally = Tally("loading", files=2, size=9_000_000_000, moved=1_000_000_000)
    tally.large = {"videos/[bold]one.mp4": (1_000_000_000, 8_000_000_000), "two.tar": (0, None)}
    bar.show(tally)
    shown_then = stream.getvalue()
    del tally.large["videos/[bold]one.mp4"]
    stream.truncate(0)
    bar.show(tally)
    bar.close(tally)
    for part in ("[bold]one.mp4", "1.0/8.0 GB", "two.tar"):
        assert part in shown_then
    assert "[bold]one.mp4" not in stream.getvalue()
    assert "two.tar" in stream.getvalue()


def test_lines_come_while_the_run_goes_on() -> None:
    """Lines are printed at their interval, none at the start, and none when the interval is 0."""

    async def run(interval: float) -> list[str]:
        stream = io.StringIO()
        display = Lines(stream, interval, clock=lambda: 0.0)
        async with shown(display, Tally()):
            for _ in range(1000):
                await asyncio.sleep(0)
                if stream.getvalue().count("\n") >= 3:
                    break
        return stream.getvalue().splitlines()

    assert asyncio.run(run(1e-9)) == ["listing, 0.0 s"] * 3
    assert asyncio.run(run(0)) == []
