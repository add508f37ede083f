"""The soak, for ten seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from swiftfs.localcloud import Cloud

pytestmark = [pytest.mark.cloud, pytest.mark.fuse]

SOAK = Path(__file__).resolve().parents[2] / "scripts" / "soak.py"


def test_a_short_soak_reads_loads_and_finds_nothing_wrong(
    cloud: Cloud, local_environ: dict[str, str], tmp_path: Path
) -> None:
    """Ten seconds of it: bytes are compared, faults are played, loads end, every process is sampled, nothing fails."""
    figures = tmp_path / "soak.json"
    words = [sys.executable, SOAK, "0.17", "--json", figures, "--cloud", cloud.rclone_conf.parent]
    done = subprocess.run(words, env=local_environ, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(figures.read_text())
    assert found["failed"] == []
    assert found["bytes_verified"] > 0
    assert sum(found["faults"].values()) > 0
    assert found["objects_replaced"] > 0
    assert sum(found["loads_by_exit_code"].values()) > 0
    assert {one["process"] for one in found["growth"]} >= {"file system", "fetch"}
