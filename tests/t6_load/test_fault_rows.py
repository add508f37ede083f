"""A load through a proxy that misbehaves: it ends with everything stored, or says what is not."""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.fault_proxy import EditPage, Extra, Fault, FaultProxy, Reset, Stall, Status, Swallow, Together, Truncate
from fakes.programs import check, run, through, write_tree

from swiftfs.localcloud import Cloud

pytestmark = pytest.mark.cloud

FILES = {f"d{n % 4}/{n:03}.bin": random.Random(n).randbytes(n * 300) for n in range(60)}


@pytest.fixture
def proxy(cloud: Cloud) -> Iterator[FaultProxy]:
    with FaultProxy(cloud.storage_url) as running:
        yield running


@pytest.fixture
def environ(cloud: Cloud, proxy: FaultProxy, tmp_path: Path) -> dict[str, str]:
    """The environment of a user whose store is the proxy."""
    return through(cloud, proxy.url, tmp_path)


@pytest.mark.row("N5", "N12", "H7", "H13", "L3", "L5")
def test_a_load_through_many_faults_is_whole(
    proxy: FaultProxy, environ: dict[str, str], local_environ: dict[str, str], tmp_path: Path
) -> None:
    """Every sixth upload breaks in another way and the listings too: all is stored, and proven, in one run."""
    container = f"local:faulty-{secrets.token_hex(4)}"
    tree = write_tree(tmp_path / "tree", FILES)
    broken = [Reset(), Swallow(), Status(503), Status(408), Status(429, "1"), Extra(), Truncate(0), Status(500)]
    faults = [
        *(Fault(action, "PUT", r"\.bin$", skip=5) for action in broken),
        Fault(EditPage(lambda rows: rows[:17]), "GET", "limit=", count=None, skip=1),
        Fault(Reset(50), "GET", "limit="),
    ]
    with proxy.broken(*faults) as seen:
        check("swiftfs", "load", tree, container, "--summary-json", tmp_path / "s.json", environ=environ)
        puts = [one for one in seen if one.method == "PUT" and one.target.endswith(".bin")]
        assert proxy.played() >= len(broken)
    summary = json.loads((tmp_path / "s.json").read_text())

    assert (summary["sent"], summary["failed"]) == (len(FILES), 0)
    assert len(puts) <= len(FILES) + len(broken)
    check("rclone", "check", "--download", tree, container, environ=local_environ)


@pytest.mark.row("H4", "H9")
@pytest.mark.parametrize("status", [403, 413, 422])
def test_a_file_that_is_refused_fails_alone(
    proxy: FaultProxy, environ: dict[str, str], tmp_path: Path, status: int
) -> None:
    """One request for the file that is refused, its name in the messages, exit code not 0, and the others stored."""
    container = f"local:faulty-{secrets.token_hex(4)}"
    files = dict(list(FILES.items())[:8])
    tree = write_tree(tmp_path / "tree", files)
    with proxy.broken(Fault(Status(status), "PUT", r"/d1/005\.bin$", count=None)) as seen:
        done = run("swiftfs", "load", tree, container, environ=environ)
        assert len([one for one in seen if one.target.endswith("005.bin") and one.method == "PUT"]) == 1

    assert done.code != 0
    assert "d1/005.bin" in done.err
    listed = {line.split(maxsplit=1)[1] for line in check("swiftfs", "ls", container, environ=environ).splitlines()}
    assert listed == set(files) - {"d1/005.bin"}


@pytest.mark.row("N9", "N11")
def test_uploads_that_get_no_answer_are_sent_again(
    proxy: FaultProxy, environ: dict[str, str], local_environ: dict[str, str], tmp_path: Path
) -> None:
    """An upload that the store takes without a word is sent on another connection, once."""
    container = f"local:faulty-{secrets.token_hex(4)}"
    tree = write_tree(tmp_path / "tree", dict(list(FILES.items())[:5]))
    with proxy.broken(Fault(Stall(), "PUT", r"/003\.bin$")) as seen:
        check("swiftfs", "load", tree, container, environ=environ)
        assert len([one for one in seen if one.target.endswith("003.bin") and one.method == "PUT"]) == 2
    check("rclone", "check", "--download", tree, container, environ=local_environ)


TRANSFERS = 8
WAIT = 5.0
"""Seconds in which a request that must not come would have come: all those before it came at once."""


@pytest.mark.parametrize("status", [429, 503])
def test_a_store_that_asks_for_a_pause_gets_it_and_half_of_the_requests(
    proxy: FaultProxy, environ: dict[str, str], local_environ: dict[str, str], tmp_path: Path, status: int
) -> None:
    """Eight uploads at once are answered with ``Retry-After: 1``: none of them comes again within a second, then four
    come at once and no fifth; the load ends with exit code 0, and each file was stored once."""
    container = f"local:slower-{secrets.token_hex(4)}"
    tree = write_tree(tmp_path / "tree", {f"{n:02}.bin": random.Random(n).randbytes(3000 + n) for n in range(24)})
    refused = Together(TRANSFERS, then=Status(status, "1"))
    after = Together(TRANSFERS // 2 + 1, patience=WAIT)
    faults = [
        Fault(refused, "PUT", r"\.bin$", count=TRANSFERS),
        Fault(after, "PUT", r"\.bin$", count=TRANSFERS // 2),
        Fault(after, "PUT", r"\.bin$", count=1),
    ]
    with proxy.broken(*faults) as seen:
        options = ["--transfers", str(TRANSFERS), "--checkers", "1"]  # the limit is theirs together
        check("swiftfs", "load", tree, container, *options, environ=environ)
        puts = [one for one in seen if one.method == "PUT" and one.target.endswith(".bin")]

    first, again = puts[:TRANSFERS], puts[TRANSFERS:]
    assert len({one.target for one in first}) == TRANSFERS
    assert (refused.most, after.most) == (TRANSFERS, TRANSFERS // 2)
    for one in first:
        assert [later.at - one.at >= 1.0 for later in again if later.target == one.target] == [True]
    assert len({one.target for one in again}) == len(again) == 24
    check("rclone", "check", "--download", tree, container, environ=local_environ)
