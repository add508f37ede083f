"""Open what the command line names as a source: a directory, an archive, or an http(s) URL of one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import posixpath
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from swiftfs.errors import UsageError
from swiftfs.load.source import Source, open_source

SUFFIXES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tzst", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""How an archive's name ends; what it is, its first bytes tell."""


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """``text`` is what the user names; ``prefix`` comes in front of every name.

    ``strip`` and ``sha256`` are for archives; ``strip`` None leaves out the common top-level directory when it is
    called as the archive or ``called``.
    """

    text: str
    prefix: str = ""
    follow_links: bool = False
    strip: int | None = None
    sha256: str | None = None
    called: str = ""


@contextlib.asynccontextmanager
async def opened_source(request: SourceRequest) -> AsyncIterator[Source]:
    """The source, closed at the end.

    Raises UsageError for what is no source, ContainerNotFound when it is missing, and what its kind raises.
    """
    text = request.text
    if not is_url(text) and not await asyncio.to_thread(is_archive, text):
        if request.sha256 is not None or request.strip is not None:
            raise UsageError("--sha256 and --strip-components are for archives")
        yield open_source(text, prefix=request.prefix, follow_links=request.follow_links)
        return
    # A directory needs none of these, and importing them takes as long as sending a hundred files.
    from swiftfs.load.archive_source import ArchiveSource
    from swiftfs.load.download import check_file, check_sha256
    from swiftfs.load.interrupt import in_thread

    called = frozenset({archive_stem(text), request.called})
    sha256 = check_sha256(request.sha256) if request.sha256 is not None else None
    if is_url(text):
        from swiftfs.load.download import open_session, shown_url
        from swiftfs.load.remote_zip import opened_remote_zip
        from swiftfs.load.stream_source import Naming, StreamSource
        from swiftfs.load.url_stream import StreamFile, stream_url

        async with opened_remote_zip(text, request.prefix, strip=request.strip, called=called, sha256=sha256) as remote:
            if remote is not None:
                yield remote
                return
        async with open_session() as session:
            stream = StreamFile(stream_url(session, text, sha256=sha256))
            source = StreamSource(stream, shown_url(text), Naming(request.prefix, request.strip, called))
            try:
                yield source
            finally:
                source.halt()
                await stream.close()
        return
    if sha256 is not None:
        halted = threading.Event()
        await in_thread(halted, check_file, text, sha256, None, halted)
    archive = ArchiveSource(text, request.prefix, strip=request.strip, called=called)
    try:
        yield archive
    finally:
        archive.close()


def is_url(text: str) -> bool:
    """Whether ``text`` is an http or https URL."""
    return text.lower().startswith(("http://", "https://"))


def archive_stem(text: str) -> str:
    """An archive's name without directories and suffix: ``Food-11`` of ``data/Food-11.tar.gz`` and of a URL's path."""
    path = unquote(urlsplit(text).path) if is_url(text) else text
    name = posixpath.basename(path)
    # The longest first: of x.tar.gz both .tar.gz and .gz would do.
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def is_archive(path: str) -> bool:
    """Whether the name of what is no directory, or its first bytes, are those of an archive."""
    from swiftfs.load.archive import MAGIC, kind_of

    if os.path.isdir(path):
        return False
    if path.lower().endswith(SUFFIXES):
        return True
    try:
        with open(path, "rb") as file:
            return kind_of(file.read(MAGIC), path) is not None
    except OSError:
        return False
