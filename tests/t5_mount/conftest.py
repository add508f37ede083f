"""A container with a small dataset, and mounts of it."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes.programs import check, mount_status, mounted, write_tree
from fakes.rgw_dialect import OWN_AGENT

from swiftfs.localcloud import Cloud
from swiftfs.localcloud.access_log import AccessLine, offset, requests

SETTLED = 0.2
"""Seconds without a line after which the log is taken to be whole: the server writes one after its answer is read."""


@dataclass
class Dataset:
    """A directory, the container that holds the same files, and what the cloud has logged about it."""

    cloud: Cloud
    environ: dict[str, str]
    container: str
    tree: Path
    work: Path
    stack: ExitStack = field(default_factory=ExitStack)
    mounts: int = 0

    @property
    def source(self) -> str:
        return f"local:{self.container}"

    def mount(self, *options: str | Path, source: str | None = None) -> Path:
        """Mount it; unmounted at the test's end. Each mount has a cache and an index of its own unless told."""
        self.mounts += 1
        mountpoint = self.work / f"mnt{self.mounts}"
        if "--cache-dir" not in options:
            options = ("--cache-dir", self.work / f"cache{self.mounts}", *options)
        return self.stack.enter_context(mounted(source or self.source, mountpoint, *options, environ=self.environ))

    def status(self, mountpoint: Path) -> dict[str, Any]:
        return mount_status(mountpoint, environ=self.environ)

    def log_offset(self) -> int:
        """Where the server's log ends once it has said all that it was asked for."""
        requests(self.cloud, offset(self.cloud.proxy_log), settle=SETTLED)
        return offset(self.cloud.proxy_log)

    def log_since(self, start: int) -> list[AccessLine]:
        """Requests that the server has answered for this container since ``start``."""
        lines = [line for line in requests(self.cloud, start, settle=SETTLED) if line.user_agent != OWN_AGENT]
        return [line for line in lines if f"/{self.container}" in line.path]


def photos(count: int, seed: int = 3) -> dict[str, bytes]:
    """Files in the shape of a labelled dataset, sizes from nothing to 200 KB."""
    draw = random.Random(seed)
    splits = ("training", "validation", "evaluation")
    return {
        f"{splits[n % 3]}/class_{n % 11:02d}/{n % 11}_{n}.jpg": draw.randbytes(
            draw.choice([0, 1, 999, 40_000, 200_000])
        )
        for n in range(count)
    }


@pytest.fixture
def dataset(cloud: Cloud, local_environ: dict[str, str], tmp_path: Path) -> Iterator[Dataset]:
    """60 files, loaded by swiftfs."""
    tree = write_tree(tmp_path / "tree", photos(60))
    container = f"mount-{secrets.token_hex(4)}"
    check("swiftfs", "load", tree, f"local:{container}", environ=local_environ)
    made = Dataset(cloud, local_environ, container, tree, tmp_path)
    with made.stack:
        yield made
    check("swiftfs", "purge", made.source, environ=local_environ)
