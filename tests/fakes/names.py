"""Names that have broken something somewhere."""

from __future__ import annotations

ODD_NAMES = (
    "with blank",
    "#?%&+'\"",
    "%2F and %41",
    "line\nbreak",
    "tab\tand\x1bescape",
    "caf\u00e9",
    "cafe\u0301",
    "\U0001f600 four bytes",
    "\u202eright to left",
    "-leading-dash",
    "--flag",
    "back\\slash",
    "a;b=c,d",
    "~tilde",
    "*glob?[x]",
    "x" * 255,
    "\u00e9" * 127,
    "trailing blank ",
    "dir with blank/#?/file\nname",
    "...",
    ".hidden",
)
"""Each is one file name, or a path, that a local file system and a store can both hold."""

STORE_ONLY_NAMES = ("..", ".", "../x", "a/../b", "a//b", "/lead", "trail/", "a/./b", "y" * 256)
"""Names that a store holds and no file system can show as files."""
