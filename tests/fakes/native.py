"""Shared libraries made of C, for tests of what is between libraries."""

from __future__ import annotations

import subprocess
from pathlib import Path


def built(directory: Path, name: str, source: str, *options: str | Path) -> Path:
    """A shared library made of C."""
    file, library = directory / f"{name}.c", directory / f"lib{name}.so"
    file.write_text(source)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, file, *options], check=True, timeout=60)
    return library
