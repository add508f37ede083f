"""When to try again and how long to wait: a pure table, a back-off and a budget.

Time comes in as an argument, randomness as a number; nothing here waits. The table follows what OpenStack Swift and
Ceph RGW mean by each status: 498 is Swift's rate limit ("Slow Down"), 529 its "too many backend requests", 497 a
black list, 408 a client that sent too slowly.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto


class Verdict(Enum):
    """What follows from a failed attempt."""

    FAIL = auto()
    RETRY = auto()
    RETRY_SLOWER = auto()
    """Try again, and let the whole client send fewer requests at once."""
    LOGIN = auto()
    """The token is refused: renew it once, then try again."""


STATUS_VERDICTS = {
    401: Verdict.LOGIN,
    408: Verdict.RETRY,
    425: Verdict.RETRY,
    429: Verdict.RETRY_SLOWER,
    498: Verdict.RETRY_SLOWER,
    500: Verdict.RETRY,
    502: Verdict.RETRY,
    503: Verdict.RETRY_SLOWER,
    504: Verdict.RETRY,
    507: Verdict.RETRY,
    529: Verdict.RETRY_SLOWER,
}
"""Every status that is not named here fails at once: 403, 404, 409 to 416, 422, 497, 501 and 505 among them."""

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds. A reader may be in the middle of its pause when the store comes back: this is how long it goes on waiting.
What an outage costs the store is bounded by the budget below, not by long pauses."""
LONGEST_RETRY_AFTER = 300.0
"""Seconds. A server that asks for more is not waited for: the deadline ends the call first."""

BUDGET_WINDOW = 10.0
BUDGET_SHARE = 0.2
BUDGET_FLOOR = 32
"""Retries may be a fifth of the requests of the last 10 seconds, so that an outage is not multiplied by its own
retries; 32 are always allowed, one for every other of the usual transfers, or a quiet client could not retry at all."""


def is_success(status: int) -> bool:
    """Whether the store has done what was asked."""
    return 200 <= status < 300


def verdict(status: int) -> Verdict:
    """What an answer with ``status`` asks for."""
    return STATUS_VERDICTS.get(status, Verdict.FAIL)


def pause(attempt: int, draw: float, retry_after: float | None = None) -> float:
    """Seconds to wait before attempt ``attempt + 1``; ``attempt`` counts from 1, ``draw`` is uniform in [0, 1).

    Full jitter over 0.1 s doubled each time, at most 5 s; ``retry_after`` seconds from the server win.
    """
    if retry_after is not None:
        return min(max(retry_after, 0.0), LONGEST_RETRY_AFTER)
    ceiling = min(FIRST_PAUSE * 2.0 ** min(attempt - 1, 16), LONGEST_PAUSE)
    return ceiling * draw


def parse_retry_after(text: str | None, now: float) -> float | None:
    """Seconds from a ``Retry-After`` header: a number or an HTTP date (RFC 9110 section 10.2.3); ``now`` in epoch
    seconds. None when there is none or it cannot be read."""
    if not text:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(now, UTC)).total_seconds())


@dataclass(slots=True)
class RetryBudget:
    """How many retries the client as a whole may still send. Not shared between loops."""

    _requests: deque[float] = field(default_factory=deque)
    _retries: deque[float] = field(default_factory=deque)

    def note_request(self, now: float) -> None:
        """Count a request that was sent at ``now`` (monotonic seconds)."""
        self._forget(now)
        self._requests.append(now)

    def take(self, now: float) -> float:
        """Take one retry at ``now`` and return 0; when the budget is spent, seconds after which to ask again."""
        self._forget(now)
        if len(self._retries) >= BUDGET_FLOOR + BUDGET_SHARE * len(self._requests):
            return self._retries[0] + BUDGET_WINDOW - now + FIRST_PAUSE
        self._retries.append(now)
        return 0.0

    def _forget(self, now: float) -> None:
        for times in (self._requests, self._retries):
            while times and times[0] <= now - BUDGET_WINDOW:
                times.popleft()
