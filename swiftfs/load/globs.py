"""rclone's globs as regular expressions, and the directories that may hold what a glob matches. Pure.

The rules are those of rclone's documentation, "Filtering": ``*`` and ``?`` stop at a slash, ``**`` does not, ``[…]`` is
a class, ``{a,b}`` an alternative, ``{{…}}`` a regular expression, a backslash takes the next character as it is, and a
leading slash means the top; without it a glob matches from any component on.
"""

from __future__ import annotations

import re

from swiftfs.errors import UsageError, printable

_STARS = {1: "[^/]*", 2: ".*"}
_ESCAPES = frozenset("dDwWsSbBAnrtfv")
"""Letters that mean the same behind a backslash in Go's regular expressions, which rclone uses, and in Python's."""
_SETS = frozenset("[&~|")
"""Characters in a class that Python reserves for operations on sets, which Go does not know."""
_UNCLEAR = re.compile(r"\{[^{}]*(?:\*\*|/)[^{}]*\}|\{\{|\}\}|\{[^{}]*\{")
_SLASHES = re.compile(r"/{2,}")
EVERYWHERE = "/**"
"""The directory glob that says: what is looked for may be in any directory."""


def compile_glob(glob: str) -> re.Pattern[str]:
    """The pattern whose ``search`` tells whether ``glob`` matches a path. Raises UsageError that says what is wrong."""
    if glob.startswith("/"):
        start, body = "^", glob[1:]
    else:
        start, body = "(?:^|/)", glob
    try:
        # DOTALL: a newline in a name is a character as any other, rclone has another one in its place.
        return re.compile(f"{start}{_translated(body, glob)}\\Z", re.DOTALL | re.ASCII)
    except re.error as error:
        raise _wrong(glob, str(error)) from None


def directory_globs(glob: str) -> list[str]:
    """Globs of the directories, each with a slash behind it, in which something that ``glob`` matches may be.

    A glob with a slash is taken from the top here, as rclone takes it: ``--include a/b`` does not find ``x/a/b``.
    """
    if _UNCLEAR.search(glob):
        return [EVERYWHERE]
    rest = _SLASHES.sub("/", glob)
    found: list[str] = []
    while True:
        slash, stars = rest.rfind("/"), rest.rfind("**")
        if max(slash, stars) < 0:
            return found or [EVERYWHERE]
        rest, behind = (rest[:stars], "**/") if stars > slash else (rest[:slash], "/")
        if not found or found[-1] != rest + behind:
            found.append(rest + behind)


def _translated(body: str, glob: str) -> str:
    """The regular expression of a glob without its anchors."""
    parts: list[str] = []
    braces = stars = 0
    at = 0
    while at < len(body):
        char = body[at]
        at += 1
        if char == "*":
            stars += 1
            continue
        parts.append(_run_of(stars, glob))
        stars = 0
        if char == "\\":
            parts.append(_escaped(body[at : at + 1], glob))
            at += 1
        elif char == "[":
            part, at = _class(body, at, glob)
            parts.append(part)
        elif char == "{" and body[at : at + 1] == "{":
            # The longest: of "}}}" the last two end it.
            end = body.find("}}", at + 1)
            if end < 0:
                raise _wrong(glob, "'{{' is not closed")
            while body[end + 2 : end + 3] == "}":
                end += 1
            parts.append(f"(?:{body[at + 1 : end]})")
            at = end + 2
        elif char == "{":
            braces += 1
            parts.append("(?:")
        elif char == "}":
            braces -= 1
            if braces < 0:
                raise _wrong(glob, "'}' closes nothing")
            parts.append(")")
        elif char == "," and braces:
            parts.append("|")
        elif char == "?":
            parts.append("[^/]")
        elif char == "]":
            raise _wrong(glob, "']' closes nothing")
        else:
            parts.append(re.escape(char))
    parts.append(_run_of(stars, glob))
    if braces:
        raise _wrong(glob, "'{' is not closed")
    return "".join(parts)


def _run_of(stars: int, glob: str) -> str:
    if stars > 2:
        raise _wrong(glob, "too many stars")
    return _STARS.get(stars, "")


def _escaped(char: str, glob: str) -> str:
    if not char:
        raise _wrong(glob, "nothing follows the backslash")
    if char.isascii() and char.isalnum() and char not in _ESCAPES:
        raise _wrong(glob, f"'\\{char}' means nothing")
    return "\\" + char if char.isascii() and char.isalnum() else re.escape(char)


def _class(body: str, at: int, glob: str) -> tuple[str, int]:
    """The class that begins before ``at``, and where the glob goes on behind it."""
    # A nested "[" is counted, though it means itself: "[[:alpha:]]" must end where it ends.
    depth, end = 1, at
    while depth:
        if end >= len(body):
            raise _wrong(glob, "'[' is not closed")
        depth += {"[": 1, "]": -1}.get(body[end], 0)
        end += 1
    inside = body[at : end - 1]
    if not inside.removeprefix("^"):
        raise _wrong(glob, "'[]' is empty")
    if "[:" in inside:
        raise _wrong(glob, "'[:…:]' is not known here; write the characters")
    parts: list[str] = []
    spot = 0
    while spot < len(inside):
        char = inside[spot]
        spot += 1
        if char == "\\":
            parts.append(_escaped(inside[spot : spot + 1], glob))
            spot += 1
        else:
            parts.append("\\" + char if char in _SETS else char)
    text = "".join(parts).replace("--", "-\\-")
    return f"[{text}]", end


def _wrong(glob: str, reason: str) -> UsageError:
    return UsageError(f"filter '{printable(glob)}': {reason}")
