"""``swiftfs warm``: have a mount fetch what will be needed, and watch it."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import click

from swiftfs.cli.asking import ASK_PATIENCE, LISTED_PATIENCE, ask_mount
from swiftfs.cli.saying import is_logged
from swiftfs.errors import SwiftFSError, UsageError

log = logging.getLogger(__name__)

POLL = 0.2
"""Seconds between two looks at how far it has come."""
LINES_EVERY = 10.0
"""Seconds between two lines where no terminal shows a bar."""


class Show(Protocol):
    """Shows how far a warm has come, some times a second."""

    def __call__(self, figures: dict[str, Any]) -> None: ...


@click.command()
@click.argument("mountpoint", type=click.Path(path_type=Path))
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--wait", is_flag=True, help="Show the progress; return when everything has been fetched.")
@click.option("--cancel", is_flag=True, help="Give up what was asked for and has not been fetched.")
@click.pass_context
def warm(context: click.Context, mountpoint: Path, paths: tuple[str, ...], wait: bool, cancel: bool) -> None:
    """Fetch the files at or below each PATH (default: all) into the cache.

    The mount fetches them, and readers go first. Ctrl-C ends the waiting, not the fetching: that is --cancel.

    \b
    Example:
      swiftfs warm /mnt/object training validation --wait
      swiftfs warm /mnt/object --cancel
    """
    from swiftfs.mount.mounts import real_mountpoint

    where = real_mountpoint(mountpoint)
    if cancel:
        if paths or wait:
            raise UsageError("--cancel gives up everything and stands alone")
        click.echo(f"gave up {ask_mount(where, {'command': 'warm', 'cancel': True}, ASK_PATIENCE)['cancelled']}")
        return
    figures = ask_mount(where, {"command": "warm", "paths": list(paths)}, LISTED_PATIENCE)
    if not wait:
        click.echo(f"fetching {figures['files']:,} files, {figures['size']:,} bytes")
        return
    try:
        with _shown(logged=is_logged()) as show:
            while not figures["ended"]:
                show(figures)
                time.sleep(POLL)
                figures = ask_mount(where, {"command": "warm", "plan": figures["plan"]}, ASK_PATIENCE)
            show(figures)
    except KeyboardInterrupt:
        click.echo(f"the mount goes on fetching; 'swiftfs warm {mountpoint} --cancel' ends that", err=True)
        raise
    _conclude(figures)


def _conclude(figures: dict[str, Any]) -> None:
    """Say how it ended. Raises SwiftFSError when not everything is there."""
    click.echo(
        f"{figures['done_files']:,} files, {figures['done_bytes']:,} bytes in the cache; "
        f"{figures['present']:,} were there before"
    )
    if figures["cancelled"]:
        raise SwiftFSError("it was given up before its end")
    if figures["failed"]:
        raise SwiftFSError(f"{figures['failed']:,} files could not be fetched", hint="the mount's log says why")
    if figures["left_out"]:
        raise SwiftFSError(f"{figures['left_out']:,} files do not fit into the cache", hint="mount with --cache-size")


def line(figures: dict[str, Any]) -> str:
    """How far it has come, in one line."""
    return (
        f"{figures['done_files']:,} of {figures['files']:,} files, "
        f"{figures['done_bytes']:,} of {figures['size']:,} bytes"
    )


@contextlib.contextmanager
def _shown(*, logged: bool) -> Iterator[Show]:
    """A bar on a terminal, else a line now and then: in the log where there is one for machines."""
    if sys.stderr.isatty() and not logged:
        with _bar() as show:
            yield show
        return
    said = time.monotonic()

    def say(figures: dict[str, Any]) -> None:
        nonlocal said
        if time.monotonic() - said < LINES_EVERY and not (logged and figures["ended"]):
            return
        said = time.monotonic()
        if logged:
            log.warning("%s", line(figures), extra={"stats": figures})
        else:
            click.echo(line(figures), err=True)

    yield say


@contextlib.contextmanager
def _bar() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[files]}"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, files="")

        def show(figures: dict[str, Any]) -> None:
            files = f"{figures['done_files']:,}/{figures['files']:,} files"
            bar.update(task, completed=figures["done_bytes"], total=figures["size"], files=files)

        yield show
