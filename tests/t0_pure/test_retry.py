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


def test_a_refused_token_is_renewed() -> None:
    """401 asks for a login and for nothing else."""
    assert retry.verdict(401) is Verdict.LOGIN


def test_pauses_double_from_a_tenth_of_a_second_to_five() -> None:
    """The longest pause of each attempt is twice that of the one before, and never more than 5 s; a draw shortens it
    in proportion, and a server's wish is kept to 300 s and not below 0."""
    longest = [retry.pause(attempt, 1.0) for attempt in range(1, 12)]

    assert longest == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0, 5.0])
    assert retry.pause(10_000, 1.0) == 5.0
    assert retry.pause(3, 0.25) == pytest.approx(0.1)
    assert [retry.pause(3, 1.0, wish) for wish in (-5.0, 0.0, 7.5, 299.0, 1e9)] == [0.0, 0.0, 7.5, 299.0, 300.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1" * 20, 111_111_111_111.0),  # more digits than that are no time
        ("Thu, 01 Jan 1970 00:01:40 -0000", 90.0),  # a date without a zone is UTC
        ("Thu, 01 Jan 1970 01:01:40 +0100", 90.0),
        (" 7 ", 7.0),
        ("\u0667", None),  # a digit, but not HTTP's
    ],
)
def test_odd_forms_of_retry_after(text: str, expected: float | None) -> None:
    """Long numbers are cut, other zones are counted, blanks do not matter."""
    assert retry.parse_retry_after(text, now=10.0) == expected


def test_the_budget_is_32_and_a_fifth_of_the_last_ten_seconds() -> None:
    """After 100 requests 52 retries are free and the next one waits until the oldest has left the window; requests and
    retries count for ten seconds and no longer."""
    budget = RetryBudget()
    for _ in range(100):
        budget.note_request(0.0)
    assert [budget.take(0.0)] + [budget.take(1.0) for _ in range(51)] == [0.0] * 52
    assert budget.take(4.0) == pytest.approx(6.1)
    assert budget.take(9.9) == pytest.approx(0.2)
    assert budget.take(10.0) == pytest.approx(1.1)  # the requests have left, 51 retries are more than 32


def test_a_retry_is_forgotten_after_exactly_ten_seconds() -> None:
    """At the end of the window it no longer counts."""
    budget = RetryBudget()
    assert [budget.take(0.0) for _ in range(32)] == [0.0] * 32
    assert budget.take(9.999) > 0
    assert budget.take(10.0) == 0.0


def test_a_client_that_never_retries_remembers_no_more_than_ten_seconds() -> None:
    """The memory for requests is that of one window, however long a client runs."""
    budget = RetryBudget()
    for second in range(1000):
        budget.note_request(float(second))
    assert len(budget._requests) == 10
