"""`swiftfs transform`: move a dataset's files to where rules want them."""

from __future__ import annotations

import click

from swiftfs.cli.saying import is_quiet, show_moves


@click.command("transform")
@click.argument("directory", type=click.Path())
@click.option("--rules", required=True, help="food11, imagefolder-by-prefix, or a TOML file.")
@click.option("-n", "--dry-run", is_flag=True, help="Show the moves and make none.")
def transform(directory: str, rules: str, dry_run: bool) -> None:
    """Move the files below DIRECTORY to where the rules want them, in place.

    \b
    Presets:
      food11                 training/3_17.jpg  becomes  training/class_03/3_17.jpg
      imagefolder-by-prefix  train/cat_01.jpg   becomes  train/cat/cat_01.jpg

    A TOML file has [[rule]] tables with a pattern (a regular expression for the whole path, groups written
    (?P<name>...)) and a replacement ({name}, or {name:02d} for a number); the first rule that matches decides, and
    files that none matches stay.

    Everything is decided before the first file is moved: two files that would become one are an error. A second run
    has nothing to do.

    \b
    Examples:
      swiftfs transform ./Food-11 --rules food11
      swiftfs transform ./Food-11 --rules examples/food11/food11-rules.toml --dry-run
    """
    from swiftfs.errors import Incomplete, printable
    from swiftfs.load.apply import load_rules, transform_directory
    from swiftfs.load.figures import count_text, noun_text

    result = transform_directory(directory, load_rules(rules), dry_run=dry_run)
    if dry_run:
        show_moves(result.moves)
    for refused in result.refused:
        click.echo(f"failed: {printable(refused.name)}: {printable(refused.reason)}", err=True)
    if not is_quiet():
        verb = "would move" if dry_run else "moved"
        stay = count_text(result.files - len(result.moves))
        click.echo(f"{verb} {noun_text(len(result.moves), 'file')}, {stay} in place already or named by no rule")
    if result.refused:
        raise Incomplete(f"{noun_text(len(result.refused), 'entry')} of the directory cannot be used")
