"""What a mount is told: a frozen value that the command line makes and the session keeps to.

Light to import: the fetch process is started before the heavy half of a mount is, see ``swiftfs.fetch.start``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swiftfs.fetch.protocol import Hello

if TYPE_CHECKING:
    from swiftfs.fs.prefetch import Mode
    from swiftfs.fs.view import View


@dataclass(frozen=True, slots=True)
class MountSettings:
    """Everything a mount needs to know. Sizes in bytes, times in seconds; ``refresh`` None never lists again.

    ``remote``, ``container`` and ``prefix`` name the dataset; ``mountpoint`` is absolute and free of symbolic links.
    ``metrics`` is where Prometheus may ask, host and port (0: any); None asks nobody in. ``pin`` is the digest of the
    manifest to show, '' for what the container holds. ``order_file`` tells the order in which files will be read.
    """

    remote: str
    container: str
    prefix: str
    mountpoint: Path
    view: View
    allow_other: bool
    cache_dir: Path
    cache_size: int
    cache_min_free: int
    index_dir: Path
    control_socket: Path
    chunk_size: int
    streams: int
    deadline: float
    refresh: float | None
    prefetch: Mode
    tune_kernel: bool
    options: tuple[str, ...] = ()
    metrics: tuple[str, int] | None = None
    pin: str = ""
    order_file: Path | None = None

    @property
    def fsname(self) -> str:
        """What /proc/mounts shows as the device."""
        path = f"{self.container}/{self.prefix}" if self.prefix else self.container
        return f"{self.remote}:{path}"

    def hello(self) -> Hello:
        """What a fetch process of this one is told."""
        return Hello(
            remote=self.remote,
            container=self.container,
            prefix=self.prefix,
            index_dir=os.fspath(self.index_dir),
            cache_dir=os.fspath(self.cache_dir),
            cache_size=self.cache_size,
            cache_min_free=self.cache_min_free,
            chunk_size=self.chunk_size,
            streams=self.streams,
            deadline=self.deadline,
            refresh=self.refresh,
            parent=os.getpid(),
            mountpoint=os.fspath(self.mountpoint),
            pin=self.pin,
        )
