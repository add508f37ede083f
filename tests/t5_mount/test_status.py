"""What a real mount says of itself: hidden objects, slow reads, the live screen, Prometheus figures."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from fakes.programs import check, run, swift_environ, tree_of, until

from .conftest import Dataset

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]


def test_what_is_not_shown_is_listed_with_its_reason(dataset: Dataset) -> None:
    """``status --hidden`` names each object that the tree leaves out, and why; the others are not in the list."""
    long_name, a_file = "x" * 256, next(dataset.tree.rglob("*.jpg"))
    for name in ("training/a//b", f"training/{long_name}"):
        swift = ["upload", dataset.container, "--object-name", name, str(a_file)]
        check("swift", *swift, environ={**dataset.environ, **swift_environ(dataset.cloud)})
    mountpoint = dataset.mount()

    listed = check("swiftfs", "status", mountpoint, "--hidden", environ=dataset.environ).splitlines()

    assert sorted(listed) == [
        "training/a//b\ta component is empty",
        f"training/{long_name}\ta component is longer than 255 bytes",
    ]
    assert dataset.status(mountpoint)["fetch"]["hidden"] == 2


def test_slow_reads_are_named(dataset: Dataset) -> None:
    """A read that waited for the store is in the record with its object and its time; cached ones are not."""
    mountpoint = dataset.mount("--prefetch", "off", "--refresh", "off")
    assert dataset.status(mountpoint)["slowest"] == []
    path = max(mountpoint.rglob("*.jpg"), key=lambda found: found.stat().st_size)
    path.read_bytes()
    path.read_bytes()

    status = dataset.status(mountpoint)

    assert [wait["object"] for wait in status["slowest"]] == [str(path.relative_to(mountpoint))]
    assert 0 < status["slowest"][0]["seconds"] <= status["reads"]["waited"]


def test_the_live_screen_shows_rates_until_ctrl_c(dataset: Dataset) -> None:
    """On a terminal ``--watch`` draws the screen again and again, and Ctrl-C gives the terminal back."""
    mountpoint = dataset.mount("--refresh", "off")
    tree_of(mountpoint)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "swiftfs", "status", str(mountpoint), "--watch"]
    environ = {**dataset.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(command, env=environ, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    limit = time.monotonic() + 60
    while shown.count(b"slowest reads") < 2 and time.monotonic() < limit:
        if select.select([ours], [], [], 1)[0]:
            shown += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    code = process.wait(timeout=60)
    os.close(ours)

    assert code == 130
    for words in (rb"network.*/s", rb"readers.*opens/s", rb"prefetch", rb"from the cache", rb"requests/s"):
        assert re.search(words, shown)


def test_prometheus_is_answered_on_loopback_only(dataset: Dataset) -> None:
    """``--metrics-addr`` gives the figures of ``status`` as exposition text, on 127.0.0.1 and nowhere else."""
    mountpoint = dataset.mount("--metrics-addr", "0", "--refresh", "off", "--prefetch", "off")
    content = tree_of(mountpoint)
    port = dataset.status(mountpoint)["metrics_port"]

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as response:
        kind, text = response.headers["Content-Type"], response.read().decode()
    with pytest.raises(urllib.error.HTTPError, match="404") as missing:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60)
    missing.value.close()

    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    samples = dict(re.findall(r"^(swiftfs_\w+)\{[^}]*\} (\S+)$", text, re.MULTILINE))
    assert samples["swiftfs_read_bytes_total"] == str(sum(map(len, content.values())))
    assert samples["swiftfs_cache_misses_total"] == str(sum(map(bool, content.values())))
    listening = check("ss", "-Hltn", f"sport = :{port}", environ=dataset.environ)
    assert [line.split()[3] for line in listening.splitlines()] == [f"127.0.0.1:{port}"]


def test_a_mount_whose_fetch_process_cannot_be_started_tells_so_and_is_not_detached(dataset: Dataset) -> None:
    """With Keystone gone and the fetch process killed, the status, its screen and the figures answer, without those of
    the fetch process and with the reason; umount leaves the mount alone that is in use, and waits for the end of one
    that is not."""
    config, well = dataset.work / "rclone.conf", dataset.cloud.rclone_conf.read_text()
    config.touch(0o600)
    config.write_text(well)
    dataset.stack.callback(config.write_text, well)
    dataset.environ = {**dataset.environ, "RCLONE_CONFIG": str(config)}
    mountpoint = dataset.mount("--metrics-addr", "0", "--refresh", "off", "--prefetch", "off")
    path = max(mountpoint.rglob("*.jpg"), key=lambda found: found.stat().st_size)
    path.read_bytes()
    before = dataset.status(mountpoint)
    config.write_text(re.sub(r"(?m)^auth = .*$", "auth = http://127.0.0.1:1/v3", well))
    os.kill(before["fetch_pid"], signal.SIGKILL)
    until(lambda: dataset.status(mountpoint)["fetch_restarts"] > 1)

    status = dataset.status(mountpoint)
    words = check("swiftfs", "status", mountpoint, environ=dataset.environ)
    address = f"http://127.0.0.1:{before['metrics_port']}/metrics"
    with urllib.request.urlopen(address, timeout=60) as response:
        figures = response.read().decode()
    with path.open("rb"):
        busy = run("swiftfs", "umount", mountpoint, environ=dataset.environ)
        assert os.path.ismount(mountpoint)
    until(lambda: run("swiftfs", "umount", mountpoint, environ=dataset.environ).code == 0)

    assert (status["fetch"], status["reads"]["misses"]) == (None, 1)
    assert "Keystone" in status["fetch_trouble"]
    assert "Keystone" in words
    assert re.search(r"^swiftfs_fetch_process_up\{.*\} 0$", figures, re.MULTILINE)
    assert (busy.code, str(os.getpid()) in busy.err) == (1, True)
    assert not os.path.ismount(mountpoint)
    assert not os.path.exists(f"/proc/{before['pid']}/exe")


def test_a_port_that_is_taken_is_told_before_the_mount_is_there(dataset: Dataset) -> None:
    """The command fails with one line, and nothing is mounted."""
    mountpoint = dataset.mount("--metrics-addr", "0")
    port = dataset.status(mountpoint)["metrics_port"]
    other = dataset.work / "other"
    other.mkdir()

    done = run(
        "swiftfs", "mount", dataset.source, other, "--daemon", "--metrics-addr", str(port),
        "--cache-dir", dataset.work / "cache-other", environ=dataset.environ,
    )  # fmt: skip

    assert done.code == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in done.err
    assert not os.path.ismount(other)
