"""The cache against a dict: whatever is stored, evicted, damaged or killed, a read is the right bytes or a miss."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fakes.cache_disk import content_bytes, kill, stored_files
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from swiftfs.cache import names, reader
from swiftfs.cache.names import ChunkRow
from swiftfs.cache.reader import Reader
from swiftfs.cache.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from swiftfs.cache.filling import Filling

CHUNK = 4096
"""One block of the disk, so that what the files occupy can be counted exactly."""

LIMIT = 10 * CHUNK

SIZES = (1, 700, CHUNK, 3 * CHUNK, 5 * CHUNK)
"""Small objects, and large ones of whole chunks."""

OBJECTS = tuple((f"{number:02x}" * 16, size) for number, size in enumerate(SIZES * 2))

ALL_PLACES = [(key, size, chunk) for key, size in OBJECTS for chunk in range(names.chunk_count(size, CHUNK))]
PLACES = st.sampled_from(ALL_PLACES)
SHARES = st.floats(0, 1)


def content(key: str, size: int, chunk: int) -> bytes:
    """The bytes of a chunk: other ones for each."""
    length = names.chunk_length(size, chunk, CHUNK)
    return (f"{key} {chunk} ".encode() * (length // 8 + 1))[:length]


class CacheMachine(RuleBasedStateMachine):
    """Two writers and a reader on one directory; the model is that a chunk's bytes are always the same."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(reader, "WHOLE_BYTES", CHUNK)
        self.path = Path(tempfile.mkdtemp())
        self.bad: list[tuple[str, int]] = []
        self.fillings: list[tuple[int, tuple[str, int, int], Filling, int]] = []
        self.now = 0.0
        self.damaged = False

    @initialize()
    def begin(self) -> None:
        self.writers = [self.open_writer(), self.open_writer()]
        self.open_reader()

    def open_writer(self) -> Writer:
        return Writer(self.path, limit=LIMIT, chunk_size=CHUNK, clock=lambda: self.now)

    def open_reader(self) -> None:
        self.reader = Reader(
            self.path, chunk_size=CHUNK, open_files=2, on_bad=lambda key, chunk: self.bad.append((key, chunk))
        )

    def teardown(self) -> None:
        if hasattr(self, "writers"):
            for writer in self.writers:
                writer.close()
            self.reader.close()
        shutil.rmtree(self.path)
        self.patch.undo()

    @rule(place=PLACES, number=st.integers(0, 1), tell=st.booleans())
    def store(self, place: tuple[str, int, int], number: int, tell: bool) -> None:
        key, size, chunk = place
        self.now += 10  # past any pause
        stored = self.writers[number].store(key, size, chunk, content(*place))
        if stored is not None:
            assert names.ChunkRow(len(content(*place)), names.checksum(key, chunk, content(*place))) == stored
            assert stored == self.writers[number].find(key, chunk)
            if tell:
                self.reader.admit(key, chunk, ChunkRow(stored.length, stored.checksum))

    @rule(place=PLACES, number=st.integers(0, 1))
    def begin_filling(self, place: tuple[str, int, int], number: int) -> None:
        self.now += 10
        if (filling := self.writers[number].fillings.begin(*place)) is not None:
            self.fillings.append((number, place, filling, 0))

    @precondition(lambda self: self.fillings)
    @rule(share=SHARES, data=st.data())
    def go_on_filling(self, share: float, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.fillings) - 1))
        number, place, filling, done = self.fillings[at]
        part = content(*place)[done:][: int(share * CHUNK) + 1]
        assert filling.write(part)
        self.fillings[at] = (number, place, filling, done + len(part))

    @precondition(lambda self: self.fillings)
    @rule(whole=st.booleans(), data=st.data(), tell=st.booleans())
    def end_filling(self, whole: bool, data: st.DataObject, tell: bool) -> None:
        number, place, filling, done = self.fillings.pop(data.draw(st.integers(0, len(self.fillings) - 1)))
        key, _, chunk = place
        if whole:
            assert filling.write(content(*place)[done:])
            done = len(content(*place))
        row = self.writers[number].fillings.finish(filling)
        self.writers[number].fillings.abandon(filling)
        assert (row is not None) == (done == len(content(*place)))
        if row is not None:
            assert names.ChunkRow(done, names.checksum(key, chunk, content(*place))) == row
            if tell:
                self.reader.admit(key, chunk, row)

    def drop_fillings(self, number: int) -> None:
        self.fillings = [one for one in self.fillings if one[0] != number]

    @rule(place=PLACES, start=SHARES, stop=SHARES)
    def read(self, place: tuple[str, int, int], start: float, stop: float) -> None:
        whole = content(*place)
        first, last = sorted((int(start * len(whole)), int(stop * len(whole))))
        data = self.reader.read(*place, first, last)

        assert data is None or data == whole[first:last]

    @rule(number=st.integers(0, 1))
    def flush(self, number: int) -> None:
        self.writers[number].flush()

    @rule(number=st.integers(0, 1), chosen=st.lists(PLACES, max_size=4))
    def touch(self, number: int, chosen: list[tuple[str, int, int]]) -> None:
        self.writers[number].touch([(key, chunk) for key, _, chunk in chosen])

    @precondition(lambda self: self.bad)
    @rule(number=st.integers(0, 1))
    def drop(self, number: int) -> None:
        self.writers[number].drop(*self.bad.pop())

    @rule()
    def release(self) -> None:
        self.reader.release_evicted()

    @rule(number=st.integers(0, 1))
    def clear(self, number: int) -> None:
        self.writers[number].clear()

    @rule(number=st.integers(0, 1))
    def reopen(self, number: int) -> None:
        self.drop_fillings(number)
        self.writers[number].close()
        self.writers[number] = self.open_writer()

    @rule(number=st.integers(0, 1))
    def crash(self, number: int) -> None:
        self.drop_fillings(number)
        kill(self.writers[number])
        self.writers[number] = self.open_writer()

    @rule()
    def crash_both(self) -> None:
        self.fillings.clear()
        for writer in self.writers:
            kill(writer)
        self.writers = [self.open_writer(), self.open_writer()]

        if not self.damaged:
            assert content_bytes(self.path) == self.writers[0].info().bytes

    @precondition(lambda self: stored_files(self.path))
    @rule(data=st.data(), harm=st.sampled_from(["flip", "cut", "delete", "swap"]))
    def damage(self, data: st.DataObject, harm: str) -> None:
        """Harms files behind the cache's back, without giving them bytes; a reader checks what it opens anew."""
        self.reader.close()
        self.open_reader()
        self.damaged = True
        one = data.draw(st.sampled_from(sorted(stored_files(self.path))))
        match harm:
            case "flip":
                with one.open("r+b") as file:
                    file.seek(os.lseek(file.fileno(), 0, os.SEEK_DATA))  # a hole would become bytes
                    byte = file.read(1)
                    file.seek(-1, os.SEEK_CUR)
                    file.write(bytes([byte[0] ^ 1 << data.draw(st.integers(0, 7))]))
            case "cut":
                os.truncate(one, data.draw(st.integers(0, one.stat().st_size)))
            case "delete":
                one.unlink()
            case "swap":
                size = one.stat().st_size
                two = data.draw(st.sampled_from([f for f in stored_files(self.path) if f.stat().st_size == size]))
                other = one.with_name("other")
                one.rename(other)
                if two != one:
                    two.rename(one)
                other.rename(two)

    @rule()
    def verify(self) -> None:
        """Afterwards everything that is in the cache is sound."""
        for writer in self.writers:
            writer.verify()
        self.reader.close()
        self.open_reader()
        for key, size in OBJECTS:
            for chunk in range(names.chunk_count(size, CHUNK)):
                if self.writers[0].find(key, chunk):
                    whole = content(key, size, chunk)
                    assert whole == self.reader.read(key, size, chunk, 0, len(whole))

        assert self.writers[1].verify().bad == 0

    @invariant()
    def the_limit_is_kept(self) -> None:
        if hasattr(self, "writers"):
            info = self.writers[0].info()
            assert info.bytes + info.reserved <= LIMIT
            assert content_bytes(self.path) + sum(done for *_, done in self.fillings) <= LIMIT
            assert min(info.bytes, info.reserved) >= 0

    @invariant()
    def few_files_are_open(self) -> None:
        if hasattr(self, "reader"):
            assert len(self.reader._files) <= 2


CacheMachine.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
test_reads_are_right_or_misses_and_the_limit_holds: Callable[[], None] = CacheMachine.TestCase
