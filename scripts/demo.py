"""The demo's steps; ``scripts/demo`` installs what they need and runs them.

Every step is a command that a user would type, shown before it runs. What must hold is checked: bytes are compared, and
nothing is left running, whatever happens.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
SIDE = 8
"""Pixels a side that the classifier sees: the digits' own size."""
IMAGE = "localhost/swiftfs-demo-busybox"
PATIENCE = 15.0
"""Seconds that a process gets to end by itself."""

console = Console(highlight=False)


class DemoError(Exception):
    """Something that the demo promises did not hold."""


@dataclass(frozen=True)
class Row:
    """One line of the closing table."""

    what: str
    files: int
    size: int
    seconds: float
    requests: int | None


def say(text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]")


def run(*command: str | Path, capture: bool = False) -> str:
    """Show and run a command; its output is shown unless it is asked for."""
    words = [str(word) for word in command]
    console.print(f"[green]$[/green] {shlex.join(words)}", soft_wrap=True)
    done = subprocess.run(
        [str(BIN / words[0]) if words[0] == "swiftfs" else words[0], *words[1:]],
        check=False,
        text=True,
        stdout=subprocess.PIPE if capture else None,
    )
    if done.returncode != 0:
        raise DemoError(f"'{shlex.join(words)}' ended with exit code {done.returncode}")
    return done.stdout or ""


def digests(top: Path) -> tuple[dict[str, str], int]:
    """MD5 of every file below ``top`` by relative path, and the bytes read."""
    found, size = {}, 0
    for directory, _, names in os.walk(top):
        for name in sorted(names):
            path = Path(directory, name)
            content = path.read_bytes()
            size += len(content)
            found[str(path.relative_to(top))] = hashlib.md5(content).hexdigest()
    return found, size


def mount_status(mountpoint: Path) -> dict[str, Any]:
    """What the mount says of itself."""
    command = [str(BIN / "swiftfs"), "status", "--json", str(mountpoint)]
    status: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return status


def store_requests(mountpoint: Path) -> int:
    """Requests that the mount has sent to the store so far."""
    return int(mount_status(mountpoint)["fetch"]["requests"])


def walk_and_compare(mountpoint: Path, expected: dict[str, str], what: str) -> Row:
    """Read every file through the mount and compare it with its source."""
    before, start = store_requests(mountpoint), time.monotonic()
    found, size = digests(mountpoint)
    seconds = time.monotonic() - start
    if found != expected:
        differing = sorted({*found} ^ {*expected} | {n for n in found if found[n] != expected.get(n)})
        raise DemoError(f"{what}: {len(differing)} files differ from their source, the first: {differing[0]}")
    console.print(f"{what}: {len(found):,} files, {size:,} bytes, every byte as in the source")
    return Row(what, len(found), size, seconds, store_requests(mountpoint) - before)


def features(top: Path) -> tuple[list[list[float]], list[str]]:
    """Small grey images and their classes, read as a training job reads them: one folder a class."""
    from PIL import Image

    rows, labels = [], []
    for folder in sorted(path for path in top.iterdir() if path.is_dir()):
        for name in sorted(os.listdir(folder)):
            with Image.open(folder / name) as image:
                small = image.convert("RGB").resize((SIDE, SIDE))
                rows.append([value / 255 for value in small.tobytes()])
            labels.append(folder.name)
    return rows, labels


def train_and_evaluate(mountpoint: Path) -> float:
    """Accuracy on ``evaluation/`` of a classifier trained on ``training/``, both read through the mount."""
    from sklearn.linear_model import LogisticRegression

    rows, labels = features(mountpoint / "training")
    model = LogisticRegression(max_iter=500).fit(rows, labels)
    return float(model.score(*features(mountpoint / "evaluation")))


def read_in_container(mountpoint: Path, expected: dict[str, str], scratch: Path) -> None:
    """Read the bind-mounted tree in a podman container as a user who is not root, and compare."""
    busybox = shutil.which("busybox")
    podman = shutil.which("podman")
    if podman is None or busybox is None:
        console.print("podman or busybox is not installed: the container step is left out")
        return
    root = scratch / "image"
    (root / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(busybox, root / "bin" / "busybox")
    for applet in ("sh", "find", "md5sum", "xargs"):
        (root / "bin" / applet).unlink(missing_ok=True)
        (root / "bin" / applet).symlink_to("busybox")
    archive = scratch / "image.tar"
    subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
    subprocess.run([podman, "import", "-q", str(archive), IMAGE], check=True, capture_output=True)
    runtime = ["--runtime", "runc"] if shutil.which("runc") else []
    limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
    bind = f"type=bind,source={mountpoint},target=/mnt/Food-11,readonly"
    job = "cd /mnt/Food-11 && /bin/find . -type f -print0 | /bin/xargs -0 /bin/md5sum"
    isolated = ["--rm", "--network", "none", *limits, "--user", "1000"]
    out = run("podman", *runtime, "run", *isolated, "--mount", bind, IMAGE, "/bin/sh", "-c", job, capture=True)
    found = {}
    for line in out.splitlines():
        digest, _, name = line.partition("  ./")
        found[name] = digest
    if found != expected:
        raise DemoError("the container read other files or bytes than the source has")
    console.print(f"in the container: {len(found):,} files read as user 1000, every byte as in the source")


@contextlib.contextmanager
def local_cloud(directory: Path) -> Iterator[None]:
    """A real Keystone and Swift, taken down at the end."""
    run("swiftfs", "localcloud", "up", "--dir", directory)
    os.environ["RCLONE_CONFIG"] = str(directory / "rclone.conf")
    try:
        yield
    finally:
        run("swiftfs", "localcloud", "down", "--dir", directory)


@contextlib.contextmanager
def mounted(source: str, mountpoint: Path, cache: Path) -> Iterator[None]:
    """The dataset as files, unmounted at the end as users do it."""
    mountpoint.mkdir(parents=True, exist_ok=True)
    others = ["--allow-other"] if may_allow_other() else []
    run("swiftfs", "mount", source, mountpoint, *others, "--daemon", "--cache-dir", cache)
    status = mount_status(mountpoint)
    try:
        yield
    finally:
        run("fusermount3", "-u", mountpoint)
        for pid in (status["pid"], status["fetch_pid"]):
            wait_for_end(pid)


def wait_for_end(pid: int) -> None:
    """Wait until a process of ours has ended, which it does by itself."""
    limit = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}/exe").exists() and time.monotonic() < limit:
        time.sleep(0.05)
    if Path(f"/proc/{pid}/exe").exists():
        raise DemoError(f"process {pid} of the mount is still running")


def may_allow_other() -> bool:
    """Root may; anybody else needs ``user_allow_other`` in /etc/fuse.conf."""
    with contextlib.suppress(OSError):
        if "user_allow_other" in Path("/etc/fuse.conf").read_text().split():
            return True
    return os.geteuid() == 0


def demo(data: Path, synthetic: int | None) -> None:
    container = "object-persist-demo"
    dest = f"local:{container}"
    archive, tree, mountpoint = data / "Food-11.zip", data / "Food-11", data / "mnt"
    cache = data / "cache"
    for leftover in (tree, cache):
        shutil.rmtree(leftover, ignore_errors=True)
    say("1. A real Keystone and a real Swift on this machine")
    with local_cloud(data / "cloud"):
        say("2. An archive of labelled images in the shape of Food-11")
        maker = [sys.executable, ROOT / "examples/food11/make_archive.py", archive]
        run(*maker, *(["--synthetic", str(synthetic)] if synthetic else []))
        say("3. Extract, transform, load")
        run("swiftfs", "extract", archive, tree)
        run("swiftfs", "transform", tree, "--rules", "food11")
        run("swiftfs", "mkdir", dest)
        run("swiftfs", "delete", dest)
        summary = data / "load.json"
        run("swiftfs", "load", tree, dest, "--summary-json", summary)
        run("swiftfs", "lsd", dest)
        loaded = json.loads(summary.read_text())
        expected, size = digests(tree)
        rows = [Row("load", loaded["files"], loaded["bytes"], loaded["seconds"], loaded["requests"])]
        say("4. Mount it, read everything twice, compare every byte")
        with mounted(dest, mountpoint, cache):
            rows.append(walk_and_compare(mountpoint, expected, "first epoch"))
            rows.append(walk_and_compare(mountpoint, expected, "second epoch"))
            if rows[-1].requests:
                raise DemoError(f"the second epoch sent {rows[-1].requests} requests to the store")
            say("5. Train on training/, evaluate on evaluation/, both through the mount")
            console.print(f"accuracy {train_and_evaluate(mountpoint):.3f}")
            say("6. The same tree in a container")
            with tempfile.TemporaryDirectory() as scratch:
                read_in_container(mountpoint, expected, Path(scratch))
            run("swiftfs", "status", mountpoint)
            say("7. Unmount and stop the servers")
    table = Table("", "files", "bytes", "seconds", "requests")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(row.what, f"{row.files:,}", f"{row.size:,}", f"{row.seconds:.1f}", f"{row.requests:,}")
    console.print()
    console.print(table)
    left = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(mountpoint) in line]
    if left:
        raise DemoError(f"still mounted: {left[0]}")
    assert size == rows[1].size


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Run the main job on this machine.")
    parser.add_argument("--synthetic", type=int, metavar="N", help="N images of Food-11's size instead of digits")
    parser.add_argument("--data", type=Path, default=ROOT / "demo-data", help="where everything is put")
    parser.add_argument("--keep", action="store_true", help="leave the data for a look at it")
    options = parser.parse_args()
    options.data.mkdir(parents=True, exist_ok=True)
    try:
        demo(options.data.resolve(), options.synthetic)
    except DemoError as error:
        console.print(f"[red]demo: {error}[/red]", soft_wrap=True)
        return 1
    if not options.keep:
        shutil.rmtree(options.data)
    console.print("done: nothing is left running")
    return 0


if __name__ == "__main__":
    sys.exit(main())
