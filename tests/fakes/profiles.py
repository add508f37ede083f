"""The sizes of the state machines: small ones for every run, large ones for ``--hypothesis-profile=long`` by hand."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import HealthCheck, settings

BUSY = 900.0
"""Seconds: ten times what such a test takes on an idle machine."""


@dataclass(frozen=True)
class Size:
    """How many runs of a machine, and the most steps of each."""

    examples: int
    steps: int


def sized(usual: Size, large: Size) -> settings:
    """The present profile's settings in one of two sizes. Call it where the test runs or is made: a profile named on
    the command line is known before the tests are imported."""
    size = large if settings.get_current_profile_name() == "long" else usual
    return settings(
        deadline=None,
        max_examples=size.examples,
        stateful_step_count=size.steps,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def timeout() -> float:
    """Seconds that a test over many runs may take on a busy machine; 0 in the long profile: as many as it takes."""
    return 0 if settings.get_current_profile_name() == "long" else BUSY
