"""A store in memory behind the fetch protocol: the file system process's view of a fetch process, without one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from swiftfs.cache.names import object_key
from swiftfs.cache.writer import Writer
from swiftfs.errors import Changed, NotFound, SwiftFSError
from swiftfs.fetch.protocol import Bad, Forget, Have, Message, Touch, Want, Wants


@dataclass
class MemoryFetcher:
    """Answers wants from ``objects`` by writing real cache files, as the fetch process does.

    ``failures`` maps an object's name to the errors that its next fetches end with. ``asked`` and ``fetched`` record
    what was asked for without waiting and what went over the imaginary network. ``hang`` blocks every fetch until it
    is set.
    """

    account: str
    container: str
    cache: Writer
    chunk_size: int
    objects: dict[str, bytes]
    on_have: Callable[[Have], None] = lambda have: None
    on_failed: Callable[[int, int], None] = lambda ino, chunk: None
    failures: dict[str, list[SwiftFSError]] = field(default_factory=dict)
    asked: list[Message] = field(default_factory=list)
    fetched: list[tuple[str, int]] = field(default_factory=list)
    hang: trio.Event | None = None
    deadline: float = 60.0

    async def chunk(self, want: Want) -> Have:
        await trio.lowlevel.checkpoint()
        if self.hang is not None:
            with trio.move_on_after(self.deadline) as scope:
                await self.hang.wait()
            if scope.cancelled_caught:
                from swiftfs.errors import DeadlineExceeded

                raise DeadlineExceeded("no answer from the store")
        return self._fetch(want, want.first)

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
            self.cache.drop(message.key, message.chunk)
        elif isinstance(message, Touch):
            self.cache.touch(message.keys)
        else:
            assert isinstance(message, Forget)

    def _fetch(self, want: Want, chunk: int) -> Have:
        errors = self.failures.get(want.name)
        if errors:
            raise errors.pop(0)
        key = object_key(self.account, self.container, want.version, chunk_size=self.chunk_size)
        row = self.cache.find(key, chunk)
        if row is not None:
            return Have(want.ino, chunk, key, row.length, row.checksum)
        whole = self.objects.get(want.name)
        if whole is None:
            raise NotFound("not found", object=want.name)
        if hashlib.md5(whole).hexdigest() != want.etag:
            raise Changed("the object has changed in the store", object=want.name)
        self.fetched.append((want.name, chunk))
        start = chunk * self.chunk_size
        data = whole[start : start + self.chunk_size]
        stored = self.cache.store(key, want.size, chunk, data)
        if stored is None:
            return Have(want.ino, chunk, key, len(data), 0, data)
        have = Have(want.ino, chunk, key, stored.length, stored.checksum)
        self.on_have(have)
        return have
