"""A line of fstab through mount(8), and a service that tells systemd when its mount is there."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Dataset

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]

PATIENCE = 30.0


def test_a_line_of_fstab_mounts(dataset: Dataset) -> None:
    """mount(8) finds the helper under its name and mounts what the line says; options meant for mount(8) and systemd
    are no obstacle, ours are obeyed."""
    helpers, mountpoint = dataset.work / "sbin", dataset.work / "object"
    helpers.mkdir()
    mountpoint.mkdir()
    swiftfs = f"{shlex.quote(sys.executable)} -m swiftfs"
    call = "import sys; from swiftfs.__main__ import mount_helper; sys.exit(mount_helper())"
    helper = helpers / "mount.swiftfs"
    helper.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(call)} "$@"\n')
    helper.chmod(0o755)
    fstab = dataset.work / "fstab"
    options = f"allow_other,_netdev,nofail,ro,x-systemd.automount,cache-dir={dataset.work / 'cache'},file_perms=0440"
    fstab.write_text(f"{dataset.source} {mountpoint} swiftfs {options} 0 0\n")
    # In a mount namespace of its own /sbin has the helper, and this machine's /sbin stays as it is.
    script = f"""
        trap 'umount -l {mountpoint} 2>/dev/null' EXIT
        mount -t overlay overlay -o lowerdir={helpers}:$(realpath /sbin) $(realpath /sbin) &&
        mount --fstab {fstab} {mountpoint} &&
        {swiftfs} status --json {mountpoint} &&
        find {mountpoint} -type f -perm 0440 &&
        {swiftfs} umount {mountpoint}
    """
    environ = {**dataset.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], env=environ, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    status, *files = done.stdout.splitlines()
    assert json.loads(status)["remote"] == dataset.source
    assert len(files) == sum(path.is_file() for path in dataset.tree.rglob("*"))


def test_systemd_is_told_when_the_mount_answers(dataset: Dataset) -> None:
    """In the foreground with NOTIFY_SOCKET, as Type=notify sets it, READY=1 comes when the tree can be read."""
    mountpoint, address = dataset.work / "unit", dataset.work / "notify"
    mountpoint.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(address))
        listening.settimeout(PATIENCE)
        command = [sys.executable, "-m", "swiftfs", "mount", dataset.source, str(mountpoint)]
        command += ["--cache-dir", str(dataset.work / "cache-unit")]
        process = subprocess.Popen(command, env={**dataset.environ, "NOTIFY_SOCKET": str(address)})
        try:
            said = listening.recv(100)
            seen = os.listdir(mountpoint)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(PATIENCE)

    assert said == b"READY=1"
    assert seen == sorted(os.listdir(dataset.tree))
    assert code == 0
    assert not os.path.ismount(mountpoint)


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    """systemd-analyze has nothing to say about it but that the program is not where it will be."""
    unit = Path(__file__).parents[2] / "examples/systemd/swiftfs@.service"
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)

    assert [line for line in done.stderr.splitlines() if "is not executable" not in line] == []
