"""Pieces of chunks in the cache: kept, checked, counted, and gone together."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.cache_disk import data_bytes, stored_files
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftfs.cache.names import PIECE_BYTES, ChunkRow, object_key, pieces_key
from swiftfs.cache.reader import Reader
from swiftfs.cache.writer import Writer
from swiftfs.model import Kind, ObjectVersion

CHUNK = 8 * PIECE_BYTES
SIZE = 4 * CHUNK - 100
CONTENT = random.Random(1).randbytes(SIZE)
KEY = object_key("http://store", "c", ObjectVersion("o", SIZE, "0" * 32, 0, Kind.PLAIN), chunk_size=CHUNK)
PIECES = pieces_key(KEY)


def content(first: int, stop: int) -> bytes:
    return CONTENT[first * PIECE_BYTES : stop * PIECE_BYTES]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    opened = Writer(tmp_path, limit=1 << 30, chunk_size=CHUNK)
    yield opened
    opened.close()


def read(path: Path, chunk: int, first: int, stop: int, bad: list[tuple[str, int]] | None = None) -> dict[int, bytes]:
    dropped = [] if bad is None else bad
    reader = Reader(path, chunk_size=CHUNK, on_bad_pieces=lambda key, chunk: dropped.append((key, chunk)))
    try:
        return reader.read_pieces(PIECES, SIZE, chunk, first, stop)
    finally:
        reader.close()


def test_pieces_survive_a_new_start(writer: Writer, tmp_path: Path) -> None:
    """What was stored is there for another writer and another reader, also the object's last, shorter piece."""
    assert writer.pieces.store(PIECES, SIZE, 9, content(9, 12)) is not None
    assert writer.pieces.store(PIECES, SIZE, 30, content(30, 32)) is not None
    writer.close()

    assert read(tmp_path, 1, 8, 16) == {piece: content(piece, piece + 1) for piece in (9, 10, 11)}
    assert read(tmp_path, 3, 24, 32) == {piece: content(piece, piece + 1) for piece in (30, 31)}
    reopened = Writer(tmp_path, limit=1 << 30, chunk_size=CHUNK)
    assert set(reopened.pieces.find(PIECES, 1, 8, 16)) == {9, 10, 11}
    assert reopened.info().bytes == 3 * PIECE_BYTES + len(content(30, 32))
    reopened.close()


def test_a_reader_may_use_pieces_that_have_no_rows_yet(writer: Writer, tmp_path: Path) -> None:
    """The writer's word is enough until its rows are written."""
    stored = writer.pieces.store(PIECES, SIZE, 9, content(9, 11))
    assert stored is not None
    reader = Reader(tmp_path, chunk_size=CHUNK)
    assert reader.read_pieces(PIECES, SIZE, 1, 9, 11) == {}
    for number, row in enumerate(stored, 9):
        reader.admit(PIECES, number, ChunkRow(row.length, row.checksum))

    assert reader.read_pieces(PIECES, SIZE, 1, 9, 11) == {9: content(9, 10), 10: content(10, 11)}
    reader.close()


@pytest.mark.row("C2", "C3")
@given(data=st.data())
def test_a_damaged_piece_is_never_read(data: st.DataObject) -> None:
    """Whatever bit flips or is cut off, the pieces concerned are misses and are reported; the others are right."""
    with tempfile.TemporaryDirectory() as top:
        path = Path(top)
        writer = Writer(path, limit=1 << 30, chunk_size=CHUNK)
        writer.pieces.store(PIECES, SIZE, 8, content(8, 16))
        writer.flush()
        (file,) = stored_files(path)
        place = data.draw(st.integers(0, CHUNK - 1))
        if data.draw(st.booleans()):
            os.truncate(file, place)
            harmed = set(range(8 + place // PIECE_BYTES, 16))
        else:
            whole = bytearray(file.read_bytes())
            whole[place] ^= 1 << data.draw(st.integers(0, 7))
            file.write_bytes(whole)
            harmed = {8 + place // PIECE_BYTES}
        bad: list[tuple[str, int]] = []
        found = read(path, 1, 8, 16, bad)

        assert found == {piece: content(piece, piece + 1) for piece in set(range(8, 16)) - harmed}
        assert bad == [(PIECES, 1)]
        assert writer.pieces.read_head(PIECES, SIZE, 1) == content(8, min(harmed))
        writer.pieces.drop(*bad[0])
        assert writer.pieces.find(PIECES, 1, 8, 16) == {}
        assert writer.info().bytes == 0
        writer.close()


def test_verify_and_clear_know_pieces(writer: Writer, tmp_path: Path) -> None:
    """A damaged piece is found by verify and its file dropped; clear takes the pieces too."""
    writer.pieces.store(PIECES, SIZE, 0, content(0, 3))
    writer.pieces.store(PIECES, SIZE, 8, content(8, 10))
    writer.store(KEY, SIZE, 2, CONTENT[2 * CHUNK : 3 * CHUNK])
    writer.flush()
    file = min(stored_files(tmp_path), key=lambda one: (one.stat().st_size, one))
    with file.open("r+b") as opened:
        opened.write(b"harm")

    assert writer.verify().bad >= 1
    assert writer.info().bytes == 3 * PIECE_BYTES + CHUNK
    writer.clear()
    assert (writer.info().bytes, data_bytes(tmp_path)) == (0, 0)


def test_a_chunks_head_is_what_its_first_pieces_hold(writer: Writer) -> None:
    """Up to the first piece that is missing; the pieces of another chunk have no part in it."""
    writer.pieces.store(PIECES, SIZE, 8, content(8, 11))
    writer.pieces.store(PIECES, SIZE, 12, content(12, 13))

    assert writer.pieces.read_head(PIECES, SIZE, 1) == content(8, 11)
    assert writer.pieces.read_head(PIECES, SIZE, 0) == b""
    assert (writer.pieces.has(PIECES, 1), writer.pieces.has(PIECES, 2)) == (True, False)


def test_what_is_no_run_of_pieces_of_one_chunk_is_refused(writer: Writer) -> None:
    """A part of a piece, or pieces of two chunks, are the caller's error."""
    for first, data in ((0, content(0, 1)[:-1]), (7, content(7, 9)), (31, content(30, 31))):
        with pytest.raises(ValueError, match="pieces"):
            writer.pieces.store(PIECES, SIZE, first, data)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("pieces"), st.integers(0, 31), st.integers(1, 8)),
            st.tuples(st.just("chunk"), st.integers(0, 3), st.just(0)),
            st.tuples(st.sampled_from(["drop", "flush", "reopen"]), st.integers(0, 3), st.just(0)),
        ),
        max_size=30,
    )
)
def test_the_limit_counts_every_piece(steps: list[tuple[str, int, int]]) -> None:
    """Whatever is stored, twice too, the disk holds no more than the limit, and exactly what is counted."""
    limit = 20 * PIECE_BYTES
    with tempfile.TemporaryDirectory() as top:
        path = Path(top)
        writer = Writer(path, limit=limit, chunk_size=CHUNK)
        for step, number, count in steps:
            match step:
                case "pieces":
                    stop = min(number + count, number // 8 * 8 + 8)
                    writer.pieces.store(PIECES, SIZE, number, content(number, stop))
                case "chunk":
                    writer.store(KEY, SIZE, number, CONTENT[number * CHUNK : (number + 1) * CHUNK])
                case "drop":
                    writer.pieces.drop(PIECES, number)
                case "flush":
                    writer.flush()
                case "reopen":
                    writer.close()
                    writer = Writer(path, limit=limit, chunk_size=CHUNK)
            assert data_bytes(path) <= limit
        info = writer.info()
        assert info.bytes == data_bytes(path)
        assert info.bytes + info.reserved <= limit
        assert writer.clear() == info.bytes
        assert writer.pieces.store(PIECES, SIZE, 0, content(0, 8)) is not None  # no reservation was lost on the way
        writer.close()
