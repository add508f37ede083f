"""Numbers as people read them: counts, bytes, seconds, and the durations they type. Pure."""

from __future__ import annotations

import re

from swiftfs.errors import UsageError, printable

_UNITS = ("kB", "MB", "GB", "TB", "PB")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_BARE = re.compile(r"\d+(?:\.\d+)?")


def count_text(count: int) -> str:
    """``1797`` as ``1,797``."""
    return f"{count:,}"


def noun_text(count: int, noun: str) -> str:
    """A count and its noun: ``1 file``, ``1,797 files``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def size_text(size: float) -> str:
    """Bytes in decimal units with three digits that matter: ``12.3 MB``."""
    if size < 999.5:
        return f"{size:.0f} B"
    scaled, unit = size / 1000, 0
    while scaled >= 999.5 and unit < len(_UNITS) - 1:
        scaled, unit = scaled / 1000, unit + 1
    return f"{scaled:.0f} {_UNITS[unit]}" if scaled >= 99.95 else f"{scaled:.1f} {_UNITS[unit]}"


def duration_text(seconds: float) -> str:
    """Seconds as ``10.2 s``, ``3m05s`` or ``2h03m``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def parse_duration(text: str) -> float:
    """Seconds from ``500ms``, ``10s``, ``1m30s`` as rclone writes them, or from a bare number. Raises UsageError."""
    if _BARE.fullmatch(text):
        return float(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"'{printable(text)}' is not a duration", hint="write it as 10s or 1m30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
