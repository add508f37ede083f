"""What a running mount shows of its secrets: nothing."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from fakes.discipline import TOKEN
from fakes.programs import check, tree_of

from .conftest import Dataset

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]


@pytest.mark.row("S1")
def test_a_running_mount_shows_no_secret(dataset: Dataset) -> None:
    """Status, figures, the control socket, arguments and variables of both processes and every file of the mount's
    home hold neither the token nor the secret, at the most detailed level of logging."""
    home = dataset.work / "home"
    home.mkdir()
    dataset.environ = {**dataset.environ, "HOME": str(home)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    mountpoint = dataset.mount("-vv", "--metrics-addr", address)
    tree_of(mountpoint)
    status = dataset.status(mountpoint)
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        shown = answer.read()
    shown += check("swiftfs", "status", mountpoint, environ=dataset.environ).encode()
    for pid in (status["pid"], status["fetch_pid"]):
        shown += Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    files = [path for top in (home, dataset.work / "cache1") for path in top.rglob("*") if path.is_file()]
    assert any(b"DEBUG" in path.read_bytes() for path in files), "nothing was logged"
    shown += b"".join(path.read_bytes() for path in files)

    assert TOKEN.search(shown) is None
    assert dataset.cloud.application_credential_secret.encode() not in shown


@pytest.mark.row("S1")
def test_no_process_of_a_mount_is_dumped(dataset: Dataset) -> None:
    """The limit for core dumps of both processes of a mount is 0."""
    status = dataset.status(dataset.mount())
    for pid in (status["pid"], status["fetch_pid"]):
        assert re.search(r"Max core file size\s+0\s+0", Path(f"/proc/{pid}/limits").read_text())


@pytest.mark.row("S1")
@pytest.mark.parametrize("begun", ["swiftfs.__main__.main()", "swiftfs.privacy.keep_private()"])
def test_a_command_is_never_dumped(begun: str) -> None:
    """Neither core dumps by pipe nor other processes of the user get the memory of a command."""
    program = (
        "import ctypes, sys, swiftfs.__main__, swiftfs.privacy; sys.argv[1:] = ['version'];"
        f"{begun}; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    )
    done = subprocess.run([sys.executable, "-c", program], env=os.environ, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == b"0"
