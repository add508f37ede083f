"""``mkdir``, ``rmdir``, ``delete`` and ``purge``: making and removing, named and meant as rclone's."""

from __future__ import annotations

import functools
import logging
import os
from typing import TYPE_CHECKING, Any

import click

from swiftfs.cli.browse import with_client
from swiftfs.cli.filtering import filter_options, filters_from
from swiftfs.errors import Conflict, UsageError

if TYPE_CHECKING:
    from swiftfs.config import RemotePath
    from swiftfs.model import ListingEntry
    from swiftfs.swift.client import Client

log = logging.getLogger(__name__)

LISTING_LAG = 2.0
"""Seconds that a store gets whose container still counts objects that are deleted: Swift's container servers are told
behind the answer when they are busy."""

remote_path = click.argument("remote_path", metavar="REMOTE:PATH")
dry_run_option = click.option("-n", "--dry-run", is_flag=True, help="Show what would be deleted, delete nothing.")


@click.command()
@remote_path
@click.option("--storage-policy", help="The container's storage policy; that of the remote by default.")
def mkdir(remote_path: str, storage_policy: str | None) -> None:
    """Make a container; no error if it is there already. Directories need no making.

    \b
    Example:
      swiftfs mkdir chi_tacc:object-persist-netID
    """

    from swiftfs.config import find_remote

    async def job(client: Client, path: RemotePath) -> None:
        _need_container(path)
        policy = storage_policy or find_remote(path.remote, os.environ).storage_policy
        if await client.create_container(path.container, storage_policy=policy):
            log.info("made container %s", path.container)

    with_client(remote_path, job)


@click.command()
@remote_path
def rmdir(remote_path: str) -> None:
    """Remove an empty container. Directories vanish with their last object.

    \b
    Example:
      swiftfs rmdir chi_tacc:object-persist-netID
    """

    async def job(client: Client, path: RemotePath) -> None:
        _need_container(path)
        if not path.prefix:
            await client.delete_container(path.container)

    with_client(remote_path, job)


@click.command()
@remote_path
@click.option(
    "--rmdirs",
    is_flag=True,
    expose_value=False,
    help="Accepted for rclone's sake: directories vanish with their last object.",
)
@dry_run_option
@filter_options
def delete(remote_path: str, dry_run: bool, **given: Any) -> None:
    """Delete the objects below PATH, many with one request, and the segments of large ones.

    The container stays, with --rmdirs too, as with rclone; purge removes it. Filters never choose segments below
    .file-segments/, which objects that stay may need.

    \b
    Example:
      swiftfs delete chi_tacc:object-persist-netID/training
      swiftfs delete chi_tacc:object-persist-netID --rmdirs
      swiftfs delete chi_tacc:object-persist-netID --include '*.tmp' --dry-run
    """
    filters = filters_from(given)

    async def job(client: Client, path: RemotePath) -> None:
        from swiftfs.load.sizes import within_sizes
        from swiftfs.load.stored_large import prove_segments
        from swiftfs.model import SEGMENTS_PREFIX
        from swiftfs.swift.removal import delete_objects

        _need_container(path)
        inside = f"{path.prefix}/" if path.prefix else ""

        async def choose(entries: list[ListingEntry]) -> list[ListingEntry]:
            def keeps(entry: ListingEntry) -> bool:
                if entry.name.startswith(SEGMENTS_PREFIX):
                    return False
                return filters.keeps(entry.name.removeprefix(inside), entry.size if entry.is_directory_marker else None)

            return await within_sizes(client, path.container, [one for one in entries if keeps(one)], filters)

        chosen = choose if filters.active else None
        count = await delete_objects(
            client,
            path.container,
            path.prefix,
            dry_run=dry_run,
            say=_say,
            choose=chosen,
            prove=functools.partial(prove_segments, client, path.container),
        )
        log.info("%s %d objects", "would delete" if dry_run else "deleted", count)

    with_client(remote_path, job)


@click.command()
@remote_path
@dry_run_option
def purge(remote_path: str, dry_run: bool) -> None:
    """Delete PATH with everything in it: the objects, and the container where PATH is one.

    \b
    Example:
      swiftfs purge chi_tacc:object-persist-netID
    """

    async def job(client: Client, path: RemotePath) -> None:
        from swiftfs.load.stored_large import prove_segments
        from swiftfs.swift.removal import delete_objects

        _need_container(path)
        prove = functools.partial(prove_segments, client, path.container)
        await delete_objects(client, path.container, path.prefix, dry_run=dry_run, say=_say, prove=prove)
        if not path.prefix and not dry_run:
            await _delete_emptied(client, path.container)

    with_client(remote_path, job)


async def _delete_emptied(client: Client, container: str) -> None:
    """Remove a container whose objects have just been deleted. Raises Conflict when others have come since."""
    import asyncio

    try:
        await client.delete_container(container)
    except Conflict:
        await asyncio.sleep(LISTING_LAG)
        try:
            await client.delete_container(container)
        except Conflict as error:
            raise Conflict(
                "what was in the container is deleted, and the store says that it is not empty",
                container=container,
                txid=error.txid,
                hint="something may have come into it since: run it again",
            ) from None


def _need_container(path: RemotePath) -> None:
    if not path.container:
        raise UsageError("no container is named", hint="write NAME:container")


def _say(name: str) -> None:
    click.echo(f"would delete {name}")
