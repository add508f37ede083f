"""A store in memory behind the fetch protocol: the file system process's view of a fetch process, without one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from swiftfs.cache.names import PIECE_BYTES, has_pieces, object_key, pieces_key
from swiftfs.cache.writer import Writer
from swiftfs.errors import Changed, NotFound, SwiftFSError, Unavailable
from swiftfs.fetch.protocol import DEMAND, Bad, Forget, Have, HavePieces, Message, Touch, Want, Wants
from swiftfs.fs.inodes import ROOT
from swiftfs.fs.vfs import Vfs
from swiftfs.model import Kind


@dataclass
class MemoryFetcher:
    """Answers wants from ``objects`` by writing real cache files, as the fetch process does.

    ``failures`` maps an object's name to the errors that its next fetches end with. ``asked`` and ``fetched`` record
    what was asked for without waiting and what went over the imaginary network. ``hang`` blocks every fetch until it
    is set. ``stored`` has the times at which objects were stored: a large one is refused to who pins an earlier time.
    """

    account: str
    container: str
    cache: Writer
    chunk_size: int
    objects: dict[str, bytes]
    on_have: Callable[[Have | HavePieces], None] = lambda have: None
    on_failed: Callable[[int, int], None] = lambda ino, chunk: None
    failures: dict[str, list[SwiftFSError]] = field(default_factory=dict)
    asked: list[Message] = field(default_factory=list)
    fetched: list[tuple[str, int]] = field(default_factory=list)
    fetched_spans: list[tuple[str, int, int]] = field(default_factory=list)
    stored: dict[str, int] = field(default_factory=dict)
    hang: trio.Event | None = None
    deadline: float = 60.0
    restarts: int = 0

    async def chunk(self, want: Want) -> Have:
        await self._answer()
        return self._fetch(want, want.first)

    async def pieces(self, want: Want) -> list[HavePieces]:
        await self._answer()
        return [self._fetch_pieces(want)]

    async def _answer(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.hang is not None:
            with trio.move_on_after(self.deadline) as scope:
                await self.hang.wait()
            if scope.cancelled_caught:
                from swiftfs.errors import DeadlineExceeded

                raise DeadlineExceeded("no answer from the store")

    def ask(self, message: Message) -> None:
        self.asked.append(message)
        if isinstance(message, Wants):
            for want in message.wants:
                for chunk in range(want.first, want.stop):
                    try:
                        self.on_have(self._fetch(want, chunk))
                    except SwiftFSError:
                        self.on_failed(want.ino, chunk)
        elif isinstance(message, Bad):
            (self.cache.pieces.drop if message.pieces else self.cache.drop)(message.key, message.chunk)
        elif isinstance(message, Touch):
            self.cache.touch(message.chunks)
        else:
            assert isinstance(message, Forget)

    def _fetch_pieces(self, want: Want) -> HavePieces:
        self._fail(want)
        key = pieces_key(object_key(self.account, self.container, want.version, chunk_size=self.chunk_size))
        chunk = want.first * PIECE_BYTES // self.chunk_size
        found = self.cache.pieces.find(key, chunk, want.first, want.stop)
        rows = [found[piece] for piece in sorted(found)]
        if len(rows) < want.stop - want.first:
            data = self._get(want, want.first * PIECE_BYTES, want.stop * PIECE_BYTES)
            stored = self.cache.pieces.store(key, want.size, want.first, data)
            if stored is None:
                unstored = HavePieces(want.ino, want.first, want.stop, key, [], data)
                self.on_have(unstored)
                return unstored
            rows = stored
        have = HavePieces(want.ino, want.first, want.stop, key, [(row.length, row.checksum) for row in rows])
        self.on_have(have)
        return have

    def _fail(self, want: Want) -> None:
        errors = self.failures.get(want.name)
        if errors:
            raise errors.pop(0)

    def _get(self, want: Want, start: int, stop: int) -> bytes:
        whole = self.objects.get(want.name)
        if whole is None:
            raise NotFound("not found", object=want.name)
        if hashlib.md5(whole).hexdigest() != want.etag:
            raise Changed("the object has changed in the store", object=want.name)
        if want.kind != Kind.PLAIN and want.last_modified < self.stored.get(want.name, 0):
            raise Changed("the object was stored again", object=want.name)
        self.fetched_spans.append((want.name, start, min(stop, len(whole))))
        return whole[start:stop]

    def _fetch(self, want: Want, chunk: int) -> Have:
        self._fail(want)
        key = object_key(self.account, self.container, want.version, chunk_size=self.chunk_size)
        row = self.cache.find(key, chunk)
        if row is not None and not want.inline:
            return Have(want.ino, chunk, key, row.length, row.checksum)
        start = chunk * self.chunk_size
        in_pieces = has_pieces(want.size, self.chunk_size)
        pieces = pieces_key(key)
        head = self.cache.pieces.read_head(pieces, want.size, chunk) if in_pieces else b""
        data = head + self._get(want, start + len(head), start + self.chunk_size)
        self.fetched.append((want.name, chunk))
        stored = self.cache.store(key, want.size, chunk, data)
        if in_pieces and self.cache.pieces.has(pieces, chunk):
            self.cache.pieces.drop(pieces, chunk)
        if stored is None and want.priority != DEMAND:
            raise Unavailable("the cache has no room")
        if stored is None or want.inline:
            have = Have(want.ino, chunk, key, len(data), 0, data)
        else:
            have = Have(want.ino, chunk, key, stored.length, stored.checksum)
        self.on_have(have)
        return have


def ino_of(vfs: Vfs, path: str) -> int:
    """The inode of a path that the tree has."""
    ino = ROOT
    for part in path.split("/"):
        entry = vfs.child(ino, part.encode())
        assert entry is not None
        ino = entry.ino
    return ino
