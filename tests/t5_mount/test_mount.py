"""Real mounts of a real Swift."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakes.programs import PATIENCE, check, mapped, run, tree_of, until, write_tree

from swiftfs.mount.mounts import find_mount
from swiftfs.mount.preflight import probe

from .conftest import Dataset

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]


def test_a_mounted_tree_is_the_loaded_tree(dataset: Dataset) -> None:
    """Every file that was loaded is there, with its bytes and its size, and nothing else is."""
    mountpoint = dataset.mount()

    assert tree_of(mountpoint) == tree_of(dataset.tree)
    for path in dataset.tree.rglob("*.jpg"):
        assert (mountpoint / path.relative_to(dataset.tree)).stat().st_size == path.stat().st_size


def test_the_second_epoch_asks_the_store_for_nothing(dataset: Dataset) -> None:
    """Read twice, the server's own log shows one GET for each file that has bytes, and then nothing at all."""
    mountpoint = dataset.mount("--refresh", "off")
    start = dataset.log_offset()
    first = tree_of(mountpoint)
    after_first = dataset.log_since(start)
    start = dataset.log_offset()

    assert tree_of(mountpoint) == first
    assert dataset.log_since(start) == []
    assert len([line for line in after_first if line.method == "GET"]) == sum(bool(body) for body in first.values())
    assert {line.method for line in after_first} == {"GET"}


def test_a_later_mount_finds_the_cache_and_the_index(dataset: Dataset) -> None:
    """What one mount fetched, the next one has: only the container is looked at, no object."""
    cache = dataset.work / "kept"
    first = dataset.mount("--cache-dir", cache)
    content = tree_of(first)
    check("swiftfs", "umount", first, environ=dataset.environ)
    start = dataset.log_offset()
    second = dataset.mount("--cache-dir", cache)

    assert tree_of(second) == content
    assert [line.path for line in dataset.log_since(start) if line.path.count("/") > 3] == []


def test_metadata_costs_no_request(dataset: Dataset) -> None:
    """Walking the tree with stat asks the store for nothing."""
    mountpoint = dataset.mount("--refresh", "off")
    start = dataset.log_offset()
    for directory, names, files in os.walk(mountpoint):
        for name in [*names, *files]:
            os.stat(os.path.join(directory, name))
    os.statvfs(mountpoint)

    assert dataset.log_since(start) == []


def test_files_and_directories_look_read_only(dataset: Dataset) -> None:
    """Modes are 0444 and 0555, and every attempt to change something is refused with EROFS."""
    mountpoint = dataset.mount()
    a_file = next(mountpoint.rglob("*.jpg"))

    assert stat.S_IMODE(a_file.stat().st_mode) == 0o444
    assert stat.S_IMODE(a_file.parent.stat().st_mode) == 0o555
    attempts = [
        lambda: os.open(a_file, os.O_WRONLY),
        lambda: os.open(mountpoint / "new", os.O_CREAT | os.O_WRONLY),
        lambda: a_file.unlink(),
        lambda: (mountpoint / "dir").mkdir(),
        lambda: a_file.rename(mountpoint / "other"),
        lambda: os.truncate(a_file, 0),
        lambda: a_file.chmod(0o600),
        lambda: os.utime(a_file),
        lambda: os.symlink("x", mountpoint / "link"),
    ]
    for attempt in attempts:
        with pytest.raises(OSError, match="Read-only") as caught:
            attempt()
        assert caught.value.errno == errno.EROFS


def test_a_name_that_is_not_there_is_absent_until_it_is_loaded(dataset: Dataset) -> None:
    """A missing name is ENOENT; after a refresh a new object shows under it, a removed one is gone."""
    mountpoint = dataset.mount("--refresh", "off")
    with pytest.raises(FileNotFoundError):
        os.stat(mountpoint / "training/new.jpg")
    gone = next(path for path in mountpoint.rglob("*.jpg"))
    relative = gone.relative_to(mountpoint)
    write_tree(dataset.work / "more", {"training/new.jpg": b"new"})
    check("rclone", "copy", dataset.work / "more", dataset.source, environ=dataset.environ)
    check("rclone", "deletefile", f"{dataset.source}/{relative}", environ=dataset.environ)

    said = check("swiftfs", "refresh", mountpoint, environ=dataset.environ)

    assert said.startswith("1 added, 0 changed, 1 removed")
    assert until(lambda: (mountpoint / "training/new.jpg").exists())
    assert (mountpoint / "training/new.jpg").read_bytes() == b"new"
    assert until(lambda: not gone.exists())


def test_a_mount_shows_what_another_one_of_the_same_container_has_listed(dataset: Dataset) -> None:
    """They share the tree: one lists again, and the other one, which never lists, shows the same within moments, though
    its kernel had kept names and listings of the tree before, also of a directory that came and changed since."""
    idle, busy = (dataset.mount("--refresh", "off") for _ in range(2))

    def late() -> dict[str, bytes]:
        with contextlib.suppress(OSError):  # not there yet, or just replaced
            return {path.name: path.read_bytes() for path in (idle / "late").iterdir()}
        return {}

    assert not late()
    for number, files in enumerate([{"f": b"1", "x": b"1"}, {"f": b"22", "new": b"2"}]):
        source = write_tree(dataset.work / f"late{number}", files)
        check("swiftfs", "load", source, f"{dataset.source}/late", "--delete-extra", environ=dataset.environ)
        check("swiftfs", "refresh", busy, environ=dataset.environ)
        assert until(lambda files=files: late() == files)
        assert (idle / "late/x").exists() == ("x" in files)


def test_an_index_that_is_deleted_under_mounts_is_made_anew(dataset: Dataset) -> None:
    """With its directory or alone: a refresh of one mount makes it anew, and the other one moves over to it, though it
    never lists. Both go on with that file: a later refresh of the other one is seen by both, too."""
    one, other = (dataset.mount("--refresh", "off") for _ in range(2))
    content = tree_of(one)
    assert tree_of(other) == content
    index = Path(dataset.status(one)["index"])
    for number, asked in enumerate((one, other, one)):
        if number == 0:
            shutil.rmtree(index.parent)
        elif number == 2:
            index.unlink()
        source = write_tree(dataset.work / f"more{number}", {f"more{number}": b"more"})
        check("swiftfs", "load", source, dataset.source, environ=dataset.environ)
        content[b"more%d" % number] = b"more"
        check("swiftfs", "refresh", asked, environ=dataset.environ)
        assert tree_of(asked) == content
        assert until(lambda name=f"more{number}": name in os.listdir(one) and name in os.listdir(other))
        assert tree_of(one) == content
        assert tree_of(other) == content


@pytest.mark.row("H10", "H16")
def test_a_replaced_object_shows_its_new_bytes_and_never_a_mix(dataset: Dataset) -> None:
    """After a refresh a new open reads the new version; a handle on the old one reads the old or fails as stale."""
    name = "training/big.bin"
    old, new = random.Random(1).randbytes(3_000_000), random.Random(2).randbytes(3_000_000)
    more = write_tree(dataset.work / "more", {name: old})
    check("swiftfs", "load", more, dataset.source, environ=dataset.environ)
    mountpoint = dataset.mount("--refresh", "off", "--chunk-size", "256K", "--prefetch", "off")
    with open(mountpoint / name, "rb") as handle:
        start = handle.read(1000)
        write_tree(more, {name: new})
        check("swiftfs", "load", more, dataset.source, environ=dataset.environ)
        rest, failure = b"", None
        try:
            rest = handle.read()
        except OSError as error:
            failure = error.errno
        assert failure == errno.ESTALE or start + rest == old

        check("swiftfs", "refresh", mountpoint, environ=dataset.environ)
        assert until(lambda: (mountpoint / name).read_bytes() == new)


@pytest.mark.row("H10")
def test_a_stale_read_brings_the_new_version_by_itself(dataset: Dataset) -> None:
    """Nobody needs to say refresh: the read that finds its object replaced makes the mount list again."""
    name = "training/replaced.bin"
    more = write_tree(dataset.work / "more", {name: b"1" * 1000})
    check("swiftfs", "load", more, dataset.source, environ=dataset.environ)
    mountpoint = dataset.mount("--refresh", "off", "--prefetch", "off")
    assert (mountpoint / name).stat().st_size == 1000
    write_tree(more, {name: b"2" * 2000})
    check("swiftfs", "load", more, dataset.source, environ=dataset.environ)

    with pytest.raises(OSError, match="Stale") as caught:
        (mountpoint / name).read_bytes()

    assert caught.value.errno == errno.ESTALE
    assert until(lambda: (mountpoint / name).stat().st_size == 2000)
    assert (mountpoint / name).read_bytes() == b"2" * 2000


@pytest.mark.parametrize("chunk_size", ["64K", "1M", "8M"])
def test_a_large_file_reads_right_in_any_way(dataset: Dataset, chunk_size: str) -> None:
    """Sequential, random, mapped and direct reads of a file of many chunks all give its bytes."""
    content = random.Random(9).randbytes(5_000_001)
    more = write_tree(dataset.work / "more", {"big.bin": content})
    check("swiftfs", "load", more, dataset.source, environ=dataset.environ)
    path = dataset.mount("--chunk-size", chunk_size) / "big.bin"
    draw = random.Random(4)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for _ in range(60):
            offset, size = draw.randrange(len(content) + 10), draw.randrange(300_000)
            assert os.pread(descriptor, size, offset) == content[offset : offset + size]
        assert mapped(descriptor) == content
    finally:
        os.close(descriptor)
    assert path.read_bytes() == content
    direct = subprocess.run(
        ["dd", f"if={path}", "iflag=direct", "bs=64K", "status=none"], capture_output=True, check=True
    )
    assert direct.stdout == content


def test_a_mount_of_a_prefix_shows_what_is_below_it(dataset: Dataset) -> None:
    """REMOTE:CONTAINER/PREFIX mounts one directory of a dataset as the root."""
    mountpoint = dataset.mount(source=f"{dataset.source}/training")

    assert tree_of(mountpoint) == tree_of(dataset.tree / "training")


@pytest.mark.parametrize("name", ["größe,noexec", "back\\040slash", "a blank"])
def test_any_container_can_be_mounted_and_its_name_is_no_option(dataset: Dataset, name: str) -> None:
    """Also a directory of that name; the kernel's list of mounts tells it as it is."""
    source = f"local:{name}/{name}"
    check("swiftfs", "load", write_tree(dataset.work / "one", {f"{name}/a": b"1"}), f"local:{name}",
          environ=dataset.environ)  # fmt: skip
    dataset.stack.callback(check, "swiftfs", "purge", f"local:{name}", environ=dataset.environ)
    mountpoint = dataset.mount(source=source)

    assert (mountpoint / "a").read_bytes() == b"1"
    found = find_mount(mountpoint)
    assert found is not None
    assert found.source == source
    assert "noexec" not in subprocess.run(["findmnt", "-no", "OPTIONS", mountpoint], capture_output=True, text=True,
                                          check=True).stdout  # fmt: skip


@pytest.mark.row("P14")
def test_many_readers_of_one_file_cause_one_get(dataset: Dataset) -> None:
    """Readers that want the same object at the same moment share one fetch."""
    mountpoint = dataset.mount("--refresh", "off", "--prefetch", "off")
    path = max(mountpoint.rglob("*.jpg"), key=lambda found: found.stat().st_size)
    start = dataset.log_offset()
    reader = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"
    readers = [
        subprocess.Popen([sys.executable, "-S", "-c", reader, str(path)], stdout=subprocess.PIPE) for _ in range(8)
    ]
    outputs = [process.communicate()[0] for process in readers]

    assert set(outputs) == {(dataset.tree / path.relative_to(mountpoint)).read_bytes()}
    assert len(dataset.log_since(start)) == 1


@pytest.mark.row("P2")
def test_a_killed_fetch_process_is_not_noticed(dataset: Dataset) -> None:
    """After kill -9 of the fetch process the next reads wait a moment and get their bytes."""
    mountpoint = dataset.mount("--prefetch", "off")
    names = sorted(mountpoint.rglob("*.jpg"))
    assert names[0].read_bytes() == (dataset.tree / names[0].relative_to(mountpoint)).read_bytes()
    os.kill(dataset.status(mountpoint)["fetch_pid"], signal.SIGKILL)

    assert tree_of(mountpoint) == tree_of(dataset.tree)
    assert dataset.status(mountpoint)["fetch_restarts"] == 1


@pytest.mark.row("P3")
def test_a_signal_unmounts_cleanly(dataset: Dataset) -> None:
    """SIGTERM to the mount's process leaves no mount, no process and no socket behind."""
    mountpoint = dataset.work / "by-signal"
    mountpoint.mkdir()
    cache = dataset.work / "cache-signal"
    check("swiftfs", "mount", dataset.source, mountpoint, "--daemon", "--cache-dir", cache, environ=dataset.environ)
    status = dataset.status(mountpoint)
    os.kill(status["pid"], signal.SIGTERM)

    until(lambda: not os.path.ismount(mountpoint))
    for pid in (status["pid"], status["fetch_pid"]):
        until(lambda pid=pid: not os.path.exists(f"/proc/{pid}/exe"))
    assert "no swiftfs mount" in run("swiftfs", "status", mountpoint, environ=dataset.environ).err


def test_fusermount_ends_the_mounts_processes(dataset: Dataset) -> None:
    """``fusermount3 -u``, as users are used to it, ends both processes."""
    mountpoint = dataset.work / "by-hand"
    mountpoint.mkdir()
    cache = dataset.work / "cache-hand"
    check("swiftfs", "mount", dataset.source, mountpoint, "--daemon", "--cache-dir", cache, environ=dataset.environ)
    status = dataset.status(mountpoint)
    subprocess.run(["fusermount3", "-u", mountpoint], check=True)

    for pid in (status["pid"], status["fetch_pid"]):
        until(lambda pid=pid: not os.path.exists(f"/proc/{pid}/exe"))


@pytest.mark.row("P4")
def test_a_busy_mount_names_who_uses_it(dataset: Dataset) -> None:
    """Unmounting what is in use fails with the holder's name, and works when it has let go."""
    mountpoint = dataset.mount()
    with open(next(mountpoint.rglob("*.jpg")), "rb"):
        done = run("swiftfs", "umount", mountpoint, environ=dataset.environ)

        assert done.code == 1
        assert str(os.getpid()) in done.err
        assert len(done.err.splitlines()) == 1


def test_a_live_mount_whose_socket_is_not_found_is_not_detached_from_its_readers(dataset: Dataset) -> None:
    """With another runtime directory, as root has one, umount asks the mount itself whether it is dead."""
    mountpoint, elsewhere = dataset.mount(), dataset.work / "elsewhere"
    elsewhere.mkdir(0o700)
    environ = {**dataset.environ, "XDG_RUNTIME_DIR": str(elsewhere)}
    with open(next(mountpoint.rglob("*.jpg")), "rb"):
        done = run("swiftfs", "umount", mountpoint, environ=environ)
        assert os.path.ismount(mountpoint)
    told = run("swiftfs", "umount", mountpoint, environ=environ)

    assert (done.code, told.code) == (1, 0)
    assert "its end is not waited for" in told.err
    assert not os.path.ismount(mountpoint)


@pytest.mark.row("P3")
def test_a_mount_in_the_foreground_ends_with_ctrl_c(dataset: Dataset) -> None:
    """Without --daemon the command serves until SIGINT, then unmounts and exits with 0."""
    mountpoint = dataset.work / "foreground"
    mountpoint.mkdir()
    command = [sys.executable, "-m", "swiftfs", "mount", dataset.source, str(mountpoint)]
    command += ["--cache-dir", str(dataset.work / "cache-foreground")]
    process = subprocess.Popen(command, env=dataset.environ, stderr=subprocess.PIPE)
    until(lambda: os.path.ismount(mountpoint))
    assert tree_of(mountpoint) == tree_of(dataset.tree)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, err) == (0, b"")
    assert not os.path.ismount(mountpoint)


@pytest.mark.row("P2", "P6")
def test_a_dead_mount_is_replaced_on_request(dataset: Dataset) -> None:
    """After kill -9 of the mount's process, --recover detaches what is left and mounts again."""
    mountpoint = dataset.work / "dead"
    mountpoint.mkdir()
    options = ["--daemon", "--cache-dir", str(dataset.work / "cache-dead")]
    check("swiftfs", "mount", dataset.source, mountpoint, *options, environ=dataset.environ)
    dataset.stack.callback(subprocess.run, ["fusermount3", "-uzq", mountpoint], check=False)
    os.kill(dataset.status(mountpoint)["pid"], signal.SIGKILL)

    until(lambda: probe(mountpoint) == errno.ENOTCONN)
    refused = run("swiftfs", "mount", dataset.source, mountpoint, *options, environ=dataset.environ)
    check("swiftfs", "mount", dataset.source, mountpoint, *options, "--recover", environ=dataset.environ)

    assert refused.code == 1
    assert "--recover" in refused.err
    assert tree_of(mountpoint) == tree_of(dataset.tree)
    check("swiftfs", "umount", mountpoint, environ=dataset.environ)


def test_without_a_disk_cache_everything_still_reads(dataset: Dataset) -> None:
    """--cache-size 0 keeps nothing on disk and reads right."""
    cache = dataset.work / "none"
    mountpoint = dataset.mount("--cache-dir", cache, "--cache-size", "0")

    assert tree_of(mountpoint) == tree_of(dataset.tree)
    assert dataset.status(mountpoint)["fetch"]["cache_bytes"] == 0


@pytest.mark.parametrize("tuning", [[], ["--no-kernel-tuning"]], ids=["tuned", "untuned"])
def test_without_a_disk_cache_every_byte_is_sent_once(dataset: Dataset, tuning: list[str]) -> None:
    """--cache-size 0 costs one GET for each small file, in however small bits and for however many readers at once the
    kernel reads it, and no byte of a large one twice; both processes together stay within 200 MiB."""
    draw = random.Random(4)
    objects = {"small.bin": draw.randbytes(3 << 20), "large.bin": draw.randbytes(20 << 20)}
    check("swiftfs", "load", write_tree(dataset.work / "more", objects), dataset.source, environ=dataset.environ)
    mountpoint = dataset.mount("--cache-size", "0", *tuning)
    sent: dict[str, list[int]] = {}
    for name, content in objects.items():
        start = dataset.log_offset()
        with ThreadPoolExecutor(4) as pool:
            assert [content] * 4 == list(pool.map(Path.read_bytes, [mountpoint / name] * 4))
        sent[name] = [line.sent for line in dataset.log_since(start)]

    assert sent["small.bin"] == [3 << 20]
    assert sum(sent["large.bin"]) == 20 << 20
    assert len(sent["large.bin"]) <= 40
    status = dataset.status(mountpoint)
    assert sum(resident(status[pid]) for pid in ("pid", "fetch_pid")) < 200 << 20


def resident(pid: int) -> int:
    """The most bytes that a process has had in memory."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


@pytest.mark.row("S4")
def test_other_users_read_only_with_allow_other(dataset: Dataset) -> None:
    """Another user is kept out of a plain mount and let into one made with --allow-other."""
    for path in (dataset.work, *dataset.work.parents):
        if path.owner() == "root" and path != Path("/") and not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o011)
    closed, opened = dataset.mount(), dataset.mount("--allow-other")
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "ls"]

    assert subprocess.run([*nobody, closed], capture_output=True, check=False).returncode != 0
    assert subprocess.run([*nobody, opened], capture_output=True, check=False).returncode == 0
