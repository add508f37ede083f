"""Bringing a local cloud up, taking it down, and asking how it is.

`up` says what shall be, not what to do: it starts what does not run, restarts what was configured otherwise, and leaves
the rest alone. A crash at any point is mended by the next `up`; data is removed by `down` with `purge` only.
"""

from __future__ import annotations

import errno
import os
import pwd
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from swiftfs.errors import ConfigError, Unavailable
from swiftfs.localcloud import bootstrap, configs, loopback, ports, processes, records, servers
from swiftfs.localcloud.configs import Settings
from swiftfs.localcloud.files import (
    PRIVATE_FILE,
    last_line,
    locked,
    make_private_directory,
    write_private,
)
from swiftfs.localcloud.install import SERVER_DIRECTORIES, Environment, ensure_environment, find_memcached
from swiftfs.localcloud.model import Cloud, CloudOptions, Layout, Seed, ServerStatus
from swiftfs.localcloud.rings import make_rings
from swiftfs.localcloud.servers import SERVERS, Server

if TYPE_CHECKING:
    from swiftfs.localcloud.processes import Command, Process

Say = Callable[[str], None]

# Seconds for the servers to answer after their start: 5 to 15 on an idle machine.
READY_DEADLINE = 60.0
READY_POLL = 0.1
# Seconds that a port may stay in use: a killed server's is freed a little after the server has lost its memory, which
# is when it is no longer known as ours.
PORT_DEADLINE = 5.0
# Seconds that a server which runs already may take to answer before it is taken for hung and restarted.
HUNG_AFTER = 20.0
# Seconds to wait for another `up` or `down` of the same cloud; a first one installs for minutes.
LOCK_DEADLINE = 1800.0

# What a cloud leaves in its directory; nothing else is ever removed.
OWN_FILES = ("cloud.json", "clouds.yaml", "lock", "processes.json", "rclone.conf", "seed.json")
OWN_DIRECTORIES = ("etc", "keystone", "log", "recon", "srv", "tmp")

PROBE_ATTRIBUTE = "user.swiftfs.probe"


def up(options: CloudOptions, say: Say) -> Cloud:
    """Make the cloud run as `options` want it, and return it once a container has been made and removed in it.

    Blocks for some ten seconds, minutes when the servers must be installed first; `say` gets a line for each step.
    A cloud that runs as wanted is returned as it is.

    Raises ConfigError when the directory, an option or a Debian package is at fault, Unavailable when a server does
    not come up; what this call started is then ended again.
    """
    options = replace(options, directory=options.directory.expanduser().resolve())
    layout = Layout(options.directory)
    memcached = find_memcached(os.pathsep.join((os.environ.get("PATH", ""), *SERVER_DIRECTORIES)))
    _claim(layout)
    with locked(layout.lock, LOCK_DEADLINE, lambda: say(f"another process works on {layout.root}: waiting for it")):
        _make_directories(layout)
        environment = ensure_environment(say)
        seed = records.load_or_make_seed(layout, options.port_base)
        settings = Settings(layout, options, _user_name(), seed)
        texts = configs.render(settings)
        commands = {server.name: servers.command(server, settings, environment, memcached, texts) for server in SERVERS}
        running = _running(layout, commands, seed)
        try:
            return _bring_up(settings, environment, texts, commands, running, say)
        except BaseException:
            processes.stop(layout.root, processes.load(layout.processes).values(), keep=running.values())
            raise


def down(directory: Path, say: Say, *, purge: bool = False) -> bool:
    """End every process of the cloud in this directory; with `purge` remove all that it stored, too.

    Returns whether anything ran. Raises ConfigError when `purge` is wanted of a directory that is no cloud's, and
    Unavailable when a process cannot be ended.
    """
    layout = Layout(directory.expanduser().resolve())
    if not layout.seed.exists():  # a cloud may run on when its directory was removed under it
        count = processes.stop(layout.root, ())
        say(f"ended {count} processes of {layout.root}" if count else f"there is no local cloud in {layout.root}")
        if purge and layout.root.exists():
            raise ConfigError(f"there is no local cloud in {layout.root}: nothing is removed")
        return count > 0
    with locked(layout.lock, LOCK_DEADLINE, lambda: say(f"another process works on {layout.root}: waiting for it")):
        count = processes.stop(layout.root, processes.load(layout.processes).values())
        layout.processes.unlink(missing_ok=True)
        say(f"ended {count} processes of {layout.root}" if count else f"nothing runs in {layout.root}")
        if purge:
            _purge(layout)
            say(f"removed the data in {layout.root}")
        return count > 0


def status(directory: Path) -> list[ServerStatus]:
    """How each server of the cloud in this directory is. Raises ConfigError when there is no cloud."""
    cloud = records.load(directory)
    recorded = processes.load(Layout(cloud.directory).processes)
    found = []
    for server in SERVERS:
        process = recorded.get(server.name)
        runs = process is not None and processes.alive(process)
        found.append(
            ServerStatus(
                server=server.name,
                pid=process.pid if process is not None and runs else None,
                port=None if server.port is None else cloud.ports[server.port],
                healthy=runs and servers.healthy(server, cloud.ports),
            )
        )
    return found


def _claim(layout: Layout) -> None:
    """Make the directory. Raises ConfigError when it holds something else than a cloud."""
    try:
        present = {entry.name for entry in os.scandir(layout.root)}
    except FileNotFoundError:
        present = set()
    except NotADirectoryError:
        raise ConfigError(f"{layout.root} is not a directory") from None
    being_written = {name for name in present if name.startswith(tuple(f".{own}." for own in OWN_FILES))}
    strange = sorted(present.difference(OWN_FILES, OWN_DIRECTORIES, being_written))
    if strange and layout.seed.name not in present:
        raise ConfigError(f"{layout.root} holds other things, such as {strange[0]}: choose a directory of its own")
    make_private_directory(layout.root)


def _make_directories(layout: Layout) -> None:
    for name in OWN_DIRECTORIES:
        make_private_directory(layout.root / name)
    for path in (layout.etc / "keystone", layout.etc / "swift", layout.device):
        make_private_directory(path)
    for log in (layout.proxy_log, layout.keystone_access_log):
        log.touch(PRIVATE_FILE)  # so that it can be read before the first request
    try:
        os.setxattr(layout.device, PROBE_ATTRIBUTE, b"1")
        os.removexattr(layout.device, PROBE_ATTRIBUTE)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise ConfigError(f"{layout.device}: {error.strerror}") from None
        raise ConfigError(
            f"the file system of {layout.device} has no user extended attributes, where Swift keeps its metadata",
            hint="use a directory on ext4, xfs or btrfs",
        ) from None


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise ConfigError(f"user {os.geteuid()} has no name in /etc/passwd, and Swift wants one") from None


def _running(layout: Layout, commands: Mapping[str, Command], seed: Seed) -> dict[str, Process]:
    """The servers that run, were started as they would be now, and answer."""
    recorded = processes.load(layout.processes)
    wanted = {
        server: recorded[server.name]
        for server in SERVERS
        if server.name in recorded
        and recorded[server.name].digest == commands[server.name].digest
        and processes.alive(recorded[server.name])
    }
    give_up = time.monotonic() + HUNG_AFTER
    return {
        server.name: process
        for server, process in wanted.items()
        if _becomes_healthy(server, process, seed.ports, give_up)
    }


def _becomes_healthy(server: Server, process: Process, numbers: Mapping[str, int], give_up: float) -> bool:
    """Wait until the server answers (True), has ended, or the monotonic time `give_up` has come (False)."""
    while processes.alive(process):
        if servers.healthy(server, numbers):
            return True
        if time.monotonic() > give_up:
            return False
        time.sleep(READY_POLL)
    return False


def _bring_up(
    settings: Settings,
    environment: Environment,
    texts: Mapping[str, str],
    commands: Mapping[str, Command],
    running: Mapping[str, Process],
    say: Say,
) -> Cloud:
    layout, seed = settings.layout, settings.seed
    missing = [server for server in SERVERS if server.name not in running]
    provisioned = layout.cloud.exists()
    if not missing:
        say(f"every server of {layout.root} runs as wanted")
    else:
        processes.stop(layout.root, processes.load(layout.processes).values(), keep=running.values())
        _check_ports(missing, seed)
        for path, text in texts.items():
            write_private(layout.etc / path, text)
        bootstrap.prepare_database(layout, environment)
        make_rings(settings, environment)
        say("starting " + ", ".join(server.name for server in missing))
        started = dict(running)
        for server in missing:
            started[server.name] = processes.start(commands[server.name], layout.root)
            processes.save(layout.processes, started.values())
    if not provisioned:
        say("making the project, the user and the application credential")
        bootstrap.bootstrap(layout, environment, seed)
    give_up = time.monotonic() + READY_DEADLINE
    for server in missing:
        _wait_until_ready(server, layout, seed, give_up)
    identity = records.identity_of(records.load(layout.root)) if provisioned else bootstrap.create_identity(seed)
    cloud = records.describe(layout, settings.options, seed, identity)
    if missing or not provisioned:
        _prove(cloud, give_up)
    write_private(layout.rclone_conf, configs.rclone_conf(seed, identity))
    write_private(layout.clouds_yaml, configs.clouds_yaml(seed, identity))
    records.save(layout, cloud)
    return cloud


def _check_ports(missing: list[Server], seed: Seed) -> None:
    give_up = time.monotonic() + PORT_DEADLINE
    for server in missing:
        while server.port is not None and not ports.is_free(seed.ports[server.port]):
            if time.monotonic() > give_up:
                raise Unavailable(f"port {seed.ports[server.port]} of {server.name} is in use by another program")
            time.sleep(READY_POLL)


def _wait_until_ready(server: Server, layout: Layout, seed: Seed, give_up: float) -> None:
    process = processes.load(layout.processes)[server.name]
    if not _becomes_healthy(server, process, seed.ports, give_up):
        log = layout.log(server.name)
        what = "does not answer" if processes.alive(process) else "ended"
        raise Unavailable(f"{server.name} {what}: {last_line(log) or 'it said nothing'} (see {log})")


def _prove(cloud: Cloud, give_up: float) -> None:
    """Make and remove a container with the application credential, as any client would."""
    body = bootstrap.credential_login(cloud.application_credential_id, cloud.application_credential_secret)
    token = bootstrap.login(cloud.ports["keystone"], body)
    path = f"/v1/AUTH_{cloud.project_id}/swiftfs-proof-{secrets.token_hex(8)}"
    for method in ("PUT", "DELETE"):
        while True:
            answer = loopback.request(cloud.ports["proxy"], method, path, headers={"X-Auth-Token": token})
            if 200 <= answer.status < 300:
                break
            if time.monotonic() > give_up:
                raise Unavailable(
                    f"Swift answers {method} of a container with {answer.status}: "
                    f"{last_line(cloud.proxy_log)} (see {cloud.proxy_log})"
                )
            time.sleep(READY_POLL)


def _purge(layout: Layout) -> None:
    for name in OWN_DIRECTORIES:
        shutil.rmtree(layout.root / name, ignore_errors=True)
    for name in OWN_FILES:
        (layout.root / name).unlink(missing_ok=True)
    try:
        layout.root.rmdir()
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:  # the user's own files stay
            raise ConfigError(f"{layout.root}: {error.strerror}") from None
