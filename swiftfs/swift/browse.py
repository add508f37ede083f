"""What a person wants to know of a container's objects: true sizes, their own times, directories, parts of content.

Over :class:`swiftfs.swift.client.Client`. A listing tells neither a file's own time nor, on every server, a large
object's size: where they are asked for, HEADs get them, in parallel and in the listing's order.

``segments`` says whether those below ``.file-segments/`` are shown. A remote that keeps them there shows none, as with
rclone, which leaves them out of its listings.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from swiftfs.errors import ContainerNotFound, NotFound
from swiftfs.model import SEGMENTS_PREFIX, ByteRange, Kind, ListingEntry, ObjectInfo, ObjectVersion, Subdir, is_md5
from swiftfs.swift.heads import heads

if TYPE_CHECKING:
    from swiftfs.swift.client import Client

NANOSECONDS = 10**9
NO_TIME = 946_684_800 * NANOSECONDS
"""2000-01-01: what rclone shows for directories, which have no time."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object or directory as it is shown. ``path`` is relative to what was asked for, ``name`` the full name.

    ``mtime`` is in nanoseconds: the file's own where it was asked for and is known, else the upload's. ``md5`` is None
    where the object has none (large objects, directories). A directory's ``size`` is -1.
    """

    name: str
    path: str
    size: int
    mtime: int
    is_dir: bool = False
    md5: str | None = None
    content_type: str | None = None


async def items(
    client: Client, container: str, prefix: str, *, mtimes: bool = False, top: str = "", segments: bool = True
) -> AsyncIterator[Item]:
    """The objects below directory ``prefix``, or the one object of that name, without directory markers.

    ``top`` goes before each path. Raises ContainerNotFound, also for a directory that is not there.
    """
    inside = f"{prefix}/" if prefix else ""
    found = False
    async for page in client.list_objects(container, prefix=inside):
        found = True
        shown = [entry for entry in page if segments or not entry.name.startswith(SEGMENTS_PREFIX)]
        async for item in _described(client, container, shown, inside, top, mtimes=mtimes):
            yield item
    if prefix and not found:
        try:
            info = await client.head(container, prefix)
        except NotFound:
            raise ContainerNotFound("directory not found", container=container, object=prefix) from None
        yield _of_info(info, top + prefix.rsplit("/", 1)[-1])


async def _described(
    client: Client, container: str, page: list[ListingEntry], inside: str, top: str, *, mtimes: bool
) -> AsyncIterator[Item]:
    entries = [entry for entry in page if not entry.is_directory_marker]
    infos = await heads(client, container, [entry for entry in entries if mtimes or entry.may_be_large])
    for entry in entries:
        info = infos.get(entry.name)
        path = top + entry.name.removeprefix(inside)
        if info is not None:
            yield _of_info(info, path, precise=entry.last_modified)
        else:
            md5 = entry.etag if is_md5(entry.etag) else None
            yield Item(entry.name, path, entry.size, entry.last_modified, False, md5, entry.content_type)


def _of_info(info: ObjectInfo, path: str, precise: int | None = None) -> Item:
    mtime = info.mtime if info.mtime is not None else precise or info.last_modified
    md5 = info.etag if info.kind is Kind.PLAIN and is_md5(info.etag) else None
    return Item(info.name, path, info.size, mtime, False, md5, info.content_type)


async def directories(client: Client, container: str, prefix: str, *, segments: bool = True) -> AsyncIterator[str]:
    """Names of the directories in directory ``prefix``. Raises ContainerNotFound."""
    inside = f"{prefix}/" if prefix else ""
    found = False
    async for page in client.list_pages(container, prefix=inside, delimiter="/"):
        for entry in page:
            found = True
            if not segments and entry.name.startswith(SEGMENTS_PREFIX):
                continue
            if isinstance(entry, Subdir) and entry.name != inside:
                yield entry.name.removeprefix(inside).rstrip("/")
            elif isinstance(entry, ListingEntry) and entry.is_directory_marker and not entry.name.endswith("/"):
                yield entry.name.removeprefix(inside)
    if prefix and not found:
        raise ContainerNotFound("directory not found", container=container, object=prefix)


async def json_items(
    client: Client, container: str, prefix: str, *, recursive: bool, mtimes: bool, segments: bool = True
) -> AsyncIterator[Item]:
    """What is in directory ``prefix``, directories included, or with ``recursive`` all below it.

    Without a container: the containers. Raises ContainerNotFound.
    """
    if not container:
        for info in await client.containers():
            yield Item(info.name, info.name, info.size, info.last_modified or NO_TIME, True)
            if recursive:
                async for item in json_items(client, info.name, "", recursive=True, mtimes=mtimes, segments=segments):
                    yield Item(
                        item.name, f"{info.name}/{item.path}", item.size, item.mtime, item.is_dir, item.md5,
                        item.content_type,
                    )  # fmt: skip
        return
    if recursive:
        shown: set[str] = set()
        async for item in items(client, container, prefix, mtimes=mtimes, segments=segments):
            parts = item.path.split("/")[:-1]
            for depth in range(1, len(parts) + 1):
                directory = "/".join(parts[:depth])
                if directory not in shown:
                    shown.add(directory)
                    yield Item(directory, directory, -1, NO_TIME, True)
            yield item
        return
    inside = f"{prefix}/" if prefix else ""
    found = False
    async for page in client.list_pages(container, prefix=inside, delimiter="/"):
        found = True
        for entry in page:
            if not segments and entry.name.startswith(SEGMENTS_PREFIX):
                continue
            if isinstance(entry, Subdir):
                path = entry.name.removeprefix(inside).rstrip("/")
                yield Item(entry.name, path, -1, NO_TIME, True)
            else:
                async for item in _described(client, container, [entry], inside, "", mtimes=mtimes):
                    yield item
    if prefix and not found:
        async for item in items(client, container, prefix, mtimes=mtimes):
            yield item


async def stat_item(client: Client, container: str, prefix: str, *, mtimes: bool) -> Item:
    """The object, directory or container itself. Raises ContainerNotFound."""
    if not prefix:
        info = await client.container_info(container)
        return Item(container, "", info.size, NO_TIME, True)
    try:
        found = await client.head(container, prefix)
        return _of_info(found, prefix.rsplit("/", 1)[-1])
    except NotFound:
        async for _ in client.list_objects(container, prefix=f"{prefix}/"):
            return Item(prefix, prefix.rsplit("/", 1)[-1], -1, NO_TIME, True)
        raise ContainerNotFound("object or directory not found", container=container, object=prefix) from None


async def pieces(client: Client, container: str, name: str, offset: int, count: int) -> AsyncIterator[bytes]:
    """Content of an object from byte ``offset`` (negative: from its end), ``count`` bytes of it (negative: all)."""
    if offset == 0 and count < 0:
        async for piece in client.stream(container, name):
            yield piece
        return
    info = await client.head(container, name)
    start = max(0, info.size + offset) if offset < 0 else min(offset, info.size)
    stop = info.size if count < 0 else min(info.size, start + count)
    version = ObjectVersion(name, info.size, info.etag, info.last_modified, info.kind)
    async for piece in client.stream(container, version, ByteRange(start, stop)):
        yield piece


def local_time(moment: int, form: str | None) -> str:
    """``moment`` (nanoseconds) in local time by ``form``, or as RFC 3339 with nanoseconds for None."""
    seconds, rest = divmod(moment, NANOSECONDS)
    when = datetime.fromtimestamp(seconds).astimezone()
    if form is not None:
        return when.strftime(form)
    zone = when.strftime("%z")
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return f"{when:%Y-%m-%dT%H:%M:%S}{fraction}{zone}"
