"""Numbers as people read them: counts, bytes, seconds. Pure."""

from __future__ import annotations

_UNITS = ("kB", "MB", "GB", "TB", "PB")


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
