"""`swiftfs extract`: an archive from a file or a URL into a directory, safely."""

from __future__ import annotations

import time

import click

from swiftfs.cli.parameters import DURATION
from swiftfs.cli.saying import is_quiet


@click.command("extract")
@click.argument("source")
@click.argument("directory", type=click.Path())
@click.option(
    "--strip-components",
    type=click.IntRange(0, 64),
    help="Leave out this many leading components of every name. Default: see above.",
)
@click.option("--sha256", help="The archive must have this SHA-256.")
@click.option("-P", "--progress", is_flag=True, help="Show a live bar, also where there is no terminal.")
@click.option(
    "--stats", default="1m", show_default=True, type=DURATION, help="Time between two lines without a terminal."
)
def extract(
    source: str,
    directory: str,
    strip_components: int | None,
    sha256: str | None,
    progress: bool,
    stats: float | None,
) -> None:
    """Extract the archive SOURCE, a file or an http(s) URL, into DIRECTORY.

    zip, tar, tar.gz, tar.bz2, tar.xz and tar.zst are known by their first bytes. Nothing is written outside
    DIRECTORY: members with absolute names, '..', links, devices, wrong checksums or the marks of a zip bomb are
    refused and named, the others are extracted, and the exit code is 1. Files appear whole or not at all; what is
    there already is kept, so a second run continues a first. A download that breaks off is continued.

    When everything in the archive lies in one top-level directory that is called as DIRECTORY is, that level is left
    out: Food-11.zip with Food-11/training/... fills ./Food-11, not ./Food-11/Food-11. --strip-components says
    otherwise, with 0 for never.

    \b
    Examples:
      swiftfs extract Food-11.zip ./Food-11
      swiftfs extract https://example.org/Food-11.zip ./Food-11 --progress
      swiftfs extract data.tar.gz ./data --strip-components 1
    """
    import asyncio

    from swiftfs.load.download import check_sha256
    from swiftfs.load.progress import choose_display
    from swiftfs.load.unpack import ExtractRequest, extract_error, extract_lines, extract_source, refusal_lines

    request = ExtractRequest(source, directory, strip_components, check_sha256(sha256) if sha256 else None)
    quiet = is_quiet()
    display = choose_display(progress=progress, quiet=quiet, stats=stats)
    start = time.monotonic()
    result = asyncio.run(extract_source(request, display))
    for line in refusal_lines(result):
        click.echo(line, err=True)
    if not quiet:
        for line in extract_lines(result, time.monotonic() - start):
            click.echo(line)
    if (error := extract_error(result)) is not None:
        raise error
