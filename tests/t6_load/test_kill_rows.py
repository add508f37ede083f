"""A load of many small files that is killed, and the one after it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote
from uuid import uuid4

import pytest
from fakes.programs import check, write_tree

from swiftfs.localcloud import Cloud
from swiftfs.localcloud.access_log import offset, requests

pytestmark = pytest.mark.cloud

FILES = 150


@pytest.mark.row("P1")
@pytest.mark.parametrize("moment", [1, 90])
def test_after_kill_9_what_was_stored_is_not_sent_again(
    tmp_path: Path, cloud: Cloud, local_environ: dict[str, str], moment: int
) -> None:
    """Killed after a number of uploads: the next load sends what is not stored and nothing else, and all is whole."""
    container = f"killed-{uuid4().hex[:8]}"
    tree = write_tree(tmp_path / "tree", {f"d{n % 5}/{n:03}.bin": os.urandom(n * 40) for n in range(FILES)})

    def stored(since: int, settle: float = 0.0) -> list[str]:
        lines = requests(cloud, since, settle=settle)
        puts = [line for line in lines if line.method == "PUT" and line.status == 201 and f"/{container}/" in line.path]
        return [unquote(line.path) for line in puts]

    since = offset(cloud.proxy_log)
    command = [sys.executable, "-m", "swiftfs", "load", str(tree), f"local:{container}", "--transfers", "4"]
    process = subprocess.Popen(command, env=local_environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while len(stored(since)) < moment:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < limit
        time.sleep(0.002)
    process.kill()
    process.wait()
    finished = set(stored(since, settle=0.5))
    assert len(finished) < FILES, "nothing was at risk"
    since = offset(cloud.proxy_log)
    check("swiftfs", "load", tree, f"local:{container}", environ=local_environ)
    sent = stored(since, settle=0.5)

    assert set(sent) & finished == set()
    assert len(sent) == len(set(sent)) == FILES - len(finished)
    check("rclone", "check", "--download", tree, f"local:{container}", environ=local_environ)
