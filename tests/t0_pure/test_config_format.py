"""config.rclone_format: rclone.conf read as rclone reads it, and nothing of a bad line in an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.config.rclone_format import Unreadable, is_encrypted, parse

PLAIN = st.text(
    alphabet=st.characters(exclude_categories=("C", "Z"), exclude_characters="=:[]#;%`\"'"), min_size=1, max_size=12
)


@given(st.dictionaries(PLAIN, st.dictionaries(PLAIN, PLAIN, max_size=5), max_size=5))
def test_what_is_written_plainly_is_read_back(sections: dict[str, dict[str, str]]) -> None:
    """Sections, keys and values survive, whatever letters they have."""
    lines = []
    for name, values in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {value}" for key, value in values.items()]
    assert sections == parse("\n".join(lines))


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_its_line(text: str) -> None:
    """No text makes the parser do anything but answer, or name a line that the text has."""
    line = 1
    try:
        parse(text)
    except Unreadable as error:
        line = error.line
    assert 1 <= line <= text.count("\n") + 1


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("user : x:y=z", "user", "x:y=z"),
        ('key = "quo;ted" tail', "key", '"quo;ted" tail'),
        ('key = "abc"', "key", '"abc"'),
        ("`k`=v", "k", "v"),
        ('"k=2"=1', "k=2", "1"),
        (" region=  `R` ", "region", "R"),
        ('key="""a"b"""', "key", 'a"b'),
        ("tenant = a # b", "tenant", "a # b"),
        ("empty=", "empty", ""),
        ("k:=1", "k", "=1"),
        ("m=:1", "m", ":1"),
        ("a=\\", "a", "\\"),
        ("b=%(a)", "b", "%(a)"),
        ("Key = 1", "Key", "1"),
        ("description = ü", "description", "ü"),
    ],
)
def test_lines(line: str, key: str, value: str) -> None:
    """Each line means what ``rclone config dump`` makes of it."""
    assert {"z": {key: value}} == parse(f"[z]\n{line}\n")


def test_comments_blank_lines_carriage_returns_and_a_byte_order_mark_are_left_out() -> None:
    """What editors leave in a file changes nothing."""
    assert parse("\ufeff# c\r\n\r\n[z]\r\n; c = 1\r\na = 1\r\n  b = 2\r\n") == {"z": {"a": "1", "b": "2"}}


def test_a_section_that_comes_twice_is_one() -> None:
    """The later value of a key wins and the others stay."""
    assert parse("[z]\na=1\nb=2\n[z]\nb=3\n") == {"z": {"a": "1", "b": "3"}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("key=%(a)s%(b)s\na=1\nb=%(a)s%(a)s", "111"),
        ("key=1%(nope)s2", "12"),
        ("key=1%()s", "1%()s"),
        ("key=%(key)s", "%(key)s"),
        ("key=x%(a)s\na=%(key)s", "x%(a)s"),
        ("key=%%(a)s\na=100%", "%100%"),
        ("key=%(r)s", "D"),
    ],
)
def test_references(text: str, value: str) -> None:
    """``%(name)s`` is replaced from the section, else from DEFAULT; one that leads nowhere by nothing."""
    assert value == parse(f"[DEFAULT]\nr=D\n[z]\n{text}\n")["z"]["key"]


@pytest.mark.parametrize(
    "line", ["[]", "CANARY", "=CANARY", 'key=`CANARY"', '"CANARY = 1', "[z] # CANARY", "`CANARY` 1"]
)
def test_a_line_of_another_format_is_refused_without_being_quoted(line: str) -> None:
    """The error has the line's number and nothing of its text, for it may be a secret."""
    with pytest.raises(Unreadable) as caught:
        parse(f"[z]\na=1\n{line}\n")
    assert caught.value.line == 3
    assert "CANARY" not in str(caught.value) + repr(caught.value) + caught.value.reason


@pytest.mark.parametrize(
    ("text", "encrypted"),
    [
        ("# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nabcd\n", True),
        ("RCLONE_ENCRYPT_V0:\n", True),
        ("[z]\nkey = RCLONE_ENCRYPT_V0:\n", False),
        ("", False),
    ],
)
def test_an_encrypted_file_is_known_by_its_first_line(text: str, encrypted: bool) -> None:
    """Only rclone's own mark counts."""
    assert encrypted == is_encrypted(text)
