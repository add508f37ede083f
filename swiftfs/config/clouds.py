"""Remotes from clouds.yaml, read by openstacksdk, which is imported only when there is such a file.

Its rules (docs.openstack.org/openstacksdk, "Configuring OpenStack SDK Applications") apply: secure.yaml beside it,
profiles, regions. Its errors are not passed on, for a YAML error quotes the lines around it.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftfs.config.credentials import keystone_v3_url
from swiftfs.config.openrc import normal_interface, tls_setting
from swiftfs.config.plugins import is_supported, options_of
from swiftfs.config.remote import Remote
from swiftfs.errors import ConfigError, printable

SERVICE = "object-store"
SUFFIXES = (".yaml", ".yml", ".json")


def cloud_files(environ: Mapping[str, str], name: str = "clouds") -> tuple[Path, ...]:
    """Where openstacksdk looks for ``name`` (clouds, secure, clouds-public); the first that exists is taken."""
    named = environ.get(f"OS_CLIENT_{'CONFIG' if name == 'clouds' else name.upper()}_FILE")
    directories = [Path.cwd()]
    if base := environ.get("XDG_CONFIG_HOME"):
        directories.append(Path(base) / "openstack")
    if home := environ.get("HOME"):
        directories.append(Path(home) / ".config" / "openstack")
    directories.append(Path("/etc/openstack"))
    places = [directory / f"{name}{suffix}" for directory in directories for suffix in SUFFIXES]
    if named:
        places.insert(0, Path(os.path.abspath(named)))
    return tuple(dict.fromkeys(places))


def existing_cloud_files(environ: Mapping[str, str]) -> list[Path]:
    """The clouds.yaml that will be read, as a list of none or one."""
    return [path for path in cloud_files(environ) if path.is_file()][:1]


def cloud_names(environ: Mapping[str, str]) -> list[str]:
    """Names of the clouds that are described. Raises ConfigError when the file cannot be read."""
    if not existing_cloud_files(environ):
        return []
    return sorted(str(name) for name in _load(environ).get_cloud_names())


def remote_from_clouds(name: str, environ: Mapping[str, str]) -> Remote | None:
    """The cloud ``name``; None when there is no such cloud. Raises ConfigError."""
    files = existing_cloud_files(environ)
    if not files:
        return None
    config = _load(environ)
    if name not in config.get_cloud_names():
        return None
    source = f"{printable(str(files[0]))} [{printable(name)}]"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own deprecations, which are no business of our user
            cloud = config.get_one(cloud=name, validate=False)
            settings = dict(cloud.config)
            region = cloud.get_region_name(SERVICE)
            interface = cloud.get_interface(SERVICE)
            storage_url = cloud.get_endpoint(SERVICE)
            verify = cloud.get_requests_verify_args()[0]
    except Exception as error:  # openstacksdk raises many kinds, some with what the file says in their text
        raise ConfigError(f"{source} cannot be used ({type(error).__name__})", hint="compare it with the documentation"
                          " of openstacksdk, 'clouds.yaml'") from None  # fmt: skip
    auth_type = str(settings.get("auth_type") or "password")
    if not is_supported(auth_type):
        raise ConfigError(
            f"{source}: auth_type '{printable(auth_type)}' is not supported",
            hint="use v3applicationcredential, password or another kind of Keystone v3",
        )
    return Remote(
        name=name,
        source=source,
        auth_type=auth_type,
        auth_options=_auth_options(auth_type, settings.get("auth") or {}, source),
        region=str(region) if region else None,
        interface=normal_interface(str(interface or ""), f"{source}: 'interface'"),
        storage_url=str(storage_url).rstrip("/") if storage_url else None,
        verify=tls_setting(environ) if verify is True else verify,
    )


def _load(environ: Mapping[str, str]) -> Any:
    """openstacksdk's view of the files. Raises ConfigError."""
    files = existing_cloud_files(environ)
    try:
        loader = importlib.import_module("openstack.config")
    except ImportError:
        raise ConfigError(
            f"{printable(str(files[0]))} cannot be read without openstacksdk", hint="pip install 'swiftfs[clouds]'"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return loader.OpenStackConfig(
                config_files=[str(path) for path in files],
                secure_files=_names(cloud_files(environ, "secure")),
                vendor_files=_names(cloud_files(environ, "clouds-public")),
                load_envvars=False,
            )
    except Exception as error:  # as above; a YAML error quotes the file
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = f", line {line + 1}" if isinstance(line, int) else ""
        raise ConfigError(
            f"{printable(str(files[0]))}{place}: not a readable clouds.yaml ({type(error).__name__})"
        ) from None


def _names(paths: Sequence[Path]) -> list[str]:
    return [str(path) for path in paths]


def _auth_options(auth_type: str, given: Mapping[str, Any], source: str) -> dict[str, str]:
    """The options of ``auth_type`` among ``given``, which may hold those of a profile for another kind."""
    try:
        known = {option.dest for option in options_of(auth_type)}
    except LookupError:
        raise ConfigError(
            f"{source}: unknown auth_type '{printable(auth_type)}'", hint="use v3applicationcredential or password"
        ) from None
    options = {str(key): str(value) for key, value in given.items() if key in known and value is not None}
    if "auth_url" in known and not options.get("auth_url"):
        raise ConfigError(f"{source} lacks 'auth_url'", hint="set it below 'auth' to https://HOST:5000/v3")
    if "auth_url" in options:
        url = keystone_v3_url(options["auth_url"], source, lambda field: f"'{field}'")
        if auth_type.startswith("v3"):
            options["auth_url"] = url  # plugins of one version do not look for it
    return options
