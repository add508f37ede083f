"""Words of mount(8) turned into words of swiftfs."""

from __future__ import annotations

import pytest

from swiftfs.cli.fstab import mount_words
from swiftfs.cli.mount import mount
from swiftfs.errors import UsageError

PLACES = ["chi_tacc:data", "/mnt/object"]


def flags(options: str) -> list[str]:
    """What a line with these options becomes, without what every line has."""
    words = mount_words([*PLACES, "-o", options])
    assert words is not None
    assert (words[:2], words[-3:]) == (["mount", "--daemon"], ["--", *PLACES])
    return words[2:-3]


def test_options_become_flags() -> None:
    """With a value or without, dashes or underscores between the words."""
    assert flags("allow_other,cache-size=20G,dir_cache_time=1h,config=/etc/rclone.conf") == [
        "--allow-other", "--cache-size=20G", "--dir-cache-time=1h", "--config=/etc/rclone.conf",
    ]  # fmt: skip


def test_what_only_mount_and_systemd_understand_is_dropped() -> None:
    """A line may say _netdev, nofail and x-systemd.*; every mount is read-only with or without ro."""
    assert flags("rw,_netdev,noauto,nofail,x-systemd.automount,x-gvfs-show,comment=a,defaults,") == []


def test_the_kernels_options_go_to_fusermount() -> None:
    """noexec is one that somebody may want."""
    assert flags("noexec") == ["-o", "noexec"]


def test_every_flag_that_results_is_one_of_mount() -> None:
    """The options of the documented line are flags that the command has."""
    known = {name for parameter in mount.params for name in parameter.opts} | {"--config"}

    assert {
        flag.partition("=")[0] for flag in flags("allow_other,recover,cache_dir=/x,uid=1000,metrics_addr=9409")
    } <= known


def test_a_dry_run_does_nothing() -> None:
    """``mount -f`` asks for everything but the mount."""
    assert mount_words([*PLACES, "-fv"]) is None


def test_more_options_and_more_words_are_understood() -> None:
    """mount(8) may give -o twice, say -s, -n and -v, and a namespace."""
    assert mount_words(["-snv", *PLACES, "-N", "12", "-o", "ro", "-o", "uid=5"]) == [
        "mount", "--daemon", "-v", "--uid=5", "--", *PLACES,
    ]  # fmt: skip


@pytest.mark.parametrize("words", [[], ["one"], [*PLACES, "three"], [*PLACES, "-o"], [*PLACES, "-x"]])
def test_anything_else_is_refused(words: list[str]) -> None:
    """With one line that says how it is called."""
    with pytest.raises(UsageError, match=r"mount\.swiftfs"):
        mount_words(words)
