"""Rows of the fault matrix about processes, clocks, memory and what is taken away, through real mounts."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.clock import WrongClock
from fakes.fault_proxy import EditPage, Fault, FaultProxy, Stall
from fakes.programs import PATIENCE, check, mount_status, mounted, run, through, tree_of, until, write_tree

from swiftfs.fetch.watchdog import patience

from .conftest import Dataset

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]

HOUR = 3600


@pytest.fixture
def proxy(dataset: Dataset) -> Iterator[FaultProxy]:
    """A proxy that the dataset's mounts go through."""
    with FaultProxy(dataset.cloud.storage_url) as running:
        dataset.environ = through(dataset.cloud, running.url, dataset.work)
        yield running
        dataset.stack.close()


def largest(dataset: Dataset, mountpoint: Path) -> tuple[Path, bytes]:
    """A file of the mount and its bytes."""
    path = max(dataset.tree.rglob("*.jpg"), key=lambda found: found.stat().st_size)
    return mountpoint / path.relative_to(dataset.tree), path.read_bytes()


@pytest.mark.row("S5")
def test_a_mount_can_do_nothing_but_be_read(dataset: Dataset) -> None:
    """It is read-only, without set-user-id bits and devices, its permissions are the kernel's to check, and others are
    kept out."""
    mountpoint = dataset.mount()
    lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    options = next(line[3].split(",") for line in lines if line[1] == str(mountpoint))

    assert {"ro", "nosuid", "nodev", "default_permissions"} <= set(options)
    assert "allow_other" not in options


@pytest.mark.row("L9")
def test_a_container_that_is_deleted_takes_no_mount_along(dataset: Dataset) -> None:
    """What was read stays readable, what was not is gone with ESTALE or ENOENT, refresh says why it fails, and when the
    container is back so are its files."""
    mountpoint = dataset.mount("--refresh", "off", "--prefetch", "off")
    names = sorted(path for path in mountpoint.rglob("*.jpg") if path.stat().st_size)
    kept = names[0].read_bytes()
    check("swiftfs", "purge", dataset.source, environ=dataset.environ)

    with pytest.raises(OSError, match=r"Stale|No such") as caught:
        names[1].read_bytes()
    assert caught.value.errno in {errno.ESTALE, errno.ENOENT}
    assert names[0].read_bytes() == kept
    refused = run("swiftfs", "refresh", mountpoint, environ=dataset.environ)
    assert refused.code != 0
    assert dataset.container in refused.err
    check("swiftfs", "load", dataset.tree, dataset.source, environ=dataset.environ)
    check("swiftfs", "refresh", mountpoint, environ=dataset.environ)
    until(lambda: tree_of(mountpoint) == tree_of(dataset.tree))


@pytest.mark.row("C9")
def test_a_cache_file_that_is_cut_under_a_reader_is_fetched_again(dataset: Dataset) -> None:
    """Every file of the cache cut to half or to nothing while the mount has them open: each read gives the right
    bytes."""
    cache = dataset.work / "cut"
    mountpoint = dataset.mount("--cache-dir", cache, "--refresh", "off")
    right = tree_of(mountpoint)
    files = [path for path in cache.rglob("*") if path.is_file() and len(path.name) == 32]
    assert files
    for number, path in enumerate(files):
        os.truncate(path, number % 2 * path.stat().st_size // 2)
    for path in mountpoint.rglob("*.jpg"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)

    assert tree_of(mountpoint) == right


@pytest.mark.row("T3")
def test_a_store_that_lists_names_it_cannot_have_shows_none_of_them(dataset: Dataset, proxy: FaultProxy) -> None:
    """Names with a NUL are left out and counted, no other name is cut or lost; a page with a name that is no Unicode is
    refused, and the tree stays as it was."""

    def listing_also(*more: str) -> EditPage:
        def lie(rows: list[dict[str, object]]) -> object:
            made = [{**rows[0], "name": name} for name in more] if rows else []
            return sorted(
                rows + made, key=lambda row: str(row.get("name") or row["subdir"]).encode("utf-8", "surrogatepass")
            )

        return EditPage(lie)

    with proxy.broken(Fault(listing_also("training/a\0b.jpg", "training/\0"), "GET", "limit=", count=None)):
        mountpoint = dataset.mount("--refresh", "off")
        status = dataset.status(mountpoint)
    with proxy.broken(Fault(listing_also("training/\ud800.jpg"), "GET", "limit=", count=None)):
        assert run("swiftfs", "refresh", mountpoint, environ=dataset.environ).code != 0

    assert tree_of(mountpoint) == tree_of(dataset.tree)
    assert status["fetch"]["hidden"] == 2


FORK_WATCH = """
import sys, threading

def watch(event, args):
    if event in ("os.fork", "os.forkpty"):
        import os
        with open(os.environ["FORK_WATCH"], "a") as file:
            running = "asyncio" in sys.modules and sys.modules["asyncio"]._get_running_loop() is not None
            print(threading.active_count(), len(os.listdir("/proc/self/task")), running, file=file)

sys.addaudithook(watch)
"""


@pytest.mark.row("P9")
def test_a_mount_forks_before_it_has_threads_or_a_loop(dataset: Dataset) -> None:
    """Whenever a process of the mount forks it has one thread and no running event loop."""
    site = write_tree(dataset.work / "site", {"sitecustomize.py": FORK_WATCH.encode()})
    seen = dataset.work / "forks"
    paths = os.pathsep.join([str(site), *sys.path[:0], os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environ = {**dataset.environ, "PYTHONPATH": paths, "FORK_WATCH": str(seen)}
    options = ["--cache-dir", dataset.work / "cache-fork"]
    with mounted(dataset.source, dataset.work / "mnt-fork", *options, environ=environ) as mountpoint:
        assert tree_of(mountpoint) == tree_of(dataset.tree)

    assert set(seen.read_text().splitlines()) == {"1 1 False"}


@pytest.mark.row("P10")
def test_clocks_that_are_wrong_and_that_jump_change_nothing(dataset: Dataset) -> None:
    """A load and a mount an hour behind, then two hours ahead at once, then beyond 2038: bytes and times are right,
    refreshes work, no read fails, and what was loaded is not sent again."""
    clock = WrongClock.made(dataset.work)
    clock.set(-HOUR)
    faked = {**dataset.environ, **clock.environ}
    assert "0 sent" in check("swiftfs", "load", dataset.tree, dataset.source, environ=faked)
    options = ["--cache-dir", dataset.work / "cache-clock", "--refresh", "1s", "--prefetch", "off"]
    with mounted(dataset.source, dataset.work / "mnt-clock", *options, environ=faked) as mountpoint:
        names = sorted(mountpoint.rglob("*.jpg"))
        for number, offset in enumerate((-HOUR, HOUR, 13 * 365 * 24 * HOUR, 0)):
            clock.set(offset)
            for path in names[number::4]:
                assert path.read_bytes() == (dataset.tree / path.relative_to(mountpoint)).read_bytes()
            write_tree(dataset.work / "more", {f"later/{number}": b"x"})
            check("swiftfs", "load", dataset.work / "more", dataset.source, environ=dataset.environ)
            check("swiftfs", "refresh", mountpoint, environ=faked)
            until(lambda number=number, top=mountpoint: (top / f"later/{number}").exists())  # type: ignore[misc]
        assert (mountpoint / "later/0").stat().st_mtime == pytest.approx(time.time(), abs=HOUR / 2)
        assert mount_status(mountpoint, environ=dataset.environ)["reads"]["errors"] == 0


@contextlib.contextmanager
def memory_limit(size: int) -> Iterator[tuple[Path, Callable[[], int]]]:
    """A control group that holds ``size`` bytes: its file of processes, and how many of them were killed for memory."""
    name = f"swiftfs-test-{secrets.token_hex(4)}"
    old = Path("/sys/fs/cgroup/memory")
    if old.is_dir():
        group, limit, events = old / name, "memory.limit_in_bytes", "memory.oom_control"
    else:
        group, limit, events = Path("/sys/fs/cgroup") / name, "memory.max", "memory.events"
        with contextlib.suppress(OSError):
            (group.parent / "cgroup.subtree_control").write_text("+memory")
    group.mkdir()
    (group / limit).write_text(str(size))

    def killed() -> int:
        rows = dict(line.split() for line in (group / events).read_text().splitlines())
        return int(rows["oom_kill"])

    try:
        yield group / "cgroup.procs", killed
    finally:
        until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


@pytest.mark.row("P11")
def test_a_mount_lives_in_128_mib(dataset: Dataset) -> None:
    """Both processes, the cache's pages and eight readers of small and large files stay within 128 MiB: nothing is
    killed, every byte is right."""
    more = {f"large/{n}.bin": os.urandom(24 << 20) for n in range(3)}
    check("swiftfs", "load", write_tree(dataset.work / "more", more), dataset.source, environ=dataset.environ)
    mountpoint = dataset.work / "mnt-memory"
    mountpoint.mkdir()
    with memory_limit(128 << 20) as (procs, killed):
        command = [sys.executable, "-m", "swiftfs", "mount", dataset.source, str(mountpoint), "--daemon"]
        command += ["--cache-dir", str(dataset.work / "cache-memory")]
        inside = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(procs), *command]
        subprocess.run(inside, env=dataset.environ, check=True, timeout=4 * PATIENCE)
        try:
            readers = [subprocess.Popen(["cmp", mountpoint / name, dataset.work / "more" / name]) for name in more]
            assert tree_of(mountpoint / "training") == tree_of(dataset.tree / "training")
            assert [reader.wait(4 * PATIENCE) for reader in readers] == [0] * len(readers)
            assert killed() == 0
        finally:
            check("swiftfs", "umount", mountpoint, environ=dataset.environ)


@pytest.mark.row("P13")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_reader_that_is_interrupted_goes_at_once_and_leaves_nothing(
    dataset: Dataset, proxy: FaultProxy, number: signal.Signals
) -> None:
    """A reader that hangs on a stalled store ends with the signal, other reads go on, and the next one of that file is
    right."""
    deadline = 24
    mountpoint = dataset.mount("--refresh", "off", "--prefetch", "off", "--deadline", f"{deadline}s")
    path, content = largest(dataset, mountpoint)
    other = next(found for found in mountpoint.rglob("*.jpg") if found.stat().st_size and found != path)
    before = dataset.status(mountpoint)
    with proxy.broken(Fault(Stall(), "GET", f"/{path.name}$", count=None)) as seen:
        reader = subprocess.Popen(["cat", path], stdout=subprocess.DEVNULL)
        until(lambda: seen)
        begun = time.monotonic()
        reader.send_signal(number)
        assert reader.wait(deadline) == -number
        assert time.monotonic() - begun < deadline / 2
        assert other.read_bytes() == (dataset.tree / other.relative_to(mountpoint)).read_bytes()
    assert path.read_bytes() == content
    after = dataset.status(mountpoint)
    assert (after["pid"], after["fetch_pid"]) == (before["pid"], before["fetch_pid"])
    until(lambda: dataset.status(mountpoint)["fetch"]["running"] == 0)


@pytest.mark.row("P15")
def test_a_machine_that_was_suspended_goes_on(dataset: Dataset) -> None:
    """Both processes stopped for longer than either waits for the other, as by a suspend, and let go: the same ones
    serve right bytes, also to a reader that was waiting."""
    deadline = 6  # its quarter is the stall timer, which a busy store must keep
    mountpoint = dataset.mount("--deadline", f"{deadline}s", "--prefetch", "off", "--refresh", "1s")
    before = dataset.status(mountpoint)
    pids = (before["pid"], before["fetch_pid"])
    path, content = largest(dataset, mountpoint)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    reader = subprocess.Popen(["cat", path], stdout=subprocess.PIPE)
    time.sleep(1.1 * patience(deadline))
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)

    assert reader.communicate(timeout=PATIENCE)[0] == content
    assert tree_of(mountpoint) == tree_of(dataset.tree)
    after = dataset.status(mountpoint)
    assert (after["pid"], after["fetch_pid"]) == pids
