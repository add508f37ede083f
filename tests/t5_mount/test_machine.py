"""A real mount of a real store that changes, behind a proxy that breaks things: every read is right or explained."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakes.cache_disk import data_bytes, stored_files
from fakes.drawn_faults import LISTING_FAULTS, READ_FAULTS, WHOLE_READ_FAULTS, Drawn
from fakes.fault_proxy import Fault, RepeatPage
from fakes.programs import check, mapped, run, until
from fakes.store_machine import (
    HARMS,
    IS_LONG,
    PICKS,
    SIZE_NUMBERS,
    Place,
    StoreMachine,
    harm,
    place_of,
    run_machine,
    sizes,
)
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from swiftfs.config import Remote
from swiftfs.errors import SwiftFSError
from swiftfs.localcloud import Cloud
from swiftfs.mount.ask import ask, socket_path

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]

BUDGET = 300.0
"""Seconds after which no batch is begun: a busy machine makes fewer of them."""
BATCHES, BATCH, LONG = 4, 5, 200
"""Each batch has a seed of its own, and this many examples; a long run is one batch."""
CHUNK = 65_536
LIMIT = 6 * CHUNK
DISK = 2 * LIMIT
"""Bytes of the disk that holds the cache: its table and the log of that need the rest."""
DEADLINE = 12
"""Seconds for a chunk; a stall is given up after a quarter of them."""
LATE = 60.0
"""Seconds by which a deadline may be missed on a busy machine, and in which its kernel is told of changes."""
SPANS = st.lists(st.tuples(st.integers(0, max(sizes(CHUNK))), st.integers(1, 2 * CHUNK)), min_size=1, max_size=4)
"""Offset and size of each read that is made at once."""
SPARE_DESCRIPTORS = 120
"""Open files of the cache (64), one connection for each stream and place, and tables that come and go."""
READ_AT_ONCE = "import os, sys; os.pread(os.open(sys.argv[1], os.O_RDONLY), 1, 0)"


@dataclass(slots=True)
class Handle:
    """An open file and the versions that it may be, as far as its reads have told."""

    descriptor: int
    name: str
    versions: list[bytes]


def unlike(versions: list[bytes], offset: int, size: int, found: bytes) -> str:
    """How what a read gave differs from each version that it could have been of."""
    said = [f"{len(found)} of {size} bytes at {offset}, {found.count(0)} of them 0"]
    for version in versions:
        expected = version[offset : offset + size]
        differing = [number for number, pair in enumerate(zip(expected, found, strict=False)) if pair[0] != pair[1]]
        said.append(
            f"of {len(version)}: {len(expected)} bytes, {len(differing)} differ from {min(differing, default=0)}"
        )
    return "; ".join(said)


class MountMachine(StoreMachine):
    """One mount of a part of a real container, with its cache on a small disk of its own."""

    CONTAINER = "mount-machine"
    SIZES = sizes(CHUNK)

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.handles: list[Handle] = []
        self.killed = False

    @initialize(numbers=st.lists(SIZE_NUMBERS, min_size=3, max_size=3))
    def begin(self, numbers: list[int]) -> None:
        self.top = Path(tempfile.mkdtemp()).resolve()
        self.stack.callback(shutil.rmtree, self.top)
        self.threads = self.stack.enter_context(ThreadPoolExecutor())
        self.open_store(numbers)
        self.disk = self.top / "disk"
        self.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "swiftfs-test", self.disk], check=True)
        self.stack.callback(subprocess.run, ["umount", self.disk], check=True)
        self.cache = self.disk / "cache"
        self.mountpoint = self.top / "mnt"
        self.mountpoint.mkdir()
        self.log = self.top / "log"
        self.socket = socket_path(Path(self.place.environ["XDG_RUNTIME_DIR"]) / "swiftfs", self.mountpoint)
        self.mount()
        self.stack.callback(self.unmount)
        self.base = self.descriptors()

    def mount(self) -> None:
        options: list[str | Path] = ["--daemon", "--recover", "--prefetch", "off", "--refresh", "off"]
        options += ["--deadline", f"{DEADLINE}s", "--chunk-size", str(CHUNK), "--cache-size", str(LIMIT)]
        options += ["--cache-min-free", "0"]
        options += ["--cache-dir", self.cache, "--log-file", self.log]
        source = f"local:{self.CONTAINER}/{self.prefix}"
        check("swiftfs", "mount", source, self.mountpoint, *options, environ=self.place.environ)

    def close_handles(self) -> None:
        """Closing says ENOTCONN when the mount is dead; the descriptor is gone all the same."""
        for handle in self.handles:
            with contextlib.suppress(OSError):
                os.close(handle.descriptor)
        self.handles = []

    def unmount(self) -> None:
        self.close_handles()
        done = run("swiftfs", "umount", self.mountpoint, environ=self.place.environ)
        if done.code:
            run("swiftfs", "umount", "--lazy", self.mountpoint, environ=self.place.environ)
        assert done.code == 0, done.err

    def ask(self, command: str) -> dict[str, Any]:
        return ask(self.socket, {"command": command}, patience=2 * DEADLINE)

    def descriptors(self) -> list[int]:
        """Open files of both processes."""
        status = self.ask("status")
        return [len(os.listdir(f"/proc/{status[which]}/fd")) for which in ("pid", "fetch_pid")]

    # The mount

    @rule()
    def refresh(self) -> None:
        """I2: after a refresh the tree is what the store holds."""
        begun = time.monotonic()
        self.ask("refresh")
        assert time.monotonic() - begun < DEADLINE + LATE
        self.check_tree()

    @rule(fault=LISTING_FAULTS)
    def refresh_through_a_fault(self, fault: Drawn) -> None:
        which = "marker=" if fault.action == RepeatPage() else "limit="
        with self.proxy.broken(Fault(fault.action, "GET", which, count=fault.count)):
            failure = None
            try:
                self.ask("refresh")
            except SwiftFSError as error:
                failure = error
            if failure is not None:
                assert fault.error is not None, failure
                assert self.proxy.played(), failure
                return
        self.check_tree()

    def check_tree(self) -> None:
        """The kernel is told of changes in a task of its own, which this waits for."""
        if self.store.harmed:
            return
        expected = {name: len(version.content) for name, version in self.store.shown().items()}
        until(lambda: self.sizes() == expected, LATE, lambda: (self.sizes(), expected))

    def sizes(self) -> dict[str, int]:
        found = {}
        for directory, _, names in os.walk(self.mountpoint):
            for name in names:
                path = os.path.join(directory, name)
                try:
                    found[os.path.relpath(path, self.mountpoint)] = os.stat(path).st_size
                except OSError as error:
                    if error.errno not in {errno.ENOENT, errno.ESTALE}:
                        raise
        return found

    def opened(self, pick: int) -> Handle | None:
        """One more open file, or one that was opened before. What there is depends on the processes' timing, so it is
        picked by a number: what hypothesis draws must not."""
        which, is_old = divmod(pick, 2)
        if self.handles and is_old:
            return self.handles[which % len(self.handles)]
        names = sorted(self.sizes())
        if not names:
            return None
        name = names[which % len(names)]
        try:
            descriptor = os.open(self.mountpoint / name, os.O_RDONLY)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ESTALE}:
                raise
            return None
        size = self.size_of(descriptor)
        if size is None:
            os.close(descriptor)
            return None
        versions = [
            content for (known, _), content in self.store.ever.items() if known == name and len(content) == size
        ]
        if not versions and name not in self.store.blurred:
            os.close(descriptor)
            raise AssertionError(f"{name} never had {size} bytes")
        handle = Handle(descriptor, name, versions)
        self.handles.append(handle)
        if len(self.handles) > 10:
            os.close(self.handles.pop(0).descriptor)
        return handle

    @rule(pick=PICKS, spans=SPANS)
    def read(self, pick: int, spans: list[tuple[int, int]]) -> None:
        handle = self.opened(pick)
        if handle is not None:
            with self.proxy.broken():
                self.check_reads(handle, spans)

    @rule(pick=PICKS, spans=SPANS, fault=READ_FAULTS)
    def read_through_a_fault(self, pick: int, spans: list[tuple[int, int]], fault: Drawn) -> None:
        handle = self.opened(pick)
        if handle is not None:
            self.break_and_read(handle, spans, fault)

    @rule(pick=PICKS, fault=WHOLE_READ_FAULTS)
    def read_whole_through_a_fault(self, pick: int, fault: Drawn) -> None:
        """A bit that is flipped on the way, and a body that stalls."""
        handle = self.opened(pick)
        if handle is not None and self.is_current(handle) and len(handle.versions[0]) <= CHUNK:
            self.break_and_read(handle, [(0, CHUNK)], fault)

    def break_and_read(self, handle: Handle, spans: list[tuple[int, int]], fault: Drawn) -> None:
        path = re.escape(f"/{self.CONTAINER}/{self.store.prefix}{handle.name}") + "$"
        with self.proxy.broken(Fault(fault.action, "GET", path, count=fault.count)):
            self.check_reads(handle, spans, fault)

    def check_reads(self, handle: Handle, spans: list[tuple[int, int]], fault: Drawn | None = None) -> None:
        """I1, I7: all reads of a handle are slices of one version, or errors that are explained; in time."""
        begun = time.monotonic()
        # From memory the kernel would serve most of it.
        os.posix_fadvise(handle.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        results = list(self.threads.map(lambda span: self.outcome(handle.descriptor, *span), spans))
        # The kernel reads a second time when its readahead fails.
        assert time.monotonic() - begun < 2 * (DEADLINE + LATE)
        for (offset, size), found in zip(spans, results, strict=True):
            if isinstance(found, bytes):
                left = [one for one in handle.versions if one[offset : offset + size] == found]
                assert left or handle.name in self.store.blurred, unlike(handle.versions, offset, size, found)
                handle.versions = left
            elif handle.name in self.store.harmed | self.store.blurred:
                continue  # any error explains itself
            elif fault is not None and fault.error is not None and self.proxy.played():
                assert found in {fault.error.errno, errno.ESTALE}
            elif found == errno.ESTALE:
                assert not self.is_current(handle)
            else:
                raise AssertionError(errno.errorcode[found])

    def size_of(self, descriptor: int) -> int | None:
        """None when what is open has left the tree."""
        try:
            return os.fstat(descriptor).st_size
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            return None

    def is_current(self, handle: Handle) -> bool:
        """Whether what is open can only be what the store has, and the tree still shows that very file: one that a
        directory hides, or that was hidden for a while, is another."""
        now = self.store.now.get(handle.name)
        if now is None or now.segments or handle.versions != [now.content]:
            return False
        try:
            return os.stat(self.mountpoint / handle.name).st_ino == os.fstat(handle.descriptor).st_ino
        except OSError:
            return False

    def outcome(self, descriptor: int, offset: int, size: int) -> bytes | int:
        """What a reader gets who reads on until there is no more: the kernel gives the pages before one that fails as a
        short read, and the error to the next."""
        found = b""
        try:
            while more := os.pread(descriptor, size - len(found), offset + len(found)):
                found += more
        except OSError as error:
            return error.errno or 0
        return found

    @rule(pick=PICKS)
    def read_through_a_map(self, pick: int) -> None:
        """Pages of a mapping have the bytes of the handle's version; one that cannot be had is a SIGBUS."""
        handle = self.opened(pick)
        if handle is None:
            return
        size = self.size_of(handle.descriptor)
        if size and isinstance(whole := self.outcome(handle.descriptor, 0, size), bytes):
            assert whole in handle.versions or handle.name in self.store.blurred
            found = mapped(handle.descriptor)
            assert found == whole if found is not None else not self.is_current(handle)

    @rule(pick=PICKS, bit=st.integers(0, 7), how=st.sampled_from(HARMS))
    def damage(self, pick: int, bit: int, how: str) -> None:
        """Harm to the cache behind its back, and reads of what was harmed. A chunk is checked once for each time that
        its file is opened, so a bit is flipped between two mounts."""
        files = sorted(stored_files(self.cache))
        if not files:
            return
        if how == "flip":
            self.unmount()
        harm(self.cache, files[pick % len(files)], how, pick, bit)
        if how == "flip":
            self.mount()
            self.base = self.descriptors()
            self.opened(pick)
        for handle in self.handles[-2:]:
            with self.proxy.broken():
                self.check_reads(handle, [(0, max(self.SIZES))])

    @rule(pick=PICKS, spans=SPANS)
    def read_with_a_full_disk(self, pick: int, spans: list[tuple[int, int]]) -> None:
        """Nothing more can be written to the cache's disk; reads go on."""
        handle = self.opened(pick)
        if handle is None:
            return
        filler = self.disk / "filler"
        try:
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
            with self.proxy.broken():
                self.check_reads(handle, spans)
        finally:
            filler.unlink()

    # The processes

    @rule(pick=PICKS, spans=SPANS)
    def kill_the_fetch_process(self, pick: int, spans: list[tuple[int, int]]) -> None:
        """Its readers wait for the next one."""
        handle = self.opened(pick)
        pid = self.ask("status")["fetch_pid"]
        os.kill(pid, signal.SIGKILL)
        if handle is not None:
            with self.proxy.broken():
                self.check_reads(handle, spans)

        def is_replaced() -> bool:
            try:
                status = self.ask("status")
                return bool(status["fetch_pid"] != pid and status["fetch"])
            except SwiftFSError:
                return False

        until(is_replaced, 2 * DEADLINE + LATE)

    @rule()
    def revoke_the_token(self) -> None:
        """The token that the mount uses is good for nothing from now on; the next request gets another."""
        with self.proxy.broken():
            self.ask("refresh")
            token = self.tokens_seen()[-1]
        self.revoke(token)

    @precondition(lambda self: not self.killed)
    @rule()
    def kill_the_mount(self) -> None:
        """Handles end with ENOTCONN, and --recover mounts it anew. Once in an example: it takes a second."""
        os.kill(self.ask("status")["pid"], signal.SIGKILL)
        self.close_handles()
        self.killed = True

        def is_dead() -> bool:
            try:
                os.statvfs(self.mountpoint)
            except OSError as error:
                # Whoever asks at the moment of death is told that the connection was aborted.
                if error.errno not in {errno.ENOTCONN, errno.ECONNABORTED}:
                    raise
                return True
            return False

        until(is_dead, DEADLINE + LATE)
        self.mount()
        self.ask("refresh")
        self.check_tree()

    @rule(pick=PICKS, late=st.sampled_from([0.0, 0.05, 0.1]))
    def kill_a_reader(self, pick: int, late: float) -> None:
        """A reader that is killed while it waits is gone at once, and hurts nobody."""
        names = sorted(name for name, size in self.sizes().items() if size)
        if not names:
            return
        path = self.mountpoint / names[pick % len(names)]
        reader = subprocess.Popen([sys.executable, "-S", "-c", READ_AT_ONCE, str(path)], stderr=subprocess.DEVNULL)
        time.sleep(late)
        reader.kill()
        reader.wait(timeout=DEADLINE)

    # What holds after every step

    @invariant()
    def it_stays_within_its_limits(self) -> None:
        """I3: nothing runs on when nobody waits, and the cache holds no more than it may."""
        if not hasattr(self, "socket"):
            return

        def at_rest() -> dict[str, Any] | None:
            fetch: dict[str, Any] | None = self.ask("status")["fetch"]
            return None if not fetch or fetch["running"] or fetch["waiting"] else fetch

        fetch = until(at_rest, DEADLINE + LATE)
        assert fetch is not None
        assert fetch["cache_bytes"] <= LIMIT
        for before, now in zip(self.base, self.descriptors(), strict=True):
            assert now <= before + SPARE_DESCRIPTORS
        assert data_bytes(self.cache) <= LIMIT

    @invariant()
    def it_tells_no_secret_and_no_surprise(self) -> None:
        """I4, I5: no line of the log holds a secret, and nothing unexpected happened."""
        if not hasattr(self, "socket"):
            return
        said = self.log.read_text()
        assert self.secrets_in(said) == []
        assert "Traceback" not in said
        assert "unexpected" not in said


@pytest.fixture
def place(cloud: Cloud, remote: Remote, tmp_path: Path) -> Iterator[Place]:
    with place_of(cloud, remote, tmp_path, MountMachine.CONTAINER) as place:
        yield place


@pytest.mark.timeout(0 if IS_LONG else 900)
@pytest.mark.row("C1", "C3", "C5", "H1", "H5", "H16", "N5", "N6", "N9", "O1", "P2", "P6", "P13")
def test_every_read_of_the_mount_is_right_or_explained(place: Place) -> None:
    """Whatever the store, the wire, the disk and kill -9 do, a mount's reads are right or explained, always."""
    run_machine(partial(MountMachine, place), batches=BATCHES, batch=BATCH, long=LONG, budget=BUDGET)
