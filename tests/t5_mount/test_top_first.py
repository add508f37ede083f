"""A mount of more names than one request lists answers from its top, and below it when all is listed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.programs import check, mount_status, mounted

from bench.front.server import Front, running_front
from swiftfs.localcloud import Cloud

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]

NAMES = 16_643
PAGES = 2
DELAY = 300
"""Milliseconds before each answer: time enough to look at the mount before the container is listed."""


@pytest.fixture
def front(cloud: Cloud, tmp_path: Path) -> Iterator[Front]:
    """A store that makes up containers of any number of names, a thousand in each directory."""
    with running_front(tmp_path / "front", cloud) as running:
        running.set_delay(DELAY)
        yield running


def test_the_top_is_there_at_once_and_everything_soon(
    front: Front, local_environ: dict[str, str], tmp_path: Path
) -> None:
    """`ls` of the top answers while the container is being listed; a walk of all of it, begun then, misses nothing and
    sees each directory as it is. Requests: the pages, the empty one, and the top."""
    environ = local_environ | {"RCLONE_CONFIG": str(front.rclone_conf)}
    mark = front.mark()
    with mounted(f"front:names-{NAMES}", tmp_path / "mnt", "--refresh", "off", environ=environ) as mountpoint:
        top = sorted(os.listdir(mountpoint))
        while_listed = os.stat(mountpoint / top[0])
        assert top == [f"part_{number:04d}" for number in range(-(-NAMES // 1000))]
        assert os.statvfs(mountpoint).f_bavail == 0

        walked = subprocess.run(
            ["find", mountpoint, "-type", "f", "-size", "+0"], capture_output=True, text=True, timeout=60, check=True
        )
        assert len(walked.stdout.splitlines()) == NAMES
        status = mount_status(mountpoint, environ=environ)
        assert (status["whole"], status["files"], status["directories"]) == (True, NAMES, len(top))
        listed = os.stat(mountpoint / top[0])
        assert while_listed.st_ino == listed.st_ino
        assert while_listed.st_nlink in {1, listed.st_nlink}  # 1 as long as it is not known
        asked = front.since(mark)
        assert asked.of("GET container") == asked.total == PAGES + 2

        check("swiftfs", "refresh", mountpoint, environ=environ)
        assert sorted(os.listdir(mountpoint)) == top
        assert len(os.listdir(mountpoint / top[0])) == 1000
