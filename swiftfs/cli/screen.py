"""What ``swiftfs status`` shows: a mount's answer in words, and the live screen of ``--watch``.

Pure up to the last step: two answers of a mount and the seconds between them make :class:`Rates`; rich draws them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Group

Answer = Mapping[str, Any]

SMOOTHED = 5
"""Answers that a rate is taken over: about five seconds, so that figures can be read."""
BAR = 30
"""Characters of the prefetch bar."""
SLOWEST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Rates:
    """What happened per second between two answers, and how far fetching ahead has come.

    ``hit_rate`` is None when nothing was read between them; ``ahead`` is a share of 1, None when nothing waits.
    """

    received: float
    requests: float
    read_bytes: float
    opens: float
    hit_rate: float | None
    ahead: float | None


@dataclass(slots=True)
class Watch:
    """Answers as they come, made into rates over the last few."""

    _kept: deque[tuple[float, Answer]] = field(default_factory=lambda: deque(maxlen=SMOOTHED + 1))
    _queue_began: int = 0

    def see(self, now: float, answer: Answer) -> Rates:
        """The rates with ``answer``, which came ``now`` (monotonic seconds)."""
        self._kept.append((now, answer))
        then, old = self._kept[0]
        seconds = now - then
        reads = answer["reads"]

        def per_second(room: str, name: str) -> float:
            if not seconds or answer[room] is None or old[room] is None:
                return 0.0
            # A new fetch process counts from nothing again.
            return float(max(0, answer[room][name] - old[room][name]) / seconds)

        hits, misses = reads["hits"] - old["reads"]["hits"], reads["misses"] - old["reads"]["misses"]
        return Rates(
            received=per_second("fetch", "received"),
            requests=per_second("fetch", "requests"),
            read_bytes=per_second("reads", "read_bytes"),
            opens=per_second("reads", "opens"),
            hit_rate=hits / (hits + misses) if hits + misses else None,
            ahead=self._ahead(_queued(answer)),
        )

    def _ahead(self, queued: int) -> float | None:
        """The share that is done of the longest queue since it was last empty."""
        self._queue_began = max(queued, self._queue_began) if queued else 0
        return 1 - queued / self._queue_began if queued else None


def _queued(answer: Answer) -> int:
    """Chunks that wait to be fetched or are; 0 when nobody can tell."""
    fetch = answer["fetch"]
    return int(fetch["waiting"] + fetch["running"]) if fetch else 0


def size(count: float) -> str:
    """Bytes in decimal units, as network rates are given."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def in_words(answer: Answer) -> str:
    """A mount's answer, a line for each room."""
    return "\n".join([_title(answer), *(f"{name:<16}{text}" for name, text in _rows(answer))])


def _title(answer: Answer) -> str:
    return f"{answer['remote']} on {answer['mountpoint']}, process {answer['pid']}, up {answer['uptime']:,.0f} s"


def _rows(answer: Answer) -> list[tuple[str, str]]:
    reads, fetch = answer["reads"], answer["fetch"]
    looked = reads["hits"] + reads["misses"]
    share = f"{100 * reads['hits'] / looked:.1f} %" if looked else "none yet"
    rows = [
        ("tree", f"{answer['files']:,} files, {answer['directories']:,} directories, {answer['bytes']:,} bytes"
                 + ("" if answer["whole"] else ", and what is being listed")),
        *_fetch_rows(answer),
        ("readers", f"{reads['opens']:,} opens, {reads['reads']:,} reads, {reads['read_bytes']:,} bytes, "
                    f"{reads['errors']:,} errors"),
        ("from the cache", f"{share} of {looked:,}; readers waited {reads['waited']:,.1f} s in all"),
        *([("cache", f"{fetch['cache_bytes']:,} of {fetch['cache_limit']:,} bytes")] if fetch else []),
        ("prefetch", f"{answer['prefetch']['mode']}, reading looks {answer['prefetch']['pattern']}"),
    ]  # fmt: skip
    if order := answer["prefetch"].get("order"):
        rows.append(
            ("order", f"{order['position']:,} of {order['files']:,} files, {order['bytes_ahead']:,} bytes ahead")
        )
    if answer["pin"]:
        drifted = f", {fetch['drifted']:,} files are not in the store as they were" if fetch else ""
        rows.append(("pinned to", f"{answer['pin']}{drifted}"))
    if fetch and fetch["hidden"]:
        rows.append(("not shown", f"{fetch['hidden']:,} objects whose names no file can have, see --hidden"))
    return rows


def _fetch_rows(answer: Answer) -> list[tuple[str, str]]:
    """What the fetch process has done, or why that cannot be told."""
    fetch = answer["fetch"]
    if fetch is None:
        return [
            ("store", f"no figures: {answer['fetch_trouble']}"),
            ("fetching", f"stands still; fetch processes replaced so far: {answer['fetch_restarts']:,}"),
        ]
    return [
        ("store", f"{fetch['requests']:,} requests, {fetch['received']:,} bytes, {fetch['retries']:,} retries, "
                  f"{fetch['logins']:,} logins"),
        ("fetching", f"{fetch['running']:,} now, {fetch['waiting']:,} waiting, {fetch['fetched_chunks']:,} done, "
                     f"{fetch['failed_chunks']:,} failed"),
    ]  # fmt: skip


def live(answer: Answer, rates: Rates) -> Group:
    """The screen: what happens now, then the sums, then the slowest reads of the last minutes."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    sums = _rows(answer)
    now = Table.grid(padding=(0, 2))
    if answer["fetch"] is None:
        now.add_row("network", Text("not known", style="bold"), "")
    else:
        now.add_row("network", Text(f"{size(rates.received)}/s", style="bold"), f"{rates.requests:,.1f} requests/s")
    hit = "nothing read" if rates.hit_rate is None else f"{100 * rates.hit_rate:.1f} % from the cache"
    now.add_row("readers", f"{size(rates.read_bytes)}/s", f"{rates.opens:,.1f} opens/s, {hit}")
    queued = _queued(answer)
    if rates.ahead is None:
        now.add_row("prefetch", "idle" if answer["fetch"] else "not known", "")
    else:
        full = round(BAR * rates.ahead)
        now.add_row("prefetch", f"{100 * rates.ahead:.0f} %", "━" * full + "─" * (BAR - full) + f" {queued:,} to fetch")
    table = Table.grid(padding=(0, 2))
    for name, text in sums:
        table.add_row(Text(name, style="dim"), Text(text))
    slow = Table.grid(padding=(0, 2))
    for wait in answer["slowest"][:SLOWEST_SHOWN]:
        slow.add_row(f"{wait['seconds']:.3f} s", f"{wait['ago']:.0f} s ago", Text(wait["object"], overflow="fold"))
    title = Text(_title(answer), style="bold")
    parts: list[Table | Text] = [title, Text(), now, Text(), table]
    if answer["slowest"]:
        parts += [Text(), Text("slowest reads of the last minutes", style="dim"), slow]
    return Group(*parts)
