"""One reader of a mount: a process of its own, so that its CPU is not the client's. Standard library only.

``python readers.py JOB.json`` says ``ready``, waits for a line on stdin, reads, and writes what it saw as JSON. The
kinds of a job are ``files`` (whole files in the order given, with ``hash``), ``scan`` (walk and stat), ``sequential``
and ``random`` (blocks of one file at ``offsets``).
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
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
    """Every name below the top with its attributes, as ``find -ls`` does; ``flat``: those of the top, as ``ls -l``.

    Names are looked up in their open directory, as find does: a reader that costs little shows the file system.
    """
    files = size = 0
    directories = [job["top"]]
    while directories:
        path = directories.pop()
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if not job.get("flat") and entry.is_dir(follow_symlinks=False):
                        directories.append(f"{path}/{entry.name}")
                        continue
                    found = entry.stat(follow_symlinks=False)
                    files += stat.S_ISREG(found.st_mode)
                    size += found.st_size
        finally:
            os.close(directory)
    return {"files": files, "bytes": size}


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
    cpu, started = time.process_time(), time.monotonic()
    seen = KINDS[job["kind"]](job)
    ended = time.monotonic()
    print(json.dumps({**seen, "started": started, "ended": ended, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
