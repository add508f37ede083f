"""A pipeline file: where a dataset comes from, how it is named, where it goes; and the `load` command that it means.

One TOML document holds what a person would otherwise have to remember. Relative paths in it begin at the file's own
directory, so it works from anywhere. Pure, but for :func:`read_pipeline`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field

from swiftfs.errors import LocalFileError, UsageError, printable
from swiftfs.load.download import check_sha256
from swiftfs.load.sources import is_url
from swiftfs.load.transform import PRESETS

KEYS = ("description", "source", "sha256", "strip-components", "rules", "destination", "options")
_OPTION = re.compile(r"[a-z][a-z0-9-]*")
_OWN = frozenset({"transform", "sha256", "strip-components"})
"""Options of `load` that a pipeline file says with its own keys."""

PATHS = frozenset({"config", "exclude-from", "files-from", "filter-from", "include-from", "log-file", "summary-json"})
"""Options of `load` whose values are paths of this machine."""

Option = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What to load from where to where. ``rules`` None leaves names as they are, ``destination`` None: as the command
    line or the environment says; ``options`` are those of `load`, without their dashes."""

    source: str
    sha256: str | None = None
    strip: int | None = None
    rules: str | None = None
    destination: str | None = None
    options: Mapping[str, Option | tuple[Option, ...]] = field(default_factory=dict)

    def arguments(self, destination: str | None = None) -> list[str]:
        """The arguments of `load`; ``destination`` overrules the file's."""
        arguments = []
        for name, value in self.options.items():
            for one in value if isinstance(value, tuple) else (value,):
                if one is True:
                    arguments.append(f"--{name}")
                elif one is not False:
                    arguments.append(f"--{name}={one}")
        if self.sha256 is not None:
            arguments.append(f"--sha256={self.sha256}")
        if self.strip is not None:
            arguments.append(f"--strip-components={self.strip}")
        if self.rules is not None:
            arguments.append(f"--transform={self.rules}")
        # Behind the dashes nothing is taken for an option, whatever it begins with.
        arguments += ["--", self.source]
        if (place := destination or self.destination) is not None:
            arguments.append(place)
        return arguments


def read_pipeline(path: str) -> Pipeline:
    """The pipeline in the file at ``path``. Raises UsageError, LocalFileError."""
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{printable(path)} is not TOML: {printable(str(error))}") from None
    except OSError as error:
        raise LocalFileError(f"cannot read the pipeline {printable(path)}: {error.strerror}") from None
    return parse_pipeline(document, path)


def parse_pipeline(document: Mapping[str, object], path: str) -> Pipeline:
    """A pipeline from a TOML document that stands in the file at ``path``. Raises UsageError that names the key."""
    origin = printable(path)
    if unknown := sorted(set(document) - set(KEYS)):
        raise UsageError(f"{origin}: unknown key '{printable(unknown[0])}'", hint=f"keys are {', '.join(KEYS)}")

    def text(key: str) -> str | None:
        value = document.get(key)
        if value is not None and (not isinstance(value, str) or not value):
            raise UsageError(f"{origin}: {key} must be text")
        return value

    source, sha256, rules = text("source"), text("sha256"), text("rules")
    if source is None:
        raise UsageError(f"{origin} names no source", hint='write source = "Food-11.zip", a directory or a URL')
    strip = document.get("strip-components")
    if strip is not None and (type(strip) is not int or not 0 <= strip <= 64):
        raise UsageError(f"{origin}: strip-components must be a number from 0 to 64")
    if sha256 is not None:
        try:
            sha256 = check_sha256(sha256)
        except UsageError as error:
            raise UsageError(f"{origin}: sha256: {error.message}") from None
    above = os.path.dirname(os.path.abspath(path))
    if not is_url(source):
        source = os.path.join(above, source)
    if rules is not None and rules not in PRESETS:
        rules = os.path.join(above, rules)
    options = _options(document.get("options", {}), origin, above)
    return Pipeline(source, sha256, strip, rules, text("destination"), options)


def _options(table: object, origin: str, above: str) -> dict[str, Option | tuple[Option, ...]]:
    if not isinstance(table, dict):
        raise UsageError(f"{origin}: options must be a table")
    options: dict[str, Option | tuple[Option, ...]] = {}
    for name, value in table.items():
        if not _OPTION.fullmatch(name):
            raise UsageError(f"{origin}: options: '{printable(name)}' is no option", hint="write them without dashes")
        if name in _OWN:
            raise UsageError(f"{origin}: options: {name} is said at the top", hint=f"keys are {', '.join(KEYS)}")
        values = tuple(value) if isinstance(value, list) else (value,)
        if not all(isinstance(one, Option) for one in values):
            raise UsageError(f"{origin}: options: {name} must be true, false, a number or text, or a list of them")
        if name in PATHS:
            values = tuple(_placed(one, above) for one in values)
        options[name] = values if isinstance(value, list) else values[0]
    return options


def _placed(value: Option, above: str) -> Option:
    """A path where the pipeline's file is, the directory ``above``; ``-`` is standard input and stays."""
    return os.path.join(above, value) if isinstance(value, str) and value not in {"", "-"} else value
