"""The configuration's format beside the real rclone: what ``rclone config dump`` says is what we read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fakes.programs import run
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from swiftfs.config.rclone_format import Unreadable, parse

PIECES = ["a", "B", "key", "1", " ", "=", ":", '"', "`", '"""', "#", ";", "[", "]", "%", "\\", "ü", "\t"]
PIECES += ["%(r)s", "%(q)s", "%(nope)s"]
LINES = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=7).map("".join),
    st.tuples(st.sampled_from(["a", "key", "Key"]), st.lists(st.sampled_from(PIECES), max_size=5).map("".join)).map(
        " = ".join
    ),
)


@pytest.fixture
def environ(here: Path) -> dict[str, str]:
    """Nothing is configured but the file of the moment."""
    return {**os.environ, "RCLONE_CONFIG": str(here / "rclone.conf")}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, max_size=4))
@example(lines=['a="""'])
@example(lines=['a="""b'])
@example(lines=["a=`"])
def test_what_rclone_reads_is_what_we_read(lines: list[str], environ: dict[str, str]) -> None:
    """Any lines of a section: the same sections, keys and values, or a refusal on both sides."""
    text = "\n".join(["[DEFAULT]", "q = 2", "[z]", "r = 1", *lines, ""])
    Path(environ["RCLONE_CONFIG"]).write_text(text)
    done = run("rclone", "config", "dump", environ=environ)
    theirs = json.loads(done.out) if done.code == 0 else None
    try:
        ours = parse(text)
    except Unreadable:
        ours = None
    assert theirs == ours
