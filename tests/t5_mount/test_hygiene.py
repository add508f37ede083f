"""What both processes hold on to after many epochs: as much as after the first."""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.programs import check, until, write_tree

from swiftfs.cache.reader import OPEN_FILES

from .conftest import Dataset, photos

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]

EPOCHS = 10
STREAMS = 8
OTHER_SOCKETS = 12
"""Spare connections, the socket between the processes, those that loops wake themselves with, the control socket."""
IDLE_THREADS = 2
"""Worker threads that come and go with a look at the mount."""
SLACK = 12 * 2**20
"""Bytes that an allocator may keep for itself: eight streams hold a chunk of 1 MiB each, more of them at once on a busy
machine (5.1 MiB were seen). Ten epochs read ten times the tree, so a leak of what was read shows as a multiple."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Where the descriptors of a process lead: to chunk files of the cache, to sockets, elsewhere."""

    chunks: tuple[str, ...]
    sockets: int
    others: Counter[str]

    @classmethod
    def of(cls, pid: int) -> Descriptors:
        """Those that are open now."""
        links = []
        for place in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                links.append(os.readlink(place))
        chunks = tuple(link for link in links if "/v1/files/" in link)
        sockets = sum(link.startswith("socket:") for link in links)
        others = Counter(link for link in links if link not in chunks and not link.startswith("socket:"))
        return cls(chunks, sockets, others)

    def evicted(self) -> bool:
        """Whether one of the chunk files was removed while it was open."""
        return any(link.endswith(" (deleted)") for link in self.chunks)


def memory(pid: int) -> int:
    """Bytes of private memory of a process: what it wrote itself."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * sum(int(found) for found in re.findall(r"^Private_Dirty:\s+(\d+) kB", text, re.MULTILINE))


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds on to now; memory in bytes."""

    descriptors: Descriptors
    threads: int
    memory: int

    @classmethod
    def by(cls, pid: int) -> Held:
        """What process ``pid`` holds on to."""
        return cls(Descriptors.of(pid), len(os.listdir(f"/proc/{pid}/task")), memory(pid))

    def beyond(self, old: Held) -> dict[str, object]:
        """What is more than it may be after ``old``; nothing when all is well."""
        chunks, sockets = len(self.descriptors.chunks), self.descriptors.sockets
        found = {
            "files": dict(self.descriptors.others - old.descriptors.others),
            "chunk files": chunks if chunks > OPEN_FILES else 0,
            "evicted": self.descriptors.evicted(),
            "sockets": sockets if sockets > STREAMS + OTHER_SOCKETS else 0,
            "threads": max(0, self.threads - old.threads - IDLE_THREADS),
            "bytes": max(0, self.memory - old.memory - SLACK),
        }
        return {what: more for what, more in found.items() if more}


def epoch(mountpoint: Path) -> int:
    """Walk and read everything, past the kernel's own memory of pages, so that each read reaches the process."""
    read = 0
    for top, _, names in os.walk(mountpoint):
        for name in names:
            descriptor = os.open(os.path.join(top, name), os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            while piece := os.read(descriptor, 2**20):
                read += len(piece)
            os.close(descriptor)
    return read


def test_ten_epochs_leave_nothing_behind(dataset: Dataset) -> None:
    """Open files and threads of both processes are those of the start, evicted files are closed, and memory is that of
    the second epoch, also with a cache that holds half of the tree, so that every epoch fetches and evicts."""
    more = {name: content for name, content in photos(120, seed=5).items() if content}
    more["large.bin"] = os.urandom(6 * 2**20)
    check("swiftfs", "load", write_tree(dataset.work / "more", more), dataset.source, environ=dataset.environ)
    size = sum(map(len, more.values()))
    options = ["--cache-size", str(size // 2), "--chunk-size", "1M", "--refresh", "off", "--streams", str(STREAMS)]
    mountpoint = dataset.mount(*options)
    status = dataset.status(mountpoint)
    pids = (status["pid"], status["fetch_pid"])
    epoch(mountpoint)
    read = epoch(mountpoint)
    before = [Held.by(pid) for pid in pids]

    def kept() -> list[dict[str, object]]:
        return [Held.by(pid).beyond(old) for pid, old in zip(pids, before, strict=True)]

    for _ in range(EPOCHS):
        assert epoch(mountpoint) == read

    # A file that is written or a directory that is looked through just now is no leak: what stays is.
    until(lambda: not any(kept()), instead=kept)
    until(lambda: dataset.status(mountpoint)["fetch"]["waiting"] == 0)
    status = dataset.status(mountpoint)
    assert status["reads"]["read_bytes"] >= EPOCHS * read
    assert status["fetch"]["received"] > EPOCHS * size // 4
