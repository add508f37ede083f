"""When the other process is given up, and which connection is its mount's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swiftfs.fetch.watchdog import TICKS, Watchdog, connection_of, tick_seconds


@given(st.lists(st.integers(1, TICKS), max_size=30))
def test_a_process_that_answers_once_in_a_while_is_never_given_up(pauses: list[int]) -> None:
    """However late each sign of life comes, as long as it comes within the patience."""
    watchdog = Watchdog()
    for pause in pauses:
        assert not any(watchdog.tick() for _ in range(pause))
        watchdog.heard()


@given(st.floats(0.1, 600))
def test_silence_for_two_deadlines_is_the_end(deadline: float) -> None:
    """Given up one tick after two deadlines, not before, and never within half a minute."""
    watchdog = Watchdog()
    ticks = 1
    while not watchdog.tick():
        ticks += 1

    silence = ticks * tick_seconds(deadline)
    expected = max(2 * deadline, 30)
    assert expected < silence < 1.1 * expected


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
