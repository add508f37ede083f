"""What a cached chunk is called, where its bytes stand, and the checksum that ties the two together.

No I/O here. A chunk belongs to a *key*: the bytes of one object version. The same bytes under two names, containers or
mounts have one key, and two chunk sizes never share one.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import xxhash

from swiftfs.model import Kind, is_md5

if TYPE_CHECKING:
    from swiftfs.model import ObjectVersion

DEFAULT_CHUNK_SIZE = 8 << 20
"""Bytes of one chunk: long enough that a request's latency is a small part of its time, short enough that a random
read does not fetch much in vain."""

PIECE_BYTES = 4 << 10
"""Bytes of one piece of a chunk: a page, the least that the kernel asks for and a block of most disks."""

KEY_BYTES = 16
"""128 bits: two keys among 10^9 meet with a chance of 10^-21."""

_KEY_FORMAT = b"swiftfs cache 2"
_PIECES_FORMAT = b"swiftfs pieces 1"


def object_key(
    storage_url: str, container: str, version: ObjectVersion, *, chunk_size: int = DEFAULT_CHUNK_SIZE
) -> str:
    """The key of ``version``'s bytes: 32 hexadecimal digits.

    ``storage_url`` holds endpoint and account; bytes are not shared across accounts, because two contents with one MD5
    can be made on purpose. A DLO's ETag does not pin its bytes, and whether one does that is no MD5 shows nowhere: name
    and time are part of the key then.
    """
    parts = [storage_url, str(chunk_size), str(int(version.kind)), version.etag, str(version.size)]
    if version.kind is Kind.DLO or not is_md5(version.etag):
        parts += [container, version.name, str(version.last_modified)]
    digest = blake2b(_KEY_FORMAT, digest_size=KEY_BYTES)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def pieces_key(key: str) -> str:
    """The key of the pieces of the object that ``key`` stands for.

    Pieces have files and rows of their own, one file for those of one chunk, so they are counted and evicted like any
    others, also by a version of this program that knows no pieces.
    """
    return blake2b(_PIECES_FORMAT + key.encode(), digest_size=KEY_BYTES).hexdigest()


def has_pieces(size: int, chunk_size: int) -> bool:
    """Whether an object may be cached in pieces: one of several chunks, each of several whole pieces."""
    return size > chunk_size > PIECE_BYTES and chunk_size % PIECE_BYTES == 0


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """What is known of a chunk in the cache, and enough to use it: its length in bytes and its :func:`checksum`."""

    length: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk's bytes stand: in the file of extent ``extent``, ``length`` bytes from ``offset``.

    A chunk has an extent of its own, so that eviction frees a large object bit by bit and a chunk's file needs no name
    before it is whole. The pieces of a chunk share one.
    """

    extent: int
    offset: int
    length: int


def chunk_count(size: int, chunk_size: int) -> int:
    """How many chunks an object of ``size`` bytes has; an empty one has none."""
    return -(-size // chunk_size)


def chunk_length(size: int, chunk: int, chunk_size: int) -> int:
    """The bytes of chunk ``chunk``. Raises ValueError when the object has no such chunk."""
    if not 0 <= chunk < chunk_count(size, chunk_size):
        raise ValueError(f"an object of {size} bytes has no chunk {chunk} of {chunk_size}")
    return min(chunk_size, size - chunk * chunk_size)


def place(size: int, chunk: int, chunk_size: int) -> Place:
    """Where chunk ``chunk`` of an object of ``size`` bytes stands. Raises ValueError when there is no such chunk."""
    length = chunk_length(size, chunk, chunk_size)
    return Place(chunk, 0, length)


def piece_place(size: int, piece: int, chunk_size: int) -> Place:
    """Where piece ``piece`` of an object of ``size`` bytes stands: the extent is the number of its chunk.

    Raises ValueError when there is no such piece.
    """
    length = chunk_length(size, piece, PIECE_BYTES)
    chunk, within = divmod(piece * PIECE_BYTES, chunk_size)
    return Place(chunk, within, length)


def shard(key: str) -> str:
    """The directory that holds the files of ``key``: one of 256."""
    return key[:2]


def file_name(key: str, extent: int) -> str:
    """The file of an extent, within its shard. Extent 0, all of a small object, has no number."""
    return f"{key}.{extent}" if extent else key


def parse_file_name(name: str) -> tuple[str, int] | None:
    """The inverse of ``file_name``; None for a file that is none of ours."""
    key, dot, number = name.partition(".")
    if len(key) != 2 * KEY_BYTES or not set(key) <= set("0123456789abcdef"):
        return None
    if not dot:
        return key, 0
    if not (number.isascii() and number.isdigit()) or file_name(key, int(number)) != name:
        return None
    return key, int(number)


class Checksum:
    """The checksum of a chunk of ``length`` bytes, over its identity and its bytes: files that were swapped, cut or
    moved do not pass.

    63 bits of XXH3, for SQLite's integers are signed. It guards against damage, not against forgery: who can write
    to the cache can read the credentials too.
    """

    def __init__(self, key: str, chunk: int, length: int) -> None:
        self._digest = xxhash.xxh3_64(b"%s %d %d " % (key.encode(), chunk, length))

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes."""
        self._digest.update(data)

    def value(self) -> int:
        """The checksum when all bytes have been given."""
        return int(self._digest.intdigest() >> 1)


def checksum(key: str, chunk: int, data: bytes | bytearray | memoryview) -> int:
    """The checksum of the chunk that ``data`` is."""
    whole = Checksum(key, chunk, len(data))
    whole.update(data)
    return whole.value()
