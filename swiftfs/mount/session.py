"""One mount from start to end: wires the file system process to its fetch process and to the kernel.

Runs on trio in its own process (pyfuse3 allows one mount per process). The order matters and is the reverse at the end:
fetch process ready, index and cache opened, kernel attached, control socket, requests. docs/CONCURRENCY.md names every
task and who owns what.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from swiftfs.cache.reader import Reader as CacheReader
from swiftfs.errors import SwiftFSError, printable
from swiftfs.fetch.client import FetchClient
from swiftfs.fs import fuse
from swiftfs.fs.vfs import Vfs
from swiftfs.index.reader import Reader as IndexReader
from swiftfs.mount import control, kernel, metrics
from swiftfs.mount.mounts import find_mount
from swiftfs.mount.ordering import Ordering
from swiftfs.mount.refreshing import Refreshing
from swiftfs.mount.warmer import Warmer, is_quick

if TYPE_CHECKING:
    from swiftfs.fetch.protocol import Have, HavePieces, Refreshed
    from swiftfs.fetch.start import Started
    from swiftfs.index.entry import Change
    from swiftfs.mount.settings import MountSettings

log = logging.getLogger(__name__)

GRACE = 5.0
"""Seconds that reads under way have when the mount is told to end; then they fail."""
LEAVING = 3.0
"""Seconds for ``fusermount3``, which asks the kernel alone, when the mount is told to end for the second time."""
HOUSEKEEPING = 1.0
"""Seconds between two looks at what is due: recency to tell, a refresh that a stale read asked for."""
STALE_REFRESH_PAUSE = 5.0
"""Seconds at the least between two listings that were asked for because a read found its object changed."""


def serve(settings: MountSettings, ready: Callable[[], None], fetch: Started | None = None) -> None:
    """Mount and serve until unmounted or told to stop; ``ready`` is called when the mount answers.

    ``fetch`` is a fetch process that was started already; None has one started.

    Raises the SwiftFSError that prevented or ended it.
    """
    try:
        trio.run(_Session(settings, ready, fetch).run)
    except BaseExceptionGroup as group:
        raise _cause(group) from None


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error we can explain in a group, else the first of all: a nursery wraps whatever ends it."""
    explained, rest = group.split(SwiftFSError)
    found: BaseException = explained or rest or group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


class _Session:
    """The running mount."""

    def __init__(self, settings: MountSettings, ready: Callable[[], None], fetch: Started | None) -> None:
        self._settings = settings
        self._started_fetch = fetch
        self._tell_ready = ready
        self._started = time.time()
        self._vfs: Vfs | None = None
        self._operations: fuse.Operations | None = None
        self._refreshing = Refreshing(self._take_refreshed, self._tell_kernel)
        self._last_refresh = 0.0
        self._stopping = False
        self._serving = trio.CancelScope()
        self._asks_opens = True
        self._device: str | None = None
        self._index_path = ""
        self._metrics_port: int | None = None

    async def run(self) -> None:
        settings = self._settings
        async with trio.open_nursery() as nursery:
            self._fetch = FetchClient(
                settings.hello(),
                on_have=self._have,
                on_refreshed=self._refreshing.note,
                on_failed=self._failed,
                first=self._started_fetch,
            )
            first = await nursery.start(self._fetch.run)
            self._index_path = first.index_path
            cache = CacheReader(
                settings.cache_dir,
                chunk_size=settings.chunk_size,
                on_bad=self._bad,
                on_bad_pieces=self._bad_pieces,
            )
            self._vfs = Vfs(
                lambda: IndexReader(Path(first.index_path)),
                cache,
                self._fetch,
                account=first.account,
                container=settings.container,
                chunk_size=settings.chunk_size,
                streams=settings.streams,
                prefetch=settings.prefetch,
                prefetch_budget=settings.cache_size,
            )
            self._warmer = Warmer(self._vfs)
            self._ordering = Ordering(self._vfs, settings.mountpoint)
            self._operations = fuse.Operations(self._vfs, settings.view)
            try:
                self._attach()
                try:
                    await nursery.start(control.serve, settings.control_socket, self._commands())
                    if settings.metrics is not None:
                        self._metrics_port = await nursery.start(metrics.serve, settings.metrics, self._status)
                    nursery.start_soon(self._signals, nursery)
                    nursery.start_soon(self._vfs.ahead.warming.run)
                    nursery.start_soon(self._refreshing.run)
                    nursery.start_soon(self._housekeeping, nursery)
                    if settings.order_file is not None:
                        nursery.start_soon(self._ordering.take_file, settings.order_file)
                    nursery.start_soon(self._announce)
                    with self._serving:
                        await fuse.serve()
                finally:
                    fuse.unmount()
                    self._device = None
                    log.info("unmounted %s", settings.mountpoint)
            finally:
                cache.close()
                self._vfs.close()
            nursery.cancel_scope.cancel()

    def _attach(self) -> None:
        settings = self._settings
        assert self._operations is not None
        try:
            self._asks_opens = fuse.mount(
                self._operations,
                os.fspath(settings.mountpoint),
                fsname=settings.fsname,
                allow_other=settings.allow_other,
                options=settings.options,
                ask_opens=not settings.tune_kernel,
            )
        except (OSError, RuntimeError) as error:
            raise SwiftFSError(
                f"cannot mount on {settings.mountpoint}: {error}", hint="'swiftfs doctor' says what is missing"
            ) from None
        found = find_mount(settings.mountpoint)
        self._device = found.device if found is not None else None
        log.info("mounted %s on %s", settings.fsname, settings.mountpoint)

    async def _announce(self) -> None:
        """Say that the mount answers once it does: a look at it from a thread, while this loop serves the look."""
        with trio.move_on_after(self._settings.deadline):
            await trio.to_thread.run_sync(os.statvfs, self._settings.mountpoint, abandon_on_cancel=True)
            self._tune_kernel()
            self._tell_ready()
            return
        raise SwiftFSError("the kernel does not get an answer from the new mount")

    def _tune_kernel(self) -> None:
        """After the mount has answered: the kernel takes its defaults anew when it is told what libfuse can do."""
        if self._settings.tune_kernel and self._device is not None:
            opens = "asks for each open" if self._asks_opens else "opens without asking"
            log.info("kernel: %s; %s", kernel.tune(self._device), opens)

    async def _signals(self, nursery: trio.Nursery) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
            async for number in received:
                if number == signal.SIGHUP:
                    nursery.start_soon(self._refresh)
                    continue
                if self._stopping:
                    self._leave(128 + number)
                self._stopping = True
                log.info("%s: unmounting", signal.Signals(number).name)
                fuse.stop()
                self._serving.deadline = trio.current_time() + GRACE

    def _leave(self, code: int) -> NoReturn:
        """End now, whatever is under way, but leave no dead mount behind. Another that has come to lie on the
        mountpoint is not ours to detach."""
        found = find_mount(self._settings.mountpoint)
        if found is not None and found.device == self._device:
            command = ["fusermount3", "-u", "-z", "-q", os.fspath(self._settings.mountpoint)]
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                # Not ``run``, which waits for the end of what it has killed: that may be stuck in the kernel.
                subprocess.Popen(command, stdin=subprocess.DEVNULL).wait(LEAVING)
        os._exit(code)

    async def _housekeeping(self, nursery: trio.Nursery) -> None:
        assert self._vfs is not None
        while True:
            await trio.sleep(HOUSEKEEPING)
            self._vfs.keep_house()
            self._look_for_rebuild()
            if self._settings.pin:
                continue  # another listing cannot bring a pinned version back
            if self._vfs.changed and time.monotonic() - self._last_refresh > STALE_REFRESH_PAUSE:
                self._vfs.changed = False
                nursery.start_soon(self._refresh)

    def _look_for_rebuild(self) -> None:
        """Readers see at once what another mount makes of a shared index: the kernel has to hear of it, too."""
        assert self._vfs is not None
        try:
            has_moved = self._vfs.has_moved()
        except SwiftFSError as error:
            log.debug("the index cannot be looked at: %s", error)  # who reads it says so
            return
        if has_moved:
            self._refreshing.look()

    async def _refresh(self) -> Refreshed | None:
        self._last_refresh = time.monotonic()
        try:
            return await self._fetch.refresh()
        except SwiftFSError as error:
            log.warning("the container could not be listed: %s", error)
            return None

    def _have(self, message: Have | HavePieces) -> None:
        if self._vfs is not None:
            self._vfs.have(message)

    def _failed(self, ino: int, chunk: int) -> None:
        if self._vfs is not None:
            self._vfs.failed(ino, chunk)

    def _bad(self, key: str, chunk: int) -> None:
        if self._vfs is not None:
            self._vfs.bad(key, chunk)

    def _bad_pieces(self, key: str, chunk: int) -> None:
        if self._vfs is not None:
            self._vfs.bad_pieces(key, chunk)

    def _take_refreshed(self) -> tuple[Change, ...] | None:
        assert self._vfs is not None
        return self._vfs.refreshed()

    async def _tell_kernel(self, changes: tuple[Change, ...] | None) -> int:
        assert self._vfs is not None
        assert self._operations is not None
        return 0 if self._stopping else await fuse.invalidate(self._vfs, self._operations.inodes, changes)

    def _commands(self) -> control.Commands:
        return control.Commands(
            {"status": self._status, "refresh": self._refresh_command, "warm": self._warmer.command},
            {"order": self._ordering.take},
            quick=lambda request: request["command"] == "status" or is_quick(request),
        )

    async def _status(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        assert self._vfs is not None
        assert self._operations is not None
        totals = self._vfs.totals()
        fetch, trouble = await self._fetch_status()
        now = time.monotonic()
        return {
            "remote": self._settings.fsname,
            "mountpoint": os.fspath(self._settings.mountpoint),
            "pid": os.getpid(),
            "fetch_pid": self._fetch.process.pid if self._fetch.process is not None else None,
            "fetch_restarts": self._fetch.restarts,
            "uptime": time.time() - self._started,
            "pin": self._settings.pin,
            "whole": self._vfs.is_whole,
            "files": totals.files,
            "directories": totals.directories,
            "bytes": totals.bytes,
            "prefetch": {
                "mode": self._vfs.ahead.planner.mode.value,
                "pattern": self._vfs.ahead.planner.pattern.value,
                "order": self._ordering.status(),
            },
            "known_inodes": len(self._operations.inodes),
            "fuse_requests": self._operations.requests,
            "reads": asdict(self._vfs.counters),
            "slowest": [
                {"seconds": wait.seconds, "ago": now - wait.at, "object": printable(wait.name), "chunk": wait.chunk}
                for wait in self._vfs.slowest.report(now)
            ],
            "index": self._index_path,
            "metrics_port": self._metrics_port,
            "fetch": fetch,
            "fetch_trouble": trouble,
        }

    async def _fetch_status(self) -> tuple[Mapping[str, Any] | None, str | None]:
        """The figures of the fetch process; None where they cannot be had, and why: that is when users look."""
        try:
            found = await self._fetch.status()
        except SwiftFSError as error:
            return None, str(error)
        return {name: getattr(found, name) for name in found.__struct_fields__}, None

    async def _refresh_command(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self._last_refresh = time.monotonic()
        answer = await self._fetch.refresh()
        if answer.error is not None:
            raise SwiftFSError(f"the container could not be listed: {answer.error}")
        with trio.move_on_after(self._settings.deadline):
            await self._refreshing.shown()
        return {
            "added": answer.added,
            "changed": answer.changed,
            "removed": answer.removed,
            "files": answer.files,
        }
