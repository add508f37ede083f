"""A mount in podman containers, read there by a user who is not root, as training jobs do."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.programs import mounted

from .conftest import Dataset

pytestmark = [pytest.mark.cloud, pytest.mark.fuse, pytest.mark.container]

RUNTIME = ["--runtime", "runc"] if shutil.which("runc") else []
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
APPLETS = ("sh", "find", "md5sum", "xargs", "id", "sleep", "touch")
USER = "1000"
JOB = "cd {top} && /bin/find . -type f -print0 | /bin/xargs -0 /bin/md5sum"


def podman(*words: str | Path, expected: int = 0) -> str:
    """Run podman to its end; returns its output."""
    command = ["podman", *RUNTIME, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == expected, f"{command} ended with {done.returncode}: {done.stderr}{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image that holds busybox and nothing else."""
    name = f"localhost/swiftfs-test-{secrets.token_hex(4)}"
    root = tmp_path_factory.mktemp("image")
    (root / "bin").mkdir()
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    archive = tmp_path_factory.mktemp("archive") / "image.tar"
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
    podman("import", "-q", archive, name)
    yield name
    podman("rmi", "-f", name)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A directory whose mounts propagate, as those of / do where systemd runs."""
    where = tmp_path / "shared"
    where.mkdir(mode=0o755)
    subprocess.run(["mount", "--bind", where, where], check=True)
    subprocess.run(["mount", "--make-rshared", where], check=True)
    yield where
    subprocess.run(["umount", "-l", where], check=True)


def sums(tree: Path) -> set[str]:
    """Every file of ``tree`` as md5sum prints it there."""
    out = subprocess.run(["sh", "-c", JOB.format(top=tree)], capture_output=True, text=True, check=True).stdout
    return set(out.splitlines())


@pytest.mark.row("S6")
def test_a_container_reads_the_mount_as_a_user_who_is_not_root(dataset: Dataset, image: str) -> None:
    """Bind-mounted read-only, every file has its bytes for user 1000, and nothing can be written there."""
    mountpoint = dataset.mount("--allow-other")
    bind = f"type=bind,source={mountpoint},target=/mnt/data,readonly"
    started = ["run", "--rm", "--network", "none", *LIMITS, "--user", USER, "--mount", bind, image]

    out = podman(*started, "/bin/sh", "-c", "/bin/id -u; " + JOB.format(top="/mnt/data")).splitlines()
    podman(*started, "/bin/touch", "/mnt/data/new", expected=1)

    assert out[0] == USER
    assert set(out[1:]) == sums(dataset.tree)


@pytest.mark.row("S4", "S6")
def test_without_allow_other_a_container_is_kept_out(dataset: Dataset, image: str) -> None:
    """The mount belongs to who made it: another user sees nothing of it in a container either."""
    mountpoint = dataset.mount()
    bind = f"type=bind,source={mountpoint},target=/mnt/data,readonly"

    podman(
        "run", "--rm", "--network", "none", *LIMITS, "--user", USER, "--mount", bind, image,
        "/bin/find", "/mnt/data", "-mindepth", "1", expected=1,
    )  # fmt: skip


@pytest.mark.row("P7", "S6")
def test_a_running_container_sees_the_mount_that_is_made_again(dataset: Dataset, image: str, shared: Path) -> None:
    """With the directory above bound as a slave, a container that was there first reads each mount that comes."""
    bind = f"type=bind,source={shared},target=/mnt/data,readonly,bind-propagation=rslave"
    name = f"swiftfs-test-{secrets.token_hex(4)}"
    isolated = ["--rm", "-d", "--name", name, "--network", "none", *LIMITS, "--user", USER]
    podman("run", *isolated, "--mount", bind, image, "/bin/sleep", "600")
    job = JOB.format(top="/mnt/data/object")
    cache = dataset.work / "cache-shared"
    try:
        for _ in range(2):
            options = ("--allow-other", "--cache-dir", cache)
            with mounted(dataset.source, shared / "object", *options, environ=dataset.environ):
                out = podman("exec", name, "/bin/sh", "-c", job)
                assert set(out.splitlines()) == sums(dataset.tree)
            assert podman("exec", name, "/bin/find", "/mnt/data/object", "-type", "f") == ""
    finally:
        podman("rm", "-f", "-t", "0", name)
