"""`swiftfs localcloud`: a real Keystone and Swift on this machine, to try swiftfs on."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import platformdirs

from swiftfs import localcloud as room
from swiftfs.localcloud.model import DEFAULT_MAX_FILE_SIZE, HIGHEST_PORT_BASE, LOWEST_PORT_BASE, REMOTE


def default_directory() -> Path:
    """Where the cloud lives when no `--dir` is given."""
    return platformdirs.user_state_path("swiftfs") / "localcloud"


directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_directory,
    metavar="D",
    help="Directory with everything of the cloud.  [default: localcloud in swiftfs' state directory]",
)


@click.group()
def localcloud() -> None:
    """Run a real Keystone and OpenStack Swift on this machine's loopback interface.

    \b
    Example:
      swiftfs localcloud up
      swiftfs lsd local:
      swiftfs localcloud down
    """


@localcloud.command()
@directory_option
@click.option(
    "--token-ttl",
    type=click.IntRange(1),
    default=3600,
    metavar="S",
    show_default=True,
    help="Life of a token in seconds.",
)
@click.option(
    "--port-base",
    type=click.IntRange(LOWEST_PORT_BASE, HIGHEST_PORT_BASE),
    default=None,
    metavar="N",
    help="First of six ports in a row.  [default: free ones]",
)
@click.option(
    "--proxy-workers",
    type=click.IntRange(1),
    default=2,
    metavar="N",
    show_default=True,
    help="Processes that serve clients.",
)
@click.option(
    "--listing-limit",
    type=click.IntRange(1),
    default=10_000,
    metavar="N",
    show_default=True,
    help="Most names in one page of a listing.",
)
@click.option(
    "--max-file-size",
    type=click.IntRange(1),
    default=DEFAULT_MAX_FILE_SIZE,
    metavar="BYTES",
    show_default=True,
    help="Largest object that is not a manifest.",
)
def up(
    directory: Path,
    token_ttl: int,
    port_base: int | None,
    proxy_workers: int,
    listing_limit: int,
    max_file_size: int,
) -> None:  # fmt: skip
    """Make the cloud run. The first time on a machine it installs Keystone and Swift, which may take minutes.

    Servers that run as wanted are left alone, others are started or restarted; data stays.

    \b
    Example:
      swiftfs localcloud up --token-ttl 60
    """
    options = room.CloudOptions(
        directory=directory,
        token_ttl=token_ttl,
        port_base=port_base,
        proxy_workers=proxy_workers,
        listing_limit=listing_limit,
        max_file_size=max_file_size,
    )
    cloud = room.up(options, _say)
    click.echo(f"Keystone {cloud.auth_url}, Swift {cloud.storage_url}")
    click.echo(f"The remote {REMOTE}: is in {cloud.rclone_conf}; to use it:")
    click.echo(f"export RCLONE_CONFIG={cloud.rclone_conf}")


@localcloud.command()
@directory_option
@click.option("--purge", is_flag=True, help="Remove all data of the cloud, too.")
def down(directory: Path, purge: bool) -> None:
    """End every process of the cloud. Its data stays for the next `up`, unless it is purged.

    \b
    Example:
      swiftfs localcloud down --purge
    """
    room.down(directory, _say, purge=purge)


@localcloud.command()
@directory_option
def status(directory: Path) -> None:
    """Show how each server is; exit with 0 when all are well, with 1 otherwise.

    \b
    Example:
      swiftfs localcloud status && echo ready
    """
    servers = room.status(directory)
    for server in servers:
        state = "healthy" if server.healthy else "unhealthy" if server.pid else "down"
        click.echo(f"{server.server:<18} {state:<10} pid {server.pid or '-':<8} port {server.port or '-'}")
    sys.exit(0 if all(server.healthy for server in servers) else 1)


def _say(line: str) -> None:
    click.echo(line, err=True)
