"""Re-authentication under a thousand schedules."""

from __future__ import annotations

import asyncio
import random

import pytest
from fakes.schedules import SEEDS, run_asyncio

from swiftfs.swift.auth import Authenticator

WORKERS = 64
REQUESTS = 2
"""Requests that each worker makes, one after the other."""
EXPIRIES = 3
KEPT: tuple[int, ...] = ()
"""Seeds that failed once."""


class Keystone:
    """Tokens of which only the last one is good, until it expires. A login takes a turn of the loop or a second."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.logins = 0
        self.expiries = 0
        self.good = ""

    def login(self) -> tuple[str, str, float | None]:
        self.logins += 1
        self.good = f"token {self.logins}"
        return self.good, "http://store/v1/AUTH_x", None

    def expire(self) -> None:
        if self.good:
            self.expiries += 1
            self.good = ""


def logins_of(seed: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Keystone, int]:
    """What 64 workers do whose tokens expire under them: Keystone's counts, and how many requests succeeded."""

    async def main(draw: random.Random) -> tuple[Keystone, int]:
        keystone = Keystone(draw)
        auth = Authenticator(keystone.login)
        done = 0

        async def in_a_while(call: object) -> object:
            assert call == keystone.login
            await asyncio.sleep(draw.choice([0, 1]))
            return keystone.login()

        monkeypatch.setattr("asyncio.to_thread", in_a_while)

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
def test_one_login_for_each_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the schedule, 64 workers log in once at the start and once for each token that expired under them."""
    for seed in (*KEPT, *SEEDS):
        keystone, done = logins_of(seed, monkeypatch)
        assert (keystone.logins, done) == (1 + keystone.expiries, WORKERS * REQUESTS), f"seed {seed}"
