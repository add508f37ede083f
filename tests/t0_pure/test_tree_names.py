"""Object names as paths of a file system."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.index.names import Path, Reason, hostile, reported, split, storable


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a", Path(b"", b"a")),
        ("a/b c", Path(b"a/", b"b c")),
        ("a/b/", Path(b"a/b/", b"")),
        (".hidden", Path(b"", b".hidden")),
        ("...", Path(b"", b"...")),
        ("a\nb\x1b", Path(b"", b"a\nb\x1b")),
        ("\u00e9 e\u0301 \U0001f600", Path(b"", "\u00e9 e\u0301 \U0001f600".encode())),
        ("a" * 255, Path(b"", b"a" * 255)),
        ("x/" * 500 + "y", Path(b"x/" * 500, b"y")),
        (".swiftfs", Path(b"", b".swiftfs")),
        ("a/.swiftfs/b", Path(b"a/.swiftfs/", b"b")),
        (".", Reason.DOTS),
        ("..", Reason.DOTS),
        ("a/../b", Reason.DOTS),
        ("a/./", Reason.DOTS),
        ("/", Reason.EMPTY),
        ("/a", Reason.EMPTY),
        ("a//b", Reason.EMPTY),
        ("a//", Reason.EMPTY),
        ("a" * 256, Reason.LONG),
        ("\u00e9" * 128, Reason.LONG),
        ("a" * 256 + "/b", Reason.LONG),
        ("a\0b", Reason.NUL),
        ("a\udcffb", Reason.ENCODING),
        (".swiftfs/manifest", Reason.INTERNAL),
        (".file-segments/a/slo/1048576/00000000-0", Reason.INTERNAL),
    ],
)
def test_a_name_is_a_path_or_says_why_not(name: str, place: Path | Reason) -> None:
    """Each kind of hostile name has its reason, and odd but sound names are kept byte for byte."""
    assert place == split(name, "")


def test_names_are_taken_below_the_prefix() -> None:
    """The prefix is cut off, and a name outside of it is not shown."""
    assert Path(b"", b"b") == split("a/b", "a/")
    assert Path(b"", b"") == split("a/", "a/")
    assert Path(b"", b"") == split("a/", "a/", marker=True)
    assert Reason.OUTSIDE is split("ab", "a/")
    assert Reason.EMPTY is split("a//b", "a/")


def test_a_marker_by_content_type_is_a_directory() -> None:
    """An object that stands for a directory is one with and without a slash at its end."""
    assert Path(b"a/b/", b"") == split("a/b", "", marker=True)
    assert Path(b"a/b/", b"") == split("a/b/", "", marker=True)


@given(name=st.text(st.characters(codec=None), max_size=20) | st.text("a/.\0\udc80", max_size=8))
def test_a_place_spells_the_name_and_holds_no_hostile_component(name: str) -> None:
    """What is shown is shown exactly, and every component of it is one that the kernel takes."""
    place = split(name, "")
    if isinstance(place, Path):
        assert name.encode() == place.directory + place.name
        assert all(hostile(part) is None for part in place.directory.split(b"/")[:-1])


@given(name=st.text(st.characters(codec=None), max_size=20))
def test_every_name_can_be_reported(name: str) -> None:
    """Lone surrogates too survive on their way to a report."""
    assert name == reported(storable(name))
