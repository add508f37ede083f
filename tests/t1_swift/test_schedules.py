"""Re-authentication under a thousand schedules."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from fakes.schedules import SEEDS, run_asyncio

from swiftfs.errors import AuthError
from swiftfs.swift.auth import Authenticator

WORKERS = 64
REQUESTS = 2
"""Requests that each worker makes, one after the other."""
EXPIRIES = 3
KEPT: tuple[int, ...] = ()
"""Seeds that failed once."""


class Keystone:
    """Tokens of which only the last one is good, until it expires. A login takes a turn of the loop or a second."""

    def __init__(self, draw: random.Random, takes: tuple[float, ...] = (0, 1)) -> None:
        self.draw = draw
        self.takes = takes
        self.logins = 0
        self.expiries = 0
        self.good = ""

    async def login(self) -> tuple[str, str, float | None]:
        await asyncio.sleep(self.draw.choice(self.takes))
        self.logins += 1
        self.good = f"token {self.logins}"
        return self.good, "http://store/v1/AUTH_x", None

    def expire(self) -> None:
        if self.good:
            self.expiries += 1
            self.good = ""


def logins_of(seed: int) -> tuple[Keystone, int]:
    """What 64 workers do whose tokens expire under them: Keystone's counts, and how many requests succeeded."""

    async def main(draw: random.Random) -> tuple[Keystone, int]:
        keystone = Keystone(draw)
        auth = Authenticator(keystone.login)
        done = 0

        async def work() -> None:
            nonlocal done
            for _ in range(REQUESTS):
                token = await auth.token()
                await asyncio.sleep(draw.choice([0, 0.5]))
                while token.value != keystone.good:
                    token = await auth.refused(token)
                    await asyncio.sleep(0)
                done += 1

        async def expire() -> None:
            for _ in range(EXPIRIES):
                await asyncio.sleep(draw.choice([0, 0.25, 0.5, 1]))
                keystone.expire()

        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(work())
            group.create_task(expire())
        await auth.refused(await auth.token()) if not keystone.good else None
        return keystone, done

    return run_asyncio(seed, main)


@pytest.mark.row("H1")
def test_one_login_for_each_expiry() -> None:
    """Whatever the schedule, 64 workers log in once at the start and once for each token that expired under them."""
    for seed in (*KEPT, *SEEDS):
        keystone, done = logins_of(seed)
        assert (keystone.logins, done) == (1 + keystone.expiries, WORKERS * REQUESTS), f"seed {seed}"


def test_a_login_outlives_who_waited_for_it() -> None:
    """When the request that began a slow login is given up, the login goes on: the next request gets its token."""

    async def main(draw: random.Random) -> None:
        keystone = Keystone(draw, takes=(100,))
        auth = Authenticator(keystone.login)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(auth.token(), 30)
        assert (await asyncio.wait_for(auth.token(), 30)).value == "token 1"
        assert keystone.logins == 1

    run_asyncio(0, main)


def test_a_failed_login_fails_all_who_wait_and_no_later_one() -> None:
    """However many wait for a login that fails, one login is made; the next request makes another."""

    async def main(draw: random.Random) -> None:
        keystone = Keystone(draw)
        answers: list[Exception | None] = [AuthError("refused"), None]

        async def login() -> tuple[str, str, float | None]:
            await asyncio.sleep(1)
            if (error := answers.pop(0)) is not None:
                raise error
            return await keystone.login()

        auth = Authenticator(login)
        found = await asyncio.gather(*(auth.token() for _ in range(WORKERS)), return_exceptions=True)
        assert [type(one) for one in found] == [AuthError] * WORKERS
        assert len({id(one) for one in found}) == WORKERS  # each is about another object
        assert (await auth.token()).value == "token 1"

    run_asyncio(0, main)


@pytest.mark.row("H1")
def test_a_token_is_used_as_long_as_it_is_good() -> None:
    """With a Keystone that is down from then on, nobody waits for the renewal of a token that is good, whoever uses it
    ten times a second; one login at a time is tried, with pauses between them. When its life is over that fails who
    needs a token, and when Keystone is back nobody notices."""

    async def main(draw: random.Random) -> None:
        loop, life, logins = asyncio.get_running_loop(), 3600.0, list[float]()
        down, slow = True, 40.0

        async def login() -> tuple[str, str, float | None]:
            logins.append(loop.time())
            if len(logins) > 1:
                await asyncio.sleep(slow)
                if down:
                    raise AuthError("Keystone is not there")
            return f"token {len(logins)}", "http://store/v1/AUTH_x", life

        async def used_until(end: float) -> set[str]:
            found = set()
            while loop.time() < end:
                begun = loop.time()
                found |= {token.value for token in await asyncio.gather(*(auth.token() for _ in range(8)))}
                assert loop.time() - begun < 1
                await asyncio.sleep(0.1)
            return found

        auth = Authenticator(login, clock=loop.time)
        start = loop.time()
        assert await used_until(start + 0.81 * life) == {"token 1"}
        assert 1 < len(logins) <= 2
        assert await used_until(start + 0.85 * life) == {"token 1"}
        assert all(later - earlier >= slow + 9 for earlier, later in itertools.pairwise(logins[1:]))
        assert len(logins) <= 1 + 4  # in three minutes
        down = False
        assert await used_until(start + 0.9 * life) > {"token 1"}
        assert (await auth.token()).value != "token 1"
        down = True
        await asyncio.sleep(life)
        with pytest.raises(AuthError):
            await auth.token()
        await auth.close()

    run_asyncio(0, main)


def test_a_login_under_way_ends_with_its_client() -> None:
    """Closing ends the login and whoever waits for it, at once."""

    async def main(draw: random.Random) -> None:
        auth = Authenticator(Keystone(draw, takes=(1e9,)).login)
        waiting = asyncio.create_task(auth.token())
        await asyncio.sleep(1)
        await auth.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await auth.close()

    run_asyncio(0, main)
