"""What the state machines over a real store share: the store's own changes, harm to the cache, and how they are run.

The model is every version that there ever was (``ChangingStore``). What a machine draws must not depend on timing, so
sizes, files and handles are picked by number.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from fakes.changing_store import ChangingStore, body
from fakes.fault_proxy import FaultProxy, header
from fakes.programs import through
from fakes.tokens import token_of
from hypothesis import Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from swiftfs.config import Remote
from swiftfs.localcloud import Cloud
from swiftfs.localcloud.tokens import forget_validations
from swiftfs.swift.client import open_client

IS_LONG = settings.get_current_profile_name() == "long"
ANSWER = 120.0
"""Seconds for Keystone to answer."""
NAMES = ("a", "b", "d/a", "d/b", "d", "d/", "../a", "d//a")
"""Names that meet, as file and as directory of one path, and some that no tree can show."""
LARGE_NAMES = ("a", "d/a", "big")
PICKS = st.integers(0, 9999)
"""Picks one of what is there, however much that is."""
HARMS = ("flip", "flip", "cut", "delete", "delete all", "remove the directory")
SIZE_NUMBERS = st.integers(0, 6)


def sizes(chunk: int) -> tuple[int, ...]:
    """Bytes of objects: none, few, chunks and their edges."""
    return (0, 1, 700, chunk, chunk + 1, 4 * chunk, 5 * chunk + 9)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run of a machine happens; one for all its examples."""

    proxy: FaultProxy
    cloud: Cloud
    token: str = field(repr=False)
    environ: dict[str, str]
    secrets: tuple[str, ...] = field(repr=False)
    numbers: Iterator[int]


@contextlib.contextmanager
def place_of(cloud: Cloud, remote: Remote, work: Path, container: str) -> Iterator[Place]:
    """A proxy before the cloud, the container with the one for its segments, and the environment of a user."""
    with FaultProxy(cloud.storage_url) as proxy:

        async def make() -> str:
            async with open_client(remote) as client:
                await client.create_container(container)
                await client.create_container(f"{container}-segments")
            return (await token_of(remote)).value

        token = asyncio.run(make())
        secrets = (cloud.application_credential_secret, cloud.user_password, cloud.admin_password, token)
        yield Place(proxy, cloud, token, through(cloud, proxy.url, work), secrets, count())


class StoreMachine(RuleBasedStateMachine):
    """A part of a real container that its users change."""

    CONTAINER: ClassVar[str]
    SIZES: ClassVar[tuple[int, ...]]

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.proxy = place.proxy
        self.stack = contextlib.ExitStack()

    def open_store(self, numbers: list[int]) -> None:
        """A prefix of its own, with three objects of these sizes."""
        self.prefix = f"{os.getpid()}-{next(self.place.numbers)}"
        self.store = ChangingStore(self.place.cloud.storage_url, self.place.token, self.CONTAINER, self.prefix + "/")
        self.stack.callback(self.store.close)
        for name, number in zip(NAMES, numbers, strict=False):
            self.store.put(name, body(self.SIZES[number], 0))

    def teardown(self) -> None:
        self.stack.close()

    @rule(name=st.sampled_from(NAMES), size=SIZE_NUMBERS, seed=st.integers(0, 2))
    def put(self, name: str, size: int, seed: int) -> None:
        self.store.put(name, body(self.SIZES[size], seed))

    @precondition(lambda self: self.store.now)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.store.delete(data.draw(st.sampled_from(sorted(self.store.now))))

    @rule(
        name=st.sampled_from(LARGE_NAMES),
        parts=st.lists(st.integers(1, 4), min_size=1, max_size=3),
        seed=st.integers(0, 2),
        dynamic=st.booleans(),
    )
    def put_large(self, name: str, parts: list[int], seed: int, dynamic: bool) -> None:
        self.store.put_large(name, [body(self.SIZES[part], seed) for part in parts], dynamic=dynamic)

    @precondition(lambda self: any(version.segments for version in self.store.now.values()))
    @rule(data=st.data(), number=st.integers(0, 2), replaced=st.booleans())
    def lose_segment(self, data: st.DataObject, number: int, replaced: bool) -> None:
        large = sorted(name for name, version in self.store.now.items() if version.segments)
        self.store.lose_segment(data.draw(st.sampled_from(large)), number, b"other" if replaced else None)

    def revoke(self, token: str) -> None:
        """``token`` is good for nothing from now on."""
        keystone = urlsplit(self.place.cloud.auth_url)
        assert keystone.hostname is not None
        connection = http.client.HTTPConnection(keystone.hostname, keystone.port, timeout=ANSWER)
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        with contextlib.closing(connection):
            connection.request("DELETE", f"{keystone.path.rstrip('/')}/auth/tokens", headers=headers)
            assert connection.getresponse().status == 204
        forget_validations(self.place.cloud)

    def tokens_seen(self) -> list[str]:
        """The tokens of the requests since the proxy's last faults, in their order."""
        return [value for one in self.proxy.seen if (value := header(one.headers, "X-Auth-Token"))]

    def secrets_in(self, said: str) -> list[str]:
        return [secret for secret in (*self.place.secrets, *self.tokens_seen()) if secret in said]


def harm(cache: Path, file: Path, how: str, pick: int, bit: int) -> None:
    """Harm to a file of a cache, or to all of it, behind its back."""
    match how:
        case "flip":
            with file.open("r+b") as opened:
                opened.seek(os.lseek(opened.fileno(), 0, os.SEEK_DATA))
                byte = opened.read(1)
                opened.seek(-1, os.SEEK_CUR)
                opened.write(bytes([byte[0] ^ 1 << bit]))
        case "cut":
            os.truncate(file, pick % (file.stat().st_size + 1))
        case "delete":
            file.unlink()
        case "delete all":
            for each in file.parent.parent.glob("*/*"):
                each.unlink()
        case "remove the directory":
            gone = cache.rename(cache.with_name("gone"))
            while gone.exists():  # whoever has it open may go on writing into it
                shutil.rmtree(gone, ignore_errors=True)


def run_machine(machine: Callable[[], StoreMachine], *, batches: int, batch: int, long: int, budget: float) -> None:
    """``batches`` of ``batch`` examples each, with a seed of their own; in the long profile ``long`` that are drawn.

    After ``budget`` seconds no batch is begun: a busy machine makes fewer of them.
    """
    size = settings(
        settings.get_profile("long" if IS_LONG else "ci"),
        max_examples=long if IS_LONG else batch,
        # To make a failure smaller takes minutes, with processes and a store as real as these.
        phases=tuple(Phase) if IS_LONG else (Phase.explicit, Phase.reuse, Phase.generate),
        report_multiple_bugs=False,
    )
    if IS_LONG:
        run_state_machine_as_test(machine, settings=size)
        return
    until = time.monotonic() + budget
    for number in range(batches):
        if time.monotonic() < until:
            run_state_machine_as_test(seed(number)(machine), settings=size)
