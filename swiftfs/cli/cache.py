"""``swiftfs cache``: what is cached on this machine's disk; check it, empty it.

Works beside mounts that use the same cache: they fetch again what is gone.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swiftfs.errors import Incomplete

if TYPE_CHECKING:
    from swiftfs.cache.writer import Writer

cache_dir_option = click.option("--cache-dir", type=click.Path(path_type=Path), help="The cache; yours by default.")
as_json_option = click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")


@click.group()
def cache() -> None:
    """Show, check or empty the cache that mounts keep on this disk.

    \b
    Example:
      swiftfs cache info
      swiftfs cache verify
      swiftfs cache clear --cache-dir /scratch/swiftfs
    """


@cache.command()
@cache_dir_option
@as_json_option
def info(cache_dir: Path | None, as_json: bool) -> None:
    """Show how much the cache holds.

    \b
    Example:
      swiftfs cache info
    """
    where = _where(cache_dir)
    with _opened(where) as writer:
        found = writer.info() if writer is not None else None
    figures = {
        "path": str(where),
        "bytes": found.bytes if found else 0,
        "files": found.files if found else 0,
        "chunks": found.chunks if found else 0,
        "reserved": found.reserved if found else 0,
        "disk_free": shutil.disk_usage(_existing(where)).free,
    }
    text = "{path}: {bytes:,} bytes in {files:,} files, {chunks:,} chunks; {disk_free:,} bytes of the disk are free"
    _show(figures, as_json, text)


@cache.command()
@cache_dir_option
@as_json_option
def verify(cache_dir: Path | None, as_json: bool) -> None:
    """Read every cached chunk, compare its checksum, and drop those that are damaged.

    Ends with 1 when there were any; they are fetched again when they are read.

    \b
    Example:
      swiftfs cache verify
    """
    where = _where(cache_dir)
    chunks = bad = 0
    with _opened(where) as writer:
        if writer is not None:
            with _progress() as progress:
                done = writer.verify(progress)
            chunks, bad = done.chunks, done.bad
    _show(
        {"path": str(where), "chunks": chunks, "bad": bad}, as_json, "{path}: {chunks:,} chunks read, {bad:,} damaged"
    )
    if bad:
        raise Incomplete(f"{bad:,} chunks were damaged and are gone from the cache", hint="is the disk healthy?")


@cache.command()
@cache_dir_option
@as_json_option
def clear(cache_dir: Path | None, as_json: bool) -> None:
    """Delete everything that is cached. Nothing is lost: it is all in the store.

    \b
    Example:
      swiftfs cache clear
    """
    where = _where(cache_dir)
    with _opened(where) as writer:
        freed = writer.clear() if writer is not None else 0
    _show({"path": str(where), "bytes": freed}, as_json, "{path}: {bytes:,} bytes deleted")


def _where(cache_dir: Path | None) -> Path:
    from swiftfs.config import cache_directory

    return Path(os.path.abspath(cache_dir)) if cache_dir else cache_directory(os.environ)


@contextmanager
def _opened(where: Path) -> Iterator[Writer | None]:
    """The cache, so opened that a look at it evicts nothing; None when there is no directory: looking makes none."""
    from swiftfs.cache.writer import Writer

    if not where.exists():
        yield None
        return
    writer = Writer(where, limit=0)
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("verifying", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _existing(where: Path) -> Path:
    """The directory, or the nearest one above it that is there: its disk is where the cache would be."""
    return next(path for path in (where, *where.parents) if path.exists())


def _show(figures: dict[str, Any], as_json: bool, text: str) -> None:
    click.echo(json.dumps(figures) if as_json else text.format(**figures))
