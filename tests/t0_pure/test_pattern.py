"""What is fetched for the reads of one large object: a model of the cache follows the plans and counts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from swiftfs.cache.names import PIECE_BYTES
from swiftfs.fs.pattern import AMPLIFICATION, FIRST_WINDOW, GROWTH, LONGEST_WINDOW, STREAMS, Pattern

MIB = 1 << 20
CHUNK_SIZES = st.sampled_from([64 << 10, 256 << 10, MIB, 8 * MIB])


@dataclass
class Model:
    """An object, what is there of it, and what was fetched: ``requests`` as ranges of bytes."""

    size: int
    chunk_size: int
    pattern: Pattern = field(init=False)
    pieces: set[int] = field(default_factory=set)
    chunks: set[int] = field(default_factory=set)
    requests: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pattern = Pattern(self.size, self.chunk_size, 8)

    @property
    def fetched(self) -> int:
        return sum(stop - start for start, stop in self.requests)

    def read(self, offset: int, length: int) -> None:
        """One read, followed by the fetches that the plan is for; whatever was read must be there then."""
        end = min(offset + length, self.size)
        plan = self.pattern.read(offset, end)
        assert end <= plan.stop <= self.size
        for chunk in plan.ahead:
            self.fetch_chunk(chunk)
        for chunk in range(offset // self.chunk_size, -(-end // self.chunk_size)):
            base = chunk * self.chunk_size
            limit = min(base + self.chunk_size, self.size)
            first, last = max(offset, base) // PIECE_BYTES, -(-min(end, limit) // PIECE_BYTES)
            missing = [piece for piece in range(first, last) if piece not in self.pieces]
            if chunk in self.chunks or not missing:
                continue
            more = range(last, -(-min(plan.stop, limit) // PIECE_BYTES))
            missing += [piece for piece in more if piece not in self.pieces]
            if plan.whole or self.pattern.is_dense(chunk, len(missing) * PIECE_BYTES):
                self.fetch_chunk(chunk)
                continue
            got = range(missing[0], missing[-1] + 1)
            self.pieces |= set(got)
            self.pattern.fetched_pieces(chunk, len(got) * PIECE_BYTES)
            self.requests.append((got.start * PIECE_BYTES, min(got.stop * PIECE_BYTES, self.size)))

    def fetch_chunk(self, chunk: int) -> None:
        """The rest of a chunk behind the pieces at its start."""
        if chunk in self.chunks:
            return
        self.chunks.add(chunk)
        self.pattern.fetched_chunk(chunk)
        start = chunk * self.chunk_size
        stop = min(start + self.chunk_size, self.size)
        assert start < stop
        while start < stop and start // PIECE_BYTES in self.pieces:
            start = min(start + PIECE_BYTES, stop)
        if start < stop:
            self.requests.append((start, stop))


@given(CHUNK_SIZES, st.integers(16, 64), st.integers(100, 600), st.integers(0, 2**32))
def test_random_reads_fetch_hardly_more_than_they_ask_for(chunk_size: int, mib: int, count: int, seed: int) -> None:
    """For any trace of random reads of a page each, 1.3 times the bytes asked for are fetched at the most."""
    model = Model(mib * MIB + seed % 5000, chunk_size)
    draw = random.Random(seed)
    for _ in range(count):
        model.read(draw.randrange(model.size // 4096) * 4096, 4096)

    assert model.fetched <= AMPLIFICATION * count * 4096 + FIRST_WINDOW


def test_random_reads_of_all_of_an_object_keep_the_bound() -> None:
    """Reading every page once in no order fetches no chunk a second time as a whole."""
    model = Model(2 * MIB, 256 << 10)
    order = list(range(model.size // 4096))
    random.Random(8).shuffle(order)
    for page in order:
        model.read(page * 4096, 4096)

    assert model.fetched <= AMPLIFICATION * model.size + FIRST_WINDOW


@given(CHUNK_SIZES, st.integers(1, 40_000_000), st.lists(st.integers(1, 1 << 20), min_size=1, max_size=8))
def test_a_sequential_reader_fetches_every_byte_once(chunk_size: int, size: int, lengths: list[int]) -> None:
    """From start to end in reads of any lengths: no byte twice, and a bounded number of requests beyond the chunks."""
    model = Model(chunk_size + size, chunk_size)
    lengths = [max(length, 4096) for length in lengths]
    offset = turn = 0
    while offset < model.size:
        model.read(offset, lengths[turn % len(lengths)])
        offset += lengths[turn % len(lengths)]
        turn += 1

    chunks = -(-model.size // chunk_size)
    ranges = sorted(model.requests)
    assert ranges[0][0] == 0
    assert all(one[1] == other[0] for one, other in pairwise(ranges))
    assert ranges[-1][1] == model.size
    assert len(ranges) <= chunks + 6


@given(st.integers(1, 63), st.sampled_from([4096, 128 << 10, MIB]))
def test_a_reader_that_begins_in_the_middle_soon_gets_chunks(start: int, length: int) -> None:
    """Whoever reads on from anywhere costs the chunks that he reads, one ahead for each and the ranges of his start."""
    model = Model(64 * MIB, 8 * MIB)
    offset = start * MIB
    while offset < model.size:
        model.read(offset, length)
        offset += length

    assert model.fetched <= model.size - start * MIB + 8 * MIB + 3 * LONGEST_WINDOW
    assert len(model.requests) <= 8 + 10 + (GROWTH if length == 4096 else 0)


@given(st.lists(st.tuples(st.integers(0, 40 * MIB), st.integers(1, 3 * MIB)), max_size=60), CHUNK_SIZES)
def test_whatever_is_read_is_there_and_nothing_beyond_the_end(reads: list[tuple[int, int]], chunk_size: int) -> None:
    """For any reads, each plan covers its read, and no request goes beyond the object."""
    model = Model(40 * MIB + 123, chunk_size)
    for offset, length in reads:
        model.read(offset, length)
        for piece in range(offset // PIECE_BYTES, -(-min(offset + length, model.size) // PIECE_BYTES)):
            assert piece in model.pieces or piece * PIECE_BYTES // chunk_size in model.chunks

    assert all(0 <= start < stop <= model.size for start, stop in model.requests)


def test_random_readers_do_not_disturb_a_sequential_one() -> None:
    """One reads from start to end while many jump about: he gets whole chunks, they get pages."""
    model = Model(256 * MIB, 8 * MIB)
    draw = random.Random(3)
    jumps = 0
    for offset in range(0, 64 * MIB, MIB):
        model.read(offset, MIB)
        for _ in range(STREAMS // 2):
            before = len(model.requests)
            model.read(draw.randrange(32_768, 65_536) * 4096, 4096)
            jumps += model.requests[before:] != [] and model.requests[-1][1] - model.requests[-1][0] == 4096

    whole = [stop - start for start, stop in model.requests if stop - start == 8 * MIB]
    assert len(whole) >= 7
    assert jumps > 480


def test_a_reader_that_jumps_into_what_is_fetched_ahead_waits_for_that() -> None:
    """Reads that come out of order within the chunks of a stream start no fetch of their own."""
    model = Model(64 * MIB, 8 * MIB)
    for offset in range(0, 12 * MIB, MIB):
        model.read(offset, MIB)
    before = len(model.requests)
    for offset in (14 * MIB, 13 * MIB, 12 * MIB, 15 * MIB):
        assert model.pattern.read(offset, offset + MIB).whole
    assert len(model.requests) == before


def test_a_chunk_that_is_read_again_and_again_is_fetched_whole() -> None:
    """When more than half of it is there in pieces, and much more was asked for than fetched, the rest is fetched."""
    pattern = Pattern(64 * MIB, MIB, 8)
    for page in range(0, 140):
        pattern.read(MIB + page * 7 % 256 * 4096, MIB + page * 7 % 256 * 4096 + 4096)
    pattern.fetched_pieces(1, 600 << 10)

    assert not pattern.is_dense(1, 4096)
    for _ in range(10):
        for page in range(0, 140):
            pattern.read(MIB + page * 7 % 256 * 4096, MIB + page * 7 % 256 * 4096 + 4096)
    assert pattern.is_dense(1, 4096)
    assert not pattern.is_dense(2, 4096)
