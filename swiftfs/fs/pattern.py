"""What to fetch for the reads of one large object: a pure planner over offsets and lengths.

Reads that follow each other are a stream; a few streams are kept for each object, for several readers may share it.
A stream fetches ahead in proportion to what it has read in a row, and whole chunks once that is much. A read that
follows no stream gets what it asked for and nothing else, except at the object's start, where most streams begin.

Chunks of which much is there in pieces are fetched whole, as far as ``AMPLIFICATION`` allows.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from swiftfs.fs.readahead import Readahead

FIRST_WINDOW = 128 << 10
"""Bytes fetched for a read at an object's start: the kernel's own first readahead, and a header of most formats."""
GROWTH = 4
"""A stream that has read n bytes in a row fetches as far as this times n ahead: it grows as fast as the kernel's own
readahead, and one that ends has cost no more than that in vain."""
LONGEST_WINDOW = 2 << 20
"""Bytes of the longest range that is not a whole chunk; who has read as much in a row gets whole chunks."""
STREAMS = 16
"""Streams watched for one object: more than a loader has workers, for each random read is one for a while."""
AMPLIFICATION = 1.3
"""Bytes fetched by bytes asked for beyond which no chunk is fetched for its pieces' sake."""
DENSE = 0.5
"""Share of a chunk fetched in pieces above which the rest is worth a request of its own."""
WATCHED_CHUNKS = 1024
"""Chunks of one object whose pieces are counted."""


@dataclass(frozen=True, slots=True)
class Plan:
    """For one read: fetch ``whole`` chunks where bytes are missing, else a range up to ``stop``, an offset.

    ``ahead`` are chunks to ask for now without waiting; some may be there already.
    """

    whole: bool
    stop: int
    ahead: range = range(0)


@dataclass(slots=True, eq=False)
class _Stream:
    start: int
    """Where its last read began: a read from there on continues the stream, it may be one read in two parts."""
    end: int
    run: int = 0
    followed: bool = False
    """Whether a second read went on where the first ended."""
    chunks: Readahead | None = None


@dataclass(slots=True)
class Pattern:
    """Sees the reads of one object of ``size`` bytes; at most ``most`` chunks may be ahead of a stream."""

    size: int
    chunk_size: int
    most: int
    _streams: list[_Stream] = field(default_factory=list)
    _asked: int = 0
    _fetched: int = 0
    _in_pieces: OrderedDict[int, int] = field(default_factory=OrderedDict)

    def read(self, offset: int, stop: int) -> Plan:
        """Bytes ``[offset, stop)``, some, within the object, are being read: what to fetch of it and beyond."""
        self._asked += stop - offset
        stream = self._stream_of(offset)
        before = stream.run
        stream.run += max(0, stop - max(stream.end, offset))
        if stream.chunks is None and (
            before >= min(self.chunk_size // GROWTH, LONGEST_WINDOW) or stop - offset > LONGEST_WINDOW
        ):
            return self._first_whole(stream, offset, stop)
        if stream.chunks is not None:
            return Plan(True, stop, self._ahead(stream, stream.chunks, offset, stop))
        goes_on = stop > stream.end
        stream.start, stream.end = offset, max(stream.end, stop)
        window = min(GROWTH * before, LONGEST_WINDOW) if goes_on else 0
        return Plan(False, min(max(stop, offset + window), self.size))

    def _first_whole(self, stream: _Stream, offset: int, stop: int) -> Plan:
        """From now on whole chunks, with the rest of the chunk that the stream is in."""
        chunk = offset // self.chunk_size
        stream.chunks = Readahead.beginning_at(chunk, self.most)
        stream.end = min(stream.end, offset)
        ahead = self._ahead(stream, stream.chunks, offset, stop)
        return Plan(True, stop, range(chunk, max(chunk + 1, ahead.stop)))

    def is_dense(self, chunk: int, missing: int) -> bool:
        """Whether to fetch ``chunk`` whole instead of ``missing`` bytes in pieces."""
        length = min(self.chunk_size, self.size - chunk * self.chunk_size)
        there = self._in_pieces.get(chunk, 0) + missing
        return there > DENSE * length and self._fetched + length <= AMPLIFICATION * self._asked

    def fetched_pieces(self, chunk: int, length: int) -> None:
        """``length`` bytes of a chunk were fetched in pieces."""
        self._fetched += length
        self._in_pieces[chunk] = self._in_pieces.get(chunk, 0) + length
        self._in_pieces.move_to_end(chunk)
        if len(self._in_pieces) > WATCHED_CHUNKS:
            self._in_pieces.popitem(last=False)

    def fetched_chunk(self, chunk: int) -> None:
        """A whole chunk was fetched or asked for ahead."""
        self._fetched += min(self.chunk_size, self.size - chunk * self.chunk_size)
        self._in_pieces.pop(chunk, None)

    def _stream_of(self, offset: int) -> _Stream:
        """The stream that a read at ``offset`` belongs to, now the most recent; a new one when it belongs to none."""
        for number in range(len(self._streams) - 1, -1, -1):
            stream = self._streams[number]
            if stream.start <= offset <= stream.end or self._is_within(stream, offset):
                stream.followed |= offset > stream.start
                self._streams.append(self._streams.pop(number))
                return stream
        stream = _Stream(offset, offset, FIRST_WINDOW // GROWTH if offset == 0 else 0)
        self._streams.append(stream)
        if len(self._streams) > STREAMS:
            # Random reads, each a stream of its own, must not push out one that goes on.
            fresh = (number for number, one in enumerate(self._streams[:-1]) if not one.followed)
            self._streams.pop(next(fresh, 0))
        return stream

    def _is_within(self, stream: _Stream, offset: int) -> bool:
        """Whether ``offset`` lies in chunks that the stream has asked for: reads may come out of order."""
        if stream.chunks is None:
            return False
        current = stream.end // self.chunk_size
        return max(0, current - 1) <= offset // self.chunk_size < stream.chunks.planned

    def _ahead(self, stream: _Stream, window: Readahead, offset: int, stop: int) -> range:
        """The chunks to ask for when a stream of whole chunks has come to this read."""
        first, last = offset // self.chunk_size, (stop - 1) // self.chunk_size
        current = (stream.end - 1) // self.chunk_size
        if stop <= stream.end or first > current + 1:
            return range(0)  # read before, or another reader's: it comes to chunks of this stream and moves it not
        stream.start, stream.end = offset, stop
        count = -(-self.size // self.chunk_size)
        plans = [plan for chunk in range(max(first, current), last + 1) if (plan := window.read(chunk, count))]
        return range(plans[0].start, plans[-1].stop) if plans else range(0)
