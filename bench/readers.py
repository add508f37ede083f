"""One reader of a mount: a process of its own, so that its CPU is not the client's. Standard library only.

``python readers.py JOB.json`` says ``ready``, waits for a line on stdin, reads, and writes what it saw as JSON. The
kinds of a job are ``files`` (whole files in the order given, with ``hash``), ``scan`` (walk and stat), ``sequential``
and ``random`` (blocks of one file at ``offsets``).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PIECE = 1024 * 1024
"""Bytes of one read: a file of a picture's size takes one and the one that says it has ended."""

Seen = dict[str, Any]


def read_files(job: dict[str, Any]) -> Seen:
    """Each file whole, as a training job does; seconds of each. With ``hash``, its MD5 too."""
    top = job["top"]
    seconds: list[float] = []
    digests: dict[str, str] = {}
    size = 0
    for name in job["names"]:
        started = time.perf_counter()
        digest = hashlib.md5(usedforsecurity=False) if job.get("hash") else None
        descriptor = os.open(f"{top}/{name}", os.O_RDONLY)
        try:
            while piece := os.read(descriptor, PIECE):
                size += len(piece)
                if digest is not None:
                    digest.update(piece)
        finally:
            os.close(descriptor)
        seconds.append(time.perf_counter() - started)
        if digest is not None:
            digests[name] = digest.hexdigest()
        if pause := job.get("pause"):
            time.sleep(pause)
    return {"files": len(seconds), "bytes": size, "seconds": seconds, "digests": digests}


def scan(job: dict[str, Any]) -> Seen:
    """Every name below the top with its attributes, by ``find``; ``flat``: those on top, as ``ls -l``.

    ``ended`` is when that has ended. A reader in Python would take as long again for itself, and hide that.
    """
    depth = ["-maxdepth", "1"] if job.get("flat") else []
    command = ["find", job["top"], "-mindepth", "1", *depth, "-printf", "%y%s\\n"]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    ended = time.monotonic()
    found = said.decode().split()
    return {
        "files": sum(line[0] == "f" for line in found),
        "bytes": sum(int(line[1:]) for line in found if line[0] == "f" or job.get("flat")),
        "ended": ended,
    }


def read_sequentially(job: dict[str, Any]) -> Seen:
    """One file from its beginning to its end."""
    return read_files({"top": job["top"], "names": [job["name"]], "hash": job.get("hash")})


def read_randomly(job: dict[str, Any]) -> Seen:
    """Blocks of one file, wherever ``offsets`` say; the bytes are hashed in that order."""
    digest = hashlib.md5(usedforsecurity=False)
    seconds: list[float] = []
    size = 0
    descriptor = os.open(f"{job['top']}/{job['name']}", os.O_RDONLY)
    try:
        for offset in job["offsets"]:
            started = time.perf_counter()
            piece = os.pread(descriptor, job["block"], offset)
            seconds.append(time.perf_counter() - started)
            size += len(piece)
            digest.update(piece)
    finally:
        os.close(descriptor)
    return {"files": 1, "bytes": size, "seconds": seconds, "digests": {job["name"]: digest.hexdigest()}}


KINDS: dict[str, Callable[[dict[str, Any]], Seen]] = {
    "files": read_files,
    "scan": scan,
    "sequential": read_sequentially,
    "random": read_randomly,
}


def main() -> None:
    """Read the job, wait for the word, do it, say what was seen."""
    job = json.loads(Path(sys.argv[1]).read_text())
    print("ready", flush=True)
    sys.stdin.readline()
    cpu, started = sum(os.times()[:4]), time.monotonic()
    seen = {"ended": 0.0, **KINDS[job["kind"]](job)}
    seen["ended"] = seen["ended"] or time.monotonic()
    print(json.dumps({**seen, "started": started, "cpu": sum(os.times()[:4]) - cpu}))


if __name__ == "__main__":
    main()
