"""Messages between the two processes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.errors import Changed, SwiftFSError, Truncated
from swiftfs.fetch import protocol
from swiftfs.fetch.protocol import Failed, Have, Refresh, Touch, Want, Wants

WANTS = st.builds(
    Want,
    ino=st.integers(1, 2**62),
    name=st.text(min_size=1, max_size=20),
    size=st.integers(0, 2**62),
    etag=st.text(max_size=32),
    last_modified=st.integers(0, 2**62),
    kind=st.integers(0, 2),
    first=st.integers(0, 100),
    stop=st.integers(0, 100),
    priority=st.integers(0, 3),
)
MESSAGES = (
    WANTS
    | st.builds(Wants, st.lists(WANTS, max_size=3))
    | st.just(Refresh())
    | st.builds(Touch, st.lists(st.tuples(st.text(), st.integers(0, 9))))
)


@given(st.lists(MESSAGES, max_size=6), st.data())
def test_a_stream_cut_anywhere_gives_the_same_messages(messages: list[protocol.Message], data: st.DataObject) -> None:
    """However the socket cuts the bytes, every message arrives once, whole and in order."""
    stream = b"".join(protocol.frame(message) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    unframer = protocol.Unframer()
    bodies = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        bodies += unframer.feed(stream[start:stop])

    assert [protocol.decode_to_fetch(body) for body in bodies] == messages


def test_inline_data_survives() -> None:
    """Bytes that the cache's disk refused travel as they are."""
    have = Have(7, 0, "ab", 3, 0, b"\x00\xff\n")

    assert protocol.decode_from_fetch(protocol.frame(have)[protocol.LENGTH_BYTES :]) == have


def test_an_impossible_length_is_an_error() -> None:
    """A broken stream is noticed before it eats memory."""
    with pytest.raises(Truncated):
        protocol.Unframer().feed(b"\xff\xff\xff\xff")


@given(st.binary(max_size=40))
def test_garbage_is_an_error_of_ours(body: bytes) -> None:
    """Bytes that are no message raise what the caller expects."""
    with pytest.raises(Truncated):
        protocol.decode_to_fetch(body)


@pytest.mark.parametrize(("name", "kind"), [("Changed", Changed), ("os", SwiftFSError), ("NoSuch", SwiftFSError)])
def test_a_failure_keeps_its_class(name: str, kind: type[SwiftFSError]) -> None:
    """An error crosses the socket as the class it was, and nothing else can be named."""
    error = Failed(1, 0, name, "why").exception()

    assert type(error) is kind
    assert error.message == "why"
