"""What the options of ``swiftfs mount`` do, seen from outside: by stat, by the kernel's requests, by who is let in."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from pathlib import Path

import pytest
from fakes.programs import check, mounted, run, tree_of, until, write_tree

from swiftfs.cli.rclone_mount import OF_MOUNT, Answer
from swiftfs.mount.kernel import READ_AHEAD_KB
from swiftfs.mount.mounts import find_mount

from .conftest import Dataset

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]

LOOKS = 10
"""Times that one name is looked at; the command that asks for the figures asks the mount's kernel side for nothing."""


def a_file(mountpoint: Path) -> Path:
    return next(mountpoint.rglob("*.jpg"))


def read_ahead(mountpoint: Path) -> int:
    """What the kernel's setting for a mount is, in KiB."""
    found = find_mount(mountpoint)
    assert found is not None
    return int(Path(f"/sys/class/bdi/{found.device}/read_ahead_kb").read_text())


def requests_of(dataset: Dataset, mountpoint: Path, path: Path) -> int:
    """The kernel's requests for looking at ``path`` :data:`LOOKS` times, when it knew it before."""
    path.stat()
    before = dataset.status(mountpoint)["fuse_requests"]
    for _ in range(LOOKS):
        path.stat()
    after: int = dataset.status(mountpoint)["fuse_requests"]
    return after - before


def test_owner_and_permission_bits_are_as_told(dataset: Dataset) -> None:
    """--uid and --gid own everything; --file-perms and --dir-perms less --umask are the modes, without write bits."""
    plain = dataset.mount()
    options = ("--uid", "1234", "--gid", "4321", "--umask", "027", "--file-perms", "0675", "--dir-perms", "0777")
    told = dataset.mount(*options)

    def looks(mountpoint: Path) -> list[tuple[int, int, str]]:
        found = [path.stat() for path in (mountpoint, a_file(mountpoint).parent, a_file(mountpoint))]
        return [(one.st_uid, one.st_gid, stat.filemode(one.st_mode)) for one in found]

    mine = (os.getuid(), os.getgid())
    assert looks(plain) == [(*mine, "dr-xr-xr-x"), (*mine, "dr-xr-xr-x"), (*mine, "-r--r--r--")]
    assert looks(told) == [(1234, 4321, "dr-xr-x---"), (1234, 4321, "dr-xr-x---"), (1234, 4321, "-r--r-x---")]
    assert tree_of(told) == tree_of(dataset.tree)


def test_the_kernel_keeps_attributes_and_names_as_long_as_told(dataset: Dataset) -> None:
    """With the defaults the kernel asks for nothing twice; with --attr-timeout 0 it asks for the attributes at every
    look, with --dir-cache-time 0 for the name."""
    kept = dataset.mount("--refresh", "off")
    for_attributes = dataset.mount("--refresh", "off", "--attr-timeout", "0")
    for_names = dataset.mount("--refresh", "off", "--dir-cache-time", "0s", "--attr-timeout", "1h30m")

    assert requests_of(dataset, kept, a_file(kept)) == 0
    assert requests_of(dataset, for_attributes, a_file(for_attributes)) >= LOOKS
    assert requests_of(dataset, for_names, a_file(for_names)) >= LOOKS


def test_a_time_passes_until_the_kernel_asks_again(dataset: Dataset) -> None:
    """A short --attr-timeout with 'off' for names: the kernel asks again once that time is over, not before it."""
    mountpoint = dataset.mount("--refresh", "off", "--attr-timeout", "300ms", "--dir-cache-time", "off")
    path = a_file(mountpoint)
    path.stat()
    before = dataset.status(mountpoint)["fuse_requests"]

    def asked_again() -> bool:
        path.stat()
        return bool(dataset.status(mountpoint)["fuse_requests"] > before)

    until(asked_again)


def test_the_flags_of_rclone_mount_are_taken_with_a_note(dataset: Dataset) -> None:
    """All that change nothing here, at once: they mount, say with -v what is instead, without it only what lacks, and
    the files read right."""
    flags = [word for name, flag in OF_MOUNT.items() for word in (f"--{name}", *(["1"] if flag.has_value else []))]
    flags += ["--vfs-cache-max-size", "1G", "--vfs-cache-min-free-space", "1M", "--vfs-read-chunk-streams", "0"]
    mountpoint = dataset.work / "flags"
    mountpoint.mkdir()
    command = ["mount", dataset.source, mountpoint, "--daemon", "--cache-dir", dataset.work / "flags-cache", *flags]
    for verbose in ([], ["--log-level", "INFO", "--timeout", "0"]):
        done = run("swiftfs", *command, *verbose, environ=dataset.environ)
        try:
            assert done.code == 0, done.err
            assert tree_of(mountpoint) == tree_of(dataset.tree)
            assert dataset.status(mountpoint)["fetch"]["cache_limit"] == 1 << 30
        finally:
            check("swiftfs", "umount", mountpoint, environ=dataset.environ)
        said = done.err.splitlines()
        lines = {f"swiftfs: --{name}: {flag.text}": flag.answer for name, flag in OF_MOUNT.items()}
        assert {line for line, answer in lines.items() if verbose or answer is Answer.WARNING} == lines.keys() & {*said}
        assert verbose or {*said} <= lines.keys()


def test_a_component_over_255_bytes_is_too_long(dataset: Dataset) -> None:
    """Looking for a name of 256 bytes gives ENAMETOOLONG, however many characters it has; one of 255 is just absent."""
    mountpoint = dataset.mount()
    found = {}
    for name in ("x" * 255, "x" * 256, "ü" * 127, "ü" * 128, "x" * 1025):
        with pytest.raises(OSError, match=r"too long|No such") as caught:
            (mountpoint / name).stat()
        found[len(os.fsencode(name))] = caught.value.errno
    assert os.statvfs(mountpoint).f_namemax == 255
    assert found == {
        255: errno.ENOENT,
        256: errno.ENAMETOOLONG,
        254: errno.ENOENT,
        1025: errno.ENAMETOOLONG,
    }


def test_root_is_let_in_when_told(dataset: Dataset) -> None:
    """--allow-root is --allow-other to the kernel; without either it is told neither."""
    plain, told = dataset.mount(), dataset.mount("--allow-root")
    options = {line.split()[1]: line.split()[3].split(",") for line in Path("/proc/mounts").read_text().splitlines()}

    assert "allow_other" not in options[str(plain)]
    assert "allow_other" in options[str(told)]


def test_a_directory_with_files_is_covered_only_when_told(dataset: Dataset) -> None:
    """Without --allow-non-empty such a mountpoint is refused; with it the container covers the files, which are there
    again after it."""
    mountpoint = write_tree(dataset.work / "full", {"mine": b"mine"})
    refused = run("swiftfs", "mount", dataset.source, mountpoint, "--daemon", environ=dataset.environ)
    options = ["--daemon", "--allow-non-empty", "--cache-dir", dataset.work / "full-cache"]
    check("swiftfs", "mount", dataset.source, mountpoint, *options, environ=dataset.environ)
    content = tree_of(mountpoint)
    check("swiftfs", "umount", mountpoint, environ=dataset.environ)

    assert (refused.code, "--allow-non-empty" in refused.err) == (1, True)
    assert content == tree_of(dataset.tree)
    assert tree_of(mountpoint) == {b"mine": b"mine"}


def test_the_kernels_settings_are_left_alone_when_told(dataset: Dataset) -> None:
    """The kernel reads ahead as far as one request may carry, and the mount's log says so; with --no-kernel-tuning
    neither."""
    logs = {name: dataset.work / f"{name}.log" for name in ("tuned", "untuned")}
    tuned = dataset.mount("--log-file", logs["tuned"])
    untuned = dataset.mount("--log-file", logs["untuned"], "--no-kernel-tuning")

    assert "kernel: read_ahead_kb" in logs["tuned"].read_text()
    assert "kernel:" not in logs["untuned"].read_text()
    assert read_ahead(tuned) == READ_AHEAD_KB
    assert read_ahead(untuned) < READ_AHEAD_KB


def test_a_disk_without_the_room_to_leave_free_gets_no_cache(dataset: Dataset) -> None:
    """With more to leave free than the disk has, nothing is kept on it and everything reads right."""
    mountpoint = dataset.mount("--cache-min-free", "8000T")

    assert tree_of(mountpoint) == tree_of(dataset.tree)
    assert dataset.status(mountpoint)["fetch"]["cache_bytes"] == 0


def test_a_busy_mount_is_detached_when_told(dataset: Dataset) -> None:
    """``umount --lazy`` of a mount in use takes it out of the tree at once; the open file reads on to its end, and the
    processes end when it is closed, whatever was mounted in its place since."""
    mountpoint = dataset.mount("--prefetch", "off")
    path = max(mountpoint.rglob("*.jpg"), key=lambda found: found.stat().st_size)
    content = (dataset.tree / path.relative_to(mountpoint)).read_bytes()
    status = dataset.status(mountpoint)
    with path.open("rb", buffering=0) as file:
        assert run("swiftfs", "umount", mountpoint, environ=dataset.environ).code == 1
        check("swiftfs", "umount", "--lazy", mountpoint, environ=dataset.environ)

        assert not os.path.ismount(mountpoint)
        assert list(mountpoint.iterdir()) == []
        successor = mounted(dataset.source, mountpoint, "--cache-dir", dataset.work / "other", environ=dataset.environ)
        dataset.stack.enter_context(successor)
        assert b"".join(iter(lambda: file.read(40_000), b"")) == content
        assert os.path.exists(f"/proc/{status['pid']}/exe")
    for pid in (status["pid"], status["fetch_pid"]):
        until(lambda pid=pid: not os.path.exists(f"/proc/{pid}/exe"))
    assert status["pid"] != dataset.status(mountpoint)["pid"]


def test_a_hangup_shows_what_is_new(dataset: Dataset) -> None:
    """``kill -HUP`` of a mount's process makes it list again: a new file appears, a name looked for before included."""
    mountpoint = dataset.mount("--refresh", "off")
    with pytest.raises(FileNotFoundError):
        (mountpoint / "training/new.jpg").stat()
    more = write_tree(dataset.work / "more", {"training/new.jpg": b"new"})
    check("swiftfs", "load", more, dataset.source, environ=dataset.environ)
    assert "new.jpg" not in os.listdir(mountpoint / "training")
    subprocess.run(["kill", "-HUP", str(dataset.status(mountpoint)["pid"])], check=True)

    until(lambda: (mountpoint / "training/new.jpg").exists())
    assert (mountpoint / "training/new.jpg").read_bytes() == b"new"
    assert dataset.status(mountpoint)["files"] == 61
