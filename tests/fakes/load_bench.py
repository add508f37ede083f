"""What tests of killed loads share: a cloud through the proxy, loads that start fast, an independent eye."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from swiftfs.config import Remote
from swiftfs.model import SEGMENTS_SUFFIX
from swiftfs.swift.client import open_client

from .fault_proxy import FaultProxy, Seen, header
from .forked import Forked, Running
from .raw_store import RawStore

SEGMENT = 4096
"""Bytes of a segment, and from which a file has some; a Swift on this machine takes any size."""
SMALL_SEGMENTS: Mapping[str, float] = {
    "swiftfs.load.segments:SMALLEST_SEGMENT": SEGMENT,
    "swiftfs.load.segments:MIB": SEGMENT,
    "swiftfs.load.run:SMALL": SEGMENT,
}
"""The constants that make segments of this size possible."""
Listed = dict[str, tuple[int, str]]
"""Size and ETag of objects by name."""


@dataclass
class Bench:
    """The store behind the proxy, and the server of loads, whose environment names the proxy as the store."""

    store: RawStore
    proxy: FaultProxy
    loads: Forked
    top: Path
    running: Running | None = None
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    number: Iterator[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, *words: str | Path, environ: Mapping[str, str]) -> Running:
        """Start a load; ``running`` is the last one."""
        with self._lock:
            self.running = self.loads.start(*words, environ=environ)
        return self.running

    def kill(self) -> None:
        """``kill -9`` of the last load, from any thread, also while it is about to start."""
        with self._lock:
            assert self.running is not None
            self.running.kill()

    def container(self) -> str:
        """The name of a container that nothing else has used."""
        return f"up-{self.name}-{next(self.number)}"

    def environ(self, home: Path) -> dict[str, str]:
        """The environment of a load whose journal is below ``home``."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
        return {**kept, "RCLONE_CONFIG": str(self.top / "rclone.conf"), "HOME": str(home)}

    def listed(self, container: str) -> dict[str, Listed]:
        """What a container and that of its segments hold."""
        return {home: self.store.objects(home) for home in (container, container + SEGMENTS_SUFFIX)}

    def bodies(self, seen: Iterable[Seen]) -> Iterator[tuple[Seen, str, str, str]]:
        """The requests that carry content: container, name and the MD5 that was announced."""
        for one in seen:
            if one.method == "PUT" and one.size and "multipart-manifest" not in one.target:
                promised = header(one.headers, "etag")
                assert promised is not None
                yield one, *self.store.place(one.target), promised


@contextlib.contextmanager
def open_bench(storage_url: str, remote: Remote, top: Path, constants: Mapping[str, float]) -> Iterator[Bench]:
    """A bench whose files are in ``top``; its loads have a token and no need of Keystone."""

    async def token() -> str:
        async with open_client(remote) as client:
            await client.storage_url()
            return (await client._transport._auth.token()).value

    with FaultProxy(storage_url) as proxy, Forked(top, constants) as loads:
        store = RawStore(storage_url, asyncio.run(token()))
        config = top / "rclone.conf"
        config.write_text(f"[local]\ntype = swift\nstorage_url = {proxy.url}\nauth_token = {store.token}\n")
        config.chmod(0o600)
        yield Bench(store, proxy, loads, top)
