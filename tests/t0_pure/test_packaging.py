"""What the package says it needs."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def numbers(text: str) -> tuple[int, ...]:
    """The numeric parts of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


@pytest.mark.row("S9")
def test_every_dependency_has_a_lowest_version_and_is_not_below_it() -> None:
    """Each library is needed from a version on, and the one that the tests run with is not an older one."""
    extras = PROJECT["optional-dependencies"].values()
    wanted = [*PROJECT["dependencies"], *(one for extra in extras for one in extra)]
    for requirement in wanted:
        match = re.fullmatch(r"([a-z0-9]+)>=([0-9.]+)", requirement)
        assert match is not None, f"{requirement} has no lower bound"
        assert numbers(version(match[1])) >= numbers(match[2])
