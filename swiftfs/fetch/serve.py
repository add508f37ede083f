"""The life of a fetch process, from its first message to the end of its socket.

Light to import: Keystone answers while the rest is imported, see ``WORK``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from swiftfs.config import find_remote
from swiftfs.errors import SwiftFSError
from swiftfs.fetch import protocol
from swiftfs.fetch.link import Link
from swiftfs.fetch.protocol import Hello, StartFailed
from swiftfs.swift.transport import open_transport

if TYPE_CHECKING:
    from swiftfs.cache.writer import Writer
    from swiftfs.fetch.worker import Worker

HELLO_PATIENCE = 30.0
"""Seconds to wait for the first message."""
SPARE_CONNECTIONS = 4
"""Connections beyond the streams: for listings and HEADs while all streams are busy."""
WORK = ("swiftfs.swift.client", "swiftfs.cache.writer", "swiftfs.fetch.indexer", "swiftfs.fetch.worker")
"""Modules that are imported while Keystone is waited for; then the cache is opened."""


def main(descriptor: int) -> int:
    """Serve the socket inherited as ``descriptor`` until it closes; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("swiftfs").setLevel(os.environ.get("SWIFTFS_LOG", "WARNING"))
    gc.freeze()  # what is imported stays: it need not be looked through again and again
    gc.enable()
    with socket.socket(fileno=descriptor) as sock:
        return asyncio.run(_serve(sock))


async def _serve(sock: socket.socket) -> int:
    reader, writer = await asyncio.open_unix_connection(sock=sock, limit=protocol.LONGEST_FRAME)
    link = Link(reader, writer)
    try:
        async with asyncio.timeout(HELLO_PATIENCE):
            hello = await link.hello()
        if hello is None:
            return 0
        async with contextlib.AsyncExitStack() as stack:
            worker = await _start(hello, link, stack)
            await worker.run()
        return 0
    except SwiftFSError as error:
        link.send(StartFailed(type(error).__name__, str(error)))
        await link.drain()
        return error.exit_code
    finally:
        link.close()


async def _start(hello: Hello, link: Link, stack: contextlib.AsyncExitStack) -> Worker:
    """Log in, open cache and index, list if need be. Raises SwiftFSError."""
    transport = await stack.enter_async_context(
        open_transport(
            find_remote(hello.remote, os.environ),
            connections=hello.streams + SPARE_CONNECTIONS,
            deadline=hello.deadline,
        )
    )
    opened: list[Writer] = []
    imports = [partial(importlib.import_module, name) for name in WORK]
    await transport.login(meanwhile=[*imports, lambda: opened.append(_open_cache(hello, stack))])
    from swiftfs.fetch.indexer import Indexer
    from swiftfs.fetch.worker import Worker
    from swiftfs.swift.client import Client

    client = Client(transport)
    account = await client.storage_url()
    indexes = Path(hello.index_dir)
    if hello.pin:
        from swiftfs.fetch.pinned import PinnedIndexer

        indexer: Indexer = PinnedIndexer(client, indexes, account, hello.container, hello.prefix, hello.pin)
    else:
        indexer = Indexer(client, indexes, account, hello.container, hello.prefix, deadline=hello.deadline)
    stack.callback(indexer.close)
    await indexer.prepare()
    (cache,) = opened
    return Worker(hello, link, client, cache, indexer, account)


def _open_cache(hello: Hello, stack: contextlib.AsyncExitStack) -> Writer:
    """The cache, closed when ``stack`` is. Raises ConfigError, LocalFileError."""
    from swiftfs.cache.writer import Writer

    cache = Writer(
        Path(hello.cache_dir), limit=hello.cache_size, min_free=hello.cache_min_free, chunk_size=hello.chunk_size
    )
    stack.callback(cache.close)
    return cache
