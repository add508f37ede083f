"""`swiftfs check`: does a container hold what a directory, or a manifest, says?"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

import click

from swiftfs.cli.filtering import filter_options, filters_from
from swiftfs.config.settings import DEFAULT_CHECKERS
from swiftfs.errors import Incomplete, LocalFileError, UsageError, printable

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from swiftfs.config import Remote
    from swiftfs.load.check import CheckRequest, Finding, Symbol

log = logging.getLogger(__name__)

REPORTS = {"match": "=", "missing_on_src": "-", "missing_on_dst": "+", "differ": "*", "error": "!"}
"""Options that write the paths of one symbol to a file."""


@click.command("check")
@click.argument("places", nargs=-1, metavar="[SRC] DEST", required=True)
@click.option("--manifest", metavar="DIGEST", help="Compare with this manifest of DEST's container instead of SRC.")
@click.option("--one-way", is_flag=True, help="Do not look for objects that only DEST has.")
@click.option("--size-only", is_flag=True, help="Compare sizes only.")
@click.option("--download", is_flag=True, help="Compare every byte.")
@click.option("-L", "--copy-links", is_flag=True, help="Follow symbolic links instead of leaving them out.")
@click.option(
    "--checkers", default=DEFAULT_CHECKERS, show_default=True, type=click.IntRange(1, 256), help="Files at once."
)
@click.option("--combined", metavar="FILE", help="Write every path with its symbol (= - + * !) to FILE; -: show them.")
@click.option("--match", metavar="FILE", help="Write the paths that match.")
@click.option("--differ", metavar="FILE", help="Write the paths that differ.")
@click.option("--missing-on-src", metavar="FILE", help="Write the paths that only DEST has.")
@click.option("--missing-on-dst", metavar="FILE", help="Write the paths that DEST lacks.")
@click.option("--error", metavar="FILE", help="Write the paths that could not be compared.")
@click.option("--fast-list", is_flag=True, hidden=True, expose_value=False)
@filter_options
def check(
    places: tuple[str, ...],
    manifest: str | None,
    one_way: bool,
    size_only: bool,
    download: bool,
    copy_links: bool,
    checkers: int,
    combined: str | None,
    **given: Any,
) -> None:
    """Compare the directory SRC with DEST, by size and MD5, and change nothing.

    One listing tells all; a large object costs a request or two more. With --manifest DEST is compared with what load
    --manifest wrote down there, without any local file. Exit code 0 means that nothing differs, 1 that something does.
    swiftfs's own data below .swiftfs/ is not looked at.

    \b
    Examples:
      swiftfs check ./Food-11 chi_tacc:object-persist-netID
      swiftfs check ./Food-11 chi_tacc:object-persist-netID --one-way --combined -
      swiftfs check chi_tacc:object-persist-netID --manifest 25a2e663…
      swiftfs check ./Food-11 chi_tacc:object-persist-netID --download
    """
    import asyncio

    from swiftfs.cli.load import destination
    from swiftfs.config import find_remote
    from swiftfs.load.check import CheckRequest, Symbol, summary_lines
    from swiftfs.load.manifest import manifest_name
    from swiftfs.load.segments import LargePolicy

    if len(places) != (1 if manifest else 2):
        raise UsageError("give DEST alone with --manifest" if manifest else "give SRC and DEST, or DEST and --manifest")
    if size_only and download:
        raise UsageError("--size-only and --download exclude each other")
    if manifest:
        manifest_name(manifest)
    place = destination(places[-1], {})
    remote = find_remote(place.remote, os.environ)
    request = CheckRequest(
        container=place.container,
        prefix=f"{place.prefix.strip('/')}/" if place.prefix.strip("/") else "",
        filters=filters_from(given),
        one_way=one_way,
        size_only=size_only,
        download=download,
        checkers=checkers,
        large=LargePolicy(in_container=remote.use_segments_container is False),
    )
    with contextlib.ExitStack() as stack:
        reports = [(symbol, _opened(stack, given[name])) for name, symbol in REPORTS.items() if given[name]]
        both = _opened(stack, combined) if combined else None

        def say(found: Finding) -> None:
            path = printable(found.path)
            if both is not None:
                print(f"{found.symbol} {path}", file=both)
            for symbol, file in reports:
                if symbol == found.symbol:
                    print(path, file=file)
            if found.symbol is Symbol.MATCH:
                log.debug("same: %s", path)
            else:
                log.error("%s: %s", path, printable(found.reason))

        counts = asyncio.run(_run(remote, request, None if manifest else places[0], manifest or "", copy_links, say))
    for line in summary_lines(counts):
        log.warning("%s", line)
    wrong = sum(counts.values()) - counts[Symbol.MATCH]
    if wrong:
        raise Incomplete(f"{wrong} of {sum(counts.values())} paths differ or could not be compared")


def _opened(stack: contextlib.ExitStack, name: str) -> TextIO:
    if name == "-":
        return sys.stdout
    try:
        return stack.enter_context(open(name, "w", encoding="utf-8"))
    except OSError as error:
        raise LocalFileError(f"cannot write {printable(name)}: {error.strerror}") from None


async def _run(
    remote: Remote,
    request: CheckRequest,
    source: str | None,
    digest: str,
    copy_links: bool,
    say: Callable[[Finding], None],
) -> Counter[Symbol]:
    from swiftfs.load.check import check_manifest, check_source
    from swiftfs.load.manifest import read_manifest
    from swiftfs.load.source import open_source
    from swiftfs.swift.client import open_client

    if source is not None:
        found = open_source(source, prefix=request.prefix, follow_links=copy_links)
        async with open_client(remote, connections=request.checkers) as client:
            return await check_source(client, request, found, say)
    async with open_client(remote, connections=request.checkers) as client:
        described = await read_manifest(client, request.container, digest)
        return await check_manifest(client, request, described, say)
