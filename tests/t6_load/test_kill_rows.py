"""A load of many small files that is killed, and the one after it."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote
from uuid import uuid4

import pytest
from fakes.fault_proxy import FaultProxy
from fakes.programs import check, kill_after, through, write_tree

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
    load = ("swiftfs", "load", tree, f"local:{container}", "--transfers", "4")
    with FaultProxy(cloud.storage_url) as proxy:
        environ = through(cloud, proxy.url, tmp_path)
        kill_after(proxy, moment, "PUT", f"/{container}/", *load, environ=environ)
        finished = set(stored(since, settle=0.5))
        assert len(finished) == moment
        since = offset(cloud.proxy_log)
        check(*load, environ=environ)
    sent = stored(since, settle=0.5)

    assert set(sent) & finished == set()
    assert len(sent) == len(set(sent)) == FILES - len(finished)
    check("rclone", "check", "--download", tree, f"local:{container}", environ=local_environ)
