"""Kinds of login that only keystoneauth1 knows: which options one has, and where they are among what was given.

keystoneauth1 is imported when such a kind is named: it takes longer than most commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from swiftfs.config.credentials import Login, keystone_v3_url
from swiftfs.errors import ConfigError, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

WITHOUT_KEYSTONE = frozenset({"none", "noauth", "admin_token", "http_basic"})
"""Kinds that ask no Keystone, and so have no catalogue."""
OLD_VERSIONS = ("v1", "v2")
"""How the names of kinds for older ways to log in begin."""
ASK_A_PERSON = frozenset({"v3oidcauthcode", "v3oidcdeviceauthz", "v3websso", "v3totp", "v3multifactor"})
"""Kinds that need a browser or a code that is good once: no token could be renewed."""
INSTEAD = (
    "make an application credential (openstack application credential create NAME, or in the dashboard below Identity) "
    "and source its openrc file"
)


def is_supported(kind: str) -> bool:
    """Whether there can be a Keystone v3 behind a kind of login."""
    return kind not in WITHOUT_KEYSTONE and not kind.startswith(OLD_VERSIONS)


def options_of(kind: str) -> Iterable[Any]:
    """The options (``keystoneauth1.loading.Opt``) of a kind of login; raises LookupError when there is none of this
    name, or what it needs is not installed."""
    from keystoneauth1 import loading

    try:
        options: Iterable[Any] = loading.get_plugin_loader(kind).get_options()
    except Exception:  # NoMatchingPlugin, and what some fail with that lack packages which only they need
        raise LookupError(kind) from None
    return options


def login_from_variables(kind: str, environ: Mapping[str, str], source: str) -> Login:
    """The login of ``kind`` that the OS_* variables mean, each called as its option is, as for the openstack client.

    Raises ConfigError for one that cannot be used here, and names the variable that is missing.
    """
    named = f"$OS_AUTH_TYPE = {printable(kind)}"
    if not is_supported(kind) or kind in ASK_A_PERSON:
        raise ConfigError(f"{source}: {named} is not supported", hint=INSTEAD)
    try:
        known = options_of(kind)
    except LookupError:
        raise ConfigError(f"{source}: {named} is no kind of login that can be used here", hint=INSTEAD) from None
    options: dict[str, str] = {}
    for option in known:
        variables: list[str] = option.argparse_envvars
        value = next((value for name in variables if (value := environ.get(name, "").strip())), "")
        if value:
            options[option.dest] = value
        elif option.required or option.dest == "auth_url":
            raise ConfigError(f"{source} lacks ${variables[0]}, which {named} needs", hint=f"set it, or {INSTEAD}")
    if "auth_url" in options:
        options["auth_url"] = keystone_v3_url(options["auth_url"], source, lambda field: f"$OS_{field.upper()}")
    return Login(kind, options)
