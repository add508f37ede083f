"""One token for every request, renewed by one login for all who wait.

The token is kept here until the store refuses it or its life is nearly over. ``swift.login`` knows how one is got.
Neither tokens nor secrets ever reach a message.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from swiftfs.config.remote import PREAUTHENTICATED
from swiftfs.errors import AuthError, ConfigError, SwiftFSError, Unavailable
from swiftfs.swift.login import Login, login_of

if TYPE_CHECKING:
    from swiftfs.config import Remote
    from swiftfs.swift.connections import Connections

log = logging.getLogger(__name__)

RENEW_AT = 0.8
"""Share of a token's life after which it is renewed before it is refused: a request in flight should outlive it."""
RENEW_AGAIN = 10.0
"""Seconds from a renewal that failed to the next while the old token is good: a Keystone that is down for minutes is
asked a few times, and a fifth of an hour's token has room for dozens."""
LOGIN_ATTEMPTS = 4
FIRST_LOGIN_PAUSE = 0.5
"""Pauses of 0.5, 1 and 2 s between attempts: a start against a store that is down fails within 10 s."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token and where it is good for. Times are in monotonic seconds, None when its life is not known."""

    value: str = field(repr=False)
    storage_url: str
    renew_at: float | None
    expires_at: float | None
    number: int

    def has_expired(self, now: float) -> bool:
        """Whether a refusal at ``now`` says nothing about the credentials: the token's life was over."""
        return self.expires_at is not None and now >= self.expires_at


class Authenticator:
    """Hands out the current token. One instance per client, used from one event loop.

    ``logins`` counts exchanges that gave a token. ``introduce``, when it is set, is called with every token after the
    first before anybody else gets it.
    """

    introduce: Callable[[Token], Awaitable[None]] | None = None

    def __init__(self, login: Login, *, renewable: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self._login = login
        self._clock = clock
        self._renewable = renewable
        self._token: Token | None = None
        self._renewal: asyncio.Task[Token] | None = None
        self._renew_from = 0.0
        self.logins = 0

    async def close(self) -> None:
        """End a login that is under way; who waits for it is cancelled."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    async def token(self) -> Token:
        """The token to send now. Raises AuthError, ConfigError or Unavailable.

        One that is to be renewed is sent until its life is over: nobody waits for the renewal, and its failure is
        nobody's as long as the old token is good.
        """
        token, now = self._token, self._clock()
        if token is None or token.has_expired(now):
            return await self._replace(token)
        if token.renew_at is not None and now >= max(token.renew_at, self._renew_from):
            self._begin(token)
        return token

    async def refused(self, token: Token) -> Token:
        """A token to use instead of ``token``, which the store has refused.

        However many requests were refused with the same token, one login is made. Raises AuthError when no other can
        be had.
        """
        if not self._renewable:
            raise AuthError(
                "the store refuses the token of this remote",
                hint="give credentials instead of a token: a token alone cannot be renewed",
                status=401,
            )
        return await self._replace(token)

    async def _replace(self, old: Token | None) -> Token:
        """The token that came after ``old``. A login belongs to nobody: who waits for it may be cancelled, and with a
        slow Keystone the login would be lost each time that the first of them gives up."""
        current = self._token
        if current is not None and (old is None or current.number != old.number):
            return current
        try:
            return await asyncio.shield(self._begin(old))
        except SwiftFSError as error:
            raise copy.copy(error) from None  # each adds the place in the store that it was about

    def _begin(self, old: Token | None) -> asyncio.Task[Token]:
        """The login that is under way, begun now where there is none."""
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew(introduce=old is not None))
            self._renewal.add_done_callback(self._renewed)
        return self._renewal

    def _renewed(self, renewal: asyncio.Task[Token]) -> None:
        self._renewal = None
        if renewal.cancelled() or (error := renewal.exception()) is None:
            return
        now = self._clock()
        self._renew_from = now + RENEW_AGAIN
        if self._token is not None and self._token.expires_at is not None and not self._token.has_expired(now):
            log.info("no new token, the old one is good for %.0f s more: %s", self._token.expires_at - now, error)
        else:
            log.debug("no token: %s", error)

    async def _renew(self, *, introduce: bool) -> Token:
        value, storage_url, life = await self._exchange()
        self.logins += 1
        now = self._clock()
        if life is None or not self._renewable:
            renew_at = expires_at = None
        else:
            renew_at, expires_at = now + life * RENEW_AT, now + life
        token = Token(value, storage_url.rstrip("/"), renew_at, expires_at, self.logins)
        log.debug("login %d: token for %s, %s s of life", self.logins, storage_url, life)
        if introduce and self.introduce is not None:
            await self.introduce(token)
        self._token = token
        return token

    async def _exchange(self) -> tuple[str, str, float | None]:
        pause = FIRST_LOGIN_PAUSE
        for attempt in range(1, LOGIN_ATTEMPTS + 1):
            try:
                return await self._login()
            except Unavailable as error:
                if attempt == LOGIN_ATTEMPTS:
                    raise
                log.info("login failed, again in %.1f s: %s", pause, error)
            await asyncio.sleep(pause)
            pause *= 2
        raise AssertionError("unreachable")


def authenticator(remote: Remote, connections: Connections) -> Authenticator:
    """The authenticator for ``remote``, which logs in over ``connections``; nothing is sent before its first token is
    asked for."""
    if remote.auth_type != PREAUTHENTICATED:
        return Authenticator(login_of(remote, connections))
    if not remote.storage_url or not remote.auth_token:
        raise ConfigError(f"{remote.source} has neither credentials nor storage_url with auth_token")
    fixed = (remote.auth_token, remote.storage_url, None)

    async def known() -> tuple[str, str, float | None]:
        return fixed

    return Authenticator(known, renewable=False)
