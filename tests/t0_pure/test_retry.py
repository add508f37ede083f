"""When to try again, how long to wait, and how often at the most."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.swift import retry
from swiftfs.swift.retry import RetryBudget, Verdict


@pytest.mark.parametrize("status", [408, 425, 429, 498, 500, 502, 503, 504, 507, 529])
def test_passing_troubles_are_tried_again(status: int) -> None:
    """Overload and passing failures of either server are worth another attempt."""
    assert retry.verdict(status) in {Verdict.RETRY, Verdict.RETRY_SLOWER}


@pytest.mark.parametrize("status", [429, 498, 503, 529])
def test_a_store_that_says_slow_down_is_asked_less(status: int) -> None:
    """What means overload narrows the whole client."""
    assert retry.verdict(status) is Verdict.RETRY_SLOWER


@pytest.mark.parametrize("status", [400, 403, 404, 409, 411, 412, 413, 416, 422, 497, 501, 505])
def test_what_no_retry_mends_fails_at_once(status: int) -> None:
    """A refusal for good costs one request."""
    assert retry.verdict(status) is Verdict.FAIL


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_bounded(attempt: int, draw: float) -> None:
    """However many attempts failed, the pause is between nothing and the longest."""
    assert 0 <= retry.pause(attempt, draw) <= retry.LONGEST_PAUSE


@given(st.floats(allow_nan=False))
def test_a_servers_wish_is_obeyed_within_reason(wish: float) -> None:
    """Retry-After wins over our own pause and cannot make us wait for ever."""
    assert 0 <= retry.pause(1, 0.5, wish) <= retry.LONGEST_RETRY_AFTER


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
    ],
)
def test_retry_after_is_read_in_both_forms(text: str | None, expected: float | None) -> None:
    """Seconds and dates are understood, garbage is ignored."""
    assert retry.parse_retry_after(text, now=10.0) == expected


@given(st.text(max_size=30))
def test_no_retry_after_breaks_the_client(text: str) -> None:
    """Whatever stands in the header, the answer is seconds or None."""
    seconds = retry.parse_retry_after(text, now=0.0)

    assert seconds is None or seconds >= 0


@given(st.lists(st.tuples(st.floats(0, 0.2), st.booleans()), max_size=400))
def test_retries_stay_a_share_of_the_requests(steps: list[tuple[float, bool]]) -> None:
    """In any 10 seconds there are at most 32 retries and a fifth of the requests of that time."""
    budget, now = RetryBudget(), 0.0
    requests: list[float] = []
    retries: list[float] = []
    for step, is_request in steps:
        now += step
        if is_request:
            budget.note_request(now)
            requests.append(now)
        elif budget.take(now) == 0.0:
            retries.append(now)
        recent = now - retry.BUDGET_WINDOW

        taken = sum(moment > recent for moment in retries)
        # Counted at the moment of the last retry: requests leave the window as well.
        assert taken <= retry.BUDGET_FLOOR + retry.BUDGET_SHARE * len(requests) + 1


def test_a_spent_budget_says_when_to_ask_again() -> None:
    """The wait ends when the oldest retry has left the window, not before and not never."""
    budget = RetryBudget()
    for _ in range(retry.BUDGET_FLOOR):
        assert budget.take(0.0) == 0.0

    wait = budget.take(4.0)

    assert wait > 0
    assert budget.take(4.0 + wait) == 0.0
