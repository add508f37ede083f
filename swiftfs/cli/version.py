"""``swiftfs version``."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import click

from swiftfs import __version__

LIBRARIES = ("aiohttp", "keystoneauth1", "pyfuse3", "trio", "openstacksdk")


@click.command()
def version() -> None:
    """Show the versions of swiftfs and of what it runs on, for a report.

    \b
    Example:
      swiftfs version
    """
    click.echo(f"swiftfs {__version__}")
    click.echo(f"- python {platform.python_version()}")
    click.echo(f"- kernel {platform.release()}")
    for name in LIBRARIES:
        try:
            click.echo(f"- {name} {version_of(name)}")
        except PackageNotFoundError:
            click.echo(f"- {name} not installed")
