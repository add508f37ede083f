"""swiftfs and its peers as programs, run as a user runs them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fakes.fault_proxy import Fault, FaultProxy, Kill

from swiftfs.localcloud import Cloud

BIN = Path(sys.executable).parent
TIMEOUT = 240
"""Seconds; no command of a test takes a tenth of that."""
PATIENCE = 60.0
"""Seconds for what takes one on an idle machine."""

PAUSE = 0.02
"""Seconds between two looks at what may have happened."""

T = TypeVar("T")


@dataclass(frozen=True)
class Done:
    """How a program ended and what it said."""

    code: int
    out: str
    err: str


def words_of(command: Sequence[str | Path]) -> list[str]:
    """The words of a command. ``swiftfs``, ``rclone`` and ``swift`` are those of this environment."""
    words = [os.fspath(word) for word in command]
    if words[0] == "swiftfs":
        words[:1] = [sys.executable, "-m", "swiftfs"]
    elif words[0] in {"rclone", "swift"}:
        words[0] = str(BIN / words[0])
    return words


def run(*command: str | Path, environ: Mapping[str, str], stdin: str | None = None, cwd: Path | None = None) -> Done:
    """Run a program to its end."""
    words = words_of(command)
    raw = None if stdin is None else os.fsencode(stdin)
    done = subprocess.run(
        words, env=dict(environ), input=raw, capture_output=True, timeout=TIMEOUT, check=False, cwd=cwd
    )
    # Not the text mode of subprocess: it would turn every carriage return into a newline.
    return Done(done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr))


def check(*command: str | Path, environ: Mapping[str, str], cwd: Path | None = None) -> str:
    """Run a program that must succeed; returns its output."""
    done = run(*command, environ=environ, cwd=cwd)
    assert done.code == 0, f"{command} ended with {done.code}: {done.err}"
    return done.out


def kill_after(
    proxy: FaultProxy, number: int, method: str, path: str, *command: str | Path, environ: Mapping[str, str]
) -> None:
    """Run a program that is killed at the request after ``number`` of a kind. The store has done those and no more of
    them, and whatever else it was asked, when this returns."""
    started: Future[subprocess.Popen[bytes]] = Future()
    kill = Kill(lambda: started.result().kill())
    with proxy.broken(Fault(kill, method, path, skip=number, count=None)):
        silent = subprocess.DEVNULL
        started.set_result(subprocess.Popen(words_of(command), env=dict(environ), stdout=silent, stderr=silent))
        assert started.result().wait(TIMEOUT) == -signal.SIGKILL
        proxy.settle()


@contextlib.contextmanager
def mounted(source: str, mountpoint: Path, *options: str | Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """A mount in the background, unmounted at the end unless the test has done that."""
    mountpoint.mkdir(exist_ok=True)
    check("swiftfs", "mount", source, mountpoint, "--daemon", *options, environ=environ)
    try:
        yield mountpoint
    finally:
        done = Done(0, "", "")
        if os.path.ismount(mountpoint):
            done = run("swiftfs", "umount", mountpoint, environ=environ)
        if done.code:
            run("swiftfs", "umount", "--lazy", mountpoint, environ=environ)
        assert done.code == 0, done.err


def mount_status(mountpoint: Path, *, environ: Mapping[str, str]) -> dict[str, Any]:
    """``swiftfs status --json`` of a mount."""
    status: dict[str, Any] = json.loads(check("swiftfs", "status", "--json", mountpoint, environ=environ))
    return status


def through(cloud: Cloud, url: str, top: Path) -> dict[str, str]:
    """The environment of a user of the cloud whose configuration names ``url`` as the store, with ``top`` as home."""
    config = top / "rclone.conf"
    config.write_text(cloud.rclone_conf.read_text() + f"storage_url = {url}\n")
    config.chmod(0o600)
    (top / "run").mkdir(mode=0o700)
    return {**os.environ, "RCLONE_CONFIG": str(config), "HOME": str(top), "XDG_RUNTIME_DIR": str(top / "run")}


def swift_environ(cloud: Cloud) -> dict[str, str]:
    """What python-swiftclient needs to log in with the cloud's application credential."""
    return {
        "OS_AUTH_TYPE": "v3applicationcredential",
        "OS_AUTH_URL": cloud.auth_url,
        "OS_APPLICATION_CREDENTIAL_ID": cloud.application_credential_id,
        "OS_APPLICATION_CREDENTIAL_SECRET": cloud.application_credential_secret,
        "OS_REGION_NAME": cloud.region,
        "ST_AUTH_VERSION": "3",
        "PYTHONWARNINGS": "ignore",
    }


def tree_of(top: Path) -> dict[bytes, bytes]:
    """Content of every file below ``top`` by relative path."""
    raw = os.fsencode(top)
    found = {}
    for directory, _, names in os.walk(raw):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, raw)] = file.read()
    return found


def write_tree(top: Path, files: Mapping[str, bytes]) -> Path:
    """Make the files below ``top``; returns it."""
    for name, content in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return top


READ_MAPPED = "import mmap, sys; sys.stdout.buffer.write(mmap.mmap(int(sys.argv[1]), 0, prot=mmap.PROT_READ))"


def mapped(descriptor: int) -> bytes | None:
    """The bytes of an open file through a mapping; None when a page of it could not be had (SIGBUS).

    In a process of its own: a page's fault holds the interpreter's lock, which a proxy in this one needs to answer it.
    """
    command = [sys.executable, "-S", "-c", READ_MAPPED, str(descriptor)]
    done = subprocess.run(command, pass_fds=[descriptor], capture_output=True, check=False)
    if done.returncode == -signal.SIGBUS:
        return None
    assert done.returncode == 0, done.stderr
    return done.stdout


def until(
    condition: Callable[[], T],
    patience: float = PATIENCE,
    instead: Callable[[], object] = lambda: "it did not happen in time",
) -> T:
    """What ``condition`` gives once that is true of it; fails with what there is ``instead`` when it is not in time."""
    limit = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < limit, instead()
        time.sleep(PAUSE)
    return found
