"""kill -9 of a load at drawn requests: the next one completes it and sends only what was in flight."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.fault_proxy import Fault, Kill
from fakes.load_bench import SEGMENT, SMALL_SEGMENTS, Bench, open_bench
from fakes.profiles import timeout
from fakes.programs import write_tree

from swiftfs.config import Remote
from swiftfs.localcloud import Cloud
from swiftfs.model import SEGMENTS_SUFFIX

pytestmark = pytest.mark.cloud

ROUNDS = 30
SMALL, SEGMENTS = 20, 8
"""Files that are stored by one request, and the segments of one more. A kill comes at one of as many requests: every
load has that many, and at each of them something is in flight."""
SEEDED = 20
"""The first seed: each round draws its moment from one of its own."""


@pytest.fixture
def bench(cloud: Cloud, remote: Remote, tmp_path: Path) -> Iterator[Bench]:
    with open_bench(cloud.storage_url, remote, tmp_path, SMALL_SEGMENTS) as made:
        yield made


def content() -> dict[str, bytes]:
    """Twenty small files and one that is cut into eight segments."""
    draw = random.Random(5)
    small = {f"d{number % 4}/{number}.bin": draw.randbytes(number * 90) for number in range(SMALL)}
    return small | {"large": draw.randbytes(SEGMENTS * SEGMENT - 1)}


@pytest.mark.timeout(timeout())
@pytest.mark.row("P1", "O2")
def test_a_killed_load_is_completed_by_the_next(bench: Bench, tmp_path: Path) -> None:
    """Thirty loads killed at drawn requests: whatever was stored is whole and is not sent again, the next load sends
    the rest, leaves nothing over, and ends with 0."""
    files = content()
    tree = write_tree(tmp_path / "tree", files)
    options = ["--multi-thread-cutoff", f"{SEGMENT}B", "--segment-size", f"{SEGMENT}B", "--transfers", "4"]
    begun = 0
    for number in range(ROUNDS):
        container = bench.container()
        environ = bench.environ(tmp_path / container)
        words = ("load", tree, f"local:{container}", *options)
        draw = random.Random(SEEDED + number)
        kill = Kill(bench.kill, done=draw.random() < 0.5)
        with bench.proxy.broken(Fault(kill, skip=draw.randrange(SMALL + SEGMENTS))) as seen:
            killed = bench.start(*words, environ=environ)
            code = killed.wait()
            bench.proxy.settle()
            begun += sum(1 for _ in bench.bodies(seen))
            assert (code, bench.proxy.played()) == (-9, 1), killed.said()
        stored = bench.listed(container)
        for name, (size, etag) in stored[container].items():
            assert size == len(files[name])
            assert size >= SEGMENT or etag == hashlib.md5(files[name]).hexdigest()
        with bench.proxy.broken() as seen:
            again = bench.start(*words, environ=environ)
            assert again.wait() == 0, again.said()
            sent = [(home, name) for _, home, name, _ in bench.bodies(seen)]
        assert [place for place in sent if place[1] in stored[place[0]]] == []
        assert len(sent) == len(set(sent))
        found = bench.listed(container)
        assert {name: size for name, (size, _) in found[container].items()} == {
            name: len(body) for name, body in files.items()
        }
        assert {(digest, size) for size, digest in found[container + SEGMENTS_SUFFIX].values()} == {
            (hashlib.md5(part).hexdigest(), len(part))
            for body in files.values()
            if len(body) >= SEGMENT
            for part in (body[first : first + SEGMENT] for first in range(0, len(body), SEGMENT))
        }
    assert begun > ROUNDS
