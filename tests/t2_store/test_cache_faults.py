"""The cache against full disks, damage, hostile directories and other users of the disk."""

from __future__ import annotations

import errno
import logging
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.cache_disk import content_bytes, kill, stored_files

from swiftfs.cache import directory, names, writer
from swiftfs.cache import filling as filling_module
from swiftfs.cache.names import PIECE_BYTES, ChunkRow
from swiftfs.cache.outside import used_bytes
from swiftfs.cache.reader import Reader
from swiftfs.cache.verify import Verified
from swiftfs.cache.writer import Writer
from swiftfs.errors import ConfigError, LocalFileError

CHUNK = 1 << 20
LARGE = 3 * CHUNK + 5
SMALL = 1000
Write = Callable[[int, bytes, int], None]


def key(number: int) -> str:
    return f"{number:032x}"


def body(number: int, length: int = SMALL) -> bytes:
    return bytes([number % 251]) * length


@dataclass
class Clock:
    """Monotonic seconds that a test moves."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_writer(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Writer]]:
    opened: list[Writer] = []

    def make(limit: int = 100 * SMALL, min_free: int = 0, path: Path | None = None) -> Writer:
        made = Writer(path or tmp_path / "cache", limit=limit, min_free=min_free, chunk_size=CHUNK, clock=clock)
        opened.append(made)
        return made

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def bad() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def reader(tmp_path: Path, bad: list[tuple[str, int]]) -> Iterator[Reader]:
    def note(key: str, chunk: int) -> None:
        bad.append((key, chunk))

    opened = Reader(tmp_path / "cache", chunk_size=CHUNK, on_bad=note, on_bad_pieces=note)
    yield opened
    opened.close()


def fill(cache: Writer, numbers: range) -> None:
    for number in numbers:
        assert cache.store(key(number), SMALL, 0, body(number)) is not None
        cache.flush()


def in_cache(cache: Writer, numbers: range) -> list[int]:
    return [number for number in numbers if cache.find(key(number), 0)]


def test_the_least_recently_used_go_first_also_after_a_restart(open_writer: Callable[..., Writer]) -> None:
    """What was read lately stays, and a restart does not forget what that was."""
    cache = open_writer(limit=16 * SMALL)
    fill(cache, range(16))
    cache.touch([(key(0), 0), (key(3), 0)])
    cache.close()
    cache = open_writer(limit=16 * SMALL)
    fill(cache, range(100, 108))

    assert {0, 3} <= set(in_cache(cache, range(16)))
    assert list(range(100, 108)) == in_cache(cache, range(100, 108))
    assert not in_cache(cache, range(1, 3))


def test_of_a_large_object_the_chunks_that_were_read_stay(open_writer: Callable[..., Writer]) -> None:
    """Its other chunks go first, and marking one costs the same however many there are."""
    cache = open_writer(limit=16 * CHUNK)
    size = 12 * CHUNK
    for chunk in range(12):
        assert cache.store(key(1), size, chunk, body(chunk, CHUNK)) is not None
    assert cache.pieces.store(key(2), size, 0, body(0, PIECE_BYTES))
    cache.flush()
    before = cache._table._connection.total_changes
    cache.touch([(key(1), 0), (key(1), 5), (key(2), 0)])
    cache.flush()
    assert cache._table._connection.total_changes - before <= 5
    for number in range(10, 18):
        assert cache.store(key(number), SMALL, 0, body(number)) is not None
        assert cache.store(key(number), LARGE, 1, body(number, CHUNK)) is not None
        cache.flush()

    kept = [chunk for chunk in range(12) if cache.find(key(1), chunk)]
    assert {0, 5} <= set(kept)
    assert len(kept) < 8
    assert set(cache.pieces.find(key(2), 0, 0, 1)) == {0}


def test_a_lower_limit_holds_from_the_start(open_writer: Callable[..., Writer], tmp_path: Path) -> None:
    """Opening a cache with a smaller limit evicts down to it."""
    cache = open_writer(limit=50 * SMALL)
    fill(cache, range(40))
    cache.close()
    cache = open_writer(limit=10 * SMALL)

    assert content_bytes(tmp_path / "cache") <= 10 * SMALL
    assert cache.info().bytes + cache.info().reserved <= 10 * SMALL
    assert len(in_cache(cache, range(40))) == 9


def test_a_writer_without_room_of_its_own_leaves_alone_what_is_there(
    open_writer: Callable[..., Writer], reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    """With a limit of 0 nothing is stored, which is no news; what others have cached stays and can be read."""
    others = open_writer()
    fill(others, range(5))
    others.close()
    cache = open_writer(limit=0)
    assert cache.store(key(9), SMALL, 0, body(9)) is None
    assert cache.pieces.store(key(8), LARGE, 0, body(8, PIECE_BYTES)) is None
    assert cache.fillings.begin(key(7), LARGE, 0) is None

    assert list(range(5)) == in_cache(cache, range(10))
    assert [reader.read(key(number), SMALL, 0, 0, SMALL) for number in range(5)] == [body(n) for n in range(5)]
    assert caplog.records == []


def test_a_chunk_larger_than_the_cache_is_refused(
    open_writer: Callable[..., Writer], caplog: pytest.LogCaptureFixture
) -> None:
    """It is not stored, nothing is evicted for it, and it is said once a minute."""
    cache = open_writer(limit=10 * SMALL)
    fill(cache, range(5))
    results = [cache.store(key(9), 20 * SMALL, 0, body(9, 20 * SMALL)) for _ in range(3)]

    assert results == [None] * 3
    assert cache.refused == 3
    assert list(range(5)) == in_cache(cache, range(5))
    assert len(caplog.records) == 1


@pytest.mark.logs("cannot be written")
def test_the_disk_keeps_its_share_free(
    open_writer: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The cache shrinks when others fill the disk below what it must keep free, and then stores nothing more."""
    cache = open_writer(limit=100 * SMALL, min_free=500 * SMALL)
    fill(cache, range(50))
    others = 0

    def free_bytes(_: directory.CacheDirectory) -> int:
        return 600 * SMALL - others - content_bytes(tmp_path / "cache")

    monkeypatch.setattr(directory.CacheDirectory, "free_bytes", free_bytes)
    others = 80 * SMALL
    fill(cache, range(50, 60))
    assert content_bytes(tmp_path / "cache") <= 20 * SMALL
    others = 200 * SMALL
    refused = [cache.store(key(number), SMALL, 0, body(number)) for number in range(100, 110)]

    assert None in refused
    assert free_bytes(cache._directory) >= 300 * SMALL


@pytest.mark.row("C8")
def test_a_reader_keeps_the_bytes_of_an_evicted_file_and_then_gives_them_back(
    open_writer: Callable[..., Writer], reader: Reader
) -> None:
    """Eviction does not disturb an open file, and once told the reader closes it, so that the disk has its bytes."""
    cache = open_writer(limit=10 * CHUNK)
    for chunk in range(4):
        assert cache.store(key(1), LARGE, chunk, body(chunk, names.chunk_length(LARGE, chunk, CHUNK)))
    cache.flush()
    assert body(0, 10) == reader.read(key(1), LARGE, 0, 5, 15)
    assert cache.clear() == LARGE

    assert body(0, 10) == reader.read(key(1), LARGE, 0, 90, 100)
    assert reader.read(key(1), LARGE, 1, 0, 5) is None
    assert reader.release_evicted() == 1
    assert reader.read(key(1), LARGE, 0, 0, 10) is None


def test_evicted_files_are_released(open_writer: Callable[..., Writer], reader: Reader) -> None:
    """Only files that are gone are closed."""
    cache = open_writer(limit=20 * CHUNK)
    for number in (1, 2):
        assert cache.store(key(number), LARGE, 0, body(number, CHUNK))
    cache.flush()
    for number in (1, 2):
        assert body(number, 5) == reader.read(key(number), LARGE, 0, 0, 5)
    cache.drop(key(1), 0)

    assert reader.release_evicted() == 1
    assert reader.release_evicted() == 0
    assert body(2, 5) == reader.read(key(2), LARGE, 0, 0, 5)


def test_a_file_that_was_evicted_and_fetched_anew_is_read_anew(
    open_writer: Callable[..., Writer], reader: Reader, bad: list[tuple[str, int]]
) -> None:
    """A reader goes on with the old file that it holds, then with the new one, and takes neither for bad."""
    cache = open_writer(limit=20 * CHUNK)
    assert cache.store(key(1), LARGE, 0, body(0, CHUNK))
    cache.flush()
    assert body(0, 5) == reader.read(key(1), LARGE, 0, 0, 5)
    cache.clear()
    assert body(0, 5) == reader.read(key(1), LARGE, 0, 5, 10)
    assert cache.store(key(1), LARGE, 0, body(0, CHUNK))
    cache.flush()

    assert reader.release_evicted() == 1
    assert body(0, 5) == reader.read(key(1), LARGE, 0, 0, 5)
    assert bad == []


def test_a_chunk_can_be_read_before_its_row_is_written(open_writer: Callable[..., Writer], reader: Reader) -> None:
    """The writer's word is enough for the one who heard it, and for nobody else."""
    cache = open_writer()
    stored = cache.store(key(1), SMALL, 0, body(1))
    assert stored is not None
    assert reader.read(key(1), SMALL, 0, 0, SMALL) is None
    reader.admit(key(1), 0, ChunkRow(stored.length, stored.checksum))

    assert body(1) == reader.read(key(1), SMALL, 0, 0, SMALL)
    assert stored == cache.find(key(1), 0)


def test_what_the_writer_says_of_its_chunks(open_writer: Callable[..., Writer]) -> None:
    """Chunks are there as soon as they are stored, whether their rows are or not."""
    cache = open_writer(limit=20 * CHUNK)
    cache.store(key(1), LARGE, 1, body(1, CHUNK))
    cache.flush()
    cache.store(key(1), LARGE, 3, body(3, 5))

    assert [chunk for chunk in range(4) if cache.find(key(1), chunk)] == [1, 3]
    assert cache.find(key(2), 1) is None
    info = cache.info()
    assert (info.bytes, info.files, info.chunks, info.limit) == (CHUNK + 5, 2, 2, 20 * CHUNK)


@pytest.mark.parametrize("length", [0, SMALL - 1, SMALL + 1])
def test_a_chunk_of_the_wrong_length_is_a_programming_error(open_writer: Callable[..., Writer], length: int) -> None:
    """Half a chunk never enters the cache."""
    with pytest.raises(ValueError, match="has 1000 bytes"):
        open_writer().store(key(1), SMALL, 0, body(1, length))


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 4), (0, SMALL + 1)])
def test_bytes_outside_the_chunk_are_a_programming_error(reader: Reader, start: int, stop: int) -> None:
    """A read past the end is not an empty answer."""
    with pytest.raises(ValueError, match="has no bytes"):
        reader.read(key(1), SMALL, 0, start, stop)


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def zero(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def vanish(file: Path) -> None:
    file.unlink()


def become_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def become_link(file: Path) -> None:
    data = file.read_bytes()
    file.unlink()
    target = file.parents[4] / "elsewhere"
    target.write_bytes(data)
    file.symlink_to(target)


def become_other(file: Path) -> None:
    (other,) = [each for each in stored_files(file.parents[3]) if each != file]
    shutil.copyfile(other, file)


HARMS = [flip, cut, zero, vanish, become_directory, become_link, become_other]


@pytest.mark.parametrize("size", [SMALL, CHUNK])
@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.row("C2", "C3", "C4")
def test_damaged_bytes_are_a_miss_and_are_fetched_anew(
    open_writer: Callable[..., Writer],
    reader: Reader,
    bad: list[tuple[str, int]],
    size: int,
    harm: Callable[[Path], None],
    tmp_path: Path,
) -> None:
    """Whatever happens to a file, its chunk is reported, dropped, and can be stored again."""
    cache = open_writer(limit=20 * CHUNK)
    for number in (1, 2):
        assert cache.store(key(number), size, 0, body(number, size))
    cache.flush()
    harm(tmp_path / "cache/v1/files/00" / key(1))

    assert reader.read(key(1), size, 0, 0, 10) is None
    assert [(key(1), 0)] == bad
    cache.drop(*bad.pop())
    if harm is become_directory:
        (tmp_path / "cache/v1/files/00" / key(1)).rmdir()
        cache.drop(key(1), 0)
    assert reader.read(key(1), size, 0, 0, 10) is None
    assert bad == []
    assert cache.store(key(1), size, 0, body(1, size))
    cache.flush()
    assert body(1, 10) == reader.read(key(1), size, 0, 0, 10)


@pytest.mark.parametrize("harm", HARMS)
def test_verify_finds_and_drops_what_is_bad(
    open_writer: Callable[..., Writer], harm: Callable[[Path], None], tmp_path: Path
) -> None:
    """Every chunk is read; the bad one goes and the good one stays."""
    cache = open_writer()
    fill(cache, range(1, 3))
    harm(tmp_path / "cache/v1/files/00" / key(1))
    steps: list[tuple[int, int]] = []

    assert Verified(chunks=2, bad=1) == cache.verify(lambda done, total: steps.append((done, total)))
    assert steps == [(2, 2)]
    assert in_cache(cache, range(3)) == [2] or harm is become_directory


def failing(error: int, times: int, real: Write) -> Write:
    """A disk that fails ``times`` times, half-way through the bytes."""
    left = [times]

    def write(descriptor: int, data: bytes, offset: int) -> None:
        if left[0]:
            left[0] -= 1
            real(descriptor, data[: len(data) // 2], offset)
            raise OSError(error, os.strerror(error))
        real(descriptor, data, offset)

    return write


@pytest.mark.row("C1")
def test_a_full_disk_is_met_by_evicting_once(
    open_writer: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the disk is full although the limit is not reached, some go and the chunk is stored after all."""
    cache = open_writer()
    fill(cache, range(20))
    monkeypatch.setattr(writer, "write_all", failing(errno.ENOSPC, 1, directory.write_all))
    stored = cache.store(key(50), SMALL, 0, body(50))

    assert stored is not None
    assert not in_cache(cache, range(5))
    assert len(in_cache(cache, range(20))) >= 12
    assert caplog.records == []


def test_a_chunk_that_comes_bit_by_bit_is_there_when_it_is_whole(
    open_writer: Callable[..., Writer], reader: Reader, tmp_path: Path
) -> None:
    """Nothing of it can be read, or be found after a crash, before that; its bytes are reserved meanwhile."""
    cache = open_writer(limit=20 * CHUNK)
    whole = random.Random(1).randbytes(CHUNK)
    filling = cache.fillings.begin(key(1), LARGE, 2)
    assert filling is not None
    assert filling.write(whole[:1000])
    assert cache.fillings.finish(filling) is None
    cache.fillings.abandon(filling)
    filling = cache.fillings.begin(key(1), LARGE, 2)
    assert filling is not None
    for start in range(0, CHUNK, 1000):
        assert cache.find(key(1), 2) is None
        assert content_bytes(tmp_path / "cache") == 0
        assert filling.write(whole[start : start + 1000])
    row = cache.fillings.finish(filling)
    cache.fillings.abandon(filling)
    cache.flush()

    assert row == ChunkRow(CHUNK, names.checksum(key(1), 2, whole))
    assert reader.read(key(1), LARGE, 2, 0, CHUNK) == whole
    assert cache.info().bytes == content_bytes(tmp_path / "cache") == CHUNK


def test_more_bytes_than_a_chunk_has_are_not_taken(open_writer: Callable[..., Writer], tmp_path: Path) -> None:
    """Whatever comes too much is told at once, and nothing of it stays."""
    cache = open_writer(limit=20 * CHUNK)
    filling = cache.fillings.begin(key(1), LARGE, 3)
    assert filling is not None
    assert filling.write(b"12345")
    assert not filling.write(b"6")
    assert cache.fillings.finish(filling) is None
    cache.close()
    assert content_bytes(tmp_path / "cache") == 0


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.row("C1", "C10")
def test_a_disk_that_fails_under_a_coming_chunk_costs_that_chunk(
    open_writer: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: int
) -> None:
    """The first refused byte is told, what was reserved is free again, and the next chunk finds its place."""
    cache = open_writer(limit=8 * CHUNK)
    filling = cache.fillings.begin(key(1), LARGE, 0)
    assert filling is not None
    assert filling.write(body(1, 1000))
    with monkeypatch.context() as patch:
        patch.setattr(filling_module, "write_all", failing(error, 1000, directory.write_all))
        assert not filling.write(body(1, 1000))
    assert not filling.write(body(1, 1000))
    assert cache.fillings.finish(filling) is None
    cache.fillings.abandon(filling)
    for number in range(2, 9):
        assert cache.store(key(number), LARGE, 0, body(number, CHUNK)) is not None
    assert content_bytes(tmp_path / "cache") == 7 * CHUNK


def refusing(error: int) -> Callable[..., int]:
    def refuse(*arguments: object, **options: object) -> int:
        raise OSError(error, os.strerror(error))

    return refuse


def test_where_no_file_can_be_without_a_name_chunks_come_all_at_once(
    open_writer: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without O_TMPFILE, or one that names no such file, is found out once, and the cache goes on."""
    refuse = refusing(errno.EOPNOTSUPP)
    first = open_writer(limit=20 * CHUNK)
    with monkeypatch.context() as patch:
        patch.setattr(directory.CacheDirectory, "open_unnamed", refuse)
        assert first.fillings.begin(key(1), LARGE, 0) is None
    second = open_writer(limit=20 * CHUNK)
    filling = second.fillings.begin(key(1), LARGE, 0)
    assert filling is not None
    assert filling.write(body(0, CHUNK))
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        assert second.fillings.finish(filling) is None
    for cache in (first, second):
        assert cache.fillings.begin(key(1), LARGE, 0) is None
        assert cache.find(key(1), 0) is None
    assert second.store(key(1), LARGE, 0, body(0, CHUNK)) is not None


def test_without_proc_no_chunk_is_written_in_vain_twice(
    open_writer: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A /proc that is not there, without which no file gets a name, is found out with the first chunk."""
    cache = open_writer(limit=20 * CHUNK)
    filling = cache.fillings.begin(key(1), LARGE, 0)
    assert filling is not None
    assert filling.write(body(0, CHUNK))
    monkeypatch.setattr(filling_module, "_NAMES", str(tmp_path / "proc"))
    monkeypatch.setattr(os, "link", refusing(errno.ENOENT))
    assert cache.fillings.finish(filling) is None
    cache.fillings.abandon(filling)

    assert cache.fillings.begin(key(1), LARGE, 0) is None


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EMFILE, errno.ENOENT])
@pytest.mark.row("C1", "P12")
def test_a_file_without_a_name_that_is_refused_once_costs_that_chunk(
    open_writer: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """A full disk or a want of descriptors when a coming chunk begins or ends has only that one taken all at once."""
    cache = open_writer(limit=20 * CHUNK)
    with monkeypatch.context() as patch:
        patch.setattr(directory.CacheDirectory, "open_unnamed", refusing(error))
        assert cache.fillings.begin(key(1), LARGE, 0) is None
    filling = cache.fillings.begin(key(1), LARGE, 0)
    assert filling is not None
    assert filling.write(body(0, CHUNK))
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refusing(error))
        assert cache.fillings.finish(filling) is None
    cache.fillings.abandon(filling)
    filling = cache.fillings.begin(key(1), LARGE, 0)
    assert filling is not None
    assert filling.write(body(0, CHUNK))

    assert cache.fillings.finish(filling) is not None
    assert cache.find(key(1), 0) is not None


def test_what_is_on_its_way_takes_a_quarter_of_a_cache_at_the_most(open_writer: Callable[..., Writer]) -> None:
    """What waits for the store does not push out what is read."""
    cache = open_writer(limit=8 * CHUNK)
    assert cache.fillings.begin(key(1), LARGE, 0) is not None
    second = cache.fillings.begin(key(1), LARGE, 1)
    assert second is not None
    assert cache.fillings.begin(key(1), LARGE, 2) is None
    cache.fillings.abandon(second)
    assert cache.fillings.begin(key(1), LARGE, 2) is not None


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
@pytest.mark.row("C1", "C10")
def test_a_failing_disk_costs_the_cache_and_is_said_once_a_minute(
    open_writer: Callable[..., Writer],
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    clock: Clock,
    tmp_path: Path,
    error: int,
) -> None:
    """Nothing raises, no half-written byte stays, what is stored is still read, and it works again when it can."""
    cache = open_writer()
    fill(cache, range(20))
    monkeypatch.setattr(writer, "write_all", failing(error, 1000, directory.write_all))
    for number in range(50, 80):
        assert cache.store(key(number), SMALL, 0, body(number)) is None
        clock.now += 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    clock.now += 60
    cache.store(key(99), SMALL, 0, body(99))
    assert len(caplog.records) == 2
    assert cache.info().bytes == content_bytes(tmp_path / "cache")
    assert body(19) == reader.read(key(19), SMALL, 0, 0, SMALL)
    monkeypatch.undo()
    clock.now += 2
    assert cache.store(key(99), SMALL, 0, body(99)) is not None


def test_a_sick_disk_is_left_alone_for_a_moment(
    open_writer: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """After a failure nothing is tried for a second, for each try may take long."""
    cache = open_writer()
    monkeypatch.setattr(writer, "write_all", failing(errno.EIO, 1, directory.write_all))

    assert cache.store(key(1), SMALL, 0, body(1)) is None
    assert cache.store(key(1), SMALL, 0, body(1)) is None
    clock.now += 1
    assert cache.store(key(1), SMALL, 0, body(1)) is not None
    assert cache.refused == 2
    assert len(caplog.records) == 1


@pytest.mark.row("C5")
def test_a_removed_cache_directory_costs_what_was_in_it(
    open_writer: Callable[..., Writer], reader: Reader, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Reads miss, a store is refused, nothing raises; a moment later the cache is made anew, and its reader follows."""
    cache = open_writer()
    fill(cache, range(3))
    shutil.rmtree(tmp_path / "cache")

    assert reader.read(key(1), SMALL, 0, 0, SMALL) is None
    assert cache.store(key(9), SMALL, 0, body(9)) is None
    assert reader.release_evicted() == 0
    assert reader.read(key(1), SMALL, 0, 0, SMALL) is None
    cache.touch([(key(1), 0)])
    cache.flush()
    clock.now += 1
    fill(cache, range(5, 8))
    reader.release_evicted()
    assert body(5) == reader.read(key(5), SMALL, 0, 0, SMALL)
    assert cache.info().bytes == content_bytes(tmp_path / "cache") == 3 * SMALL
    assert cache.find(key(1), 0) is None
    cache.close()
    assert list(range(5, 8)) == in_cache(open_writer(), range(10))
    assert len(caplog.records) == 1


@pytest.mark.row("C5")
@pytest.mark.logs("cannot be written")
def test_mounts_whose_cache_directory_was_removed_meet_again_in_one(
    open_writer: Callable[..., Writer], tmp_path: Path, clock: Clock
) -> None:
    """Who comes second takes up what the first has made, and they keep one limit between them."""
    writers = [open_writer(limit=32 * SMALL) for _ in range(2)]
    shutil.rmtree(tmp_path / "cache")
    writers.append(open_writer(limit=32 * SMALL))
    fill(writers[2], range(3))
    for number, each in enumerate(writers[:2]):
        assert each.store(key(10), SMALL, 0, body(10)) is None
        clock.now += 1
        fill(each, range(20 * number + 20, 20 * number + 40))
        info = each.info()
        assert info.bytes == content_bytes(tmp_path / "cache") == used_bytes(tmp_path / "cache")
        assert info.bytes + info.reserved <= 32 * SMALL
        assert len(list((tmp_path / "cache/v1/owners").iterdir())) == number + 2

    assert in_cache(writers[0], range(40, 60)) == list(range(40, 60))


@pytest.mark.row("C5")
@pytest.mark.logs("cannot be written")
def test_what_is_on_its_way_into_a_removed_directory_is_waited_for(
    open_writer: Callable[..., Writer], tmp_path: Path, clock: Clock
) -> None:
    """Chunks that come bit by bit cannot be finished there; when the last has ended, the cache is made anew, and
    nothing reserved for them is counted in it."""
    cache = open_writer(limit=20 * CHUNK)
    filling = cache.fillings.begin(key(1), LARGE, 0)
    assert filling is not None
    shutil.rmtree(tmp_path / "cache")
    for number in (2, 3):
        assert cache.store(key(number), CHUNK, 0, body(number, CHUNK)) is None
        clock.now += 1
    assert cache.fillings.begin(key(1), LARGE, 1) is None
    assert filling.write(body(1, CHUNK))
    assert cache.fillings.finish(filling) is None
    cache.fillings.abandon(filling)
    filling = cache.fillings.begin(key(1), LARGE, 0)
    assert filling is not None
    assert filling.write(body(1, CHUNK))
    assert cache.fillings.finish(filling) is not None
    for number in range(10, 40):
        assert cache.store(key(number), CHUNK, 0, body(number, CHUNK)) is not None
        cache.flush()
        info = cache.info()
        assert info.bytes == content_bytes(tmp_path / "cache")
        assert info.bytes + info.reserved <= 20 * CHUNK


@pytest.mark.row("C5", "S3")
@pytest.mark.logs("cannot be written")
def test_a_directory_in_a_removed_ones_place_is_looked_at_as_at_the_start(
    open_writer: Callable[..., Writer], tmp_path: Path, clock: Clock
) -> None:
    """One that others may write to, or with a link inside, is not taken up; when that is mended, it is."""
    cache = open_writer()
    shutil.rmtree(tmp_path / "cache")
    assert cache.store(key(1), SMALL, 0, body(1)) is None
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    clock.now += 1
    assert cache.store(key(1), SMALL, 0, body(1)) is None
    assert list((tmp_path / "cache").iterdir()) == []
    (tmp_path / "cache").chmod(0o700)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache/v1").symlink_to(tmp_path / "elsewhere")
    clock.now += 1
    assert cache.store(key(1), SMALL, 0, body(1)) is None
    assert list((tmp_path / "elsewhere").iterdir()) == []
    (tmp_path / "cache/v1").unlink()
    clock.now += 1

    assert cache.store(key(1), SMALL, 0, body(1)) is not None


@pytest.mark.row("C5")
def test_a_reader_goes_over_to_the_cache_that_the_next_writer_makes(
    open_writer: Callable[..., Writer], reader: Reader, tmp_path: Path
) -> None:
    """After the directory was removed, a reader has the chunks of the writer that made it anew, without a restart."""
    fill(open_writer(), range(1))
    assert reader.read(key(0), SMALL, 0, 0, SMALL) == body(0)
    shutil.rmtree(tmp_path / "cache")
    reader.release_evicted()
    again = open_writer()
    fill(again, range(3))
    again.flush()
    reader.release_evicted()

    assert [reader.read(key(number), SMALL, 0, 0, SMALL) for number in range(3)] == [body(n) for n in range(3)]


@pytest.mark.parametrize("place", ["v1/files/00", "v1/files", "v1/owners", "v1"])
@pytest.mark.row("C5")
def test_a_link_inside_the_cache_is_not_followed(
    open_writer: Callable[..., Writer], tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A directory of the cache that was replaced by a link makes us write nowhere else."""
    target = tmp_path / "elsewhere"
    target.mkdir()
    link = tmp_path / "cache" / place
    link.parent.mkdir(parents=True, mode=0o700)
    link.symlink_to(target)
    if place == "v1/files/00":
        assert open_writer().store(key(1), SMALL, 0, body(1)) is None
        assert len(caplog.records) == 1
    else:
        with pytest.raises(LocalFileError, match="cannot be used"):
            open_writer()

    assert list(target.iterdir()) == []


@pytest.mark.row("S3")
def test_the_cache_is_private_whatever_the_umask(open_writer: Callable[..., Writer], tmp_path: Path) -> None:
    """Nobody else can read or list what is cached."""
    before = os.umask(0)
    try:
        fill(open_writer(), range(3))
    finally:
        os.umask(before)
    inside = [tmp_path / "cache", *(tmp_path / "cache").rglob("*")]

    assert {0o700} == {path.stat().st_mode & 0o777 for path in inside if path.is_dir()}
    assert {0o600} == {path.stat().st_mode & 0o777 for path in inside if path.is_file()}


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
@pytest.mark.row("S3")
def test_a_directory_that_others_may_write_is_refused(
    open_writer: Callable[..., Writer], tmp_path: Path, mode: int
) -> None:
    """Others could put bytes into it: the user is told what to do."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    with pytest.raises(ConfigError, match="chmod go-w"):
        open_writer()
    with pytest.raises(ConfigError, match="chmod go-w"):
        Reader(tmp_path / "cache")


@pytest.mark.row("S3")
def test_another_user_s_directory_is_refused(
    open_writer: Callable[..., Writer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also root does not use it."""
    (tmp_path / "cache").mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigError, match="belongs to user"):
        open_writer()


def test_a_file_in_the_cache_s_place_is_told(open_writer: Callable[..., Writer], tmp_path: Path) -> None:
    """The message names the directory and the option."""
    (tmp_path / "cache").write_text("")
    with pytest.raises(LocalFileError, match="--cache-dir"):
        open_writer()


def test_a_cache_directory_may_be_reached_through_a_link(open_writer: Callable[..., Writer], tmp_path: Path) -> None:
    """A user's own link to a larger disk is fine."""
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    fill(open_writer(), range(2))

    assert len(stored_files(tmp_path / "disk")) == 2


def spoil(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def spoil_pages(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xaa" * (len(data) - 4096))


def delete(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [spoil, spoil_pages, delete])
@pytest.mark.row("C2")
def test_a_damaged_table_means_an_empty_cache(
    open_writer: Callable[..., Writer],
    reader: Reader,
    tmp_path: Path,
    harm: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The cache begins anew, with no file that nobody counts; a reader that had the old table follows."""
    cache = open_writer()
    fill(cache, range(1, 20))
    assert body(1) == reader.read(key(1), SMALL, 0, 0, SMALL)
    cache.close()
    table = sqlite3.connect(tmp_path / "cache/v1/chunks.db")
    table.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the reader keeps the log, which would mend what is harmed
    table.close()
    harm(tmp_path / "cache/v1/chunks.db")
    cache = open_writer()

    assert (cache.info().bytes, content_bytes(tmp_path / "cache")) == (0, 0)
    assert (harm is delete) == (caplog.records == [])
    assert reader.read(key(1), SMALL, 0, 0, SMALL) is None
    fill(cache, range(30, 32))
    reader.release_evicted()
    reader._table_retry = 0.0
    assert body(30) == reader.read(key(30), SMALL, 0, 0, SMALL)


def test_a_table_damaged_while_another_mount_uses_it_is_told(
    open_writer: Callable[..., Writer], tmp_path: Path
) -> None:
    """It cannot be begun anew under the other's feet."""
    first = open_writer()
    fill(first, range(3))
    kill_table(tmp_path / "cache/v1/chunks.db")
    with pytest.raises(LocalFileError):
        open_writer()


def kill_table(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    path.write_bytes(b"not a table, " * 1000)


def test_a_reader_can_come_before_the_writer(open_writer: Callable[..., Writer], reader: Reader) -> None:
    """A file system process may start before its fetch process has made the cache."""
    assert reader.read(key(1), SMALL, 0, 0, SMALL) is None
    cache = open_writer()
    fill(cache, range(3))
    reader._table_retry = 0.0

    assert body(1) == reader.read(key(1), SMALL, 0, 0, SMALL)


@pytest.mark.row("P12")
def test_a_reader_out_of_descriptors_gives_up_its_own(
    open_writer: Callable[..., Writer], reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no descriptor left the files kept open are closed, and the read succeeds."""
    cache = open_writer(limit=20 * CHUNK)
    for number in (1, 2):
        assert cache.store(key(number), CHUNK, 0, body(number, CHUNK))
    cache.flush()
    assert body(1, 5) == reader.read(key(1), CHUNK, 0, 0, 5)
    real = directory.CacheDirectory.open_to_read

    def scarce(self: directory.CacheDirectory, name: str, extent: int) -> int:
        if reader._files:
            raise OSError(errno.EMFILE, "too many open files")
        return real(self, name, extent)

    monkeypatch.setattr(directory.CacheDirectory, "open_to_read", scarce)

    assert body(2, 5) == reader.read(key(2), CHUNK, 0, 0, 5)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES])
@pytest.mark.row("P12")
def test_what_cannot_be_looked_at_is_not_taken_for_damaged(
    open_writer: Callable[..., Writer],
    reader: Reader,
    bad: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    error: int,
) -> None:
    """With no descriptor, no memory or no permission a read misses and a check drops nothing, and what was cached is
    there when that is over."""
    cache = open_writer(limit=20 * CHUNK)
    assert cache.store(key(1), SMALL, 0, body(1))
    assert cache.store(key(2), LARGE, 0, body(2, CHUNK))
    assert cache.pieces.store(key(3), LARGE, 0, body(3, 2 * PIECE_BYTES))
    cache.flush()

    def refuse(self: directory.CacheDirectory, name: str, extent: int) -> int:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(directory.CacheDirectory, "open_to_read", refuse)
        assert reader.read(key(1), SMALL, 0, 0, SMALL) is None
        assert reader.read(key(2), LARGE, 0, 0, 5) is None
        assert reader.read_pieces(key(3), LARGE, 0, 0, 2) == {}
        assert bad == []
        assert cache.verify().bad == 0

    assert body(1) == reader.read(key(1), SMALL, 0, 0, SMALL)
    assert body(2, 5) == reader.read(key(2), LARGE, 0, 0, 5)
    assert {0: body(3, PIECE_BYTES), 1: body(3, PIECE_BYTES)} == reader.read_pieces(key(3), LARGE, 0, 0, 2)


@pytest.mark.row("C3")
def test_after_a_crash_nothing_uncounted_stays(open_writer: Callable[..., Writer], tmp_path: Path) -> None:
    """Files whose rows were never written go at the next start, and what the dead had reserved is free again."""
    cache = Writer(tmp_path / "cache", limit=1000 * SMALL, chunk_size=CHUNK)
    fill(cache, range(10))
    for number in range(10, 15):
        cache.store(key(number), SMALL, 0, body(number))
    kill(cache)
    assert content_bytes(tmp_path / "cache") == 15 * SMALL
    cache = open_writer()

    assert 10 * SMALL == content_bytes(tmp_path / "cache") == cache.info().bytes
    assert list(range(10)) == in_cache(cache, range(20))
    assert len(list((tmp_path / "cache/v1/owners").iterdir())) == 1


def test_a_crash_beside_a_living_writer_costs_the_budget_nothing(
    open_writer: Callable[..., Writer], tmp_path: Path
) -> None:
    """Half-written files and reservations of many dead writers are taken back while another goes on."""
    living = open_writer(limit=32 * SMALL)
    fill(living, range(4))
    for round_ in range(40):
        dead = Writer(tmp_path / "cache", limit=32 * SMALL, chunk_size=CHUNK)
        dead.store(key(100 + round_), SMALL, 0, body(round_))
        kill(dead)
    fill(living, range(200, 225))

    assert list(range(200, 225)) == in_cache(living, range(200, 225))
    assert content_bytes(tmp_path / "cache") <= living.info().bytes + living.info().reserved <= 32 * SMALL
    assert not in_cache(living, range(100, 140))
    living.close()
    counted = open_writer(limit=32 * SMALL).info().bytes
    assert counted == content_bytes(tmp_path / "cache")


def test_a_dead_writer_s_half_of_a_shared_file_does_not_stay_uncounted(
    open_writer: Callable[..., Writer], tmp_path: Path
) -> None:
    """Pieces without a row inside a file that has other rows go with the whole file."""
    living = open_writer(limit=20 * CHUNK)
    assert living.pieces.store(key(1), LARGE, 0, body(0, PIECE_BYTES))
    living.flush()
    dead = Writer(tmp_path / "cache", limit=20 * CHUNK, chunk_size=CHUNK)
    assert dead.pieces.store(key(1), LARGE, 1, body(1, PIECE_BYTES))
    kill(dead)
    other = open_writer(limit=20 * CHUNK)

    assert other.info().bytes == content_bytes(tmp_path / "cache") == 0


def test_two_writers_of_the_same_chunk_count_it_once(open_writer: Callable[..., Writer], tmp_path: Path) -> None:
    """Two mounts that fetch the same bytes at once store one file."""
    first, second = open_writer(), open_writer()
    assert first.store(key(1), SMALL, 0, body(1)) == second.store(key(1), SMALL, 0, body(1)) is not None
    first.flush()
    second.flush()
    first.close()
    second.close()
    info = open_writer().info()

    assert (info.bytes, info.files, info.chunks) == (SMALL, 1, 1)
    assert content_bytes(tmp_path / "cache") == SMALL


def test_a_closed_cache_has_nothing_reserved_and_is_clean(open_writer: Callable[..., Writer], tmp_path: Path) -> None:
    """A mount that ends well leaves no mark, and the next one need not sweep."""
    cache = open_writer()
    fill(cache, range(3))
    cache.close()
    stray = tmp_path / "cache/v1/files/00" / key(77)
    stray.write_bytes(b"x")

    assert list((tmp_path / "cache/v1/owners").iterdir()) == []
    open_writer(limit=0)
    assert stray.exists()


def test_a_living_writer_takes_back_what_the_dead_reserved(open_writer: Callable[..., Writer], tmp_path: Path) -> None:
    """Nobody has to open the cache for that: the one that lacks room looks for the dead itself."""
    living = open_writer(limit=32 * SMALL)
    others = [Writer(tmp_path / "cache", limit=32 * SMALL, chunk_size=CHUNK) for _ in range(10)]
    for other in others:
        kill(other)
    stored = living.store(key(1), 20 * SMALL, 0, body(1, 20 * SMALL))

    assert stored is not None
    assert living.info().reserved <= 12 * SMALL


def test_what_another_stored_first_is_not_paid_for_twice(open_writer: Callable[..., Writer]) -> None:
    """A writer that comes second with every chunk goes on with what it had reserved."""
    first, second = open_writer(limit=160 * SMALL), open_writer(limit=160 * SMALL)
    for number in range(100):
        for each in (first, second):
            assert each.store(key(number), SMALL, 0, body(number)) is not None
            each.flush()

    assert (second.info().bytes, second.info().files) == (100 * SMALL, 100)
    assert second.info().reserved <= 2 * 10 * SMALL


def test_reservations_without_an_owner_end_with_the_next_one_alone(
    open_writer: Callable[..., Writer], tmp_path: Path
) -> None:
    """After a power cut, which may lose a writer's mark, its reservation ends all the same."""
    for _ in range(5):
        dead = Writer(tmp_path / "cache", limit=32 * SMALL, chunk_size=CHUNK)
        kill(dead)
        shutil.rmtree(tmp_path / "cache/v1/owners")

    assert open_writer(limit=32 * SMALL).info().reserved <= 2 * SMALL
