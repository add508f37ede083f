"""Tokens that live five seconds, under a load and under a mount."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.fault_proxy import Fault, FaultProxy
from fakes.line import Far
from fakes.programs import check, mount_status, mounted, through, tree_of, write_tree

from swiftfs import localcloud
from swiftfs.localcloud import Cloud, CloudOptions
from swiftfs.localcloud.access_log import keystone_requests, offset

pytestmark = pytest.mark.cloud

TOKEN_TTL = 5
"""Seconds."""
RENEWED = 0.8 * TOKEN_TTL - 1
"""Seconds, at least, from one login to the next: at four fifths of a token's life, which Keystone counts in whole
seconds."""
FILES, TRANSFERS, ANSWER = 480, 8, 0.25
"""Files of a load, how many are sent at once, and the seconds that each takes at the least: fifteen in all, three lives
of a token."""


@pytest.fixture(scope="module")
def short_lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud of its own whose tokens live for TOKEN_TTL."""
    directory = tmp_path_factory.mktemp("short-lived")
    yield localcloud.up(CloudOptions(directory, token_ttl=TOKEN_TTL), print)
    localcloud.down(directory, print)


@pytest.fixture
def environ(short_lived: Cloud) -> dict[str, str]:
    return {**os.environ, "RCLONE_CONFIG": str(short_lived.rclone_conf)}


def logins(cloud: Cloud, start: int) -> int:
    """Tokens that swiftfs has asked Keystone for since ``start``; the proxy's own come from keystonemiddleware."""
    return sum(
        (line.method, line.path) == ("POST", "/v3/auth/tokens") and "keystonemiddleware" not in line.user_agent
        for line in keystone_requests(cloud, start, settle=0.3)
    )


@pytest.mark.row("H1")
def test_a_load_outlives_its_tokens(here: Path, short_lived: Cloud) -> None:
    """A load of several tokens' lives ends with every object proven, for one login an expiry whatever is in flight."""
    tree = write_tree(here / "tree", {f"d/{n:04}.bin": os.urandom(2000) for n in range(FILES)})
    start, begun = offset(short_lived.keystone_log), time.monotonic()
    options = ["--transfers", str(TRANSFERS), "--summary-json", here / "s.json"]
    with FaultProxy(short_lived.storage_url) as proxy, proxy.broken(Fault(Far(ANSWER), "PUT", r"\.bin$", count=None)):
        environ = through(short_lived, proxy.url, here)
        check("swiftfs", "load", tree, "local:expiry", *options, environ=environ)
    seconds = time.monotonic() - begun
    summary = json.loads((here / "s.json").read_text())

    assert (summary["sent"], summary["failed"]) == (FILES, 0)
    # One more for the login at the start, one for its end.
    assert 3 <= logins(short_lived, start) <= seconds / RENEWED + 2


@pytest.mark.fuse
@pytest.mark.row("H1")
def test_a_mount_outlives_its_tokens(here: Path, short_lived: Cloud, environ: dict[str, str]) -> None:
    """Readers of a mount whose token has expired again and again see bytes and no error, for one login an expiry."""
    container = f"local:mount-{secrets.token_hex(4)}"
    tree = write_tree(here / "tree", {f"d/{n:04}.bin": os.urandom(9000) for n in range(60)})
    check("swiftfs", "load", tree, container, environ=environ)
    options = ["--cache-dir", here / "cache", "--prefetch", "off", "--refresh", "off"]
    with mounted(container, here / "mnt", *options, environ=environ) as mountpoint:
        start = offset(short_lived.keystone_log)
        rounds = 3
        names = sorted(mountpoint.rglob("*.bin"))
        for number in range(rounds):
            before = logins(short_lived, start)
            _wait_for_expiry()
            begun = time.monotonic()
            for path in names[number::rounds]:
                assert path.read_bytes() == (tree / path.relative_to(mountpoint)).read_bytes()
            seconds = time.monotonic() - begun
            assert 1 <= logins(short_lived, start) - before <= 1 + seconds / RENEWED
        status = mount_status(mountpoint, environ=environ)
        assert tree_of(mountpoint) == tree_of(tree)

    assert status["reads"]["errors"] == 0


def _wait_for_expiry() -> None:
    """Let the life of any token that exists now pass: time is what this test is about."""
    time.sleep(TOKEN_TTL + 1)
