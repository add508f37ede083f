"""The fetch process's end of the socket to the file system process: messages in, messages out."""

from __future__ import annotations

import asyncio
import contextlib

from swiftfs.errors import SwiftFSError
from swiftfs.fetch import protocol
from swiftfs.fetch.protocol import FromFetch, Hello

RECEIVE = 256 * 1024
"""Bytes read from the socket at once."""


class Link:
    """The socket to the file system process: messages out are gathered for one write per turn of the loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._unframer = protocol.Unframer()
        self._bodies: list[bytes] = []
        self._out: list[bytearray] = []

    async def hello(self) -> Hello | None:
        """The first message; None when the other side is gone."""
        message = await self.receive()
        if message is not None and not isinstance(message, Hello):
            raise SwiftFSError("the file system process did not introduce itself")
        return message

    async def receive(self) -> protocol.ToFetch | None:
        """The next message; None when the other side is gone."""
        while not self._bodies:
            try:
                data = await self._reader.read(RECEIVE)
            except ConnectionError:
                return None
            if not data:
                return None
            self._bodies = self._unframer.feed(data)
            self._bodies.reverse()
        return protocol.decode_to_fetch(self._bodies.pop())

    def send(self, message: FromFetch) -> None:
        """Send ``message`` soon."""
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(protocol.frame(message))

    def _flush(self) -> None:
        out, self._out = self._out, []
        if not self._writer.is_closing():
            # A frame may hold a whole chunk: it is not copied for its own sake.
            self._writer.write(memoryview(out[0]) if len(out) == 1 else b"".join(out))

    async def drain(self) -> None:
        """Wait until what was sent has left this process."""
        self._flush()
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    def close(self) -> None:
        """Close the socket."""
        self._writer.close()
