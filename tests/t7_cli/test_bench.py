"""The benchmark as a program: it measures what it says, it runs from end to end, and wrong contents fail it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.programs import run

from bench import measured
from bench.archives import occupied
from bench.errors import BenchError, CommandFailed
from bench.sink import running_sink
from bench.stores import SinkStore
from bench.workplace import verify

REPOSITORY = Path(__file__).parents[2]
MIB = 1024 * 1024
FILES = 60
LISTINGS = 4
"""Requests beside the files': the container's PUT, a listing of nothing, a page and the empty one after it."""


def python(code: str, **more: Any) -> measured.Measured:
    return measured.run([sys.executable, "-c", code], environ=os.environ, **more)


def test_memory_and_cpu_of_children_count() -> None:
    """CPU time and memory are those of the command and its descendants together, not of the first process alone."""
    spend = "import time\nwhile time.process_time() < 0.3: pass\n"
    alone = python(f"x = bytearray(60 << 20)\n{spend}")
    child = f"y = bytearray(60 << 20)\n{spend}"
    both = python(f"import subprocess, sys\nx = bytearray(60 << 20)\nsubprocess.run([sys.executable, '-c', {child!r}])")
    assert 60 * MIB < alone.peak_rss < 110 * MIB
    assert both.peak_rss > 120 * MIB
    assert both.cpu >= 0.3
    assert both.wall >= 0.3


def test_failures_and_deadlines_end_a_benchmark() -> None:
    """A command that fails or does not end is an error with its output, and nothing of it is left running."""
    before = measured.descendants(os.getpid())
    with pytest.raises(CommandFailed, match=r"ended with 3: .*it said why"):
        python("print('it said why'); raise SystemExit(3)")
    with pytest.raises(CommandFailed, match="did not end within"):
        python("import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'] + ['x'])", deadline=0.0)
    assert set(measured.descendants(os.getpid())) <= set(before)
    assert python("raise SystemExit(3)", must=(3,)).code == 3
    with pytest.raises(CommandFailed, match="not installed"):
        measured.run(["swiftfs-no-such-program"], environ=os.environ)


def test_commands_can_be_killed_at_a_moment() -> None:
    """Once asked to stop, the command gets SIGKILL, and that is told from an end of its own."""
    found = python("import time; time.sleep(60)", stop_when=lambda: True)
    assert (found.stopped, found.code) == (True, -9)
    assert not python("pass").stopped


def test_deleted_files_occupy_the_disk_while_they_are_open(tmp_path: Path) -> None:
    """Disk space counts files without a name as long as a descendant has them open."""
    before = occupied(tmp_path)
    (tmp_path / "named").write_bytes(bytes(MIB))
    assert occupied(tmp_path) - before >= MIB
    (tmp_path / "named").unlink()
    code = (
        "import os, sys\nfile = open('hidden', 'w+b')\nfile.write(bytes(1 << 20))\nfile.flush()\n"
        "os.fsync(file.fileno())\nos.unlink('hidden')\nopen('ready', 'w').close()\nsys.stdin.read()\nimport time\n"
        "time.sleep(60)"
    )
    most = 0

    def look() -> bool:
        nonlocal most
        if (tmp_path / "ready").exists():
            most = max(most, occupied(tmp_path))
        return most > 0

    python(code, cwd=tmp_path, stop_when=look)
    assert most - before >= MIB


def test_other_contents_fail(tmp_path: Path) -> None:
    """A container that lacks a file, has one more, or has other bytes ends the benchmark with a name."""
    import http.client

    with running_sink(tmp_path / "sink") as sink:
        connection = http.client.HTTPConnection("127.0.0.1", sink.port)
        token = {"X-Auth-Token": sink.account.token}
        for path, body in (("/c", b""), ("/c/a", b"hello")):
            connection.request("PUT", sink.account.path + path, body, token)
            connection.getresponse().read()
        connection.close()
        store = SinkStore(sink)
        right = {"a": (5, "5d41402abc4b2a76b9719d911017c592")}
        verify(store, "c", right)
        for wrong, says in (
            ({}, "0 missing, 1 too many"),
            ({**right, "b": (0, "")}, "1 missing"),
            ({"a": (5, "0" * 32)}, "1 with other bytes"),
        ):
            with pytest.raises(BenchError, match=says):
                verify(store, "c", wrong)
        sink.account.remove("c")
        verify(store, "c", {})


def test_quick_run_counts_requests(tmp_path: Path) -> None:
    """The smoke run ends well; it saw one PUT for each file and a constant beside it, then nothing sent again, then
    three requests to delete all, and the results are written."""
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = run(sys.executable, "-m", "bench", "load", "--quick", "--out", tmp_path, environ=environ, cwd=tmp_path)
    assert done.code == 0, done.err
    (path,) = tmp_path.glob("*-load.json")
    scenarios = {row["ident"]: row for row in json.loads(path.read_text())["scenarios"]}
    counts = {ident: {number["name"]: number["value"] for number in row["counts"]} for ident, row in scenarios.items()}
    assert counts["1-sink-0ms"] == {"PUT of objects": FILES, "all requests": FILES + LISTINGS}
    assert counts["2-sink-0ms"] == {"PUT": 0, "HEAD": 0, "listing requests": 4, "all requests": 4}
    assert counts["4-sink"] == {"requests": 3}
    assert counts["7-zip"]["PUT of objects"] == 40
    assert counts["7-zip"]["bytes on the disk"] < MIB
    assert path.with_suffix(".svg").read_text().lstrip().startswith("<?xml")
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    again = scenarios["2-sink-0ms"]["blocks"][0]["runs"]
    assert {row["side"] for row in again} == {"swiftfs", "rclone"}
    assert all(row["measured"]["cpu"] > 0 and row["measured"]["peak_rss"] > MIB for row in again)
