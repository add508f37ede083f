"""load.reading: what is read is one version of the source, whole, or it is an error."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from swiftfs.errors import Changed
from swiftfs.load.reading import PIECE, SourceBody, digest, read_whole
from swiftfs.load.source import DirectorySource, FileObject
from swiftfs.load.tally import Tally


class Held:
    """A source object in memory that gives ``pieces`` whatever its size says; ``settled`` is False for one that
    changed."""

    name = "x"
    mtime = None

    def __init__(self, size: int, pieces: list[bytes], *, settled: bool = True) -> None:
        self.size = size
        self._pieces = pieces
        self._settled = settled
        self.opened = self.closed = 0

    def open(self) -> Held:
        self.opened += 1
        self._left = list(self._pieces)
        return self

    def read(self, size: int, /) -> bytes:
        if not self._left:
            return b""
        piece, rest = self._left[0][:size], self._left[0][size:]
        self._left[:1] = [rest] if rest else []
        return piece

    def settle(self) -> None:
        if not self._settled:
            raise Changed("changed while it was read")

    def close(self) -> None:
        self.closed += 1


pieces = st.lists(st.binary(min_size=1, max_size=5), max_size=6)


@given(pieces, st.integers(0, 30), st.booleans())
@example([b"a", b"b"], 1, True)
@example([b"a"], 0, True)
def test_bytes_that_are_not_the_size_or_not_settled_are_an_error(held: list[bytes], size: int, settled: bool) -> None:
    """However the bytes come in pieces, they are taken only when they are as many as promised and still the same."""
    body = b"".join(held)
    source = Held(size, held, settled=settled)
    if settled and len(body) == size:
        content = read_whole(source)
        assert (body, hashlib.md5(body).hexdigest()) == (content.body, content.md5)
        assert content.md5 == digest(source, threading.Event())
    else:
        with pytest.raises(Changed):
            read_whole(source)
        with pytest.raises(Changed):
            digest(source, threading.Event())
    assert source.opened == source.closed


async def streamed(body: SourceBody) -> bytes:
    return b"".join([piece async for piece in body.open()])


@given(pieces.filter(bool), st.integers(1, 30), st.booleans())
def test_a_body_never_ends_with_its_size_when_the_source_is_not_what_it_was(
    held: list[bytes], size: int, settled: bool
) -> None:
    """A streamed body gives the source's bytes, or fails before the last of them is out."""
    source, tally = Held(size, held, settled=settled), Tally()
    whole = b"".join(held)[:size]

    async def main() -> tuple[bytes, bool]:
        sent = b""
        with ThreadPoolExecutor(1) as pool:
            body = SourceBody(source, pool, tally)
            try:
                async for piece in body.open():
                    sent += piece
                return sent, True
            except Changed:
                return sent, False
            finally:
                body.close()

    sent, complete = asyncio.run(main())
    assert (settled and len(whole) == size) is complete
    assert complete == (len(sent) == size)
    assert whole.startswith(sent)
    assert (tally.moved, source.closed) == (0, 1)


@pytest.mark.row("O6")
def test_a_file_that_is_altered_in_the_middle_of_a_stream_fails(tmp_path: Path) -> None:
    """A change behind the place that is being read is noticed before the last piece is out."""
    (tmp_path / "f").write_bytes(os.urandom(2 * PIECE))
    (source,) = DirectorySource(str(tmp_path)).scan()
    assert isinstance(source, FileObject)

    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            body = SourceBody(source, pool, Tally())
            stream = body.open()
            assert len(await anext(stream)) == PIECE
            with (tmp_path / "f").open("r+b") as file:
                file.write(b"other")
            with pytest.raises(Changed):
                await anext(stream)
            body.close()

    asyncio.run(main())


def test_every_attempt_starts_at_the_first_byte(tmp_path: Path) -> None:
    """A body opened again after a broken attempt gives everything, and counts it once."""
    content = os.urandom(3 * PIECE + 5)
    (tmp_path / "f").write_bytes(content)
    (source,) = DirectorySource(str(tmp_path)).scan()
    assert isinstance(source, FileObject)
    tally = Tally()

    async def main() -> bytes:
        with ThreadPoolExecutor(1) as pool:
            body = SourceBody(source, pool, tally)
            await anext(body.open())
            sent = await streamed(body)
            assert len(content) == tally.moved
            body.close()
            return sent

    assert content == asyncio.run(main())
