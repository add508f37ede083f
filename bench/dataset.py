"""Files like Food-11's, made from a seed: the same names and bytes for the same seed, however often they are made.

Food-11 is 16,643 JPEG files of 72 KB on average, in training, validation and evaluation, one directory for each of
eleven classes. Pictures do not compress, so the bytes are random behind a JPEG's first ones.
"""

from __future__ import annotations

import hashlib
import random
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOOD11_FILES = 16_643
FOOD11_MEAN = 72 * 1024
"""Bytes of a file of Food-11 on average (1.16 GB in 16,643 files)."""
SMALLEST_SHARE = 0.25
"""Sizes are spread evenly from a quarter of the mean to seven quarters of it."""

SPLITS = (("training", 9_866), ("validation", 3_430), ("evaluation", 3_347))
CLASSES = 11

JPEG_START = bytes.fromhex("ffd8ffe000104a46494600010100000100010000")
JPEG_END = bytes.fromhex("ffd9")

WRITE_PIECE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class File:
    """One file: its name below the dataset's directory and its size in bytes."""

    name: str
    size: int


def food11_like(count: int, *, mean: int = FOOD11_MEAN, seed: int = 11) -> Iterator[File]:
    """``count`` files with sizes around ``mean`` bytes, distributed over splits and classes as Food-11's."""
    generator = random.Random(seed)
    smallest = int(mean * SMALLEST_SHARE)
    splits = [name for name, _ in SPLITS]
    weights = [weight for _, weight in SPLITS]
    for number in range(count):
        split = generator.choices(splits, weights)[0]
        group = generator.randrange(CLASSES)
        size = generator.randint(smallest, max(smallest, 2 * mean - smallest))
        yield File(f"{split}/class_{group:02d}/{group}_{number}.jpg", size)


def tiny(count: int, *, size: int = 64) -> Iterator[File]:
    """``count`` files of ``size`` bytes, a thousand in a directory."""
    for number in range(count):
        yield File(f"part_{number // 1000:04d}/{number:07d}.bin", size)


def content(file: File, *, seed: int = 11) -> bytes:
    """The bytes of a file; any two files differ."""
    body = random.Random(f"{seed}/{file.name}").randbytes(file.size)
    if file.size < len(JPEG_START) + len(JPEG_END):
        return body
    return JPEG_START + body[len(JPEG_START) : -len(JPEG_END)] + JPEG_END


def write(files: Iterator[File], top: Path, *, seed: int = 11) -> dict[str, tuple[int, str]]:
    """Write the files below ``top``; returns size and MD5 of each by name."""
    made: dict[str, tuple[int, str]] = {}
    for file in files:
        data = content(file, seed=seed)
        path = top / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        made[file.name] = (len(data), hashlib.md5(data, usedforsecurity=False).hexdigest())
    return made


def write_big(path: Path, size: int, *, seed: int = 11) -> tuple[int, str]:
    """Write one file of ``size`` random bytes; returns its size and MD5."""
    generator = random.Random(seed)
    digest = hashlib.md5(usedforsecurity=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for start in range(0, size, WRITE_PIECE):
            piece = generator.randbytes(min(WRITE_PIECE, size - start))
            digest.update(piece)
            file.write(piece)
    return size, digest.hexdigest()


def write_zip(files: Iterator[File], path: Path, *, top: str = "", seed: int = 11) -> dict[str, tuple[int, str]]:
    """Write a zip of the files, stored as zips of pictures mostly are; returns size and MD5 of each member.

    ``top`` is a directory that all members lie in; it is not part of the names returned.
    """
    made: dict[str, tuple[int, str]] = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            data = content(file, seed=seed)
            archive.writestr(f"{top}/{file.name}" if top else file.name, data)
            made[file.name] = (len(data), hashlib.md5(data, usedforsecurity=False).hexdigest())
    return made
