"""The messages between the file system process and the fetch process, and their framing.

Pure: bytes in, messages out. A frame is a four-byte big-endian length and a msgpack map with its message's name under
``type``. Bytes of objects do not travel here but through the cache; the one exception is :class:`Have` with ``data``,
sent when the cache's disk refuses or loses them. No message holds a secret: the fetch process reads the remote's
section itself.
"""

from __future__ import annotations

from typing import Any

import msgspec

from swiftfs import errors
from swiftfs.errors import SwiftFSError, Truncated
from swiftfs.model import Kind, ObjectVersion

LENGTH_BYTES = 4
LONGEST_FRAME = 64 * 1024 * 1024
"""Bytes; above the largest chunk (a chunk travels inline when the cache's disk refuses it), so anything longer is
a broken stream."""

DEMAND = 0
READAHEAD = 1
NEXT_FILES = 2
TREE = 3
WARM = 4
"""Priorities, most urgent first: a blocked reader; more of a file being read; files that come next; the rest of a tree
that is being read; what somebody wants in the cache, which yields to readers, see ``fetch.share``."""


WantId = tuple[int, int, int]
"""One fetch: an inode, a chunk's number and 0, or an inode and the numbers of the first piece and behind the last."""


class Message(msgspec.Struct, tag=True, frozen=True):
    """Any message."""


class Hello(Message, frozen=True):
    """The first message to a fetch process: what to serve. Sizes in bytes, times in seconds.

    ``cache_size`` 0 keeps no cache beyond what is being read. ``refresh`` None never lists again by itself. ``parent``
    is the process that serves ``mountpoint``: should it stop to answer, its mount is ended. ``pin`` is the digest
    of the manifest to show; '' shows what is listed.
    """

    remote: str
    container: str
    prefix: str
    index_dir: str
    cache_dir: str
    cache_size: int
    cache_min_free: int
    chunk_size: int
    streams: int
    deadline: float
    refresh: float | None
    parent: int
    mountpoint: str = ""
    pin: str = ""


class Ready(Message, frozen=True):
    """The fetch process serves: the index can be read. ``account`` is the storage URL, part of every cache key."""

    account: str
    index_path: str
    files: int
    directories: int
    size: int
    hidden: int


class Want(Message, frozen=True):
    """Fetch chunks ``[first, stop)`` of one version of an object, unless the cache holds them.

    With ``inline`` the bytes come in the answer, from the store: the cache has lost them again and again. With
    ``pieces`` the numbers are those of pieces (``cache.names.PIECE_BYTES``), all of one chunk, to be fetched by one
    request.
    """

    ino: int
    name: str
    size: int
    etag: str
    last_modified: int
    kind: int
    first: int
    stop: int
    priority: int
    inline: bool = False
    pieces: bool = False

    @property
    def ids(self) -> list[WantId]:
        """What it asks for: each of these is one fetch."""
        if self.pieces:
            return [(self.ino, self.first, self.stop)]
        return [(self.ino, chunk, 0) for chunk in range(self.first, self.stop)]

    @property
    def version(self) -> ObjectVersion:
        """The version that every GET for this message is pinned to."""
        return ObjectVersion(self.name, self.size, self.etag, self.last_modified, Kind(self.kind))


class Wants(Message, frozen=True):
    """Many wants in one frame, in the order in which they will be needed."""

    wants: list[Want]


class Forget(Message, frozen=True):
    """Drop what waits with a priority from ``priority`` to ``last``, the least urgent: a plan was given up. What runs
    is finished."""

    priority: int
    last: int = WARM


class Touch(Message, frozen=True):
    """These cached chunks (cache keys and numbers) were read, or pieces of them: they are recent."""

    chunks: list[tuple[str, int]]


class Bad(Message, frozen=True):
    """A cached chunk did not have its checksum or was gone: drop it. With ``pieces``: the pieces of that chunk."""

    key: str
    chunk: int
    pieces: bool = False


class Refresh(Message, frozen=True):
    """List the container now. ``number`` counts these questions, from 1."""

    number: int = 0


class Alive(Message, frozen=True):
    """The file system process's loop turns: the answer to :class:`AskAlive`."""


class AskStatus(Message, frozen=True):
    """Send a :class:`Status`."""


class AskAlive(Message, frozen=True):
    """Send an :class:`Alive`."""


class Have(Message, frozen=True):
    """A chunk is in the cache, or in ``data`` when the cache could not take it or the reader asked for it so.

    ``key`` is the cache's name of the object and ``checksum`` its own checksum of the chunk and its place.
    """

    ino: int
    chunk: int
    key: str
    length: int
    checksum: int
    data: bytes | None = None


class HavePieces(Message, frozen=True):
    """The pieces from ``first`` to before ``stop`` are in the cache, or in ``data`` when the cache could not take them.

    ``key`` is the key of pieces; ``rows`` has the length and checksum of each, and is empty with ``data``.
    """

    ino: int
    first: int
    stop: int
    key: str
    rows: list[tuple[int, int]]
    data: bytes | None = None


class Failed(Message, frozen=True):
    """A chunk could not be fetched; ``error`` names a class of ``swiftfs.errors``.

    With ``stop``, those are the pieces from number ``chunk`` to before ``stop``. ``ahead``: nobody had demanded it when
    that was found out; a reader whose demand is still on its way must not take it for the answer.
    """

    ino: int
    chunk: int
    error: str
    message: str
    stop: int = 0
    ahead: bool = False

    def exception(self) -> SwiftFSError:
        """The error to raise on this side."""
        kind: Any = getattr(errors, self.error, SwiftFSError)
        return kind(self.message) if issubclass(kind, SwiftFSError) else SwiftFSError(self.message)


class StartFailed(Message, frozen=True):
    """The fetch process cannot serve at all and ends."""

    error: str
    message: str

    def exception(self) -> SwiftFSError:
        """The error to raise on this side."""
        return Failed(0, 0, self.error, self.message).exception()


class Refreshed(Message, frozen=True):
    """The container was listed again. ``error`` is None unless that failed; then nothing changed. What exactly changed
    stands in the index, by its generation. ``answers`` is the last :class:`Refresh` that came before the listing began:
    a later one asks for what this listing may not have seen."""

    added: int
    changed: int
    removed: int
    files: int
    error: str | None = None
    answers: int = 0


class Status(Message, frozen=True):
    """Counters of a fetch process since its start."""

    requests: int
    received: int
    retries: int
    logins: int
    fetched_chunks: int
    failed_chunks: int
    waiting: int
    running: int
    cache_bytes: int
    cache_limit: int
    hidden: int
    drifted: int = 0
    fetched_pieces: int = 0


ToFetch = Hello | Want | Wants | Forget | Touch | Bad | Refresh | AskStatus | Alive
FromFetch = Ready | AskAlive | Have | HavePieces | Failed | StartFailed | Refreshed | Status

_encoder = msgspec.msgpack.Encoder()
_to_fetch: msgspec.msgpack.Decoder[ToFetch] = msgspec.msgpack.Decoder(ToFetch)
_from_fetch: msgspec.msgpack.Decoder[FromFetch] = msgspec.msgpack.Decoder(FromFetch)


def frame(message: Message) -> bytearray:
    """A message as it goes over the socket; what it carries is copied once."""
    buffer = bytearray(LENGTH_BYTES)
    _encoder.encode_into(message, buffer, LENGTH_BYTES)
    buffer[:LENGTH_BYTES] = (len(buffer) - LENGTH_BYTES).to_bytes(LENGTH_BYTES, "big")
    return buffer


class Unframer:
    """Cuts a byte stream into message bodies; holds at most one frame that is not complete."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that ``data`` completes. Raises Truncated for a length that no frame has."""
        buffer = self._buffer
        buffer += data
        bodies: list[bytes] = []
        start = 0
        while len(buffer) - start >= LENGTH_BYTES:
            length = int.from_bytes(buffer[start : start + LENGTH_BYTES], "big")
            if length > LONGEST_FRAME:
                raise Truncated(f"a frame of {length} bytes on the socket between the processes")
            end = start + LENGTH_BYTES + length
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                bodies.append(bytes(view[start + LENGTH_BYTES : end]))
            start = end
        del buffer[:start]
        return bodies


def decode_to_fetch(body: bytes) -> ToFetch:
    """A message to the fetch process. Raises Truncated."""
    try:
        return _to_fetch.decode(body)
    except msgspec.MsgspecError as error:
        raise Truncated(f"unreadable message: {error}") from error


def decode_from_fetch(body: bytes) -> FromFetch:
    """A message from the fetch process. Raises Truncated."""
    try:
        return _from_fetch.decode(body)
    except msgspec.MsgspecError as error:
        raise Truncated(f"unreadable message: {error}") from error
