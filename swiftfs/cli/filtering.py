"""The options that choose objects, named and meant as rclone's, for every command that takes them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from swiftfs.cli.parameters import LIMIT
from swiftfs.errors import LocalFileError, printable

if TYPE_CHECKING:
    from swiftfs.load.filters import Filters

C = TypeVar("C", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--include", multiple=True, metavar="GLOB", help="Only these files, and no others."),
    click.option("--include-from", multiple=True, metavar="FILE", help="Only the files of the globs in FILE."),
    click.option("--exclude", multiple=True, metavar="GLOB", help="Not these files."),
    click.option("--exclude-from", multiple=True, metavar="FILE", help="Not the files of the globs in FILE."),
    click.option(
        "-f", "--filter", "rules", multiple=True, metavar="RULE", help="'+ GLOB' or '- GLOB'; the first match decides."
    ),
    click.option("--filter-from", multiple=True, metavar="FILE", help="Such rules from FILE."),
    click.option("--files-from", multiple=True, metavar="FILE", help="Only the files whose names FILE lists."),
    click.option("--min-size", type=LIMIT, metavar="SIZE", help="Not files smaller than this; KiB without a unit."),
    click.option("--max-size", type=LIMIT, metavar="SIZE", help="Not files larger than this; KiB without a unit."),
)


def filter_options(command: C) -> C:
    """Add the filter options to a command, in rclone's order; their values are for :func:`filters_from`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def filters_from(given: Mapping[str, Any]) -> Filters:
    """The filters of a command's arguments. Raises UsageError, and LocalFileError for a file that cannot be read."""
    from swiftfs.load.filters import FilterTexts, make_filters

    included = given["include"] or given["include_from"]
    texts = FilterTexts(
        include=[*given["include"], *_lines(given["include_from"])] if included else None,
        exclude=[*given["exclude"], *_lines(given["exclude_from"])],
        rules=[*given["rules"], *_lines(given["filter_from"])],
        files=_lines(given["files_from"]) if given["files_from"] else None,
        min_size=given["min_size"],
        max_size=given["max_size"],
    )
    return make_filters(texts)


def _lines(files: tuple[str, ...]) -> list[str]:
    from swiftfs.load.filters import rule_lines

    lines: list[str] = []
    for name in files:
        try:
            if name == "-":
                text = sys.stdin.buffer.read()
            else:
                with open(name, "rb") as file:
                    text = file.read()
            lines.extend(rule_lines(text.decode()))
        except OSError as error:
            raise LocalFileError(f"cannot read {printable(name)}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise LocalFileError(f"{printable(name)} is not UTF-8") from None
    return lines
