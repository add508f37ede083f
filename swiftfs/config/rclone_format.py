"""The format of rclone.conf: sections of ``key = value`` lines, as rclone's own parser reads them.

Pure: text in, sections out. The rules were compared with ``rclone config dump`` (1.75): a line is a comment only when
it begins with ``#`` or ``;``; the first ``=`` or ``:`` ends the key; keys and values may stand in back-quotes or
triple double quotes, while plain double quotes belong to a value; ``%(name)s`` stands for another value of the
section, or of ``[DEFAULT]``; a section that comes twice is one; keys are told apart by case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

DEFAULT_SECTION = "DEFAULT"
ENCRYPTED = "RCLONE_ENCRYPT_V"
"""How the first line of an encrypted file begins that is no comment."""
DEEPEST = 50
"""Replacements in one value before it is taken for one that contains itself."""

_REFERENCE = re.compile(r"%\(([^)]+)\)s")
_VALUE_QUOTES = ('"""', "`")
_KEY_QUOTES = ('"""', '"', "`")

Sections = dict[str, dict[str, str]]


class Unreadable(ValueError):
    """Line ``line`` (from 1) is not of this format; the message holds nothing of what the line says."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


def is_encrypted(text: str) -> bool:
    """Whether rclone has encrypted the file."""
    for line in text.splitlines():
        line = line.strip()
        if line and line[0] not in "#;":
            return line.startswith(ENCRYPTED)
    return False


def parse(text: str) -> Sections:
    """Sections by name with their values by key, references replaced. Raises Unreadable."""
    sections: Sections = {}
    current = DEFAULT_SECTION
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            current = line[1:-1].strip()
            if not current:
                raise Unreadable(number, "a section without a name")
            sections.setdefault(current, {})
            continue
        key, value = _pair(number, line)
        sections.setdefault(current, {})[key] = value
    default = sections.get(DEFAULT_SECTION, {})
    return {
        name: {key: _resolve(value, values, default) for key, value in values.items()}
        for name, values in sections.items()
    }


def _pair(number: int, line: str) -> tuple[str, str]:
    for quote in _KEY_QUOTES:
        if line.startswith(quote):
            end = line.find(quote, len(quote))
            if end < 0:
                raise Unreadable(number, "a quoted key without its closing quote")
            key, rest = line[len(quote) : end], line[end + len(quote) :].lstrip()
            if not rest or rest[0] not in "=:":
                raise Unreadable(number, "no '=' after the key")
            rest = rest[1:]
            break
    else:
        end = min((place for place in (line.find("="), line.find(":")) if place >= 0), default=-1)
        if end < 0:
            raise Unreadable(number, "neither a section nor 'key = value'")
        key, rest = line[:end].strip(), line[end + 1 :]
    if not key:
        raise Unreadable(number, "a value without a key")
    return key, _unquoted(number, rest.strip())


def _unquoted(number: int, value: str) -> str:
    for quote in _VALUE_QUOTES:
        # A value too short to be closed is no quoted one: rclone keeps it as it stands.
        if value.startswith(quote) and len(value) >= 2 * len(quote):
            end = value.rfind(quote, len(quote))
            if end < 0:
                raise Unreadable(number, "a quoted value without its closing quote")
            return value[len(quote) : end]
    return value


def _resolve(value: str, values: Mapping[str, str], default: Mapping[str, str]) -> str:
    """``value`` with its references replaced, by nothing where they name no value, as rclone has it.

    A value that contains itself stays as it is written.
    """
    replaced = value
    for _ in range(DEEPEST):
        match = _REFERENCE.search(replaced)
        if match is None:
            return replaced
        found = values.get(match[1], default.get(match[1], ""))
        replaced = replaced[: match.start()] + found + replaced[match.end() :]
    return value
