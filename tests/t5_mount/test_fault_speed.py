"""What faults cost a reader: an epoch in which one request in twenty fails. What it costs in time is simulated in
t0_pure/test_outage.py and measured by scripts/soak."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakes.fault_proxy import Action, Fault, FaultProxy, FlipBit, Reset, Status, Truncate
from fakes.programs import check, mount_status, mounted, through, write_tree

from swiftfs.cache.writer import Writer
from swiftfs.localcloud import Cloud

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]

EVERY = 20
MOST = 0.8
"""The least part of an epoch that is fetched: what was on its way into the cache while that was emptied stays."""
READERS = 8
ACTIONS: tuple[Action, ...] = (Reset(), Reset(1000), Status(500), Status(502), Truncate(1000), FlipBit(5))
"""Faults that show at once. One that stalls costs its stall timer, which no pace of retries can mend."""


def epoch(mountpoint: Path, files: dict[str, bytes]) -> None:
    """Several readers read all files in a drawn order, past the kernel's pages, and compare each."""

    def read(name: str) -> None:
        with (mountpoint / name).open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert file.read() == files[name]

    names = random.Random(1).sample(sorted(files), len(files))
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(read, names))


@pytest.mark.row("N16")
def test_a_fault_in_twenty_requests_costs_a_request_and_nothing_else(cloud: Cloud, tmp_path: Path) -> None:
    """In epochs with faults in 5 % of the requests every byte is right and no reader sees an error; each fault costs at
    most one request more."""
    files = {f"{number % 9}/{number}.bin": random.Random(number).randbytes(20_000) for number in range(200)}
    with FaultProxy(cloud.storage_url) as proxy:
        environ = through(cloud, proxy.url, tmp_path)
        check("swiftfs", "load", write_tree(tmp_path / "tree", files), "local:fault-speed", environ=environ)
        faults = [Fault(ACTIONS[n % len(ACTIONS)], "GET", r"\.bin$", skip=(n + 1) * (EVERY - 1)) for n in range(100)]
        cache = tmp_path / "cache"
        options = ("--refresh", "off", "--streams", "8", "--cache-dir", cache)

        with mounted("local:fault-speed", tmp_path / "mnt", *options, environ=environ) as mountpoint:
            for number in range(6):
                broken = number % 2 == 1
                with proxy.broken(*(faults if broken else [])) as seen:
                    epoch(mountpoint, files)
                    proxy.rest()
                    gets = [one for one in seen if one.method == "GET" and one.target.endswith(".bin")]
                    assert proxy.played() == (len(gets) // EVERY if broken else 0)
                    assert MOST * len(files) <= len(gets) <= len(files) + proxy.played()
                writer = Writer(cache, limit=None)
                writer.clear()
                writer.close()
            assert mount_status(mountpoint, environ=environ)["reads"]["errors"] == 0
