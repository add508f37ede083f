"""``swiftfs order``: tell a mount in which order its files will be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from swiftfs.cli.asking import LISTED_PATIENCE, ask_mount

PIECE = 64 * 1024


@click.command()
@click.argument("mountpoint", type=click.Path(path_type=Path))
@click.argument("file", type=click.File("rb"))
def order(mountpoint: Path, file: BinaryIO) -> None:
    """Tell a mount in which order its files will be read, so that it fetches them ahead.

    FILE ('-': standard input) has one name a line, below MOUNTPOINT or absolute. The last order counts; an empty one
    ends it. See examples/pytorch_order.py for a sampler that hands over each epoch.

    \b
    Example:
      swiftfs order /mnt/object epoch1.txt
      find training -type f | shuf | tee epoch2.txt | swiftfs order /mnt/object -
    """
    from swiftfs.fs.order_names import OrderCounts
    from swiftfs.mount.mounts import real_mountpoint

    answer = ask_mount(real_mountpoint(mountpoint), {"command": "order"}, LISTED_PATIENCE, _pieces(file))
    click.echo(OrderCounts(**answer).text())


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece
