"""``swiftfs mount``, ``umount`` and ``refresh``: a mount's life from the command line."""

from __future__ import annotations

import errno
import gc
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swiftfs.cli.asking import LISTED_PATIENCE, ask_mount
from swiftfs.cli.parameters import CHUNK_SIZE, DURATION, INTERVAL, LIMIT, PERMISSIONS, SIZE
from swiftfs.cli.rclone_mount import rclone_flags
from swiftfs.errors import ConfigError, SwiftFSError, Unavailable, UsageError, printable

if TYPE_CHECKING:
    from swiftfs.fetch.start import Started
    from swiftfs.mount.settings import MountSettings

log = logging.getLogger(__name__)

UNMOUNT_PATIENCE = 15.0
"""Seconds the mount's process gets to end after the tree is detached."""
POLL = 0.05
START_PATIENCE = 600.0
"""Seconds a mount in the background gets to answer: the first listing of a million names is part of it."""


@click.command()
@click.argument("source", metavar="REMOTE:CONTAINER[/PREFIX]")
@click.argument("mountpoint", type=click.Path(path_type=Path))
@click.option("--daemon", is_flag=True, help="Run in the background; returns when the mount answers.")
@click.option("--allow-other", is_flag=True, help="Let other users read, containers included.")
@click.option("--allow-root", is_flag=True, help="Let root read; the same as --allow-other with FUSE 3.")
@click.option("--allow-non-empty", is_flag=True, help="Mount over a directory that has files in it.")
@click.option("--recover", is_flag=True, help="Detach a dead swiftfs mount from the mountpoint first.")
@click.option("--cache-dir", type=click.Path(path_type=Path), help="Where chunks are kept.")
@click.option(
    "--cache-size",
    type=SIZE,
    help="Most bytes kept there, such as 20G; by default a tenth of what is free or already used so.",
)
@click.option(
    "--cache-min-free", type=SIZE, default="1G", show_default=True,
    help="Bytes of the disk left free.",
)  # fmt: skip
@click.option("--vfs-cache-max-size", type=LIMIT, hidden=True, help="rclone's --cache-size: KiB without a unit.")
@click.option("--vfs-cache-min-free-space", type=LIMIT, hidden=True, help="rclone's --cache-min-free, likewise.")
@click.option(
    "--chunk-size",
    type=CHUNK_SIZE,
    default="8M",
    show_default=True,
    help="Unit in which large objects are fetched, 64K to 32M.",
)
@click.option(
    "--streams", type=click.IntRange(1, 256), default=32, show_default=True,
    help="Requests to the store at once.",
)  # fmt: skip
@click.option(
    "--vfs-read-chunk-streams", type=click.IntRange(0, 256), default=0, hidden=True, help="rclone's --streams; 0: ours."
)
@click.option(
    "--deadline",
    "--timeout",
    type=INTERVAL,
    default="60s",
    show_default=True,
    help="Longest a read may take; 'off' or 0: as long as it takes.",
)
@click.option(
    "--refresh", type=INTERVAL, default="5m", show_default=True, help="List again so often; 'off' or 0: never."
)
@click.option(
    "--prefetch", type=click.Choice(["auto", "all", "off", "order"]), default="auto", show_default=True,
    help="Fetch files before they are asked for; 'order': only as told, see --order-file and 'swiftfs order'.",
)  # fmt: skip
@click.option(
    "--order-file", type=click.Path(path_type=Path, exists=True, dir_okay=False, readable=True),
    help="The names of the files in the order in which they will be read, one a line.",
)  # fmt: skip
@click.option(
    "--attr-timeout", type=DURATION, default="1h", show_default=True, help="The kernel may keep attributes so long."
)
@click.option(
    "--dir-cache-time", type=DURATION, default="1h", show_default=True, help="The kernel may keep names so long."
)
@click.option("--uid", type=int, help="Owner of all files; you by default.")
@click.option("--gid", type=int, help="Group of all files; yours by default.")
@click.option("--umask", type=PERMISSIONS, default="0", help="Permission bits to take away.")
@click.option("--file-perms", type=PERMISSIONS, default="0444", show_default=True, help="Permission bits of files.")
@click.option(
    "--dir-perms", type=PERMISSIONS, default="0555", show_default=True, help="Permission bits of directories."
)
@click.option(
    "--no-kernel-tuning", is_flag=True, help="Leave the kernel's read-ahead, and its asking for each open, as they are."
)
@click.option("--pin", metavar="DIGEST", help="Show exactly the dataset of this manifest, see load --manifest.")
@click.option("--metrics-addr", metavar="[HOST:]PORT", help="Serve Prometheus figures there; loopback by default.")
@click.option("-o", "--option", "options", multiple=True, help="An option for fusermount3, such as noexec.")
@click.option("--log-file", type=click.Path(path_type=Path), help="Where a mount in the background writes its log.")
@rclone_flags
def mount(source: str, mountpoint: Path, **given: Any) -> None:
    """Mount a container, or what is below PREFIX in it, read-only.

    Metadata comes from one listing; files are fetched once, checked and cached. In the foreground, Ctrl-C unmounts.

    \b
    Example:
      swiftfs mount chi_tacc:object-persist-netID /mnt/object --allow-other --daemon
      swiftfs mount chi_tacc:object-persist-netID /mnt/object --prefetch order --order-file epoch1.txt
      fusermount3 -u /mnt/object
    """
    gc.disable()  # what is imported stays: looking through it takes a twentieth of the time until a mount answers
    # One in the background has to be a child of the process that goes on there.
    fetch = None if given["daemon"] else _start_fetching()
    from swiftfs.mount.preflight import before_mount

    settings = _settings(source, mountpoint, given)
    before_mount(
        settings.mountpoint,
        allow_other=settings.allow_other,
        allow_non_empty=given["allow_non_empty"],
        recover=given["recover"],
    )
    if not given["daemon"]:
        from swiftfs.mount import notify

        def say_ready() -> None:
            log.info("%s is ready", settings.mountpoint)
            notify.ready(os.environ)

        _serve(settings, say_ready, fetch)
        return
    from swiftfs.mount import daemonize

    log_file = Path(os.path.abspath(given["log_file"])) if given["log_file"] else _log_file(settings.mountpoint)
    if not given["log_file"]:
        from swiftfs.config import make_private

        make_private(log_file.parent, os.environ)

    def serve(ready: Callable[[], None]) -> None:
        _log_as_daemon()
        _serve(settings, ready, _start_fetching())

    pid = daemonize.in_background(serve, log_file=log_file, patience=START_PATIENCE)
    log.info("mounted by process %d, which logs to %s", pid, log_file)


def _start_fetching() -> Started | None:
    """The fetch process, which imports what it needs while this one does the same; None when there can be none now."""
    from swiftfs.fetch.__main__ import main as serve
    from swiftfs.fetch.start import start_early

    return start_early(serve)


def _serve(settings: MountSettings, ready: Callable[[], None], fetch: Started | None) -> None:
    """Serve the mount with the fetch process that was started."""
    if fetch is not None:
        fetch.greet(settings.hello())
    from swiftfs.mount import session

    gc.freeze()
    gc.enable()
    session.serve(settings, ready, fetch)


def _settings(source: str, mountpoint: Path, given: dict[str, Any]) -> MountSettings:
    """The frozen settings that a command line means. Raises UsageError and ConfigError."""
    from swiftfs import config
    from swiftfs.fs.prefetch import Mode
    from swiftfs.fs.view import View
    from swiftfs.mount.ask import socket_path
    from swiftfs.mount.mounts import real_mountpoint
    from swiftfs.mount.settings import MountSettings

    path = config.parse_remote_path(source)
    if not path.container:
        raise UsageError(f"'{source}' names no container", hint="write REMOTE:CONTAINER")
    if given["daemon"]:
        # Says what is wrong with it while there is nothing to undo. In the foreground the fetch process does, as soon.
        config.find_remote(path.remote, os.environ)
    where = real_mountpoint(mountpoint)
    cache_dir = Path(os.path.abspath(given["cache_dir"])) if given["cache_dir"] else config.cache_directory(os.environ)
    index_dir, runtime_dir = config.state_directory(os.environ) / "index", config.runtime_directory(os.environ)
    for what, named in (("mountpoint", where), ("cache directory", cache_dir), ("state directory", index_dir)):
        _check_text(what, named)
    for directory in (cache_dir, index_dir, runtime_dir):
        config.make_private(directory, os.environ)
    size = given["vfs_cache_max_size"] if given["cache_size"] is None else given["cache_size"]
    if size is None:
        from swiftfs.cache.budget import default_limit
        from swiftfs.cache.outside import used_bytes

        size = default_limit(shutil.disk_usage(cache_dir).free, used_bytes(cache_dir))
    if given["order_file"] and given["prefetch"] in {"all", "off"}:
        raise UsageError(f"--order-file tells what to fetch ahead, and --prefetch {given['prefetch']} does not ask")
    umask, min_free = given["umask"], given["vfs_cache_min_free_space"]
    pin, metrics = "", None
    if given["pin"]:
        from swiftfs.fetch.manifest import check_digest

        pin = check_digest(given["pin"])
    if given["metrics_addr"]:
        from swiftfs.mount.metrics import listen_address

        metrics = listen_address(given["metrics_addr"])
    return MountSettings(
        remote=path.remote,
        container=path.container,
        prefix=path.prefix,
        mountpoint=where,
        view=View(
            uid=os.getuid() if given["uid"] is None else given["uid"],
            gid=os.getgid() if given["gid"] is None else given["gid"],
            file_mode=given["file_perms"] & ~umask & ~0o222,
            directory_mode=given["dir_perms"] & ~umask & ~0o222,
            entry_timeout=_seconds(given["dir_cache_time"]),
            attr_timeout=_seconds(given["attr_timeout"]),
        ),
        allow_other=given["allow_other"] or given["allow_root"],
        cache_dir=cache_dir,
        cache_size=size,
        cache_min_free=given["cache_min_free"] if min_free is None else min_free,
        index_dir=index_dir,
        control_socket=socket_path(runtime_dir, where),
        chunk_size=given["chunk_size"],
        streams=given["vfs_read_chunk_streams"] or given["streams"],
        deadline=_seconds(given["deadline"]),
        refresh=given["refresh"],
        prefetch=Mode(given["prefetch"]),
        tune_kernel=not given["no_kernel_tuning"],
        options=tuple(given["options"]),
        pin=pin,
        order_file=Path(os.path.abspath(given["order_file"])) if given["order_file"] else None,
        metrics=metrics,
    )


def _check_text(what: str, path: Path) -> None:
    """Raises UsageError for a path that is not UTF-8: the fetch process is told it as text."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise UsageError(f"the {what} {printable(os.fspath(path))} is not valid UTF-8", hint="name another") from None


def _seconds(value: float | None) -> float:
    """A duration where 'off' means as long as can be said: a year."""
    return 365 * 86_400.0 if value is None else value


def _log_as_daemon() -> None:
    """Log with times, and at least what a later reader wants to know: nobody sees it while it happens."""
    level = min(logging.getLogger("swiftfs").getEffectiveLevel(), logging.INFO)
    logging.getLogger("swiftfs").setLevel(level)
    os.environ["SWIFTFS_LOG"] = logging.getLevelName(level)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))


def _log_file(mountpoint: Path) -> Path:
    from swiftfs import config

    name = "-".join(part for part in mountpoint.parts if part != "/") or "root"
    return config.state_directory(os.environ) / "log" / f"mount-{name}.log"


@click.command()
@click.argument("mountpoint", type=click.Path(path_type=Path))
@click.option("--lazy", is_flag=True, help="Detach now, end when the last open file is closed.")
def umount(mountpoint: Path, lazy: bool) -> None:
    """Unmount, and wait until the mount's processes have ended.

    \b
    Example:
      swiftfs umount /mnt/object
    """
    from swiftfs.mount.mounts import find_mount, real_mountpoint

    where = real_mountpoint(mountpoint)
    found = find_mount(where)
    if found is None:
        raise ConfigError(f"nothing is mounted on {where}")
    if not found.ours:
        raise ConfigError(f"{where} is a {found.fstype} mount, not one of swiftfs")
    pid = None
    try:
        pid = _mount_process(where)
    except Unavailable:
        pass  # somebody listens, and that is no dead mount
    except ConfigError:
        lazy = lazy or _is_dead(where)
    command = ["fusermount3", "-u", *(["-z"] if lazy else []), os.fspath(where)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=UNMOUNT_PATIENCE, check=False)
    if done.returncode != 0:
        from swiftfs.mount.holders import holders

        using = holders(where)
        hint = f"in use by {', '.join(using)}; close them, or --lazy" if using else "close what uses it, or --lazy"
        raise SwiftFSError(f"cannot unmount {where}: {done.stderr.strip()}", hint=hint)
    if lazy:
        return
    if pid is None:
        log.warning("%s is unmounted; its process is not known, so its end is not waited for", where)
        return
    limit = time.monotonic() + UNMOUNT_PATIENCE
    while os.path.exists(f"/proc/{pid}") and not _is_zombie(pid):
        if time.monotonic() > limit:
            raise Unavailable(f"process {pid} of the mount does not end", hint=f"see {_log_file(where)}")
        time.sleep(POLL)


def _mount_process(where: Path) -> int:
    """The process of the mount, which need not answer for that. Raises ConfigError when none listens, Unavailable."""
    from swiftfs import config
    from swiftfs.mount.ask import mount_process, socket_path

    return mount_process(socket_path(config.runtime_directory(os.environ), where))


def _is_dead(where: Path) -> bool:
    """Whether nobody serves the mount any more. One whose socket is not found may be another user's, and alive."""
    from swiftfs.mount.preflight import probe

    return probe(where) in {errno.ENOTCONN, None}


def _is_zombie(pid: int) -> bool:
    """Whether the process has ended and only waits for its parent to look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return True


@click.command()
@click.argument("mountpoint", type=click.Path(path_type=Path))
def refresh(mountpoint: Path) -> None:
    """List the container again and show what has changed in it.

    \b
    Example:
      swiftfs refresh /mnt/object
    """
    from swiftfs.mount.mounts import real_mountpoint

    answer = ask_mount(real_mountpoint(mountpoint), {"command": "refresh"}, LISTED_PATIENCE)
    click.echo("{added} added, {changed} changed, {removed} removed; {files} files".format(**answer))
