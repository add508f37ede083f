"""``lsd``, ``ls``, ``lsl``, ``lsjson``, ``size`` and ``cat``: looking at what a remote holds, in rclone's formats."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from swiftfs.cli.filtering import filter_options, filters_from
from swiftfs.errors import ContainerNotFound, NotFound, UsageError

if TYPE_CHECKING:
    from swiftfs.config import RemotePath
    from swiftfs.swift.client import Client

SECONDS = "%Y-%m-%d %H:%M:%S"


def with_client(remote_path: str, job: Callable[[Client, RemotePath], Awaitable[None]]) -> None:
    """Run ``job`` with a client for the remote of ``remote_path``. Raises what parsing, login and ``job`` raise."""
    import asyncio
    import os

    from swiftfs.config import find_remote, parse_remote_path
    from swiftfs.swift.client import open_client

    path = parse_remote_path(remote_path)
    remote = find_remote(path.remote, os.environ)

    async def run() -> None:
        async with open_client(remote) as client:
            await job(client, path)

    asyncio.run(run())


def shows_segments(path: RemotePath) -> bool:
    """Whether the remote of ``path`` shows the segments that are kept beside objects."""
    import os

    from swiftfs.config import find_remote

    return find_remote(path.remote, os.environ).shows_segments


remote_path = click.argument("remote_path", metavar="REMOTE:[PATH]")
fast_list = click.option("--fast-list", is_flag=True, hidden=True, expose_value=False)
"""Taken for rclone's sake: there is one flat listing wherever that is enough."""


@click.command()
@remote_path
@click.option("-R", "--recursive", is_flag=True, help="All directories below PATH, not only those in it.")
@fast_list
def lsd(remote_path: str, recursive: bool) -> None:
    """List the containers of a remote, or the directories in PATH.

    Columns: bytes, time, number of objects, name. Of directories neither bytes, time nor number are known: 0,
    2000-01-01 and -1 stand for that, as rclone prints them.

    \b
    Example:
      swiftfs lsd chi_tacc:
      swiftfs lsd chi_tacc:object-persist-netID/training
    """

    async def job(client: Client, path: RemotePath) -> None:
        from swiftfs.swift.browse import NO_TIME, local_time

        if path.container:
            await _show_directories(client, path, "", recursive)
            return
        containers = await client.containers()
        for found in containers:
            moment = local_time(found.last_modified or NO_TIME, SECONDS)
            click.echo(f"{found.size:12d} {moment} {found.count:9d} {found.name}")
        if recursive:
            for found in containers:
                await _show_directories(client, replace(path, container=found.name), f"{found.name}/", recursive)

    with_client(remote_path, job)


async def _show_directories(client: Client, path: RemotePath, top: str, recursive: bool) -> None:
    """The directories in ``path``, then those in them and so on; ``top`` goes before each name."""
    from swiftfs.swift.browse import NO_TIME, directories, local_time

    no_time = local_time(NO_TIME, SECONDS)
    segments = shows_segments(path)
    waiting = deque([""])
    while waiting:
        inside = waiting.popleft()
        prefix = "/".join(part for part in (path.prefix, inside.removesuffix("/")) if part)
        async for name in directories(client, path.container, prefix, segments=segments):
            click.echo(f"{0:12d} {no_time} {-1:9d} {top}{inside}{name}")
            if recursive and name:
                waiting.append(f"{inside}{name}/")


@click.command()
@remote_path
@fast_list
@filter_options
def ls(remote_path: str, **given: Any) -> None:
    """List all objects below PATH with their sizes.

    \b
    Example:
      swiftfs ls chi_tacc:object-persist-netID/evaluation
      swiftfs ls chi_tacc:object-persist-netID --include '*.png'
    """
    filters = filters_from(given)

    async def job(client: Client, path: RemotePath) -> None:
        async for item in _items(client, path):
            if not filters.keeps(item.path, item.size):
                continue
            click.echo(f"{item.size:9d} {item.path}")

    with_client(remote_path, job)


@click.command()
@remote_path
@click.option("--use-server-modtime", is_flag=True, help="Show upload times: no request for each object.")
@fast_list
def lsl(remote_path: str, use_server_modtime: bool) -> None:
    """List all objects below PATH with sizes and the files' own times.

    \b
    Example:
      swiftfs lsl chi_tacc:object-persist-netID --use-server-modtime
    """

    async def job(client: Client, path: RemotePath) -> None:
        from swiftfs.swift.browse import local_time

        async for item in _items(client, path, mtimes=not use_server_modtime):
            moment = local_time(item.mtime, SECONDS)
            click.echo(f"{item.size:9d} {moment}.{item.mtime % 10**9:09d} {item.path}")

    with_client(remote_path, job)


@click.command()
@remote_path
@click.option("-R", "--recursive", is_flag=True, help="All below PATH, not only what is in it.")
@click.option("--hash", "with_hash", is_flag=True, help="Include the MD5 where there is one.")
@click.option("--no-modtime", is_flag=True, help="Leave the times out: no request for each object.")
@click.option("--use-server-modtime", is_flag=True, help="Upload times: no request for each object.")
@click.option("--files-only", is_flag=True, help="No directories.")
@click.option("--dirs-only", is_flag=True, help="Only directories.")
@click.option("--no-mimetype", is_flag=True, help="Leave the content types out.")
@click.option("--stat", is_flag=True, help="Only PATH itself, as one object.")
@fast_list
def lsjson(remote_path: str, **given: Any) -> None:
    """List what is in PATH as JSON, one item a line.

    \b
    Example:
      swiftfs lsjson -R --hash --no-modtime chi_tacc:object-persist-netID
    """

    async def job(client: Client, path: RemotePath) -> None:
        from swiftfs.swift.browse import json_items, stat_item

        mtimes = not (given["no_modtime"] or given["use_server_modtime"])
        if given["stat"]:
            if not path.container:
                raise UsageError("--stat needs a container", hint="write NAME:container or NAME:container/object")
            item = await stat_item(client, path.container, path.prefix, mtimes=mtimes)
            bucket = not path.prefix
            click.echo(json.dumps(_json_of(item, given, bucket), ensure_ascii=False, separators=(",", ":")))
            return
        click.echo("[")
        first = True
        listed = json_items(
            client,
            path.container,
            path.prefix,
            recursive=given["recursive"],
            mtimes=mtimes,
            segments=shows_segments(path),
        )
        async for item in listed:
            if (item.is_dir and given["files_only"]) or (not item.is_dir and given["dirs_only"]):
                continue
            bucket = not path.container and "/" not in item.path
            line = json.dumps(_json_of(item, given, bucket), ensure_ascii=False, separators=(",", ":"))
            click.echo(line if first else f",\n{line}", nl=False)
            first = False
        click.echo("\n]" if not first else "]")

    with_client(remote_path, job)


def _json_of(item: Any, given: dict[str, Any], bucket: bool) -> dict[str, Any]:
    """One item in rclone's shape (rclone docs, ``lsjson``); a container is a directory that ``IsBucket``."""
    from swiftfs.swift.browse import local_time

    found: dict[str, Any] = {"Path": item.path, "Name": item.path.rsplit("/", 1)[-1], "Size": item.size}
    if not given["no_mimetype"]:
        found["MimeType"] = "inode/directory" if item.is_dir else item.content_type or "application/octet-stream"
    found["ModTime"] = "" if given["no_modtime"] else local_time(item.mtime, None)
    found["IsDir"] = item.is_dir
    if bucket:
        found["IsBucket"] = True
    if given["with_hash"] and item.md5:
        found["Hashes"] = {"md5": item.md5}
    return found


@click.command()
@remote_path
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@fast_list
@filter_options
def size(remote_path: str, as_json: bool, **given: Any) -> None:
    """Count the objects below PATH and their bytes.

    \b
    Example:
      swiftfs size chi_tacc:object-persist-netID
      swiftfs size chi_tacc:object-persist-netID --exclude 'training/**'
    """
    filters = filters_from(given)

    async def job(client: Client, path: RemotePath) -> None:
        count = total = 0
        async for item in _items(client, path):
            if not filters.keeps(item.path, item.size):
                continue
            count += 1
            total += item.size
        if as_json:
            click.echo(json.dumps({"count": count, "bytes": total, "sizeless": 0}, separators=(",", ":")))
        else:
            click.echo(f"Total objects: {_short(count)}{f' ({count})' if count >= 1000 else ''}")
            click.echo(f"Total size: {_binary(total)} ({total} Byte)")

    with_client(remote_path, job)


@click.command()
@remote_path
@click.option("--head", type=int, default=0, help="Only the first N bytes of each.")
@click.option("--tail", type=int, default=0, help="Only the last N bytes of each.")
@click.option("--offset", type=int, default=0, help="From byte N on; from the end when negative.")
@click.option("--count", type=int, default=-1, help="At most N bytes of each.")
def cat(remote_path: str, head: int, tail: int, offset: int, count: int) -> None:
    """Write an object, or all below PATH, to standard output.

    \b
    Example:
      swiftfs cat chi_tacc:object-persist-netID/README.md
    """
    if sum([head > 0, tail > 0, offset != 0 or count >= 0]) > 1:
        raise UsageError("--head, --tail and --offset/--count exclude each other")
    if head > 0:
        count = head
    if tail > 0:
        offset = -tail

    async def job(client: Client, path: RemotePath) -> None:
        from swiftfs.swift.browse import pieces

        if not path.container:
            raise UsageError("cat needs a container", hint="write NAME:container/object")
        try:
            async for item in _items(client, path):
                async for piece in pieces(client, path.container, item.name, offset, count):
                    sys.stdout.buffer.write(piece)
        except ContainerNotFound as error:
            if error.object is None:
                raise
            # What is asked for is content: what is missing is an object, and the exit code says so.
            raise NotFound("object not found", container=error.container, object=error.object) from None
        sys.stdout.buffer.flush()

    with_client(remote_path, job)


async def _items(client: Client, path: RemotePath, *, mtimes: bool = False) -> AsyncIterator[Any]:
    """Objects below ``path``; of every container when it names none."""
    from swiftfs.swift.browse import items

    segments = shows_segments(path)
    if path.container:
        async for item in items(client, path.container, path.prefix, mtimes=mtimes, segments=segments):
            yield item
        return
    for container in await client.containers():
        top = f"{container.name}/"
        async for item in items(client, container.name, "", mtimes=mtimes, top=top, segments=segments):
            yield item


def _binary(size: float) -> str:
    """Bytes in binary units as rclone's ``size`` shows them: ``69.349 MiB``, ``5 B``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{_trimmed(size)} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def _short(count: float) -> str:
    """A count in decimal units as rclone's ``size`` shows it: ``1k``, ``1.797k``."""
    for unit in ("", "k", "M", "G"):
        if count < 1000 or unit == "G":
            return f"{_trimmed(count)}{unit}"
        count /= 1000
    raise AssertionError("unreachable")


def _trimmed(number: float) -> str:
    return f"{number:.0f}" if number == int(number) else f"{number:.3f}"
