"""The file system process without a kernel, in a thread of its own: the real tree and client over a fetch process."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import trio

from swiftfs.cache.reader import Reader as CacheReader
from swiftfs.fetch.client import FetchClient
from swiftfs.fetch.protocol import Hello, Ready, Refreshed
from swiftfs.fetch.start import Spawn
from swiftfs.fs.prefetch import Mode
from swiftfs.fs.vfs import Vfs
from swiftfs.index.reader import Reader as IndexReader

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds for the thread to begin or to end."""


@dataclass
class FetchSide:
    """Use it with ``with``; ``call`` runs an async function in its loop."""

    hello: Hello
    start: Spawn
    prefetch: Mode = Mode.OFF
    client: FetchClient = field(init=False)
    vfs: Vfs = field(init=False)
    reader: CacheReader = field(init=False)
    refreshed: list[Refreshed] = field(default_factory=list)
    _token: trio.lowlevel.TrioToken | None = None
    _failure: BaseException | None = None

    def __enter__(self) -> FetchSide:
        self._began = threading.Event()
        self._stop = trio.Event()
        self._thread = threading.Thread(target=self._run, name="file system process")
        self._thread.start()
        assert self._began.wait(PATIENCE)
        if self._failure is not None:
            self._thread.join(PATIENCE)
            raise self._failure
        return self

    def __exit__(self, *exc: object) -> None:
        if self._thread.is_alive():
            self.call(self._end)
        self._thread.join(PATIENCE)
        if self._failure is not None:
            raise self._failure

    def call(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """The result of ``function(*arguments)`` in the loop."""
        assert self._token is not None
        return trio.from_thread.run(function, *arguments, trio_token=self._token)

    async def _end(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as failure:
            self._failure = failure
        self._began.set()

    async def _main(self) -> None:
        hello = self.hello
        self._token = trio.lowlevel.current_trio_token()
        self.client = FetchClient(
            hello,
            on_have=lambda have: self.vfs.have(have),
            on_refreshed=self._on_refreshed,
            start=self.start,
        )
        async with trio.open_nursery() as nursery:
            ready: Ready = await nursery.start(self.client.run)
            self.reader = CacheReader(
                Path(hello.cache_dir),
                chunk_size=hello.chunk_size,
                open_files=2,
                on_bad=lambda key, chunk: self.vfs.bad(key, chunk),
            )
            self.vfs = Vfs(
                lambda: IndexReader(Path(ready.index_path)),
                self.reader,
                self.client,
                account=ready.account,
                container=hello.container,
                chunk_size=hello.chunk_size,
                streams=hello.streams,
                prefetch=self.prefetch,
                prefetch_budget=hello.cache_size,
            )
            self._began.set()
            await self._stop.wait()
            self.vfs.close()
            self.reader.close()
            nursery.cancel_scope.cancel()

    def _on_refreshed(self, message: Refreshed) -> None:
        self.refreshed.append(message)
        self.vfs.refreshed()
