"""cli.parameters: switches as rclone takes them, with a value, in click's words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.cli.parameters import plain_switches

SWITCHES = {"--fast-list": None, "--plot": "--no-plot"}


@pytest.mark.parametrize(
    ("given_", "plain"),
    [
        (["--fast-list=true", "a"], ["--fast-list", "a"]),
        (["--fast-list=FALSE", "a"], ["a"]),
        (["--plot=0"], ["--no-plot"]),
        (["--plot=1", "--fast-list"], ["--plot", "--fast-list"]),
        (["--fast-list=perhaps"], ["--fast-list=perhaps"]),
        (["--include=true", "fast-list=true"], ["--include=true", "fast-list=true"]),
        (["--", "--fast-list=true"], ["--", "--fast-list=true"]),
    ],
)
def test_a_switch_with_a_value_is_a_switch(given_: list[str], plain: list[str]) -> None:
    """``--switch=true`` is the switch, ``=false`` leaves it out or turns it off; all else is left as it is."""
    assert plain_switches(given_, SWITCHES) == plain


@given(st.lists(st.sampled_from(["--fast-list", "--plot", "--other=x", "a=b", "--", "-v", "--fast-list=maybe"])))
def test_what_click_understands_is_left_alone(words: list[str]) -> None:
    """Nothing is lost, added or moved among words that are no switch with a value."""
    assert plain_switches(words, SWITCHES) == words
