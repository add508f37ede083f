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
def doctor(remote_path: str | None, mountpoint: Path | None) -> None:
    """Check FUSE, the mountpoint, credentials, region, endpoint and container; print the mend for what is missing.

    \b
    Example:
      swiftfs doctor chi_tacc:object-persist-netID /mnt/object
    """
    import asyncio

    from swiftfs.config import parse_remote_path
    from swiftfs.mount import preflight
    from swiftfs.mount.mounts import real_mountpoint

    path = parse_remote_path(remote_path) if remote_path else None
    checks = [
        preflight.check_device(),
        preflight.check_fusermount(),
        preflight.check_pyfuse3(),
        preflight.check_allow_other(),
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
