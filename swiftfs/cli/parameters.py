"""Kinds of values on the command line: sizes, durations, permission bits, written as rclone's users write them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import click

_UNITS = {unit: 1 << 10 * power for power, unit in enumerate(("B", "K", "M", "G", "T", "P", "E"))}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTPE]?)(iB?|B)?\Z", re.IGNORECASE)
_SPANS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


class Size(click.ParamType[int]):
    """Bytes, with rclone's binary suffixes: ``20G``, ``512Ki``, ``1.5M``; a number without one counts ``bare``."""

    name = "size"

    def __init__(self, bare: str) -> None:
        self._bare = bare

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Raises click's error for anything else."""
        if isinstance(value, int):
            return value
        match = _SIZE.match(str(value).strip())
        if not match:
            self.fail(f"'{value}' is not a size; write for example 512M or 20G", param, ctx)
        return int(float(match[1]) * _UNITS[match[2].upper() or ("B" if match[3] else self._bare)])


LEAST_CHUNK = 64 << 10
"""Bytes of the smallest chunk: below, a chunk's row and its file take more than what is in it."""
MOST_CHUNK = 32 << 20
"""Bytes of the largest chunk: one that the disk does not take goes through memory and over a socket."""
CHUNK_UNIT = 4 << 10
"""Bytes that a chunk is a multiple of: ``cache.names.PIECE_BYTES``, which would be long to import here."""


class ChunkSize(Size):
    """Bytes of a chunk, as :class:`Size`: within bounds, and whole pages."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Raises click's error for anything else."""
        size = super().convert(value, param, ctx)
        if not LEAST_CHUNK <= size <= MOST_CHUNK or size % CHUNK_UNIT:
            self.fail(f"'{value}' is not the size of a chunk; write a multiple of 4K from 64K to 32M", param, ctx)
        return size


class Limit(click.ParamType[int | None]):
    """Bytes as rclone's limits take them: as :data:`KIB_SIZE`; None for ``off``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Raises click's error for anything else."""
        if value is None or isinstance(value, int):
            return value
        return None if str(value).strip().lower() == "off" else KIB_SIZE.convert(value, param, ctx)


class Bandwidth(click.ParamType[int | None]):
    """Bytes a second that may be sent, as rclone's ``--bwlimit`` takes them: one rate, or those of sending and of
    receiving as ``UP:DOWN``, of which the first counts; None for ``off``. A timetable is refused."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Raises click's error for anything else."""
        if value is None or isinstance(value, int):
            return value
        text = str(value).strip()
        if "," in text:
            self.fail(f"'{value}' is a timetable, which swiftfs does not keep; write one rate, 10M", param, ctx)
        # That of receiving is a rate as well, or a mistake, although nothing here asks for it.
        rates = [LIMIT.convert(rate, param, ctx) for rate in text.split(":", 1)]
        return rates[0]


class Duration(click.ParamType[float | None]):
    """Seconds as rclone writes them: ``300ms``, ``10s``, ``5m``, ``1h30m``; None for ``off``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Raises click's error for anything else."""
        if value is None or isinstance(value, float):
            return value
        text = str(value).strip().lower()
        if text == "off":
            return None
        if re.fullmatch(r"\d+(?:\.\d+)?", text):
            return float(text)
        if not text or _SPAN.sub("", text):
            self.fail(f"'{value}' is not a duration; write for example 10s, 5m, 1h30m or off", param, ctx)
        return sum(float(number) * _SPANS[unit] for number, unit in _SPAN.findall(text))


class Interval(Duration):
    """Seconds as :class:`Duration` takes them; None for ``off`` and for 0, by which rclone means the same."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Raises click's error for anything else."""
        return super().convert(value, param, ctx) or None


class Permissions(click.ParamType[int]):
    """Permission bits in octal: ``0444``."""

    name = "octal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Raises click's error for anything else."""
        if isinstance(value, int):
            return value
        if not re.fullmatch(r"[0-7]{1,4}", str(value)):
            self.fail(f"'{value}' is not an octal number; write for example 0444", param, ctx)
        return int(value, 8)


_SAID = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def plain_switches(arguments: Sequence[str], switches: Mapping[str, str | None]) -> list[str]:
    """``arguments`` with ``--switch=true`` and ``--switch=false``, as rclone takes them, in click's words.

    ``switches`` names those that a command has, each with what turns it off; None where leaving it out does.
    """
    plain: list[str] = []
    for number, argument in enumerate(arguments):
        if argument == "--":
            return [*plain, *arguments[number:]]
        name, equals, value = argument.partition("=")
        said = _SAID.get(value.lower()) if equals and name in switches else None
        if said is None:
            plain.append(argument)
        elif said:
            plain.append(name)
        elif (off := switches[name]) is not None:
            plain.append(off)
    return plain


def switches_of(command: click.Command) -> dict[str, str | None]:
    """The switches of a command, or of all commands of a group, for :func:`plain_switches`."""
    found: dict[str, str | None] = {}
    for one in [command, *(command.commands.values() if isinstance(command, click.Group) else ())]:
        for option in one.params:
            if isinstance(option, click.Option) and option.is_flag:
                off = next((name for name in option.secondary_opts if name.startswith("--")), None)
                found.update(dict.fromkeys((name for name in option.opts if name.startswith("--")), off))
    return found


SIZE = Size("B")
"""Of what rclone does not have: a bare number is bytes."""
KIB_SIZE = Size("K")
"""Of what rclone has too: a bare number is KiB."""
CHUNK_SIZE = ChunkSize("B")
LIMIT = Limit()
BANDWIDTH = Bandwidth()
DURATION = Duration()
INTERVAL = Interval()
PERMISSIONS = Permissions()
