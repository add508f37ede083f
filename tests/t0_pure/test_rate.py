"""swift.rate: bytes and requests a second, on a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.swift.rate import RateLimit


class Clock:
    """Time that passes only where something sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@given(st.integers(1, 10**7), st.lists(st.binary(max_size=200_000), max_size=4))
def test_bytes_come_out_whole_and_no_faster_than_allowed(rate: int, bodies: list[bytes]) -> None:
    """All bytes arrive in order, every wait is told before it begins, and the rate holds over all bodies together."""
    clock = Clock()
    limit = RateLimit(rate, None, clock=clock, sleep=clock.sleep)
    told: list[float] = []

    async def streamed(body: bytes) -> AsyncIterator[bytes]:
        for first in range(0, len(body), 70_000):
            yield body[first : first + 70_000]

    async def run() -> int:
        last = 0
        for number, body in enumerate(bodies):
            slowed = limit.slowed(body if number % 2 else streamed(body), told.append)
            pieces = (
                [bytes(slowed)] if isinstance(slowed, bytes) else [piece async for piece in slowed or streamed(b"")]
            )
            assert body == b"".join(pieces)
            last = len(pieces[-1]) if body else last
        return last

    last = asyncio.run(run())
    spent = clock.now - 100.0
    size = sum(map(len, bodies))
    # What comes last goes out at its turn; its own time is for whoever follows.
    assert abs(spent - (size - last) / rate) < 1e-3 * (1 + spent)
    assert abs(spent - sum(told)) < 1e-6 * (1 + spent)


@given(st.integers(1, 50), st.integers(1, 30))
def test_requests_are_no_closer_than_allowed(rate: int, count: int) -> None:
    """The n-th request goes out n intervals after the first, and one after a pause goes out at once."""
    clock = Clock()
    limit = RateLimit(None, rate, clock=clock, sleep=clock.sleep)

    told: list[float] = []

    async def run() -> None:
        for _ in range(count):
            await limit.request(told.append)
        assert abs(clock.now - 100.0 - (count - 1) / rate) < 1e-6
        assert abs(clock.now - 100.0 - sum(told)) < 1e-6
        clock.now += 10
        await limit.request(pytest.fail)

    asyncio.run(run())
    assert limit.slowed(b"body", lambda _: None) == b"body"
