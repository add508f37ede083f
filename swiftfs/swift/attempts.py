"""The attempts of one request: whether there is to be another one, when, and until when at the latest."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from swiftfs.errors import DeadlineExceeded, SwiftFSError, Truncated, Unavailable
from swiftfs.swift import retry
from swiftfs.swift.retry import RetryBudget, Verdict

if TYPE_CHECKING:
    from swiftfs.swift.auth import Authenticator, Token

log = logging.getLogger(__name__)


class Retries:
    """The retries of one client: how many there were, and the budget that all its requests share."""

    def __init__(self) -> None:
        self.number = 0
        self._budget = RetryBudget()

    def note_request(self) -> None:
        """One more request is sent: it earns the budget a share of a retry."""
        self._budget.note_request(time.monotonic())

    async def take(self) -> None:
        """Wait for the budget to allow one more retry; the caller's deadline bounds it."""
        while wait := self._budget.take(time.monotonic()):  # noqa: ASYNC110 (time frees the budget, no task does)
            await asyncio.sleep(wait)
        self.count()

    def count(self) -> None:
        """One more request is sent again, whatever the budget has left: a new login made the first one void."""
        self.number += 1


class Attempts:
    """The attempts of one request: raises when there is no sense in another one, else waits for its turn."""

    def __init__(self, auth: Authenticator, budget: Retries) -> None:
        self._auth = auth
        self._retries = budget
        self._number = 0
        self._refused = False
        self.token: Token | None = None
        self.retry_after: float | None = None
        self.last: SwiftFSError | None = None
        self.unsure = False
        """Whether the store may have done what an attempt asked for although it failed."""
        self.limit: asyncio.Timeout | None = None

    def extend(self, seconds: float) -> None:
        """Put the deadline off by what the call has to wait for its rate."""
        if seconds and self.limit is not None and (when := self.limit.when()) is not None:
            self.limit.reschedule(when + seconds)

    async def failed(self, error: SwiftFSError) -> None:
        """Take note of a failed attempt; returns when the next one may start, or raises ``error``."""
        self._number += 1
        # Without the frames that it came through: they have this, and what is sent, which would stay for the collector.
        self.last = error.with_traceback(None)
        self.unsure = self.unsure or error.status is None or error.status >= 500
        retry_after, self.retry_after = self.retry_after, None
        verdict = _verdict(error, self.token)
        if verdict is Verdict.LOGIN and self.token is not None and not (self._refused and self._is_alive()):
            # A token whose life was over says nothing; of the others, the second one refused is meant seriously.
            self._refused = self._refused or self._is_alive()
            await self._auth.refused(self.token)
            self._retries.count()
            return
        if verdict in {Verdict.FAIL, Verdict.LOGIN}:
            self.last = None
            raise error
        pause = retry.pause(self._number, random.random(), retry_after)
        log.debug("attempt %d failed, again in %.2f s: %s", self._number, pause, error)
        await asyncio.sleep(pause)
        await self._retries.take()
        self._refused = False

    def _is_alive(self) -> bool:
        """Whether the token just refused should still have been good."""
        return self.token is not None and not self.token.has_expired(time.monotonic())


def _verdict(error: SwiftFSError, token: Token | None) -> Verdict:
    if error.status is not None:
        if error.status == 403 and token is not None and token.renew_at is not None:
            # Ceph RGW answers 403 to some expired tokens (rclone #2018): one past its renewal time is worth a login.
            return Verdict.LOGIN if time.monotonic() >= token.renew_at else Verdict.FAIL
        return retry.verdict(error.status)
    return Verdict.RETRY if isinstance(error, Unavailable | Truncated) else Verdict.FAIL


@contextlib.asynccontextmanager
async def within(seconds: float, attempts: Attempts | None = None) -> AsyncIterator[None]:
    """Bound a call in time; raises DeadlineExceeded with the last failure as its reason."""
    limit = asyncio.timeout(seconds)
    if attempts is not None:
        attempts.limit = limit
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        last = attempts.last if attempts is not None else None
        reason = f": {last.message}" if last is not None else ""
        raise DeadlineExceeded(
            f"no success within {seconds:.0f} s{reason}", txid=last.txid if last is not None else None
        ) from None
