"""A file system process that is stopped, and one that is only busy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes.programs import check, tree_of

from swiftfs.config import runtime_directory
from swiftfs.fetch.watchdog import patience
from swiftfs.mount.ask import socket_path

from .conftest import Dataset

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]

DEADLINE = 4
"""Seconds: its quarter is the stall timer, which a busy store must keep."""
SILENCE = patience(DEADLINE)
"""Seconds after which a silent process is given up: the least there are, for two deadlines are less."""
PATIENCE = SILENCE + 60
"""Seconds that a reader may hang: that, and what a slow machine adds."""

KILLS = 400
"""Readers: of as many a few were killed at the wrong moment, before the descriptor was one that does not wait."""


@pytest.mark.row("P8")
def test_readers_of_a_stopped_process_get_an_error(dataset: Dataset) -> None:
    """A read that was waiting when the process stopped, and one that came later, end with an error; both processes end,
    and --recover makes the mount anew."""
    mountpoint, cache = dataset.work / "wedged", dataset.work / "cache-wedged"
    mountpoint.mkdir()
    options = ["--daemon", "--cache-dir", cache, "--prefetch", "off", "--deadline", f"{DEADLINE}s"]
    check("swiftfs", "mount", dataset.source, mountpoint, *options, environ=dataset.environ)
    dataset.stack.callback(subprocess.run, ["fusermount3", "-uzq", mountpoint], check=False)
    status = dataset.status(mountpoint)
    path = max(mountpoint.rglob("*.jpg"), key=lambda found: found.stat().st_size)
    os.kill(status["pid"], signal.SIGSTOP)
    dataset.stack.callback(kill_if_there, status["pid"])
    readers = [subprocess.Popen(["cat", path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]

    said = [reader.communicate(timeout=PATIENCE)[1] for reader in readers]

    assert [reader.returncode for reader in readers] == [1, 1]
    assert all(b"cat:" in words for words in said)
    limit = time.monotonic() + PATIENCE
    while any(os.path.exists(f"/proc/{status[name]}/exe") for name in ("pid", "fetch_pid")):
        assert time.monotonic() < limit
        time.sleep(0.05)
    check("swiftfs", "mount", dataset.source, mountpoint, *options, "--recover", environ=dataset.environ)
    assert tree_of(mountpoint) == tree_of(dataset.tree)
    check("swiftfs", "umount", mountpoint, environ=dataset.environ)


def kill_if_there(pid: int) -> None:
    """End a process that a failed test has left stopped."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            ours = b"swiftfs" in line.read()
    except OSError:
        return
    if ours:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.row("P8")
def test_a_busy_mount_is_left_alone(dataset: Dataset) -> None:
    """Eight readers for longer than the watchdog's patience: the processes stay the same, and every read
    succeeds."""
    mountpoint = dataset.mount("--deadline", f"{DEADLINE}s", "--cache-size", "0", "--prefetch", "off")
    before = dataset.status(mountpoint)
    reader = (
        "import os, sys, time\n"
        "limit, count = time.monotonic() + float(sys.argv[2]), 0\n"
        "while time.monotonic() < limit:\n"
        "    for top, _, names in os.walk(sys.argv[1]):\n"
        "        for name in names:\n"
        "            descriptor = os.open(os.path.join(top, name), os.O_RDONLY)\n"
        "            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)\n"
        "            count += len(os.read(descriptor, 300_000))\n"
        "            os.close(descriptor)\n"
        "print(count)\n"
    )

    def read(_: int) -> int:
        command = [sys.executable, "-S", "-c", reader, str(mountpoint / "training"), str(1.1 * SILENCE)]
        return int(subprocess.run(command, capture_output=True, check=True).stdout)

    with ThreadPoolExecutor(8) as readers:
        counts = list(readers.map(read, range(8)))
    after = dataset.status(mountpoint)

    assert min(counts) > 0
    assert (after["pid"], after["fetch_pid"], after["fetch_restarts"]) == (before["pid"], before["fetch_pid"], 0)


def test_a_reader_that_is_killed_at_any_moment_holds_nobody_up(dataset: Dataset) -> None:
    """Also between the kernel's word of its request and the reading of that, which finds nothing: the process goes on
    at once, and not when somebody else happens to look at the mount."""
    mountpoint = dataset.mount("--prefetch", "off")
    pid = dataset.status(mountpoint)["pid"]
    socket = socket_path(runtime_directory(dataset.environ), mountpoint)
    killer = (
        "import os, random, sys, time\n"
        "from pathlib import Path\n"
        "from swiftfs.mount.ask import ask\n"
        "mountpoint, socket, draw = sys.argv[1], Path(sys.argv[2]), random.Random(7)\n"
        "for number in range(int(sys.argv[3])):\n"
        "    if not (reader := os.fork()):\n"
        "        try:\n"
        "            os.stat(f'{mountpoint}/absent-{number}')\n"
        "        finally:\n"
        "            os._exit(0)\n"
        "    time.sleep(draw.uniform(0, 0.0015))\n"
        "    os.kill(reader, 9)\n"
        "    os.waitpid(reader, 0)\n"
        "    ask(socket, {'command': 'status'}, patience=10)\n"
    )

    said = subprocess.run(
        [sys.executable, "-c", killer, mountpoint, socket, str(KILLS)],
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip

    assert (said.returncode, said.stderr) == (0, "")
    assert dataset.status(mountpoint)["pid"] == pid
