"""Keys, places and checksums of cached chunks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.cache import names
from swiftfs.cache.names import checksum, chunk_count, chunk_length, file_name, object_key, parse_file_name, place
from swiftfs.model import Kind, ObjectVersion

URL = "https://store.example/v1/AUTH_a"
PLAIN = ObjectVersion("dir/x.jpg", 72_000, "5d41402abc4b2a76b9719d911017c592", 1_700_000_000_000_000_000, Kind.PLAIN)
SIZES = st.integers(0, 1 << 16)
CHUNK_SIZES = st.integers(1, 1 << 12)


@pytest.mark.parametrize("kind", [Kind.PLAIN, Kind.SLO])
def test_the_same_bytes_share_a_key_whatever_their_name(kind: Kind) -> None:
    """Name, container and time are no part of the key where the ETag pins the bytes."""
    version = replace(PLAIN, kind=kind)
    other = replace(version, name="copy", last_modified=1)

    assert object_key(URL, "one", version) == object_key(URL, "two", other)


@pytest.mark.row("C7")
def test_what_may_hold_other_bytes_has_another_key() -> None:
    """Account, ETag, size, kind and chunk size each make a key of their own; for a DLO, and where
    the ETag is no MD5, also place and time."""
    dlo = replace(PLAIN, kind=Kind.DLO)
    in_parts = replace(PLAIN, etag=f"{PLAIN.etag}-2")
    keys = [
        object_key(URL, "c", PLAIN),
        object_key(URL + "b", "c", PLAIN),
        object_key(URL, "c", replace(PLAIN, etag="0" * 32)),
        object_key(URL, "c", replace(PLAIN, size=1)),
        object_key(URL, "c", replace(PLAIN, kind=Kind.SLO)),
        object_key(URL, "c", PLAIN, chunk_size=4096),
        object_key(URL, "c", dlo),
        object_key(URL, "d", dlo),
        object_key(URL, "c", replace(dlo, name="other")),
        object_key(URL, "c", replace(dlo, last_modified=1)),
        object_key(URL, "c", in_parts),
        object_key(URL, "d", in_parts),
        object_key(URL, "c", replace(in_parts, last_modified=1)),
    ]

    assert len(keys) == len(set(keys))


def test_parts_of_a_key_do_not_run_together() -> None:
    """Moving a character from one part to the next makes another key."""
    dlo = replace(PLAIN, kind=Kind.DLO, name="bc")

    assert object_key(URL, "a", dlo) != object_key(URL, "ab", replace(dlo, name="c"))


@given(size=SIZES, chunk_size=CHUNK_SIZES)
def test_places_cut_an_object_without_gap_or_overlap(size: int, chunk_size: int) -> None:
    """The chunks of an object are all of it, each in a file of its own, all but the last of the same length."""
    places = [place(size, chunk, chunk_size) for chunk in range(chunk_count(size, chunk_size))]

    assert size == sum(where.length for where in places)
    assert [(where.extent, where.offset) for where in places] == [(number, 0) for number in range(len(places))]
    assert all(where.length == chunk_size for where in places[:-1])


@given(size=SIZES, chunk_size=CHUNK_SIZES)
def test_there_is_no_chunk_outside_the_object(size: int, chunk_size: int) -> None:
    """A chunk number below 0 or past the end is an error, not an empty chunk."""
    for chunk in (-1, chunk_count(size, chunk_size)):
        with pytest.raises(ValueError, match="has no chunk"):
            chunk_length(size, chunk, chunk_size)


@given(number=st.integers(0, (1 << 128) - 1), extent=st.integers(0, 1 << 20))
def test_a_file_name_says_its_key_and_extent(number: int, extent: int) -> None:
    """A file found on disk is known by its name alone."""
    key = f"{number:032x}"

    assert (key, extent) == parse_file_name(file_name(key, extent))


@given(name=st.text(max_size=40) | st.from_regex(r"[0-9a-f]{30,34}\.?[0-9]{0,3}", fullmatch=True))
def test_no_other_name_is_taken_for_a_cache_file(name: str) -> None:
    """Only names that ``file_name`` makes are parsed."""
    parsed = parse_file_name(name)

    assert parsed is None or name == file_name(*parsed)


@given(data=st.binary(min_size=1, max_size=64), position=st.integers(0, 511), key=st.integers(0, 9))
def test_a_checksum_holds_for_one_identity_and_one_content(data: bytes, position: int, key: int) -> None:
    """A flipped bit, another key, another number and another length all fail, and the sum fits SQLite's integer."""
    name = f"{key:032x}"
    good = checksum(name, 3, data)
    flipped = bytearray(data)
    flipped[position // 8 % len(data)] ^= 1 << position % 8

    assert 0 <= good < 1 << 63
    assert good == checksum(name, 3, memoryview(data))
    assert good not in {
        checksum(name, 3, flipped),
        checksum(f"{key + 1:032x}", 3, data),
        checksum(name, 4, data),
        checksum(name, 3, data[:-1]),
        checksum(name, 3, data + b"\0"),
    }


def test_the_format_of_a_cache_is_what_it_was() -> None:
    """Keys, checksums and places of the caches that are on users' disks: another value is another format, and needs
    another ``_KEY_FORMAT``."""
    key = object_key(URL, "c", PLAIN)

    assert key == object_key(URL, "c", PLAIN, chunk_size=8 << 20) == "29e11d17a6db2ce54519b8e8d96d7674"
    assert checksum(key, 3, b"chunk") == 8694350439923208233
    assert names.shard(key) == key[:2]
    size = 200 << 20
    assert [place(size, chunk, 8 << 20) for chunk in (7, 8, 24)] == [
        names.Place(7, 0, 8 << 20),
        names.Place(8, 0, 8 << 20),
        names.Place(24, 0, 8 << 20),
    ]
    assert place(size, 64, 1 << 20) == names.Place(64, 0, 1 << 20)
    assert place(200 << 20, 1, 100 << 20) == names.Place(1, 0, 100 << 20)


def test_the_format_of_pieces_is_what_it_was() -> None:
    """The pieces of an object have a key of their own; a piece is 4 KiB and stands in the file of its chunk."""
    key = object_key(URL, "c", PLAIN)
    size, chunk_size = 20 << 20, 8 << 20

    assert names.pieces_key(key) == "6c5f0d0a180dbad37893197f2286a581"
    assert [names.piece_place(size, piece, chunk_size) for piece in (0, 1, 2047, 2048, 5119)] == [
        names.Place(0, 0, 4096),
        names.Place(0, 4096, 4096),
        names.Place(0, (8 << 20) - 4096, 4096),
        names.Place(1, 0, 4096),
        names.Place(2, (4 << 20) - 4096, 4096),
    ]
    assert names.piece_place(size + 5, 5120, chunk_size) == names.Place(2, 4 << 20, 5)
    with pytest.raises(ValueError, match="has no chunk"):
        names.piece_place(size, 5120, chunk_size)


@pytest.mark.parametrize(
    ("size", "chunk_size", "expected"),
    [
        (8193, 8192, True),
        (8192, 8192, False),
        (4097, 4096, False),
        (12289, 12288, True),
        (10001, 10000, False),
        (10000, 10001, False),
        (20000, 4097, False),
    ],
)
def test_which_objects_are_cached_in_pieces(size: int, chunk_size: int, expected: bool) -> None:
    """Those of several chunks, each of several whole pieces."""
    assert names.has_pieces(size, chunk_size) is expected


ALL_DIGITS = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (ALL_DIGITS, (ALL_DIGITS, 0)),
        (f"{ALL_DIGITS}.12", (ALL_DIGITS, 12)),
        (f"{ALL_DIGITS}.0", None),
        (f"{ALL_DIGITS}.01", None),
        (f"{ALL_DIGITS}.", None),
        (f"{ALL_DIGITS}.x", None),
        (f"{ALL_DIGITS}.\u00b2", None),
        (ALL_DIGITS[1:], None),
        (ALL_DIGITS + "0", None),
        ("g" + ALL_DIGITS[1:], None),
        (ALL_DIGITS.upper(), None),
    ],
)
def test_which_names_are_cache_files(name: str, expected: tuple[str, int] | None) -> None:
    """32 lower-case hexadecimal digits, and a number without leading zeros."""
    assert parse_file_name(name) == expected
