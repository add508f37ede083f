"""A mount that is told to end does so soon, also while reads wait for a store that says nothing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from fakes.fault_proxy import Fault, FaultProxy, Stall
from fakes.programs import check, mount_status, through, until, words_of, write_tree

from swiftfs.localcloud import Cloud
from swiftfs.mount.session import GRACE

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]

CONTAINER = "ending"
SOON = GRACE + 60
"""Seconds: far below the deadline of a read, with time for a slow machine."""


class Reader(threading.Thread):
    """Reads a file; ``outcome`` is the errno of that, 0 when it succeeded, None before its end."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.outcome: int | None = None

    def run(self) -> None:
        try:
            self.path.read_bytes()
            self.outcome = 0
        except OSError as error:
            self.outcome = error.errno


def test_sigterm_ends_a_mount_whose_reads_and_listing_wait(cloud: Cloud, tmp_path: Path) -> None:
    """With a reader and a refresh (SIGHUP) waiting for a store that does not answer, and a deadline of five minutes,
    SIGTERM leaves no mount and no process within seconds, and the reader gets an error."""
    with FaultProxy(cloud.storage_url) as proxy:
        environ = through(cloud, proxy.url, tmp_path)
        tree = write_tree(tmp_path / "tree", {"a": b"1" * 1000, "b": b"2" * 1000})
        check("swiftfs", "load", tree, f"local:{CONTAINER}", environ=environ)
        mountpoint = tmp_path / "mnt"
        mountpoint.mkdir()
        options = ["--daemon", "--deadline", "300s", "--prefetch", "off", "--refresh", "off"]
        check("swiftfs", "mount", f"local:{CONTAINER}", mountpoint, *options, environ=environ)
        status = mount_status(mountpoint, environ=environ)
        reader = Reader(mountpoint / "a")
        with proxy.broken(Fault(Stall(), count=None)):
            reader.start()
            until(lambda: proxy.played() >= 1)
            os.kill(status["pid"], signal.SIGHUP)
            until(lambda: proxy.played() >= 2)
            begun = time.monotonic()
            os.kill(status["pid"], signal.SIGTERM)
            for pid in (status["pid"], status["fetch_pid"]):
                until(lambda pid=pid: not os.path.exists(f"/proc/{pid}/exe"), SOON)
            reader.join(SOON)
        assert time.monotonic() - begun < SOON
        assert not reader.is_alive()
        assert reader.outcome in {errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.EINTR}
        assert not os.path.ismount(mountpoint)
        assert str(mountpoint) not in Path("/proc/mounts").read_text()
        check("swiftfs", "purge", f"local:{CONTAINER}", environ=environ)


def test_a_second_ctrl_c_leaves_no_dead_mount_behind(cloud: Cloud, tmp_path: Path) -> None:
    """A mount in the foreground whose reads wait for a store that says nothing ends at once at the second SIGINT: the
    mountpoint is a plain directory again, the reader gets an error, and no process is left."""
    with FaultProxy(cloud.storage_url) as proxy:
        environ = through(cloud, proxy.url, tmp_path)
        tree = write_tree(tmp_path / "tree", {"a": b"1" * 1000})
        check("swiftfs", "load", tree, f"local:{CONTAINER}", environ=environ)
        mountpoint, log = tmp_path / "mnt", tmp_path / "log"
        mountpoint.mkdir()
        options = ["--deadline", "300s", "--prefetch", "off", "--refresh", "off"]
        words = words_of(["swiftfs", "-v", "mount", f"local:{CONTAINER}", mountpoint, *options])
        with log.open("wb") as written:
            process = subprocess.Popen(words, env=environ, stderr=written)
        until(lambda: " is ready" in log.read_text())
        fetch_pid = mount_status(mountpoint, environ=environ)["fetch_pid"]
        with proxy.broken(Fault(Stall(), count=None)):
            reader = subprocess.Popen(["cat", mountpoint / "a"], stderr=subprocess.PIPE)
            until(lambda: proxy.played() >= 1)
            process.send_signal(signal.SIGINT)
            until(lambda: "unmounting" in log.read_text())
            process.send_signal(signal.SIGINT)
            code = process.wait(SOON)
            said = reader.communicate(timeout=SOON)[1]
            until(lambda: not os.path.exists(f"/proc/{fetch_pid}/exe"), SOON)
        assert code == 128 + signal.SIGINT
        assert b"cat:" in said
        assert str(mountpoint) not in Path("/proc/mounts").read_text()
        assert os.listdir(mountpoint) == []
        check("swiftfs", "purge", f"local:{CONTAINER}", environ=environ)


def test_a_mount_whose_store_is_another_one_after_a_restart_ends(cloud: Cloud, tmp_path: Path) -> None:
    """The remote names another URL when its fetch process is started again: what that fetches would not be found, so
    the mount ends and says why, its reader gets an error, and it can be mounted again."""
    with FaultProxy(cloud.storage_url) as proxy:
        environ = through(cloud, proxy.url, tmp_path)
        tree = write_tree(tmp_path / "tree", {"a": b"1" * 1000})
        check("swiftfs", "load", tree, f"local:{CONTAINER}", environ=environ)
        mountpoint = tmp_path / "mnt"
        mountpoint.mkdir()
        log = tmp_path / "log"
        mount = ["swiftfs", "mount", f"local:{CONTAINER}", mountpoint, "--daemon", "--prefetch", "off"]
        check(*mount, "--log-file", log, environ=environ)
        status = mount_status(mountpoint, environ=environ)
        reader = Reader(mountpoint / "a")
        with proxy.broken(Fault(Stall(), count=None)):
            reader.start()
            until(lambda: proxy.played() >= 1)
            config = Path(environ["RCLONE_CONFIG"])
            config.write_text(config.read_text().replace(proxy.url, cloud.storage_url))
            os.kill(status["fetch_pid"], signal.SIGKILL)
            until(lambda: not os.path.exists(f"/proc/{status['pid']}/exe"), SOON)
            reader.join(SOON)
        assert not reader.is_alive()
        assert reader.outcome
        assert str(mountpoint) not in Path("/proc/mounts").read_text()
        assert f"the store is at {cloud.storage_url} now and not at {proxy.url}" in log.read_text()
        check(*mount, environ=environ)
        assert (mountpoint / "a").read_bytes() == b"1" * 1000
        check("swiftfs", "umount", mountpoint, environ=environ)
        check("swiftfs", "purge", f"local:{CONTAINER}", environ=environ)
