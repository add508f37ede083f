"""What mounting needs of this machine, checked one thing at a time, each with the command that mends it.

``mount`` uses the checks that can save it from a failure half-way; ``doctor`` shows them all. Nothing here touches a
mountpoint that may not answer before the list of mounts has been read.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swiftfs.errors import ConfigError, ContainerNotFound, SwiftFSError, UsageError
from swiftfs.mount.mounts import find_mount

if TYPE_CHECKING:
    from swiftfs.config import RemotePath

DEVICE = Path("/dev/fuse")
FUSE_CONF = Path("/etc/fuse.conf")
UNMOUNT_PATIENCE = 15.0
"""Seconds ``fusermount3`` may take to detach a dead mount."""
PROBE_PATIENCE = 5.0
"""Seconds a mountpoint gets to answer a look at it: a live one takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: how it is, whether that will do, and the mend (None when nothing needs one)."""

    what: str
    ok: bool
    found: str
    mend: str | None = None


def check_device() -> Check:
    """/dev/fuse is there and may be opened."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        mend = "sudo modprobe fuse (in a container: --device /dev/fuse --cap-add SYS_ADMIN)"
        return Check("FUSE device", False, f"{DEVICE} is not there", mend)
    except OSError as error:
        return Check("FUSE device", False, f"{DEVICE}: {error.strerror}", f"sudo chmod 0666 {DEVICE}")
    return Check("FUSE device", True, str(DEVICE))


def check_fusermount() -> Check:
    """fusermount3 is on the path."""
    path = shutil.which("fusermount3")
    if path is None:
        return Check("fusermount3", False, "not on the path", "sudo apt-get install fuse3")
    return Check("fusermount3", True, path)


def check_pyfuse3() -> Check:
    """The Python packages that mounting needs are installed."""
    missing = [name for name in ("pyfuse3", "trio") if importlib.util.find_spec(name) is None]
    if missing:
        mend = "sudo apt-get install libfuse3-dev pkg-config gcc && pip install 'swiftfs[mount]'"
        return Check("pyfuse3", False, f"not installed: {', '.join(missing)}", mend)
    return Check("pyfuse3", True, "installed")


def check_allow_other(*, uid: int | None = None, needed: bool = True) -> Check:
    """Containers and other users may be let in by user ``uid`` (None: the one who runs this).

    Without ``needed`` it will do either way, and what is found says how it is.
    """
    if (os.geteuid() if uid is None else uid) == 0:
        return Check("--allow-other", True, "root may use it")
    try:
        text = FUSE_CONF.read_text()
    except OSError:
        text = ""
    if allows_other(text):
        return Check("--allow-other", True, f"allowed by {FUSE_CONF}")
    mend = f"echo user_allow_other | sudo tee -a {FUSE_CONF}"
    if not needed:
        return Check("--allow-other", True, f"not allowed; should containers read the mount: {mend}")
    return Check("--allow-other", False, f"{FUSE_CONF} has no line user_allow_other", mend)


def allows_other(fuse_conf: str) -> bool:
    """Whether this text of fuse.conf lets users other than root give ``allow_other`` (fusermount3(1))."""
    return any(line.strip() == "user_allow_other" for line in fuse_conf.splitlines())


def check_mountpoint(path: Path, *, allow_non_empty: bool = False) -> Check:
    """The mountpoint is an empty directory of ours, and nothing is mounted on it."""
    found = find_mount(path)
    if found is not None:
        return _taken(path, f"{found.source} ({found.fstype})", ours=found.ours)
    make = f"sudo mkdir -p {path} && sudo chown $USER {path}"
    try:
        with os.scandir(path) as entries:
            empty = next(entries, None) is None
    except FileNotFoundError:
        return Check("mountpoint", False, f"{path} does not exist", make)
    except NotADirectoryError:
        return Check("mountpoint", False, f"{path} is not a directory", "name a directory")
    except OSError as error:
        return Check("mountpoint", False, f"{path}: {error.strerror}", make)
    if not empty and not allow_non_empty:
        return Check("mountpoint", False, f"{path} is not empty", "name an empty directory, or give --allow-non-empty")
    if os.geteuid() != 0 and not os.access(path, os.W_OK):
        return Check("mountpoint", False, f"{path} is not yours", f"sudo chown $USER {path}")
    return Check("mountpoint", True, f"{path} is free")


def _taken(path: Path, what: str, *, ours: bool) -> Check:
    """Something is mounted there: alive, or dead (ENOTCONN) after its process was killed."""
    state = probe(path)
    if state == errno.ENOTCONN:
        mend = f"mount with --recover, or fusermount3 -uz {path}" if ours else f"fusermount3 -uz {path}"
        return Check("mountpoint", False, f"{path} is a dead mount of {what}", mend)
    if state is None:
        found = f"{path} is a mount of {what} that does not answer"
        return Check("mountpoint", False, found, f"fusermount3 -uz {path}")
    mend = f"swiftfs umount {path}" if ours else f"unmount it, or name another directory than {path}"
    return Check("mountpoint", False, f"{path} is already mounted: {what}", mend)


def probe(path: Path) -> int | None:
    """The errno of looking at ``path``, 0 when it answers, None when it has not within :data:`PROBE_PATIENCE`.

    ``statvfs`` always asks the mount's process, where ``stat`` may be answered by the kernel's memory long after that
    has died. One that hangs never answers: the look is left behind in its own thread, which ends with us.
    """
    answers: list[int] = []

    def look() -> None:
        try:
            os.statvfs(path)
            answers.append(0)
        except ConnectionAbortedError:
            answers.append(errno.ENOTCONN)  # it died while it was asked; whoever asks next gets ENOTCONN
        except OSError as error:
            answers.append(error.errno or errno.EIO)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(PROBE_PATIENCE)
    return answers[0] if answers else None


def before_mount(path: Path, *, allow_other: bool, allow_non_empty: bool, recover: bool) -> None:
    """What would make a mount on ``path`` fail, found before anything is started. Raises ConfigError."""
    if recover:
        _recover(path)
    checks: list[Callable[[], Check]] = [check_device, check_fusermount, check_pyfuse3]
    if allow_other:
        checks.append(check_allow_other)
    checks.append(lambda: check_mountpoint(path, allow_non_empty=allow_non_empty))
    for check in checks:
        result = check()
        if not result.ok:
            raise ConfigError(result.found, hint=result.mend)


def _recover(path: Path) -> None:
    """Detach a dead mount that was ours; leave everything else alone. Raises ConfigError."""
    found = find_mount(path)
    if found is None or not found.ours:
        return
    if probe(path) != errno.ENOTCONN:
        return
    command = ["fusermount3", "-uz", os.fspath(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=UNMOUNT_PATIENCE, check=False)
    except FileNotFoundError:
        return  # the checks say so, and how to mend it
    except subprocess.TimeoutExpired:
        raise ConfigError(f"fusermount3 does not detach the dead mount on {path}") from None
    if done.returncode:
        raise ConfigError(f"cannot detach the dead mount on {path}: {done.stderr.strip()}") from None


async def check_store(path: RemotePath | None, environ: Mapping[str, str]) -> list[Check]:
    """Credentials, region, endpoint and container, each by really using it; ends at the first that fails."""
    from swiftfs.config import configured_remotes, find_remote
    from swiftfs.swift.client import open_client

    if path is None:
        try:
            names = configured_remotes(environ)
        except SwiftFSError as error:
            return [Check("remotes", False, error.message, error.hint)]
        if names:
            return [Check("remotes", True, ", ".join(names))]
        return [Check("remotes", False, "no Swift remote in rclone.conf", "see 'Credentials' in README.md")]
    checks: list[Check] = []
    what = "remote"
    try:
        remote = find_remote(path.remote, environ)
        checks.append(Check(what, True, remote.source))
        what = "credentials"
        async with open_client(remote) as client:
            checks.append(Check(what, True, f"good for region {remote.region or '(the first)'}"))
            checks.append(Check("endpoint", True, await client.storage_url()))
            if path.container:
                what = "container"
                info = await client.container_info(path.container)
                found = f"{info.name}: {info.count:,} objects, {info.size:,} bytes"
                checks.append(Check(what, True, found))
    except UsageError:
        raise
    except SwiftFSError as error:
        mend = error.hint
        if isinstance(error, ContainerNotFound):
            mend = f"swiftfs mkdir {path.remote}:{path.container}"
        elif what == "credentials" and isinstance(error, ConfigError):
            what = "region and endpoint"  # Keystone refuses nothing here: its catalogue lacks what the remote names
        checks.append(Check(what, False, error.message, mend))
    return checks
