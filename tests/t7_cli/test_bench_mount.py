"""The mount's benchmark runs end to end, and what does not depend on the machine is exact."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.mount import QUICK
from swiftfs.localcloud import Cloud

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]

DEADLINE = 240.0
"""Seconds: it takes twenty on an idle machine."""


def test_the_quick_run_counts_exactly(cloud: Cloud, tmp_path: Path) -> None:
    """One GET for each file in epoch 1 and none later, no HEAD, one listing, scans without requests; all written."""
    command = [
        sys.executable, "-m", "bench", "mount", "--quick", "--no-plot", "--cloud", str(cloud.directory),
        "--work", str(tmp_path), "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (written,) = (tmp_path / "out").glob("*-mount.json")
    assert written.with_suffix(".md").exists()
    epochs, scan = json.loads(written.read_text())["scenarios"]
    counts = {count["name"]: (count["value"], count["right"]) for count in epochs["counts"]}
    assert counts == {
        "GET of objects in all epochs": (QUICK.files, True),
        "requests in epochs 2 and 3": (0, True),
        "HEAD of objects": (0, True),
        "listings: pages, the empty one, the top": (3, True),
        "requests that reached the store behind the front": (0, True),
    }
    assert {"epoch 1 wall, to rclone", "epoch 2 wall, to local disk"} <= {one["name"] for one in epochs["figures"]}
    assert {run["side"] for run in epochs["blocks"][0]["runs"]} >= {"swiftfs epoch 1", "rclone epoch 1"}
    counts = {count["name"]: (count["value"], count["right"]) for count in scan["counts"]}
    assert counts == {
        "files seen by a scan": (QUICK.scanned, True),
        "requests: pages, the empty one, the top": (3, True),
        "requests in scan 2": (0, True),
        "requests that reached the store behind the front": (0, True),
    }
