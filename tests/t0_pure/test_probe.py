"""What a look at a mountpoint tells."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from swiftfs.mount.preflight import probe


@pytest.mark.row("P6")
def test_a_mount_that_dies_while_it_is_asked_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel aborts what was being asked and refuses what comes later: both mean that nobody serves the mount."""

    def dying(path: Path) -> None:
        raise ConnectionAbortedError(errno.ECONNABORTED, "Software caused connection abort")

    monkeypatch.setattr("os.statvfs", dying)
    assert probe(Path("/mnt")) == errno.ENOTCONN
