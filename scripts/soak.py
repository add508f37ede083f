"""A mount that is read, objects that are replaced and loads that run, for minutes, with a fault every second.

``scripts/soak MINUTES``. Brings up a real Keystone and Swift and a proxy before it that breaks one request a second,
drawn with the seed; in the middle the store is away for a while. Fails on a wrong byte, a request over its deadline, a
load that lies, or memory, files or threads that grow.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from soak_data import CHUNK, Dataset, dataset
from soak_figures import Record, judged, table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from fakes.fault_proxy import (  # noqa: E402
    Action,
    EditPage,
    Endless,
    Extra,
    Fault,
    FaultProxy,
    FlipBit,
    HangUp,
    IgnoreRange,
    Reset,
    SetHeader,
    Stall,
    Status,
    Swallow,
    Truncate,
)  # fmt: skip
from fakes.programs import check, mount_status, mounted, run  # noqa: E402

from swiftfs import localcloud  # noqa: E402
from swiftfs.config import find_remote  # noqa: E402
from swiftfs.localcloud import Cloud, CloudOptions  # noqa: E402
from swiftfs.swift.client import open_client  # noqa: E402

DEADLINE = 20.0
"""Seconds that the mount gives each request."""
READERS = 3
PIECE = 256 * 1024
CACHE = 8 << 20
"""Bytes of the mount's cache: less than half of the data, so that reading goes on to the store."""
SAMPLE = 3.0
"""Seconds between two samples of memory, files and threads."""
REPLACE = 2.0
"""Seconds between two replacements of an object."""
LOOK = 0.1
"""Seconds between two looks at a load's memory."""
REFRESH = "5s"
OUTAGE = 60.0
"""Seconds without the store, in runs of six minutes and more; a sixth of shorter ones, none below two."""
ALLOWED = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT}
"""Errors that a fault or a replacement explains."""

READ_ACTIONS: tuple[Action, ...] = (
    Reset(), Reset(0), Reset(5000), Reset(-1), Stall(), Stall(4000), Truncate(3000), Truncate(3000, honest=True),
    Extra(), Endless(), HangUp(), IgnoreRange(), SetHeader("Etag", "0" * 32), Status(500), Status(503),
    Status(503, "1"), Status(429, "2"), Status(498), Status(404), Status(408), Status(502, body=b"<html>"),
)  # fmt: skip
WHOLE_ACTIONS: tuple[Action, ...] = (*READ_ACTIONS, FlipBit(777))
"""For objects that come in one piece: a store tells no checksum of a part, so a flip in one is TLS's to find."""
WRITE_ACTIONS: tuple[Action, ...] = (
    Reset(), Reset(-1), Swallow(), Stall(), Status(500), Status(503), Status(408), Status(429, "1"), Status(403),
    Status(507), HangUp(), Extra(), Truncate(0),
)  # fmt: skip
LIST_ACTIONS: tuple[Action, ...] = (
    Reset(50), Stall(100), Truncate(100), Status(503), EditPage(lambda rows: rows[:7]), EditPage(lambda rows: b"[{"),
)  # fmt: skip

console = Console(highlight=False)


class Soak:
    """One run: threads that work until ``over`` is set, and the record that they fill under a lock."""

    def __init__(self, record: Record, data: Dataset, proxy: FaultProxy, environ: Mapping[str, str]) -> None:
        self.record = record
        self.data = data
        self.proxy = proxy
        self.environ = environ
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.started = time.monotonic()

    def second(self) -> float:
        return time.monotonic() - self.started

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Note how long one request of a reader takes, whatever comes of it."""
        begun = time.monotonic()
        try:
            yield
        finally:
            took = time.monotonic() - begun
            with self.lock:
                self.record.reads += 1
                if took > self.record.slowest:
                    self.record.slowest, self.record.slowest_what = took, what

    # Readers

    def read_files(self, mountpoint: Path, seed: int) -> None:
        """Read files in a drawn order, past the kernel's pages, and compare every byte."""
        draw = random.Random(seed)
        newest: dict[str, int] = {}
        while not self.over.is_set():
            for name in draw.sample(sorted(self.data.sizes), len(self.data.sizes)):
                if self.over.is_set():
                    return
                try:
                    body = self.read(mountpoint / name)
                except OSError as error:
                    with self.lock:
                        kind = errno.errorcode.get(error.errno or 0, str(error.errno))
                        self.record.errors[kind] = self.record.errors.get(kind, 0) + 1
                        if error.errno not in ALLOWED:
                            self.record.broken.append(f"reading {name}: {error}")
                    continue
                version = self.data.version_of(name, body)
                with self.lock:
                    if version is None or version < newest.get(name, 0):
                        what = "an older version again" if version is not None else self.data.describe(name, body)
                        self.record.wrong.append(f"{name}: {what}")
                    else:
                        newest[name] = version
                    self.record.verified += len(body)

    def read(self, path: Path) -> bytes:
        with self.timed(f"open of {path.name}"):
            descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            pieces = []
            while True:
                with self.timed(f"read of {path.name}"):
                    piece = os.pread(descriptor, PIECE, sum(map(len, pieces)))
                if not piece:
                    return b"".join(pieces)
                pieces.append(piece)
                with self.lock:
                    now = int(self.second())
                    self.record.speeds[now] = self.record.speeds.get(now, 0) + len(piece)
        finally:
            os.close(descriptor)

    # What disturbs them

    def replace_objects(self, cloud: Cloud, container: str) -> None:
        """Put other versions of objects, past the proxy."""
        import asyncio

        remote = find_remote("local", {"RCLONE_CONFIG": str(cloud.rclone_conf)})
        draw = random.Random(self.record.seed)

        async def go() -> None:
            async with open_client(remote) as client:
                while not await asyncio.to_thread(self.over.wait, REPLACE):
                    name = draw.choice(sorted(self.data.sizes))
                    version = self.data.versions[name] + 1
                    body = self.data.make(name, version)
                    self.data.versions[name] = version  # readers may see it from the next line on
                    await client.put(container, name, body, md5=self.data.digests[name, version])
                    self.record.replaced += 1

        asyncio.run(go())

    def break_things(self) -> None:
        """One fault a second: a drawn action for the next request of a drawn kind."""
        draw = random.Random(self.record.seed)
        kinds = (
            ("GET", r"/photos/", WHOLE_ACTIONS), ("GET", r"/videos/", READ_ACTIONS),
            ("PUT", r"/soak-loaded", WRITE_ACTIONS), ("GET", r"format=json", LIST_ACTIONS),
        )  # fmt: skip
        before = ""
        while not self.over.wait(1.0):
            method, path, actions = draw.choices(kinds, (4, 2, 3, 1))[0]
            action = draw.choice(actions)
            if self.proxy.inject(Fault(action, method, path)):
                with self.lock:
                    self.record.faults[before] = self.record.faults.get(before, 0) + 1
            before = f"{method} {type(action).__name__}"

    def go_away(self, at: float, seconds: float) -> None:
        """The store refuses connections for a while."""
        if self.over.wait(at):
            return
        down = self.second()
        self.proxy.down()
        self.over.wait(seconds)
        self.proxy.up()
        self.record.down = (down, self.second())

    def load_again(self, tree: Path, destination: str) -> None:
        """Change a few files and load, over and over; what a load says is noted, and how much memory it took."""
        draw = random.Random(self.record.seed + 1)
        while not self.over.is_set():
            for number in draw.sample(range(40), 6):
                path = tree / f"{number % 5}" / f"{number}.bin"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(draw.randbytes(draw.choice([0, 900, 30_000, 300_000])))
            code, peak = self.load(tree, destination)
            with self.lock:
                self.record.loads[str(code)] = self.record.loads.get(str(code), 0) + 1
                self.record.note("load (peak)", "memory", self.second(), peak)

    def load(self, tree: Path, destination: str) -> tuple[int, int]:
        """Exit code and the most memory in bytes of one load."""
        words = [sys.executable, "-m", "swiftfs", "-q", "load", str(tree), destination, "--delete-extra"]
        peak = 0
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(words, env=dict(self.environ), stdout=said, stderr=said)
            while process.poll() is None:
                peak = max(peak, peak_memory(process.pid))
                time.sleep(LOOK)
            said.seek(0)
            text = said.read().decode(errors="replace")
        if "internal error" in text or "Traceback" in text or process.returncode < 0:
            self.record.broken.append(f"a load ended with {process.returncode}: {text[-300:]}")
        return process.returncode, peak

    # What is measured

    def sample(self, processes: Mapping[str, int]) -> None:
        while not self.over.wait(SAMPLE):
            for name, pid in processes.items():
                try:
                    figures = process_figures(pid)
                except OSError as error:
                    self.record.broken.append(f"{name} is gone: {error}")
                    self.over.set()
                    return
                with self.lock:
                    for kind, value in figures.items():
                        self.record.note(name, kind, self.second(), value)


def process_figures(pid: int) -> dict[str, int]:
    """Bytes of memory that are the process's own, its open files and its threads."""
    place = Path("/proc", str(pid))
    own = re.findall(r"^Private_\w+:\s+(\d+) kB", (place / "smaps_rollup").read_text(), re.MULTILINE)
    return {
        "memory": 1024 * sum(map(int, own)),
        "files": len(os.listdir(place / "fd")),
        "threads": len(os.listdir(place / "task")),
    }


def peak_memory(pid: int) -> int:
    """The most bytes of memory that a process has had. Not ru_maxrss: that is inherited from who started it."""
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        return 1024 * int(found[1]) if found else 0
    return 0


@contextlib.contextmanager
def running_cloud(directory: Path | None, scratch: Path) -> Iterator[Cloud]:
    """The cloud in ``directory``, left as it is, or one of this run's own."""
    cloud = localcloud.up(CloudOptions(directory or scratch / "cloud"), console.print)
    try:
        yield cloud
    finally:
        if directory is None:
            localcloud.down(scratch / "cloud", console.print)


def soak(minutes: float, seed: int, scratch: Path, cloud_directory: Path | None = None) -> dict[str, Any]:
    """Run it; returns the figures."""
    record, data = Record(minutes, seed, DEADLINE), dataset()
    with running_cloud(cloud_directory, scratch) as cloud, FaultProxy(cloud.storage_url) as proxy:
        environ = through(cloud, proxy, scratch)
        source = scratch / "source"
        for name in data.sizes:
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.make(name, 0))
        check("swiftfs", "load", source, "local:soak-read", environ=environ)
        options = (
            "--deadline", f"{DEADLINE:.0f}s", "--refresh", REFRESH, "--cache-dir", scratch / "cache",
            "--cache-size", str(CACHE), "--cache-min-free", "0", "--chunk-size", str(CHUNK),
        )  # fmt: skip
        with mounted("local:soak-read", scratch / "mnt", *options, environ=environ) as mountpoint:
            work(record, data, proxy, cloud, environ, mountpoint, scratch)
    return judged(record)


def work(
    record: Record,
    data: Dataset,
    proxy: FaultProxy,
    cloud: Cloud,
    environ: Mapping[str, str],
    mountpoint: Path,
    scratch: Path,
) -> None:
    """Everything at once for the time of the run, then one quiet load and one quiet look at every file."""
    one = Soak(record, data, proxy, environ)
    status = mount_status(mountpoint, environ=environ)
    processes = {"file system": status["pid"], "fetch": status["fetch_pid"]}
    tree, loaded = scratch / "tree", "local:soak-loaded"
    tree.mkdir()
    jobs = [
        *(threading.Thread(target=one.read_files, args=(mountpoint, seed)) for seed in range(READERS)),
        threading.Thread(target=one.replace_objects, args=(cloud, "soak-read")),
        threading.Thread(target=one.break_things),
        threading.Thread(target=one.load_again, args=(tree, loaded)),
        threading.Thread(target=one.sample, args=(processes,)),
    ]
    seconds = record.minutes * 60
    if record.minutes >= 2:
        jobs.append(threading.Thread(target=one.go_away, args=(seconds * 0.4, min(OUTAGE, seconds / 6))))
    for job in jobs:
        job.start()
    try:
        one.over.wait(seconds)
    finally:
        one.over.set()
        for job in jobs:
            job.join()
    proxy.clear()
    code, _ = one.load(tree, loaded)
    if code:
        record.broken.append(f"the last load, without faults, ended with {code}")
    done = run("rclone", "check", "--download", tree, loaded, environ={**environ, "RCLONE_CONFIG": cloud.rclone_conf})
    if done.code:
        record.broken.append(f"the loaded tree is not the directory: {done.err[-300:]}")
    check("swiftfs", "refresh", mountpoint, environ=environ)
    for name, version in data.versions.items():
        body = one.read(mountpoint / name)
        if data.version_of(name, body) != version:
            record.wrong.append(f"{name} at the end: not version {version}")
    after = mount_status(mountpoint, environ=environ)
    if after["fetch_restarts"]:
        record.broken.append(f"the fetch process was restarted {after['fetch_restarts']} times")


def through(cloud: Cloud, proxy: FaultProxy, scratch: Path) -> dict[str, str]:
    """The environment of a user whose configuration names the proxy as the store, in a home of its own."""
    config = scratch / "rclone.conf"
    config.write_text(cloud.rclone_conf.read_text() + f"storage_url = {proxy.url}\n")
    config.chmod(0o600)
    (scratch / "run").mkdir(mode=0o700)
    own = {"RCLONE_CONFIG": str(config), "HOME": str(scratch), "XDG_RUNTIME_DIR": str(scratch / "run")}
    return {**os.environ, **own}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Read, replace and load with a fault a second.")
    parser.add_argument("minutes", type=float, metavar="MINUTES")
    parser.add_argument("--seed", type=int, default=1, help="of faults, replacements and orders of reading")
    parser.add_argument("--json", type=Path, default=ROOT / "docs" / "soak.json", help="where the figures go")
    parser.add_argument("--cloud", type=Path, metavar="DIR", help="a local cloud that runs, to be left running")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="swiftfs-soak-") as scratch:
        figures = soak(options.minutes, options.seed, Path(scratch), options.cloud)
    options.json.write_text(json.dumps(figures, indent=2) + "\n")
    for line in table(figures):
        console.print(line, soft_wrap=True, markup=False)
    for failure in figures["failed"]:
        console.print(f"[red]soak: {failure}[/red]", soft_wrap=True)
    return 1 if figures["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
