"""What a figure depends on beside the code: the machine, the versions, and how fast and how busy it is right now."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.pairs import void_reason

CALIBRATION_STEPS = 400_000
"""Steps of the fixed Python loop: a tenth of a second, long enough to see a slowed machine, short enough to repeat."""
CALIBRATION_BYTES = 16 * 1024 * 1024
"""Bytes hashed beside it: MD5 is what both sides do most."""

BIN = Path(sys.executable).parent
"""Where this environment's programs are: rclone is one of them."""
SYSTEM_BINARIES = "/usr/sbin:/sbin:/usr/bin:/bin"
"""Where servers are installed, which a user's PATH may leave out."""

VERSION_COMMANDS = {
    "rclone": ("rclone", "version"),
    "nginx": ("nginx", "-v"),
}
VERSION_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine and the programs of one run."""

    kernel: str
    cpu: str
    cores: int
    memory: int
    python: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Quietness:
    """The machine around one block: seconds of the fixed work, load averages of one minute, share of stolen ticks."""

    before: float
    after: float
    load_before: float
    load_after: float
    steal: float

    @property
    def void(self) -> str | None:
        """Why the block does not count, None when it does."""
        return void_reason(self.before, self.after, self.steal)


@dataclass(slots=True)
class Watched:
    """Handed out at the start of a block; ``quietness`` is there after its end."""

    quietness: Quietness | None = field(default=None)


def program_path(environ_path: str | None = None) -> str:
    """A PATH that finds this environment's programs first and servers last."""
    return os.pathsep.join((str(BIN), environ_path or os.environ.get("PATH", ""), SYSTEM_BINARIES))


def swiftfs_command(*words: str) -> list[str]:
    """The command line of swiftfs as this environment has it."""
    return [sys.executable, "-m", "swiftfs", *words]


def describe() -> Machine:
    """This machine and the versions of what is measured on it."""
    versions = {name: _first_line(command) for name, command in VERSION_COMMANDS.items()}
    for package in ("swiftfs", "aiohttp", "pyfuse3", "keystoneauth1"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    versions["commit"] = _first_line(("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0))
    return Machine(platform.release(), _cpu_model(), cores, memory, platform.python_version(), versions)


@contextmanager
def watched() -> Iterator[Watched]:
    """Do the fixed work before and after the block, and see what the hypervisor took away meanwhile."""
    result = Watched()
    load_before, before = os.getloadavg()[0], calibrate()
    ticks_before = _ticks()
    yield result
    stolen, total = (after - start for after, start in zip(_ticks(), ticks_before, strict=True))
    after = calibrate()
    result.quietness = Quietness(before, after, load_before, os.getloadavg()[0], stolen / total if total else 0.0)


def calibrate() -> float:
    """Seconds that a fixed piece of work takes now: the faster of two, as the slower says more about the neighbours."""
    return min(_fixed_work(), _fixed_work())


def _fixed_work() -> float:
    started = time.perf_counter()
    total = 0
    for step in range(CALIBRATION_STEPS):
        total += step & 7
    hashlib.md5(bytes(CALIBRATION_BYTES), usedforsecurity=False).digest()
    return time.perf_counter() - started


def _ticks() -> tuple[int, int]:
    """Stolen and all CPU ticks since boot (proc(5): steal is the eighth field)."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return fields[7], sum(fields[:8])


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(command: tuple[str, ...]) -> str:
    where = shutil.which(command[0], path=program_path())
    if where is None:
        return "not installed"
    done = subprocess.run(
        [where, *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=VERSION_TIMEOUT, check=False
    )
    return done.stdout.decode(errors="replace").strip().partition("\n")[0]
