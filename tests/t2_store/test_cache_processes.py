"""One cache, several processes: the limit and the bytes hold while they work side by side and are killed."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from fakes.cache_disk import content_bytes

from swiftfs.cache import pause, table
from swiftfs.cache.directory import CacheDirectory
from swiftfs.cache.names import chunk_count
from swiftfs.cache.outside import table_path, used_bytes
from swiftfs.cache.reader import Reader
from swiftfs.cache.writer import Writer

if TYPE_CHECKING:
    from pathlib import Path

CHUNK = 64 << 10  # and every chunk is whole blocks of the disk, so that a hole is told from bytes
LIMIT = 2 << 20
WRITING = """
import random, sys
from pathlib import Path
from swiftfs.cache.names import chunk_length
from swiftfs.cache.writer import Writer

path, limit, chunk_size, seed, rounds = Path(sys.argv[1]), *map(int, sys.argv[2:])
choice = random.Random(seed)
writer = Writer(path, limit=limit, chunk_size=chunk_size)
stored = 0
print("ready", flush=True)
for round_ in range(rounds):
    number = choice.randrange(60)
    size = (number + 1) * 4096
    key = f"{number:032x}"
    chunk = choice.randrange(-(-size // chunk_size))
    data = bytes([number]) * chunk_length(size, chunk, chunk_size)
    stored += writer.store(key, size, chunk, data) is not None
    if round_ % 7 == 0:
        writer.flush()
    if round_ % 50 == 0:
        writer.touch([(f"{choice.randrange(60):032x}", 0)])
        writer.drop(f"{choice.randrange(60):032x}", 0)
writer.close()
print(stored, writer.refused, flush=True)
"""


def start(path: Path, seed: int, rounds: int) -> subprocess.Popen[str]:
    arguments = [str(each) for each in (path, LIMIT, CHUNK, seed, rounds)]
    return subprocess.Popen([sys.executable, "-c", WRITING, *arguments], stdout=subprocess.PIPE, text=True)


def read_anything(reader: Reader, choice: random.Random) -> int:
    """Reads a chunk at random: right bytes or a miss; returns how many bytes."""
    number = choice.randrange(60)
    size = (number + 1) * 4096
    chunk = choice.randrange(chunk_count(size, CHUNK))
    stop = min(CHUNK, size - chunk * CHUNK)
    data = reader.read(f"{number:032x}", size, chunk, 0, stop)
    assert data is None or data == bytes([number]) * stop
    return len(data or b"")


@pytest.mark.row("C6")
def test_processes_share_a_limit_and_bytes(tmp_path: Path) -> None:
    """Three writers with far more than fits keep one limit between them, and a reader sees right bytes or misses."""
    processes = [start(tmp_path, seed, 1500) for seed in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"  # the table is there: a reader that finds none waits a second
    reader = Reader(tmp_path, chunk_size=CHUNK)
    choice = random.Random(0)
    read = 0
    while any(process.poll() is None for process in processes):
        assert content_bytes(tmp_path) <= LIMIT
        reader.release_evicted()
        read += sum(read_anything(reader, choice) for _ in range(20))
    reader.close()
    for process in processes:
        output = process.communicate()[0].split()
        assert process.returncode == 0
        assert output == ["1500", "0"]
    writer = Writer(tmp_path, limit=LIMIT, chunk_size=CHUNK)
    writer.verify()  # a row may outlive its file where two evicted and wrote at once
    info = writer.info()
    writer.close()

    assert read > 0
    assert content_bytes(tmp_path) == info.bytes <= LIMIT


@pytest.mark.parametrize("beside", [False, True])
def test_killed_writers_leave_nothing_uncounted(tmp_path: Path, beside: bool) -> None:
    """After kill -9 at any moment, alone or beside a living writer, files and sums agree and the limit holds."""
    choice = random.Random(5)
    living = Writer(tmp_path, limit=LIMIT, chunk_size=CHUNK) if beside else None
    for seed in range(5):
        with start(tmp_path, seed, 10**9) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(choice.uniform(0, 0.3))
            process.kill()
        assert content_bytes(tmp_path) <= LIMIT
        writer = Writer(tmp_path, limit=LIMIT, chunk_size=CHUNK)
        assert content_bytes(tmp_path) <= writer.info().bytes
        writer.verify()
        assert content_bytes(tmp_path) == writer.info().bytes <= LIMIT
        assert writer.store("f" * 32, 100, 0, bytes(100)) is not None
        writer.close()
    if living is not None:
        living.close()


@pytest.mark.row("C6")
@pytest.mark.logs("cannot be written")
def test_a_stopped_process_stops_nobody(tmp_path: Path) -> None:
    """While another process holds the table and does not go on, stores are refused within seconds, and reads go on."""
    writer = Writer(tmp_path, limit=LIMIT, chunk_size=CHUNK)
    assert writer.store("a" * 32, 100, 0, bytes(100)) is not None
    writer.flush()
    holder = Writer(tmp_path, limit=LIMIT, chunk_size=CHUNK)
    reader = Reader(tmp_path, chunk_size=CHUNK)
    begun = time.monotonic()
    with holder._table.transaction():
        stored = [writer.store(f"{number:032x}", CHUNK, 0, bytes(CHUNK)) for number in range(1, 100)]
        writer.flush()
        took = time.monotonic() - begun
        assert bytes(100) == reader.read("a" * 32, 100, 0, 0, 100)
    reader.close()
    holder.close()
    writer.close()

    assert None in stored
    assert took < 60


@pytest.mark.row("C6")
@pytest.mark.logs("cannot be written")
def test_waiting_for_a_table_that_is_held_takes_a_small_part_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often rows are to be committed, chunks marked and others dropped, a stopped process costs its readers a
    tenth of the time; what was not committed is when the table is free."""
    monkeypatch.setattr(table, "WAIT", 0.1)
    monkeypatch.setattr(pause, "PAUSE", 0.0)
    writer = Writer(tmp_path, limit=LIMIT, chunk_size=CHUNK)
    holder = Writer(tmp_path, limit=LIMIT, chunk_size=CHUNK)
    assert writer.store("a" * 32, 100, 0, bytes(100)) is not None
    tries, begun = 0, time.monotonic()
    with holder._table.transaction():
        while time.monotonic() < begun + 2:
            writer.flush()
            writer.touch([("c" * 32, tries * 500 + number) for number in range(500)])
            writer.drop("b" * 32, 0)
            tries += 1
            time.sleep(0.001)
    assert tries > 100
    deadline = time.monotonic() + 30
    while used_bytes(tmp_path) == 0:
        assert time.monotonic() < deadline
        writer.flush()
    writer.close()
    holder.close()


def test_emptying_a_cache_lets_others_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A cache whose files take longer to delete than anybody waits for the table is emptied beside a mount that goes on
    storing."""
    emptying = Writer(tmp_path, limit=LIMIT, chunk_size=CHUNK)
    for number in range(500):
        assert emptying.store(f"{number:032x}", 100, 0, bytes(100)) is not None
    emptying.flush()
    mount = Writer(tmp_path, limit=LIMIT, chunk_size=CHUNK)
    begun = threading.Event()
    real = CacheDirectory.unlink

    def slow(self: CacheDirectory, key: str, extent: int) -> bool:
        begun.set()
        time.sleep(1.5 * table.WAIT / 500)
        return real(self, key, extent)

    monkeypatch.setattr(CacheDirectory, "unlink", slow)
    with ThreadPoolExecutor() as threads:
        freed = threads.submit(emptying.clear)
        assert begun.wait(30)
        assert mount.store("f" * 32, 100, 0, bytes(100)) is not None
        mount.flush()
        assert not freed.done()
    mount.close()
    emptying.close()

    assert freed.result() == 500 * 100
    assert used_bytes(tmp_path) == 100
    assert caplog.records == []


def test_what_a_cache_holds_can_be_asked_from_outside(tmp_path: Path) -> None:
    """Beside a writer and after it, by the rows that it has committed; nothing where there is no cache, and nothing is
    made by asking; nothing where the table is none."""
    path = tmp_path / "cache"
    assert used_bytes(path) == 0
    assert not path.exists()

    writer = Writer(path, limit=LIMIT, chunk_size=CHUNK)
    writer.store("0" * 32, CHUNK, 0, bytes(CHUNK))
    writer.flush()
    assert used_bytes(path) == CHUNK
    writer.close()
    assert used_bytes(path) == CHUNK

    table_path(path).write_bytes(b"nonsense" * 1000)
    assert used_bytes(path) == 0
