"""Rules that say where a file of a dataset belongs, and what follows from them. Pure.

A rule is a regular expression that must match the whole path (relative, with ``/``) and a replacement that names its
groups: ``{cls}`` as matched, ``{cls:02d}`` as a number of at least two digits. The first rule that matches decides; a
path that no rule matches stays. Every target must be at rest (no rule moves it again), so that a second run has
nothing to do, and no two files may end at one path.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from swiftfs.errors import UsageError, printable
from swiftfs.load.member import unsafe

_NUMBER = re.compile(r"(?:0([1-9]))?d")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern and its replacement; made by :func:`make_rule`."""

    pattern: re.Pattern[str]
    replacement: str

    def target(self, path: str) -> str | None:
        """Where ``path`` belongs by this rule, None when it does not match. Raises UsageError for an unsafe target."""
        match = self.pattern.fullmatch(path)
        if match is None:
            return None
        parts = []
        for literal, name, spec, _ in string.Formatter().parse(self.replacement):
            parts.append(literal)
            if name is not None:
                parts.append(_filled(match[name] or "", spec or "", path))
        target = "".join(parts)
        if reason := unsafe(target):
            raise UsageError(f"the rules would move {printable(path)} to '{printable(target)}', which {reason}")
        return target


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules in the order in which they are asked."""

    rules: tuple[Rule, ...]

    def target(self, path: str) -> str:
        """Where ``path`` belongs: itself when no rule matches. Raises UsageError for an unsafe or restless target."""
        target = self._once(path)
        if target != path and (again := self._once(target)) != target:
            raise UsageError(
                f"the rules move {printable(path)} to {printable(target)} and from there to {printable(again)}",
                hint="make each pattern match only what still has to be moved",
            )
        return target

    def _once(self, path: str) -> str:
        for rule in self.rules:
            if (target := rule.target(path)) is not None:
                return target
        return path


@dataclass(frozen=True, slots=True)
class Move:
    """One file that is not where the rules want it."""

    source: str
    target: str


def make_rule(pattern: str, replacement: str) -> Rule:
    """A rule from its two texts. Raises UsageError that says which is wrong and how."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"pattern '{printable(pattern)}': {error}") from None
    try:
        fields = list(string.Formatter().parse(replacement))
    except ValueError as error:
        raise UsageError(f"replacement '{printable(replacement)}': {error}") from None
    for _, name, spec, conversion in fields:
        if name is None:
            continue
        # Only plain group names: str.format would also follow attributes and items.
        if not _FIELD.fullmatch(name) or name not in compiled.groupindex:
            raise UsageError(
                f"replacement '{printable(replacement)}': the pattern has no group '{printable(name)}'",
                hint="write the group as (?P<name>…)",
            )
        if conversion or (spec and not _NUMBER.fullmatch(spec)):
            raise UsageError(
                f"replacement '{printable(replacement)}': a group is written {{{name}}} or, as a number, {{{name}:02d}}"
            )
    return Rule(compiled, replacement)


def parse_rules(document: Mapping[str, object], origin: str) -> Rules:
    """Rules from a TOML document with ``[[rule]]`` tables of ``pattern`` and ``replacement``. Raises UsageError."""
    if unknown := sorted(set(document) - {"rule", "description"}):
        raise UsageError(
            f"{printable(origin)}: unknown key '{printable(unknown[0])}'", hint="rules are [[rule]] tables"
        )
    tables = document.get("rule")
    if not isinstance(tables, list) or not tables:
        raise UsageError(f"{printable(origin)} has no [[rule]] table")
    rules = []
    for number, table in enumerate(tables, 1):
        pattern = table.get("pattern") if isinstance(table, dict) else None
        replacement = table.get("replacement") if isinstance(table, dict) else None
        if not isinstance(pattern, str) or not isinstance(replacement, str) or len(table) != 2:
            raise UsageError(f"{printable(origin)}: rule {number} must have a pattern and a replacement, both text")
        try:
            rules.append(make_rule(pattern, replacement))
        except UsageError as error:
            raise UsageError(f"{printable(origin)}: rule {number}: {error.message}", hint=error.hint) from None
    return Rules(tuple(rules))


def plan_moves(rules: Rules, paths: Sequence[str]) -> tuple[Move, ...]:
    """The moves that bring every file to where it belongs, in the order of ``paths``.

    ``paths`` are all files there are. Raises UsageError when two files would end at one path, or one would take the
    place of a directory.
    """
    pairs = [(rules.target(path), path) for path in paths]
    check_targets(pairs)
    return tuple(Move(path, target) for target, path in pairs if target != path)


def check_targets(pairs: Iterable[tuple[str, str]]) -> None:
    """Refuse ``(target, source)`` pairs of which two have one target, or one target lies below another."""
    owner: dict[str, str] = {}
    for target, source in pairs:
        if target in owner:
            raise UsageError(
                f"{printable(owner[target])} and {printable(source)} would both become {printable(target)}"
            )
        owner[target] = source
    for target, source in owner.items():
        for file in parents(target):
            if file in owner:
                raise UsageError(
                    f"{printable(source)} would go below {printable(file)}, where {printable(owner[file])} is a file"
                )


def parents(path: str) -> Iterator[str]:
    """Every directory that ``path`` lies in, the nearest first."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _filled(text: str, spec: str, path: str) -> str:
    if not spec:
        return text
    if not (text.isascii() and text.isdigit()):
        raise UsageError(
            f"'{printable(text)}' in {printable(path)} is not a number, as the rule's {{…:{spec}}} needs it"
        )
    width = _NUMBER.fullmatch(spec)
    assert width is not None
    return (text.lstrip("0") or "0").rjust(int(width[1] or 1), "0")


FOOD11 = Rules(
    (
        make_rule(
            r"(?P<split>training|validation|evaluation)/(?P<cls>[0-9]|10)_(?P<rest>[^/]+)",
            "{split}/class_{cls:02d}/{cls}_{rest}",
        ),
    )
)
"""Food-11 as Kaggle and EPFL ship it, ``training/3_17.jpg``, into the directories ``ImageFolder`` reads as classes."""

IMAGEFOLDER_BY_PREFIX = Rules(
    (
        make_rule(
            r"(?P<split>[^/]+)/(?!(?P=split)_)(?P<cls>[^/_]+)_(?P<rest>[^/]+)",
            "{split}/{cls}/{cls}_{rest}",
        ),
    )
)
"""``train/cat_001.jpg`` to ``train/cat/cat_001.jpg`` in every split; ``cat/cat_001.jpg`` is at rest already."""

PRESETS: Mapping[str, Rules] = {"food11": FOOD11, "imagefolder-by-prefix": IMAGEFOLDER_BY_PREFIX}
"""Rule sets by the name the command line gives them."""
