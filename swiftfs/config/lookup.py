"""From a remote's name to the remote: rclone's configuration first, then clouds.yaml; ``env`` is the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from swiftfs.config import clouds
from swiftfs.config.openrc import SOURCE, normal_interface, remote_from_environment
from swiftfs.config.rclone import RcloneConfig, find_section, read_config, swift_remotes
from swiftfs.config.rclone_keys import remote_from_section
from swiftfs.config.remote_path import ENVIRONMENT
from swiftfs.errors import ConfigError, printable

if TYPE_CHECKING:
    from swiftfs.config.remote import Remote


def find_remote(name: str, environ: Mapping[str, str]) -> Remote:
    """The remote called ``name``.

    ``env`` means the OS_* variables, and with OS_CLOUD that cloud of clouds.yaml, unless rclone has a remote of this
    name. Raises ConfigError, which names the file, the section and the key that is wrong; for a name that nobody
    knows it lists the remotes there are and the files that were looked at.
    """
    try:
        config = read_config(environ)
    except ConfigError:
        if name != ENVIRONMENT:
            raise
        return _from_environment(environ)
    section = find_section(config, name, environ)
    if section is not None:
        return remote_from_section(section, environ)
    if name == ENVIRONMENT:
        return _from_environment(environ)
    cloud = clouds.remote_from_clouds(name, environ)
    if cloud is not None:
        return cloud
    raise _unknown(name, config, environ)


def configured_remotes(environ: Mapping[str, str]) -> list[str]:
    """Names of the remotes of type swift in rclone's configuration. Raises ConfigError when it cannot be read."""
    return swift_remotes(read_config(environ), environ)


def _from_environment(environ: Mapping[str, str]) -> Remote:
    name = environ.get("OS_CLOUD", "").strip()
    if not name:
        return remote_from_environment(environ)
    cloud = clouds.remote_from_clouds(name, environ)
    if cloud is None:
        files = ", ".join(str(path) for path in clouds.existing_cloud_files(environ)) or "no clouds.yaml"
        raise ConfigError(
            f"{SOURCE} names the cloud '{printable(name)}' in OS_CLOUD, and {printable(files)} has none of that name",
            hint="unset OS_CLOUD to use the other OS_* variables, or mend the name",
        )
    region = environ.get("OS_REGION_NAME", "").strip()
    interface = environ.get("OS_INTERFACE", "").strip()
    return replace(
        cloud,
        name=ENVIRONMENT,
        region=region or cloud.region,
        interface=normal_interface(interface, "$OS_INTERFACE") if interface else cloud.interface,
    )


def _unknown(name: str, config: RcloneConfig, environ: Mapping[str, str]) -> ConfigError:
    there = [*swift_remotes(config, environ), *clouds.cloud_names(environ)]
    files = [*(config.looked_at if config.path is None else [config.path]), *clouds.existing_cloud_files(environ)]
    missing = "" if config.path is not None else " (there is no rclone.conf)"
    known = f"there are {', '.join(f'{remote}:' for remote in there)}" if there else "there are none"
    looked_at = ", ".join(printable(str(path)) for path in files) or "no file"
    return ConfigError(
        f"no remote '{printable(name)}'; {known}; looked at {looked_at}{missing}",
        hint=None if there else f"describe one in rclone.conf, or set OS_* variables and write {ENVIRONMENT}:",
    )
