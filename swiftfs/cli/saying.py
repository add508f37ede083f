"""What a command says on the terminal, and whether it says anything there at all."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from swiftfs.errors import printable

if TYPE_CHECKING:
    from swiftfs.load.transform import Move


def is_quiet() -> bool:
    """Whether only errors are to be shown, as the frame's -q says."""
    return logging.getLogger("swiftfs").getEffectiveLevel() >= logging.ERROR


def is_logged() -> bool:
    """Whether messages are for a log, not for somebody who watches: the frame has --use-json-log or --log-file."""
    general = click.get_current_context().find_root().obj
    return bool(general.get("json") or general.get("log_file"))


def show_moves(moves: Iterable[Move]) -> None:
    """What goes where, a line each."""
    for move in moves:
        click.echo(f"{printable(move.source)} -> {printable(move.target)}")
