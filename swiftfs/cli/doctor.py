"""``swiftfs doctor``: everything that mounting needs, with the mend for what is missing."""

from __future__ import annotations

import os
from pathlib import Path

import click

from swiftfs.errors import Incomplete

GOOD, BAD = "✓", "✗"


@click.command()
@click.argument("remote_path", metavar="[REMOTE:CONTAINER]", required=False)
@click.argument("mountpoint", required=False, type=click.Path(path_type=Path))
@click.option("--allow-other", is_flag=True, help="The mount is for other users and containers, too: check that.")
def doctor(remote_path: str | None, mountpoint: Path | None, allow_other: bool) -> None:
    """Check FUSE, the mountpoint, credentials, region, endpoint and container; print the mend for what is missing.

    \b
    Example:
      swiftfs doctor chi_tacc:object-persist-netID /mnt/object --allow-other
    """
    import asyncio

    from swiftfs.config import parse_remote_path
    from swiftfs.mount import preflight
    from swiftfs.mount.mounts import real_mountpoint

    if remote_path and mountpoint is None and ":" not in remote_path:
        mountpoint, remote_path = Path(remote_path), None
    path = parse_remote_path(remote_path) if remote_path else None
    checks = [
        preflight.check_device(),
        preflight.check_fusermount(),
        preflight.check_pyfuse3(),
        preflight.check_allow_other(needed=allow_other),
    ]
    if mountpoint is not None:
        checks.append(preflight.check_mountpoint(real_mountpoint(mountpoint)))
    checks += asyncio.run(preflight.check_store(path, os.environ))
    width = max(len(check.what) for check in checks)
    for check in checks:
        click.echo(f"{GOOD if check.ok else BAD} {check.what:<{width}}  {check.found}")
        if check.mend and not check.ok:
            click.echo(f"  {'':<{width}}  → {check.mend}")
    bad = sum(not check.ok for check in checks)
    if bad:
        raise Incomplete(f"{bad} of {len(checks)} checks failed")
