"""``swiftfs status``: what a mount has done, what it does now, and what it does not show."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click

from swiftfs.cli.asking import ASK_PATIENCE, ask_mount
from swiftfs.errors import UsageError

EVERY = 1.0
"""Seconds between two looks of ``--watch``."""


@click.command()
@click.argument("mountpoint", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
@click.option("--watch", is_flag=True, help="A live screen with rates, until Ctrl-C.")
@click.option("--hidden", is_flag=True, help="List the objects that the mount does not show, each with the reason.")
def status(mountpoint: Path | None, as_json: bool, watch: bool, hidden: bool) -> None:
    """Show what a mount has done: requests, bytes, hits, slowest reads. Without MOUNTPOINT, list the mounts.

    \b
    Example:
      swiftfs status /mnt/object
      swiftfs status /mnt/object --watch
      swiftfs status /mnt/object --hidden
    """
    from swiftfs.mount.mounts import real_mountpoint

    if mountpoint is None:
        if watch or hidden:
            raise UsageError("--watch and --hidden need a MOUNTPOINT")
        _list_mounts(as_json)
        return
    where = real_mountpoint(mountpoint)
    if hidden:
        _show_hidden(where, as_json)
    elif watch:
        _watch(where, as_json)
    else:
        _show(where, as_json)


def _list_mounts(as_json: bool) -> None:
    from swiftfs.mount.mounts import mounts

    ours = [found for found in mounts() if found.ours]
    if as_json:
        click.echo(json.dumps([{"mountpoint": str(m.mountpoint), "remote": m.source} for m in ours]))
    else:
        for found in ours:
            click.echo(f"{found.source} on {found.mountpoint}")


def _show(where: Path, as_json: bool) -> None:
    from swiftfs.cli.screen import in_words

    answer = ask_mount(where, {"command": "status"}, ASK_PATIENCE)
    click.echo(json.dumps(answer) if as_json else in_words(answer))


def _show_hidden(where: Path, as_json: bool) -> None:
    """Read them from the index, which may hold more than a reply should."""
    from swiftfs.errors import printable
    from swiftfs.index.reader import Reader

    reader = Reader(Path(ask_mount(where, {"command": "status"}, ASK_PATIENCE)["index"]))
    try:
        for name, reason in reader.hidden():
            text = json.dumps({"name": name, "reason": reason.value}) if as_json else f"{printable(name)}\t{reason}"
            click.echo(text)
    finally:
        reader.close()


def _watch(where: Path, as_json: bool) -> None:
    """Every second: a screen on a terminal, else a line of JSON or a block of text."""
    if as_json or not sys.stdout.isatty():
        while True:
            _show(where, as_json)
            sys.stdout.flush()
            time.sleep(EVERY)
    from rich.live import Live

    from swiftfs.cli.screen import Watch, live

    seen = Watch()
    with Live(screen=True, auto_refresh=False) as screen:
        while True:
            answer = ask_mount(where, {"command": "status"}, ASK_PATIENCE)
            screen.update(live(answer, seen.see(time.monotonic(), answer)), refresh=True)
            time.sleep(EVERY)
