"""`swiftfs etl`: all that a pipeline file says, in one run."""

from __future__ import annotations

import click


@click.command("etl")
@click.argument("pipeline", type=click.Path())
@click.argument("dest", required=False)
@click.option("-P", "--progress", is_flag=True, help="Show a live bar, also where there is no terminal.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would go where, send nothing.")
@click.pass_context
def etl(context: click.Context, pipeline: str, dest: str | None, progress: bool, dry_run: bool) -> None:
    """Extract, transform and load in one run, as the TOML file PIPELINE says.

    Its keys are source (a directory, an archive or a URL of one), sha256, strip-components, rules (as those of
    swiftfs transform), destination, and a table options with options of swiftfs load. Relative paths, those
    in options too, begin at the file's directory. Without a destination in the file or as DEST, the environment names
    it, as for swiftfs load.

    \b
    Examples:
      swiftfs etl examples/food11/food11.toml chi_tacc:object-persist-netID
      swiftfs etl food11.toml --dry-run
    """
    from swiftfs.cli.app import app
    from swiftfs.errors import UsageError
    from swiftfs.load.pipeline import read_pipeline

    load = app.get_command(context, "load")  # as the frame makes it: with the general options
    assert load is not None
    given = ["--progress"] * progress + ["--dry-run"] * dry_run
    try:
        inner = load.make_context("load", [*given, *read_pipeline(pipeline).arguments(dest)], parent=context)
    except click.UsageError as error:
        raise UsageError(f"{pipeline}: options: {error.format_message()}") from None
    with inner:
        load.invoke(inner)
