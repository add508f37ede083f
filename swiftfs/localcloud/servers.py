"""The servers that make a local cloud: how each is started, and how each shows that it is well."""

from __future__ import annotations

import hashlib
import json
import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swiftfs.errors import Unavailable
from swiftfs.localcloud import configs, loopback
from swiftfs.localcloud.install import Environment, server_environ
from swiftfs.localcloud.model import LOOPBACK
from swiftfs.localcloud.processes import Command

if TYPE_CHECKING:
    from swiftfs.localcloud.configs import Settings

# Megabytes. Tokens and container infos are a few KiB each; memcached takes memory only as it fills.
MEMCACHED_MEGABYTES = 64

# Seconds for a server to say that it is well; a healthy one needs milliseconds, a busy one waits for a core.
PROBE_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Server:
    """One server. `port` names its port, None when it listens to nothing; `health` is the path that it answers with 200
    when it is well, None when it does not speak HTTP; `configs` are the files below `etc` that it reads, its own last;
    `module` is Swift's module with its `main`, None when it is not of Swift."""

    name: str
    port: str | None
    health: str | None
    configs: tuple[str, ...]
    module: str | None = None


def _swift(name: str, config: str, module: str, port: str | None) -> Server:
    """A server of Swift, or a daemon that listens to nothing."""
    read = (configs.SWIFT_LAUNCHER, "swift/swift.conf", f"swift/{config}-server.conf")
    return Server(name, port, None if port is None else "/healthcheck", read, module)


SERVERS = (
    Server("keystone", "keystone", "/v3", ("keystone/keystone.conf", "keystone/gunicorn.conf.py")),
    Server("memcached", "memcached", None, ()),
    _swift("account", "account", "swift.account.server", "account"),
    _swift("container", "container", "swift.container.server", "container"),
    _swift("object", "object", "swift.obj.server", "object"),
    _swift("proxy", "proxy", "swift.proxy.server", "proxy"),
    _swift("container-updater", "container", "swift.container.updater", None),
    _swift("object-updater", "object", "swift.obj.updater", None),
)


def command(
    server: Server, settings: Settings, environment: Environment, memcached: Path, texts: Mapping[str, str]
) -> Command:
    """How to start the server with these configuration files (path below `etc`: text)."""
    own = {"TMPDIR": str(settings.layout.temporary)}
    if server.name == "keystone":
        # Not as arguments: Keystone would take gunicorn's for its own.
        etc = settings.layout.etc / "keystone"
        own["OS_KEYSTONE_CONFIG_DIR"] = str(etc)
        own["GUNICORN_CMD_ARGS"] = shlex.join(("--config", str(etc / "gunicorn.conf.py")))
    argv = _argv(server, settings, environment, memcached)
    read = json.dumps([argv, own, [texts[path] for path in server.configs]])
    return Command(
        server=server.name,
        argv=argv,
        environ=server_environ(**own),
        log=settings.layout.log(server.name),
        digest=hashlib.sha256(read.encode()).hexdigest(),
    )


def _argv(server: Server, settings: Settings, environment: Environment, memcached: Path) -> Sequence[str]:
    if server.name == "keystone":
        return environment.command("gunicorn")
    if server.module is None:
        port = str(settings.port("memcached"))
        limits = ("-m", str(MEMCACHED_MEGABYTES), "-U", "0")  # no UDP
        return (str(memcached), "-l", LOOPBACK, "-p", port, "-u", settings.user, *limits)
    etc = settings.layout.etc
    # `verbose` sends errors, and the proxy's access lines, to the standard error.
    arguments = (server.module, str(etc / server.configs[-1]), "verbose")
    return (environment.python, str(etc / configs.SWIFT_LAUNCHER), *arguments)


def healthy(server: Server, ports: Mapping[str, int]) -> bool:
    """Whether the server answers as it should. One that listens to nothing is healthy by running at all."""
    if server.port is None:
        return True
    port = ports[server.port]
    if server.health is None:
        return listens(port)
    try:
        return loopback.request(port, "GET", server.health, timeout=PROBE_TIMEOUT).status == 200
    except Unavailable:
        return False


def listens(port: int) -> bool:
    """Whether anything accepts connections on this port of the loopback interface."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=PROBE_TIMEOUT).close()
    except OSError:
        return False
    return True
