"""Where to cut a listing in two so that both halves can be asked for at once. Pure.

Names are compared by code points, which is the order of their UTF-8 bytes and so the order of a listing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swiftfs.model import ListingEntry, Subdir

LAST_CHARACTER = "\U0010fffd"
"""The last character that a name may have (the two above it are not characters): ends what has no other end."""
LAST_USUAL = "\x7f"
"""Names of datasets are of ASCII: what lies behind is left to the half above it."""
_SURROGATES = range(0xD800, 0xE000)


def midpoint(after: str, before: str) -> str | None:
    """A string M with ``after`` < M < ``before``, in the middle as far as single characters tell; None: there is none
    worth having. ``before`` is not empty."""
    same = 0
    while same < len(after) and same < len(before) and after[same] == before[same]:
        same += 1
    if same == len(before):
        return None
    low = ord(after[same]) if same < len(after) else 0
    high = ord(before[same])
    if low < ord(LAST_USUAL) < high:
        high = ord(LAST_USUAL)
    if high - low >= 2:
        return before[:same] + _character((low + high) // 2)
    # Neighbours: what lies between them begins as ``after`` does, and goes on with something larger.
    for position in range(same + 1, len(after)):
        low = ord(after[position])
        if ord(LAST_USUAL) - low >= 2:
            return after[:position] + _character((low + ord(LAST_USUAL)) // 2)
    return None


def marker_before(name: str) -> str:
    """A marker such that the names that follow it begin with ``name`` itself, if it is one.

    A marker is exclusive. Names between the two, if any, are to be dropped by whoever asks.
    """
    last = ord(name[-1]) - 1
    if last in _SURROGATES:
        last = _SURROGATES.start - 1
    return name[:-1] + (chr(last) + LAST_CHARACTER if last > 0 else "")


def first_cuts(names: Sequence[ListingEntry | Subdir], parts: int) -> list[str]:
    """At most ``parts - 1`` names to cut at, evenly spread over ``names``, the top level of what is to be listed."""
    count = min(parts, len(names))
    return [names[len(names) * part // count].name for part in range(1, count)] if count > 1 else []


def _character(code: int) -> str:
    return chr(_SURROGATES.start - 1 if code in _SURROGATES else code)
