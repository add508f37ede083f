"""`swiftfs load`: a directory or an archive into a container, proven by a listing."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from swiftfs.cli.load_options import load_options, options_from, rate_from
from swiftfs.cli.parameters import DURATION, KIB_SIZE
from swiftfs.cli.saying import is_logged, is_quiet, show_moves
from swiftfs.config.settings import DEFAULT_CHECKERS, DEFAULT_STREAMS, DEFAULT_TRANSFERS
from swiftfs.errors import LocalFileError

if TYPE_CHECKING:
    from swiftfs.config import Remote, RemotePath
    from swiftfs.load.progress import Display
    from swiftfs.load.run import LoadResult
    from swiftfs.load.sources import SourceRequest
    from swiftfs.load.transform import Rules
    from swiftfs.swift.rate import RateLimit

log = logging.getLogger(__name__)

WORK = ("swiftfs.load.journal", "swiftfs.load.upload", "swiftfs.load.run")
"""Modules that are imported while Keystone is waited for."""


@click.command("load")
@click.argument("source", type=click.Path())
@click.argument("dest", required=False)
@click.option(
    "--transfers",
    default=DEFAULT_TRANSFERS,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Objects sent at once.",
)
@click.option(
    "--checkers",
    default=DEFAULT_CHECKERS,
    show_default=True,
    type=click.IntRange(1, 256),
    help="Files read and hashed at once.",
)
@click.option("-P", "--progress", is_flag=True, help="Show a live bar, also where there is no terminal.")
@click.option(
    "--stats", default="1m", show_default=True, type=DURATION, help="Time between two lines without a terminal."
)
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be sent and deleted, do nothing.")
@click.option("--transform", metavar="RULES", help="Name objects by these rules: see swiftfs transform.")
@click.option(
    "--strip-components",
    type=click.IntRange(0, 64),
    help="Leave out this many leading components of an archive's names. Default: see above.",
)
@click.option("--sha256", help="The archive must have this SHA-256.")
@click.option("-L", "--copy-links", is_flag=True, help="Follow symbolic links instead of leaving them out.")
@click.option("--summary-json", type=click.Path(dir_okay=False), help="Write the run's figures to this file.")
@click.option(
    "--multi-thread-streams",
    default=DEFAULT_STREAMS,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Segments of one large file sent at once, all of them within --transfers.",
)
@click.option(
    "--multi-thread-cutoff",
    default="256M",
    show_default=True,
    type=KIB_SIZE,
    help="Files from this size on are sent in segments; KiB without a unit.",
)
@click.option(
    "--segment-size",
    type=KIB_SIZE,
    help="Size of a segment, KiB without a unit, at least 1M; by default a 64th of the file, 8M to 1G, and for its"
    " first three quarters at least 32M.",
)
@click.option("--fast-list", is_flag=True, help="Accepted for rclone's sake; there is always one flat listing.")
@load_options
def load(
    source: str,
    dest: str | None,
    transfers: int,
    checkers: int,
    progress: bool,
    stats: float | None,
    dry_run: bool,
    transform: str | None,
    strip_components: int | None,
    sha256: str | None,
    copy_links: bool,
    summary_json: str | None,
    multi_thread_streams: int,
    multi_thread_cutoff: int,
    segment_size: int | None,
    fast_list: bool,
    **given: Any,
) -> None:
    """Load SOURCE, a directory or an archive, into DEST, a container or a place in one.

    The contents of SOURCE go below DEST, as with rclone copy. What is there already with the same size and MD5 is
    not sent again. One listing at the end proves every object's size and MD5; exit code 0 means that all of them are
    proven. The container is made when it is missing.

    Nothing is deleted without --delete-extra or --clean. --delete-extra makes DEST a mirror of SOURCE: what SOURCE
    does not have is deleted at the end, and only when all of SOURCE could be read and is proven. --dry-run names what
    would be sent and deleted.

    Filters are rclone's: globs with *, **, ?, [a-c] and {a,b}; a leading slash means the top of SOURCE, a slash behind
    a directory. What they leave out is neither sent nor deleted.

    An archive (zip, tar, tar.gz, tar.bz2, tar.xz, tar.zst) is a file or an http(s) URL; its members go from there to
    the container, and nothing is put on the disk. Of a zip at a URL only the members wanted are fetched, when its
    server answers ranges; else all of it is read once, as a tar is, and --delete-extra is refused. Members that swiftfs
    extract would refuse are refused and named, and the exit code is 1. When everything in it lies in one top-level
    directory that is called as the archive or as the last part of DEST, that level is left out.

    --transform names the objects as swiftfs transform would name the files; with --dry-run it shows what goes where, of
    an archive that is read once as it comes only the new names.

    DEST is NAME:container or NAME:container/prefix. Without it, $SWIFTFS_DEST is taken, or $RCLONE_CONTAINER with the
    only remote of rclone.conf.

    Files of 256M and more become large objects (SLO): segments in DEST's container with "_segments" behind its name,
    or below .file-segments/ where the remote says use_segments_container = false. An interrupted load goes on where it
    was: finished segments are not sent again, and what an object has left behind is removed once it is proven.

    Ctrl-C lets the uploads in flight finish, and no delete begins after it; a second one ends at once.

    \b
    Examples:
      swiftfs load ./Food-11 chi_tacc:object-persist-netID
      swiftfs load ./Food-11 chi_tacc:datasets/food11 --transfers 128 --progress
      swiftfs load ./videos chi_tacc:videos --multi-thread-streams 8 --segment-size 64M
      swiftfs load ./Food-11 chi_tacc:food11 --exclude '.DS_Store' --delete-extra --max-delete 100 --manifest
      swiftfs load ./Food-11 --dry-run
      swiftfs load Food-11.zip chi_tacc:object-persist-netID --transform food11
    """
    import asyncio

    from swiftfs.config import find_remote
    from swiftfs.errors import UsageError
    from swiftfs.load.progress import choose_display
    from swiftfs.load.report import failure_lines, omission_lines, outcome_error, summary_lines, write_summary
    from swiftfs.load.segments import SMALLEST_SEGMENT, LargePolicy
    from swiftfs.load.sources import SourceRequest

    if fast_list:
        log.info("--fast-list is rclone's and changes nothing here")
    if segment_size is not None and segment_size < SMALLEST_SEGMENT:
        raise UsageError("--segment-size is below 1M", hint="servers slow down the reading of smaller segments")
    chosen = options_from(given)
    place = destination(dest, os.environ)
    remote = find_remote(place.remote, os.environ)
    prefix = f"{place.prefix.strip('/')}/" if place.prefix.strip("/") else ""
    wanted = SourceRequest(
        source,
        prefix,
        follow_links=copy_links,
        strip=strip_components,
        sha256=sha256,
        called=(place.prefix or place.container).strip("/").rpartition("/")[2],
    )
    options = {
        "container": place.container,
        "prefix": prefix,
        "transfers": transfers,
        "checkers": checkers,
        "dry_run": dry_run,
        "storage_policy": remote.storage_policy,
        "rules": _rules(transform) if transform is not None else None,
        "large": LargePolicy(
            cutoff=max(1, multi_thread_cutoff),
            streams=multi_thread_streams,
            segment_size=segment_size,
            chunk_size=remote.chunk_size,
            in_container=remote.use_segments_container is False,
            forbidden=remote.no_large_objects,
        ),
        "options": chosen,
    }
    quiet = is_quiet()
    general = click.get_current_context().find_root().obj
    display = choose_display(progress=progress, quiet=quiet, stats=stats, logged=is_logged())
    result = asyncio.run(_run(remote, wanted, options, display, rate_from(given)))
    if dry_run and transform is not None:
        show_moves(result.moves)
    if general.get("json"):
        _log_result(result)
    else:
        for line in (*failure_lines(result), *omission_lines(result)):
            click.echo(line, err=True)
        if not quiet:
            for line in summary_lines(result):
                click.echo(line)
    if summary_json is not None:
        write_summary(summary_json, result)
    if (error := outcome_error(result)) is not None:
        raise error


def _rules(transform: str) -> Rules:
    from swiftfs.load.apply import load_rules

    return load_rules(transform)


def _log_result(result: LoadResult) -> None:
    """The same for programs: failures, what was left out and the figures as messages of the log."""
    from swiftfs.load.report import failure_lines, figures, omission_lines, summary_lines

    for line in failure_lines(result):
        log.error("%s", line)
    for line in omission_lines(result):
        log.warning("%s", line)
    log.warning("%s", "; ".join(summary_lines(result)), extra={"stats": figures(result)})


def destination(text: str | None, environ: Mapping[str, str]) -> RemotePath:
    """Where to load to: ``text``, else what the environment names. Raises UsageError that says what to give."""
    from swiftfs.config import RemotePath, configured_remotes, parse_remote_path
    from swiftfs.errors import UsageError

    text = text or environ.get("SWIFTFS_DEST")
    if text:
        place = parse_remote_path(text)
        if not place.container:
            raise UsageError(
                f"'{text}' names no container", hint="give DEST as NAME:container or NAME:container/prefix"
            )
        return place
    container = environ.get("RCLONE_CONTAINER", "").strip("/")
    if not container:
        raise UsageError(
            "no destination", hint="give DEST as NAME:container, or set SWIFTFS_DEST=NAME:container in the environment"
        )
    remotes = configured_remotes(environ)
    if len(remotes) != 1:
        there = ", ".join(remotes) or "none"
        raise UsageError(
            f"RCLONE_CONTAINER names the container, but not which remote has it (configured: {there})",
            hint=f"give DEST as NAME:{container}",
        )
    name, _, prefix = container.partition("/")
    return RemotePath(remotes[0], name, prefix)


def _absolute(source: str) -> str:
    """What the journal knows a source by: a path free of symbolic links, a URL as it is."""
    from swiftfs.load.sources import is_url

    return source if is_url(source) else os.path.realpath(source)


async def _run(
    remote: Remote,
    wanted: SourceRequest,
    options: dict[str, Any],
    display: Display,
    rate: RateLimit | None,
) -> LoadResult:
    from swiftfs.config import make_private, state_directory
    from swiftfs.load.sources import opened_source
    from swiftfs.swift.client import open_client

    origin = _absolute(wanted.text)
    connections = max(options["transfers"], options["checkers"])
    imports = [partial(importlib.import_module, name) for name in WORK]
    async with (
        opened_source(wanted) as source,
        open_client(remote, connections=connections, rate=rate, meanwhile=imports) as client,
    ):
        from swiftfs.load.journal import Journal, journal_path
        from swiftfs.load.run import LoadRequest, load_directory

        request = LoadRequest(source, **options)
        place = f"{await client.storage_url()}/{request.container}/{request.prefix}"
        path = None if request.dry_run else journal_path(state_directory(os.environ), origin, place)
        if path is not None:
            with contextlib.suppress(LocalFileError):  # the journal says what it can do without a disk
                make_private(path.parent, os.environ)
        journal = Journal(path)
        try:
            return await load_directory(client, request, display, journal=journal)
        finally:
            journal.close()
