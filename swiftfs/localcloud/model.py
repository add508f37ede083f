"""The values of the local cloud: what is asked for, what is running, and what was chosen at random. No I/O here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from swiftfs.errors import ConfigError

REGION = "local"
REMOTE = "local"
PROJECT_NAME = "demo"
USER_NAME = "demo"

LOOPBACK = "127.0.0.1"

# The order is the promise of `port_base`: Keystone at N, the proxy at N+1, and so on.
PORT_NAMES = ("keystone", "proxy", "account", "container", "object", "memcached")

# Below 1024 only root may listen; 65535 is the last port, and six in a row must fit.
LOWEST_PORT_BASE = 1024
HIGHEST_PORT_BASE = 65_535 - len(PORT_NAMES) + 1

# Swift's own default for the size of one object: 5 GiB and the two bytes that its configuration has always had.
DEFAULT_MAX_FILE_SIZE = 5_368_709_122

# The path of the directory ends up in paste.deploy files, where % interpolates, in oslo.config files, where $ does, and
# in a database URL, where ? and # end the path.
SAFE_PATH = re.compile(r"[\w./+@=, -]+")


@dataclass(frozen=True, slots=True)
class CloudOptions:
    """What a local cloud shall be like.

    `directory` holds everything of the cloud, `token_ttl` is the life of a token in seconds, `port_base` the first of
    six consecutive ports (None: free ports are chosen once and kept), `proxy_workers` the number of processes that
    serve clients, `listing_limit` the most names in one page of a listing, `max_file_size` the largest object in bytes
    that is not a manifest.

    Raises ConfigError when a value makes no sense.
    """

    directory: Path
    token_ttl: int = 3600
    port_base: int | None = None
    proxy_workers: int = 2
    listing_limit: int = 10_000
    max_file_size: int = DEFAULT_MAX_FILE_SIZE

    def __post_init__(self) -> None:
        for name in ("token_ttl", "proxy_workers", "listing_limit", "max_file_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.port_base is not None and not LOWEST_PORT_BASE <= self.port_base <= HIGHEST_PORT_BASE:
            raise ConfigError(f"port_base must be {LOWEST_PORT_BASE} to {HIGHEST_PORT_BASE}, not {self.port_base}")
        if not SAFE_PATH.fullmatch(str(self.directory)):
            raise ConfigError(f"{str(self.directory)!r} cannot be named in a configuration file: use a plainer path")


@dataclass(frozen=True, slots=True)
class Seed:
    """What is chosen once for a cloud, before anything else, and never changes: its ports and its secrets."""

    ports: Mapping[str, int]
    hash_prefix: str = field(repr=False)
    hash_suffix: str = field(repr=False)
    admin_password: str = field(repr=False)
    service_password: str = field(repr=False)
    user_password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """The project and the user that Keystone made for the demo, and the user's application credential."""

    project_id: str
    user_id: str
    application_credential_id: str
    application_credential_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Cloud:
    """A local cloud: where it listens, who may use it, and which files describe it.

    `ports` and `pids` are keyed by server name; `pids` holds what was started last and says nothing about whether it
    still runs (`status` does). `storage_url` is the account of project `project_name`.
    """

    directory: Path
    auth_url: str
    storage_url: str
    region: str
    project_id: str
    project_name: str
    user_id: str
    user_name: str
    application_credential_id: str
    rclone_conf: Path
    clouds_yaml: Path
    proxy_log: Path
    keystone_log: Path
    ports: Mapping[str, int]
    pids: Mapping[str, int]
    options: CloudOptions
    application_credential_secret: str = field(repr=False)
    user_password: str = field(repr=False)
    admin_password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server of a cloud. `pid` is None when it does not run, `port` is None when it listens to nothing."""

    server: str
    pid: int | None
    port: int | None
    healthy: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the files of a cloud are. Every path is absolute and below `root`."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def seed(self) -> Path:
        return self.root / "seed.json"

    @property
    def cloud(self) -> Path:
        return self.root / "cloud.json"

    @property
    def rclone_conf(self) -> Path:
        return self.root / "rclone.conf"

    @property
    def clouds_yaml(self) -> Path:
        return self.root / "clouds.yaml"

    @property
    def processes(self) -> Path:
        return self.root / "processes.json"

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def keystone(self) -> Path:
        return self.root / "keystone"

    @property
    def keystone_database(self) -> Path:
        return self.keystone / "keystone.db"

    @property
    def devices(self) -> Path:
        return self.root / "srv"

    @property
    def device(self) -> Path:
        return self.devices / "d1"

    @property
    def recon(self) -> Path:
        return self.root / "recon"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    @property
    def proxy_log(self) -> Path:
        return self.logs / "proxy.log"

    @property
    def keystone_access_log(self) -> Path:
        return self.logs / "keystone-access.log"

    def log(self, server: str) -> Path:
        """The file that takes what the server prints."""
        return self.logs / f"{server}.log"
