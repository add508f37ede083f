"""Traces of opens replayed against the planners: how many bytes were there in time, and none fetched in vain."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from bench.simulate import FILE, replay, traces
from swiftfs.fs.order import FILES_AHEAD

TRACES = traces()

FLOORS = {
    "in order, 1 reader": 0.99,
    "in order, 4 workers": 0.99,
    "shuffled, 1 workers": 0.95,
    "shuffled, 2 workers": 0.92,
    "shuffled, 4 workers": 0.88,
    "shuffled, 8 workers": 0.83,
    "two epochs, shuffled": 0.94,
    "two epochs, small cache": 0.0,  # no guess can tell which fifth of the dataset comes next
    "sparse": 0.5,
    "two datasets at once": 0.85,
    "fetched whole": 0.96,
    "nothing ahead": 0.0,
    "order told, 1 workers": 0.999,
    "order told, 4 workers": 0.99,
    "order told, 8 workers": 0.99,
    "order told, small cache": 0.99,
    "order told, two epochs, small cache": 0.99,
    "order told, begun in the middle": 0.99,
    "order told, a jump ahead and back": 0.99,
    "order told, a hundred strays": 0.95,
    "another order was told": 0.0,
}
"""Share of the opens whose bytes must have been there."""

LEFT_UNREAD = {
    "order told, begun in the middle": 1,
    "order told, a jump ahead and back": 2,
    "order told, a hundred strays": 1,
}
"""Places at which the readers leave the order: a window of files at each may stay unread. Elsewhere nothing may."""

EACH_FILE_ONCE = [name for name in TRACES if "small cache" not in name]


@pytest.mark.parametrize("name", FLOORS)
def test_bytes_are_there_and_none_are_wasted(name: str) -> None:
    """Each trace reaches its share of opens that need not wait; nothing is fetched that is not read, but for a window
    where readers leave the order, and nothing that was fetched ahead is evicted unread."""
    came = replay(TRACES[name])

    assert came.hit_rate >= FLOORS[name]
    assert came.wasted <= LEFT_UNREAD.get(name, 0) * FILES_AHEAD * FILE
    assert came.lost == 0


@pytest.mark.parametrize("name", EACH_FILE_ONCE)
def test_each_file_is_asked_for_once(name: str) -> None:
    """Where the cache holds all, requests are those of the files that were read, and of the windows left unread."""
    opened = {ino for reader in TRACES[name].readers for ino in reader}

    assert len(opened) <= replay(TRACES[name]).requests <= len(opened) + LEFT_UNREAD.get(name, 0) * FILES_AHEAD


def test_an_order_is_worth_its_telling() -> None:
    """Where the cache holds a fifth of the dataset, guessing reaches nothing and a told order nearly everything."""
    guessed, told = replay(TRACES["two epochs, small cache"]), replay(TRACES["order told, two epochs, small cache"])

    assert told.hit_rate > 0.99 > 0.1 > guessed.hit_rate
    assert told.time < guessed.time / 2


def test_a_replay_is_the_same_each_time() -> None:
    """No clock and no chance: figures can be compared between versions."""
    assert replay(TRACES["shuffled, 8 workers"]) == replay(TRACES["shuffled, 8 workers"])


def test_every_trace_has_its_floor() -> None:
    """A trace that is added is also asserted."""
    assert set(FLOORS) == set(TRACES)


def test_the_command_shows_the_figures() -> None:
    """``simulate`` prints a line for each trace asked for."""
    from bench.simulate import command

    done = CliRunner().invoke(command, ["--only", "sparse"])

    assert done.exit_code == 0
    assert done.output.splitlines()[1].split() == ["sparse", "40", "50.0%", "20", "0.0", "0", "0.49"]
