"""kill -9 of a load at random moments: the next one completes it and sends only what was in flight."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.load_bench import SEGMENT, SMALL_SEGMENTS, Bench, open_bench
from fakes.profiles import timeout
from fakes.programs import write_tree

from swiftfs.config import Remote
from swiftfs.localcloud import Cloud
from swiftfs.model import SEGMENTS_SUFFIX

pytestmark = pytest.mark.cloud

ROUNDS = 30
AT_RISK = 15
"""Rounds in which requests must have been in flight at the kill, or the test shows nothing."""
SEEDED = 20
"""The first seed: each round draws its moment from one of its own."""


@pytest.fixture
def bench(cloud: Cloud, remote: Remote, tmp_path: Path) -> Iterator[Bench]:
    with open_bench(cloud.storage_url, remote, tmp_path, SMALL_SEGMENTS) as made:
        yield made


def content() -> dict[str, bytes]:
    """Twenty small files and one that is cut into eight segments."""
    draw = random.Random(5)
    small = {f"d{number % 4}/{number}.bin": draw.randbytes(number * 90) for number in range(20)}
    return small | {"large": draw.randbytes(8 * SEGMENT - 1)}


@pytest.mark.timeout(timeout())
@pytest.mark.row("P1", "O2")
def test_a_killed_load_is_completed_by_the_next(bench: Bench, tmp_path: Path) -> None:
    """Thirty loads killed at drawn moments: whatever was stored is whole and is not sent again, the next load sends the
    rest, leaves nothing over, and ends with 0."""
    files = content()
    tree = write_tree(tmp_path / "tree", files)
    options = ["--multi-thread-cutoff", f"{SEGMENT}B", "--segment-size", f"{SEGMENT}B", "--transfers", "4"]
    usual = 0.5
    at_risk, begun = 0, 0
    for number in range(ROUNDS):
        container = bench.container()
        environ = bench.environ(tmp_path / container)
        words = ("load", tree, f"local:{container}", *options)
        draw = random.Random(SEEDED + number)
        with bench.proxy.broken() as seen:
            killed = bench.loads.start(*words, environ=environ)
            time.sleep(draw.uniform(0.1, 1.0) * usual)
            killed.kill()
            in_flight = bench.proxy.in_flight
            code = killed.wait()
            bench.proxy.settle()
            begun += sum(1 for _ in bench.bodies(seen))
        at_risk += code == -9 and in_flight > 0
        assert code in {0, -9}, killed.said()
        stored = bench.listed(container)
        for name, (size, etag) in stored[container].items():
            assert size == len(files[name])
            assert size >= SEGMENT or etag == hashlib.md5(files[name]).hexdigest()
        with bench.proxy.broken() as seen:
            start = time.monotonic()
            again = bench.loads.start(*words, environ=environ)
            assert again.wait() == 0, again.said()
            usual = max(usual, time.monotonic() - start) if len(stored[container]) < 5 else usual
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
    assert at_risk >= AT_RISK, f"only {at_risk} of {ROUNDS} kills hit a request in flight"
    assert begun > ROUNDS
