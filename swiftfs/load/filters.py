"""Which paths of a dataset a command looks at, by rclone's filter rules. Pure.

The first rule that matches a path decides; a path that none matches is kept. Directories have rules of their own, which
follow from those of the files as in rclone's documentation ("Filtering"): what lies in a directory that is left out is
left out, whatever a rule says of the file. ``--files-from`` names the files and rules everything else out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from swiftfs.errors import UsageError, printable
from swiftfs.load.globs import EVERYWHERE, compile_glob, directory_globs


@dataclass(frozen=True, slots=True)
class FilterTexts:
    """What the user gave, each kind in its order, files of rules already read.

    Globs to keep (None: not given, empty: none is kept) and to leave out, rules as ``+ GLOB``, ``- GLOB`` or ``!``,
    names of files (None: not given), and sizes in bytes, both inclusive (None: no limit).
    """

    include: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    rules: Sequence[str] = ()
    files: Sequence[str] | None = None
    min_size: int | None = None
    max_size: int | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """One rule: whether a path that ``pattern`` finds is kept."""

    keep: bool
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Filters:
    """Rules to ask of paths that are relative to the source or destination, with ``/``."""

    of_files: tuple[Filter, ...] = ()
    of_directories: tuple[Filter, ...] = ()
    files: frozenset[str] | None = None
    parents: frozenset[str] = frozenset()
    min_size: int | None = None
    max_size: int | None = None
    _entered: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    @property
    def active(self) -> bool:
        """Whether anything is left out at all."""
        return bool(self.of_files or self.of_directories or self.sized or self.files is not None)

    @property
    def sized(self) -> bool:
        """Whether a file's size matters."""
        return self.min_size is not None or self.max_size is not None

    def fits(self, size: int) -> bool:
        """Whether ``size`` bytes are within the limits."""
        return (self.min_size is None or size >= self.min_size) and (self.max_size is None or size <= self.max_size)

    def keeps(self, path: str, size: int | None = None) -> bool:
        """Whether the file ``path`` of ``size`` bytes is looked at; ``size`` None asks of the path alone."""
        if self.files is not None:
            return path in self.files
        if size is not None and not self.fits(size):
            return False
        return _decision(self.of_files, path) and self.enters(path.rpartition("/")[0])

    def enters(self, directory: str) -> bool:
        """Whether anything in ``directory`` is looked at; the empty one is the top."""
        if not directory:
            return True
        if self.files is not None:
            return directory in self.parents
        known = self._entered.get(directory)
        if known is None:
            known = self.enters(directory.rpartition("/")[0]) and _decision(self.of_directories, f"{directory}/")
            self._entered[directory] = known
        return known


def make_filters(texts: FilterTexts) -> Filters:
    """The filters that rclone makes of the same options: globs to keep first, then those to leave out, then rules.

    Globs to keep leave out whatever no rule mentions, also when there are none of them in the files named: an empty
    list never means everything. Raises UsageError for a rule that cannot be understood and for
    ``--files-from`` beside other filters.
    """
    draft = _Draft()
    for glob in texts.include or ():
        draft.add(True, glob)
    for glob in texts.exclude:
        draft.add(False, glob)
    for rule in texts.rules:
        if rule == "!":
            draft = _Draft()
        elif rule[:2] in {"+ ", "- "} and rule[2:].strip():
            draft.add(rule[0] == "+", rule[2:])
        else:
            raise UsageError(f"filter '{printable(rule)}' is no rule", hint="write '+ GLOB', '- GLOB' or '!'")
    if texts.include is not None:
        draft.add(False, EVERYWHERE)
    if texts.files is None:
        return Filters(tuple(draft.files), tuple(draft.directories), min_size=texts.min_size, max_size=texts.max_size)
    if draft.files or draft.directories or texts.min_size is not None or texts.max_size is not None:
        raise UsageError("--files-from names the files; it goes with no other filter")
    files = frozenset(name.strip("/") for name in texts.files)
    parents = {name[:at] for name in files for at, char in enumerate(name) if char == "/"}
    return Filters(files=files, parents=frozenset(parents))


def rule_lines(text: str) -> list[str]:
    """The lines of a file of filters: without blanks at their ends, empty lines and comments (``#``, ``;``)."""
    # Not splitlines(): a name may hold what Unicode calls a line's end.
    stripped = (line.strip() for line in text.split("\n"))
    return [line for line in stripped if line and line[0] not in "#;"]


class _Draft:
    """Rules while they are being read."""

    def __init__(self) -> None:
        self.files: list[Filter] = []
        self.directories: list[Filter] = []

    def add(self, keep: bool, glob: str) -> None:
        """One glob: a rule for files, for directories, or for both."""
        directory = glob.endswith("/")
        if directory and not keep:
            glob += "**"
        both = "**" in glob
        own = Filter(keep, compile_glob(glob))
        if both or not directory:
            self.files.append(own)
            if keep or glob == "*":
                self.directories.extend(Filter(keep, compile_glob(one)) for one in directory_globs(glob) if one != "/")
        if both or directory:
            self.directories.append(own)


def _decision(rules: Iterable[Filter], path: str) -> bool:
    for rule in rules:
        if rule.pattern.search(path):
            return rule.keep
    return True
