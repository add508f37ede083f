"""A real mount of a real store that changes, behind a proxy that breaks things: every read is right or explained."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import mmap
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
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fakes.cache_disk import data_bytes, stored_files
from fakes.changing_store import ChangingStore, body
from fakes.drawn_faults import LISTING_FAULTS, READ_FAULTS, Drawn
from fakes.fault_proxy import Fault, FaultProxy, RepeatPage, header
from fakes.programs import check, run
from hypothesis import Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from swiftfs.config import Remote
from swiftfs.errors import SwiftFSError
from swiftfs.localcloud import Cloud
from swiftfs.mount import control
from swiftfs.swift.auth import authenticator
from swiftfs.swift.client import open_client

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]

IS_LONG = settings.get_current_profile_name() == "long"
BUDGET = float("inf") if IS_LONG else 90.0
"""Seconds after which no batch is begun: a busy machine makes fewer of them."""
BATCHES, BATCH = (1, 200) if IS_LONG else (4, 5)
"""Each batch has a seed of its own, and this many examples; a long run is one batch, and draws its seed."""
CONTAINER = "mount-machine"
CHUNK = 65_536
LIMIT = 6 * CHUNK
SIZES = (0, 1, 700, CHUNK, CHUNK + 1, 5 * CHUNK + 9)
NAMES = ("a", "b", "d/a", "d/b", "d", "../a", "d//a")
LARGE_NAMES = ("a", "d/a", "big")
DEADLINE = 12
"""Seconds for a chunk; a stall is given up after a quarter of them."""
LATE = 3.0
"""Seconds by which a deadline may be missed on a busy machine."""
SPANS = st.lists(st.tuples(st.integers(0, max(SIZES)), st.integers(1, 2 * CHUNK)), min_size=1, max_size=4)
"""Offset and size of each read that is made at once."""
PICKS = st.integers(0, 9999)
"""Picks one of what is there, however much that is."""
READ_AT_ONCE = "import os, sys; os.pread(os.open(sys.argv[1], os.O_RDONLY), 1, 0)"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run of the machine happens; one for all its examples."""

    proxy: FaultProxy
    cloud: Cloud
    token: str = field(repr=False)
    environ: dict[str, str]
    secrets: tuple[str, ...] = field(repr=False)
    numbers: Iterator[int]


@dataclass(slots=True)
class Handle:
    """An open file and the versions that it may be, as far as its reads have told."""

    descriptor: int
    name: str
    versions: list[bytes]


class MountMachine(RuleBasedStateMachine):
    """One mount of a part of a real container; the model is every version that there ever was."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.proxy = place.proxy
        self.stack = ExitStack()
        self.handles: list[Handle] = []
        self.killed = False

    @initialize(sizes=st.lists(st.sampled_from(SIZES), min_size=3, max_size=3))
    def begin(self, sizes: list[int]) -> None:
        self.top = Path(tempfile.mkdtemp()).resolve()
        self.stack.callback(shutil.rmtree, self.top)
        self.threads = self.stack.enter_context(ThreadPoolExecutor())
        self.prefix = f"{os.getpid()}-{next(self.place.numbers)}"
        self.store = ChangingStore(self.place.cloud.storage_url, self.place.token, CONTAINER, self.prefix + "/")
        self.stack.callback(self.store.close)
        for name, size in zip(NAMES, sizes, strict=False):
            self.store.put(name, body(size, 0))
        self.mountpoint = self.top / "mnt"
        self.mountpoint.mkdir()
        self.log = self.top / "log"
        self.socket = control.socket_path(Path(self.place.environ["XDG_RUNTIME_DIR"]) / "swiftfs", self.mountpoint)
        self.mount()
        self.stack.callback(self.unmount)

    def mount(self) -> None:
        options: list[str | Path] = ["--daemon", "--recover", "--prefetch", "off", "--refresh", "off"]
        options += ["--deadline", f"{DEADLINE}s", "--chunk-size", str(CHUNK), "--cache-size", str(LIMIT)]
        options += ["--cache-dir", self.top / "cache", "--log-file", self.log]
        source = f"local:{CONTAINER}/{self.prefix}"
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
        return control.ask(self.socket, {"command": command}, patience=2 * DEADLINE)

    def teardown(self) -> None:
        self.stack.close()

    # The store

    @rule(name=st.sampled_from(NAMES), size=st.sampled_from(SIZES), seed=st.integers(0, 2))
    def put(self, name: str, size: int, seed: int) -> None:
        self.store.put(name, body(size, seed))

    @precondition(lambda self: self.store.now)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.store.delete(data.draw(st.sampled_from(sorted(self.store.now))))

    @rule(
        name=st.sampled_from(LARGE_NAMES),
        sizes=st.lists(st.sampled_from(SIZES[1:5]), min_size=1, max_size=3),
        seed=st.integers(0, 2),
        dynamic=st.booleans(),
    )
    def put_large(self, name: str, sizes: list[int], seed: int, dynamic: bool) -> None:
        self.store.put_large(name, [body(size, seed) for size in sizes], dynamic=dynamic)

    @precondition(lambda self: any(version.segments for version in self.store.now.values()))
    @rule(data=st.data(), number=st.integers(0, 2), replaced=st.booleans())
    def lose_segment(self, data: st.DataObject, number: int, replaced: bool) -> None:
        large = sorted(name for name, version in self.store.now.items() if version.segments)
        self.store.lose_segment(data.draw(st.sampled_from(large)), number, b"other" if replaced else None)

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
        end = time.monotonic() + LATE
        while (found := self.sizes()) != expected:
            assert time.monotonic() < end, (found, expected)

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
            path = re.escape(f"/{CONTAINER}/{self.store.prefix}{handle.name}") + "$"
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
                handle.versions = [one for one in handle.versions if one[offset : offset + size] == found]
                assert handle.versions or handle.name in self.store.blurred
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
        try:
            return os.pread(descriptor, size, offset)
        except OSError as error:
            return error.errno or 0

    @rule(pick=PICKS)
    def read_through_a_map(self, pick: int) -> None:
        """Pages of a mapping whose bytes are there are those of the handle's version."""
        handle = self.opened(pick)
        if handle is None:
            return
        size = self.size_of(handle.descriptor)
        # A page that cannot be read is a SIGBUS, so only what a read has just given is looked at.
        if size and isinstance(whole := self.outcome(handle.descriptor, 0, size), bytes):
            with mmap.mmap(handle.descriptor, size, prot=mmap.PROT_READ) as mapped:
                assert mapped[:] == whole
            assert whole in handle.versions or handle.name in self.store.blurred

    @rule(pick=PICKS, harm=st.sampled_from(["cut", "delete", "remove the directory"]))
    def damage(self, pick: int, harm: str) -> None:
        """Harm to the cache behind its back; what was open stays readable."""
        files = sorted(stored_files(self.top / "cache"))
        if not files:
            return
        one = files[pick % len(files)]
        match harm:
            case "cut":
                os.truncate(one, 0)
            case "delete":
                one.unlink()
            case "remove the directory":
                shutil.rmtree(self.top / "cache")
        for handle in self.handles[-2:]:
            with self.proxy.broken():
                self.check_reads(handle, [(0, max(SIZES))])

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
        end = time.monotonic() + 2 * DEADLINE
        while True:
            try:
                assert self.ask("status")["fetch_pid"] != pid
                return
            except (SwiftFSError, AssertionError):
                assert time.monotonic() < end
                time.sleep(0.05)

    @precondition(lambda self: not self.killed)
    @rule()
    def kill_the_mount(self) -> None:
        """Handles end with ENOTCONN, and --recover mounts it anew. Once in an example: it takes a second."""
        os.kill(self.ask("status")["pid"], signal.SIGKILL)
        self.close_handles()
        self.killed = True
        end = time.monotonic() + DEADLINE
        while True:
            try:
                os.statvfs(self.mountpoint)
            except OSError as error:
                # Whoever asks at the moment of death is told that the connection was aborted.
                if error.errno not in {errno.ENOTCONN, errno.ECONNABORTED}:
                    raise
                break
            assert time.monotonic() < end
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
        end = time.monotonic() + DEADLINE + LATE
        while (fetch := self.ask("status")["fetch"])["running"] or fetch["waiting"]:
            assert time.monotonic() < end, fetch
        assert fetch["cache_bytes"] <= LIMIT
        assert data_bytes(self.top / "cache") <= LIMIT

    @invariant()
    def it_tells_no_secret_and_no_surprise(self) -> None:
        """I4, I5: no line of the log holds a secret, and nothing unexpected happened."""
        if not hasattr(self, "socket"):
            return
        said = self.log.read_text()
        tokens = {value for one in self.proxy.seen if (value := header(one.headers, "X-Auth-Token"))}
        assert not [secret for secret in (*self.place.secrets, *tokens) if secret in said]
        assert "Traceback" not in said
        assert "unexpected" not in said


@pytest.fixture
def place(cloud: Cloud, remote: Remote, tmp_path: Path) -> Iterator[Place]:
    with FaultProxy(cloud.storage_url) as proxy:
        config = tmp_path / "rclone.conf"
        config.write_text(cloud.rclone_conf.read_text() + f"storage_url = {proxy.url}\n")
        config.chmod(0o600)
        (tmp_path / "run").mkdir(mode=0o700)

        async def make() -> str:
            async with open_client(remote) as client:
                await client.create_container(CONTAINER)
                await client.create_container(f"{CONTAINER}-segments")
            return (await authenticator(remote).token()).value

        token = asyncio.run(make())
        secrets = (cloud.application_credential_secret, cloud.user_password, cloud.admin_password, token)
        environ = {**os.environ, "RCLONE_CONFIG": str(config), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
        yield Place(proxy, cloud, token, environ, secrets, count())


@pytest.mark.timeout(0 if IS_LONG else 900)
@pytest.mark.row("H5", "H16", "N5", "N6", "O1", "P2", "P6", "P13")
def test_every_read_of_the_mount_is_right_or_explained(place: Place) -> None:
    """Whatever the store, the wire, the disk and kill -9 do, a mount's reads are right or explained, always."""
    size = settings(
        settings.get_profile("long" if IS_LONG else "ci"),
        max_examples=BATCH,
        # To make a failure smaller takes minutes, with processes and a store as real as these.
        phases=tuple(Phase) if IS_LONG else (Phase.explicit, Phase.reuse, Phase.generate),
        report_multiple_bugs=False,
    )
    until = time.monotonic() + BUDGET
    for batch in range(BATCHES):
        if time.monotonic() < until:
            machine = partial(MountMachine, place)
            run_state_machine_as_test(machine if IS_LONG else seed(batch)(machine), settings=size)
