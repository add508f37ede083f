"""Carry out transform rules on disk: plan every move from one walk, then rename in place."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass

from swiftfs.errors import LocalFileError, UsageError, printable
from swiftfs.load.source import FileObject, Omitted, Refused, open_source
from swiftfs.load.transform import PRESETS, Move, Rules, parse_rules, plan_moves


@dataclass(frozen=True, slots=True)
class TransformResult:
    """What a run did: files seen, moves made (or to make, in a dry run), and what could not be read."""

    files: int
    moves: tuple[Move, ...]
    refused: tuple[Refused, ...]
    omitted: tuple[Omitted, ...]


def load_rules(name: str) -> Rules:
    """The preset called ``name``, or the rules in the TOML file of that path. Raises UsageError, LocalFileError."""
    if name in PRESETS:
        return PRESETS[name]
    try:
        with open(name, "rb") as file:
            document = tomllib.load(file)
    except FileNotFoundError:
        known = ", ".join(PRESETS)
        raise UsageError(f"no rules '{printable(name)}'", hint=f"presets are {known}; else give a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{printable(name)} is not TOML: {printable(str(error))}") from None
    except OSError as error:
        raise LocalFileError(f"cannot read the rules {printable(name)}: {error.strerror}") from None
    return parse_rules(document, name)


def transform_directory(root: str, rules: Rules, *, dry_run: bool = False) -> TransformResult:
    """Move every file below ``root`` to where the rules want it.

    Everything is decided before the first rename; symbolic links stay. Raises ContainerNotFound when ``root`` is
    missing, UsageError when the rules clash, LocalFileError when a rename fails (another run continues there).
    """
    paths: list[str] = []
    refused: list[Refused] = []
    omitted: list[Omitted] = []
    for found in open_source(root).scan():
        if isinstance(found, Refused):
            refused.append(found)
        elif isinstance(found, Omitted):
            omitted.append(found)
        elif isinstance(found, FileObject):
            paths.append(found.name)
    moves = plan_moves(rules, paths)
    check_places(root, moves)
    if not dry_run:
        for move in moves:
            _rename(root, move)
    return TransformResult(len(paths), moves, tuple(refused), tuple(omitted))


def check_places(root: str, moves: tuple[Move, ...]) -> None:
    """Raise UsageError unless every target is free and every directory above it is one, or can be made.

    The plan knows regular files only; a link or a directory in the place of a target is found here. A link on the way
    to a target is refused: it could lead out of ``root``.
    """
    good: set[str] = {""}
    for move in moves:
        if os.path.lexists(os.path.join(root, move.target)):
            raise UsageError(f"{printable(move.source)} would become {printable(move.target)}, which is there already")
        above = move.target
        while (above := above.rpartition("/")[0]) not in good:
            good.add(above)
            place = os.path.join(root, above)
            if os.path.lexists(place) and (os.path.islink(place) or not os.path.isdir(place)):
                wish = f"{printable(move.source)} would become {printable(move.target)}"
                raise UsageError(f"{wish}, but {printable(above)} is no directory")


def _rename(root: str, move: Move) -> None:
    target = os.path.join(root, move.target)
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(os.path.join(root, move.source), target)
    except OSError as error:
        raise LocalFileError(
            f"cannot move {printable(move.source)} to {printable(move.target)}: {error.strerror}",
            hint="run it again when that is mended: what is moved already stays",
        ) from None
