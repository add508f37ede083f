"""The two files in which a cloud is remembered: its seed, written first, and its description, written last."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, fields
from pathlib import Path

from swiftfs.errors import ConfigError
from swiftfs.localcloud import configs, ports, processes
from swiftfs.localcloud.files import read_or_none, write_private
from swiftfs.localcloud.model import PROJECT_NAME, REGION, USER_NAME, Cloud, CloudOptions, Identity, Layout, Seed

# 128 bits, in hexadecimal, which no configuration file takes for anything else.
SECRET_BYTES = 16


def load_or_make_seed(layout: Layout, port_base: int | None) -> Seed:
    """The cloud's seed, made now if it has none.

    Raises ConfigError when the cloud has other ports than those from `port_base` on (None: any will do).
    """
    text = read_or_none(layout.seed)
    if text is None:
        seed = Seed(ports.choose_ports(port_base), *(secrets.token_hex(SECRET_BYTES) for _ in range(5)))
        write_private(layout.seed, json.dumps(asdict(seed), indent=1) + "\n")
        return seed
    seed = Seed(**json.loads(text))
    if port_base is not None and port_base != seed.ports["keystone"]:
        raise ConfigError(
            f"the cloud in {layout.root} has its ports from {seed.ports['keystone']} on and keeps them",
            hint="omit --port-base, use another --dir, or purge this cloud first",
        )
    return seed


def describe(layout: Layout, options: CloudOptions, seed: Seed, identity: Identity) -> Cloud:
    """The cloud as its users see it."""
    return Cloud(
        directory=layout.root,
        auth_url=configs.auth_url(seed),
        storage_url=configs.storage_url(seed, identity.project_id),
        region=REGION,
        project_id=identity.project_id,
        project_name=PROJECT_NAME,
        user_id=identity.user_id,
        user_name=USER_NAME,
        application_credential_id=identity.application_credential_id,
        rclone_conf=layout.rclone_conf,
        clouds_yaml=layout.clouds_yaml,
        proxy_log=layout.proxy_log,
        keystone_log=layout.keystone_access_log,
        ports=seed.ports,
        pids={name: process.pid for name, process in processes.load(layout.processes).items()},
        options=options,
        application_credential_secret=identity.application_credential_secret,
        user_password=seed.user_password,
        admin_password=seed.admin_password,
    )


def save(layout: Layout, cloud: Cloud) -> None:
    """Write the description; `pids` is left to the record of processes."""
    known = {key: value for key, value in asdict(cloud).items() if key != "pids"}
    write_private(layout.cloud, json.dumps(known, indent=1, default=str) + "\n")


def load(directory: Path) -> Cloud:
    """The cloud in this directory, running or not. Raises ConfigError when there is none, or only half of one."""
    layout = Layout(directory.expanduser().resolve())
    text = read_or_none(layout.cloud)
    if text is None:
        raise ConfigError(
            f"there is no local cloud in {layout.root}", hint=f"swiftfs localcloud up --dir {layout.root}"
        )
    known = json.loads(text)
    paths = {name: Path(known[name]) for name in _PATHS}
    options = CloudOptions(**{**known["options"], "directory": Path(known["options"]["directory"])})
    pids = {name: process.pid for name, process in processes.load(layout.processes).items()}
    return Cloud(**{**known, **paths, "options": options, "pids": pids})


def identity_of(cloud: Cloud) -> Identity:
    """What Keystone made for the cloud."""
    return Identity(**{field.name: getattr(cloud, field.name) for field in fields(Identity)})


_PATHS = ("directory", "rclone_conf", "clouds_yaml", "proxy_log", "keystone_log")
