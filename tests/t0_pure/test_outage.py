"""Pauses and budget together, in an outage played through without waiting for it."""

from __future__ import annotations

import heapq
import random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftfs.swift import retry
from swiftfs.swift.retry import BUDGET_FLOOR, BUDGET_WINDOW, RetryBudget

READ = 0.1
"""Seconds that a read takes while all is well."""
BACK = BUDGET_WINDOW + READ
"""Seconds after an outage within which every reader reads again: what the budget has spent in vain just before its end
comes back a window later, and then somebody else's read may be first."""
EVERY = 20
SLOWER = 1.3
"""Times that an epoch may take when every twentieth request fails."""
EPOCHS = 20
"""Epochs whose mean is judged: one of a few hundred reads may have bad luck."""


def outage(streams: int, seconds: float, deadline: float, draw: random.Random) -> tuple[float, list[float]]:
    """When the last stream had an answer, in seconds after the outage, and when requests were sent in vain.

    Each stream sends one request after the other, tries again after failures, and begins anew at its deadline.
    """
    budget = RetryBudget()
    turns = [(draw.uniform(0, READ), number, 1, 0.0, False) for number in range(streams)]
    heapq.heapify(turns)
    waiting, vain = set(range(streams)), []
    while True:
        now, number, attempt, begun, is_retry = heapq.heappop(turns)
        if now >= begun + deadline:
            attempt, begun, is_retry = 1, now, False
        if is_retry and (wait := budget.take(now)):
            heapq.heappush(turns, (min(now + wait, begun + deadline), number, attempt, begun, True))
            continue
        budget.note_request(now)
        if now < seconds:
            vain.append(now)
            again = now + retry.pause(attempt, draw.random())
            heapq.heappush(turns, (min(again, begun + deadline), number, attempt + 1, begun, True))
            continue
        waiting.discard(number)
        if not waiting:
            return now - seconds, vain
        heapq.heappush(turns, (now + READ, number, 1, now + READ, False))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.floats(1, 130), st.sampled_from([20.0, 60.0]), st.integers(0, 2**32))
def test_readers_are_back_soon_after_an_outage_and_have_not_multiplied_it(
    streams: int, seconds: float, deadline: float, seed: int
) -> None:
    """However long the store was away, every reader has its answer a window of the budget later; meanwhile any ten
    seconds have seen no more than each reader's own requests, the retries of the budget, and their share."""
    back, vain = outage(streams, seconds, deadline, random.Random(seed))
    assert back <= BACK
    window = [sum(at <= one < at + BUDGET_WINDOW for one in vain) for at in range(int(seconds))]
    assert max(window, default=0) <= 2 * (BUDGET_FLOOR + 2 * streams)


def epoch(reads: int, streams: int, failing: float, draw: random.Random) -> float:
    """Seconds that ``streams`` take for ``reads`` when each request fails with a probability of ``failing``."""
    budget = RetryBudget()
    turns = [(0.0, number) for number in range(streams)]
    for _ in range(reads):
        now, number = heapq.heappop(turns)
        attempt = 1
        budget.note_request(now)
        while draw.random() < failing:
            now += READ + retry.pause(attempt, draw.random())
            while wait := budget.take(now):
                now += wait
            budget.note_request(now)
            attempt += 1
        heapq.heappush(turns, (now + READ, number))
    return max(turns)[0]


@pytest.mark.row("N16")
@settings(max_examples=8)
@given(st.integers(500, 1000), st.integers(1, 40), st.integers(0, 2**32))
def test_a_fault_in_twenty_requests_costs_an_epoch_a_third_at_most(reads: int, streams: int, seed: int) -> None:
    """With faults in 5 % of the requests an epoch takes at most 1.3 times as long on average, and two reads at its
    end."""
    draw = random.Random(seed)
    clean = epoch(reads, streams, 0, draw)
    faulty = fmean(epoch(reads, streams, 1 / EVERY, random.Random(draw.randrange(2**32))) for _ in range(EPOCHS))
    assert faulty <= SLOWER * clean + 2 * READ
