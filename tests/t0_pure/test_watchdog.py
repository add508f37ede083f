"""When the other process is given up, and which connection is its mount's."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.fetch.watchdog import DEADLINES, TICKS, Watchdog, connection_of, tick_seconds, wake


@given(st.lists(st.integers(1, TICKS), max_size=30))
def test_a_process_that_answers_once_in_a_while_is_never_given_up(pauses: list[int]) -> None:
    """However late each sign of life comes, as long as it comes within the patience."""
    watchdog = Watchdog()
    for pause in pauses:
        assert not any(watchdog.tick() for _ in range(pause))
        watchdog.heard()


@given(st.floats(0.1, 600))
def test_silence_for_two_deadlines_is_the_end(deadline: float) -> None:
    """Given up one tick after two deadlines, not before."""
    watchdog = Watchdog()
    ticks = 1
    while not watchdog.tick():
        ticks += 1

    silence = ticks * tick_seconds(deadline)
    assert DEADLINES * deadline < silence < 1.1 * DEADLINES * deadline


def test_the_connection_is_that_of_our_topmost_mount() -> None:
    """The minor number of the last swiftfs mount on the mountpoint; other types and places are passed over."""
    mountinfo = (
        "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        "40 22 0:51 / /mnt/a\\040b ro,nosuid,nodev - fuse.swiftfs r:c ro\n"
        "41 22 0:52 / /mnt/other ro,nosuid - fuse.swiftfs r:c ro\n"
        "42 40 0:53 / /mnt/a\\040b ro,nosuid shared:7 master:2 - fuse.swiftfs r:c ro\n"
        "43 42 0:54 / /mnt/a\\040b rw - tmpfs none rw\n"
    )

    assert connection_of(mountinfo, "/mnt/a b") == 53
    assert connection_of(mountinfo, "/mnt/none") is None


def test_a_process_that_waits_for_the_kernel_is_woken_long_before_it_is_given_up() -> None:
    """Twice while nothing is heard of it, first after a tenth of the patience; one that answers is left alone."""
    dog = Watchdog()
    woken = []
    for number in range(1, TICKS + 1):
        assert not dog.tick()
        if dog.is_to_be_woken:
            woken.append(number)
    assert woken == [2, 10]
    dog.heard()
    assert not dog.is_to_be_woken


def test_waking_looks_at_the_mount_and_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look is a thread's, which may hang for as long as it likes."""
    looked, go_on = threading.Event(), threading.Event()

    def statvfs(path: str) -> None:
        assert path == "/mnt/x"
        looked.set()
        go_on.wait(60)

    monkeypatch.setattr(os, "statvfs", statvfs)
    wake("/mnt/x")
    assert looked.wait(60)
    thread = next(one for one in threading.enumerate() if one.name == "wake")
    assert thread.daemon
    go_on.set()
    thread.join(60)
    assert not thread.is_alive()
