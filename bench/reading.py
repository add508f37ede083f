"""Runs readers on a mount and takes what it cost the client: wall time, CPU, requests, and the readers' own CPU."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.front.log import NOTHING, Requests
from bench.measured import Measured
from bench.report import Run

if TYPE_CHECKING:
    from bench.front.server import Front
    from bench.mounted import Mounted

READERS = Path(__file__).parent / "readers.py"
READ_DEADLINE = 1800.0
"""Seconds for one pass: the whole of Food-11 by the slowest of the clients takes ten minutes here."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One pass of readers over a mount. Seconds; ``cpu`` is the client's, ``reader_cpu`` the readers'."""

    name: str
    wall: float
    cpu: float
    reader_cpu: float
    files: int
    bytes: int
    requests: Requests
    seconds: Sequence[float] = ()
    digests: Mapping[str, str] = field(default_factory=dict)

    def percentile(self, share: float) -> float:
        """The time of one file or block that this share of them did not exceed."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def run(self, mount: Mounted) -> Run:
        """The phase as a report keeps it."""
        measured = Measured((*mount.argv, f"# {self.name}"), self.wall, self.cpu, mount.peak(), 0, "")
        return Run(f"{mount.side.name} {self.name}", measured, self.requests.kinds)


class Readers:
    """Reader processes that have started and wait for the word."""

    def __init__(self, jobs: Sequence[Mapping[str, Any]]) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="swiftfs-readers-")
        self._processes: list[subprocess.Popen[str]] = []
        try:
            for number, job in enumerate(jobs):
                path = Path(self._directory.name) / f"{number}.json"
                path.write_text(json.dumps(job))
                self._processes.append(
                    subprocess.Popen(
                        [sys.executable, "-I", str(READERS), str(path)],
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                    )
                )  # fmt: skip
            for process in self._processes:
                assert process.stdout is not None
                process.stdout.readline()
        except BaseException:
            self.close()
            raise

    def go(self) -> None:
        """Let them read."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()

    def seen(self) -> list[dict[str, Any]]:
        """What each saw, when all are done. Raises BenchError when one could not read."""
        try:
            found = []
            for process in self._processes:
                out, error = process.communicate(timeout=READ_DEADLINE)
                if process.returncode != 0:
                    raise BenchError(f"a reader failed: {error[-500:]}")
                found.append(json.loads(out))
            return found
        finally:
            self.close()

    def close(self) -> None:
        """End what still runs."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        self._directory.cleanup()


def read(name: str, mount: Mounted, front: Front, jobs: Sequence[Mapping[str, Any]]) -> Phase:
    """Run the jobs at once, each in a process, and take what they cost."""
    readers = Readers([{**job, "top": str(mount.top)} for job in jobs])
    mark, before = front.mark(), mount.cpu()
    readers.go()
    seen = readers.seen()
    cpu = mount.cpu() - before
    return phase(name, seen, cpu, front.since(mark))


def read_here(name: str, top: Path, jobs: Sequence[Mapping[str, Any]]) -> Phase:
    """Run the jobs at once in a directory of this machine, where there is no client and no request."""
    readers = Readers([{**job, "top": str(top)} for job in jobs])
    readers.go()
    return phase(name, readers.seen(), 0.0, NOTHING)


def phase(name: str, seen: Sequence[Mapping[str, Any]], cpu: float, requests: Requests) -> Phase:
    """What several readers saw, taken together: from the first one's start to the last one's end."""
    return Phase(
        name=name,
        wall=max(row["ended"] for row in seen) - min(row["started"] for row in seen),
        cpu=cpu,
        reader_cpu=sum(row["cpu"] for row in seen),
        files=sum(row["files"] for row in seen),
        bytes=sum(row["bytes"] for row in seen),
        requests=requests,
        seconds=[taken for row in seen for taken in row.get("seconds", ())],
        digests={key: value for row in seen for key, value in row.get("digests", {}).items()},
    )


def epoch_jobs(names: Sequence[str], readers: int, seed: int | None, *, hashed: bool = False) -> list[dict[str, Any]]:
    """The files of one epoch dealt to ``readers`` as a data loader does; shuffled by ``seed``, in order for None."""
    ordered = sorted(names)
    if seed is not None:
        random.Random(seed).shuffle(ordered)
    return [{"kind": "files", "names": ordered[number::readers], "hash": hashed} for number in range(readers)]


def check_bytes(found: Phase, expected: Mapping[str, tuple[int, str]]) -> None:
    """Raises BenchError when a name is missing or its bytes are not those that were loaded: then no time counts."""
    for name, (_, md5) in expected.items():
        digest = found.digests.get(name)
        if digest != md5:
            raise BenchError(f"wrong bytes: {name} has MD5 {digest}, must be {md5}")
