"""Credentials as people write them, turned into the name and the options of a keystoneauth1 plugin.

Pure. The same rules serve rclone.conf and the OS_* variables, which only spell the fields in other ways; so each
source hands over how it spells them, and errors speak the reader's spelling. Rules follow the Identity API v3
(docs.openstack.org/api-ref/identity/v3, "Authentication and token management") and, where that leaves a choice,
rclone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from swiftfs.config.remote import PREAUTHENTICATED
from swiftfs.errors import ConfigError, printable

DEFAULT_DOMAIN = "default"
"""Identifier of the domain that every Keystone is made with: what the openstack client falls back to."""

_VERSION = re.compile(r"v(\d+)(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What was given; an empty string is what was not."""

    auth_url: str = ""
    user: str = ""
    user_id: str = ""
    user_domain: str = ""
    user_domain_id: str = ""
    password: str = field(default="", repr=False)
    project: str = ""
    project_id: str = ""
    project_domain: str = ""
    project_domain_id: str = ""
    trust_id: str = ""
    application_credential_id: str = ""
    application_credential_name: str = ""
    application_credential_secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    storage_url: str = ""


@dataclass(frozen=True, slots=True)
class Login:
    """A keystoneauth1 plugin's name and its options."""

    auth_type: str
    options: dict[str, str] = field(repr=False)


Spell = Callable[[str], str]
"""How a source spells a field of Credentials: ``auth_url`` is ``auth`` in rclone.conf."""


def choose_login(given: Credentials, source: str, spell: Spell) -> Login:
    """The way to log in that ``given`` allows: an application credential, else a token, else a password.

    A token with a storage URL needs no login, and stands back where a password is given, too: rclone uses that when the
    token's life is over. Raises ConfigError that names the field which is missing or wrong.
    """
    if given.token and given.storage_url:
        if given.auth_url and given.password and (given.user or given.user_id):
            given = replace(given, token="")
        elif not _has_application_credential(given):
            return Login(PREAUTHENTICATED, {})
    if not given.auth_url:
        raise ConfigError(
            f"{source} lacks {spell('auth_url')}", hint="set it to the URL of Keystone: https://HOST:5000/v3"
        )
    options = {"auth_url": keystone_v3_url(given.auth_url, source, spell)}
    if _has_application_credential(given):
        return Login("v3applicationcredential", options | _application_credential(given, source, spell))
    if given.token:
        return Login("v3token", options | {"token": given.token} | _scope(given))
    if not given.user and not given.user_id:
        raise ConfigError(
            f"{source} lacks credentials",
            hint=f"give {spell('application_credential_id')} and {spell('application_credential_secret')}, "
            f"or {spell('user')}, {spell('password')} and {spell('project')}",
        )
    if not given.password:
        raise ConfigError(
            f"{source} lacks {spell('password')}",
            hint=f"give it, or {spell('application_credential_id')} and {spell('application_credential_secret')}",
        )
    return Login("v3password", options | _user(given) | {"password": given.password} | _scope(given))


def keystone_v3_url(text: str, source: str, spell: Spell) -> str:
    """``text`` as a URL that ends in ``/v3``, which is added when no version is named.

    Raises ConfigError for another version, for what is no http URL, and for one that holds a password; the text is
    not shown then.
    """
    key = spell("auth_url")
    hint = "it must read like https://HOST:5000/v3"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ConfigError(f"{source}: {key} is not a URL", hint=hint) from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"{source}: {key} holds a user or a password", hint=hint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"{source}: {key} = '{printable(text)}' is not a URL of Keystone", hint=hint)
    url = text.rstrip("/").removesuffix("/auth/tokens").rstrip("/")
    versions = [match[1] for part in parts.path.split("/") if (match := _VERSION.fullmatch(part))]
    if not versions:
        return f"{url}/v3"
    if versions[-1] != "3":
        raise ConfigError(
            f"{source}: {key} = '{printable(text)}' speaks version {versions[-1]}; only Keystone v3 is supported",
            hint=hint,
        )
    return url


def _has_application_credential(given: Credentials) -> bool:
    return bool(
        given.application_credential_id or given.application_credential_name or given.application_credential_secret
    )


def _application_credential(given: Credentials, source: str, spell: Spell) -> dict[str, str]:
    """Its identifier is enough; by name it needs its owner."""
    if not given.application_credential_secret:
        raise ConfigError(
            f"{source} lacks {spell('application_credential_secret')}",
            hint="it was shown once, when the application credential was made: make another one if it is lost",
        )
    secret = {"application_credential_secret": given.application_credential_secret}
    if given.application_credential_id:
        return {"application_credential_id": given.application_credential_id} | secret
    if not given.application_credential_name:
        raise ConfigError(
            f"{source} lacks {spell('application_credential_id')}", hint="it goes with the secret; give both"
        )
    if not given.user and not given.user_id:
        raise ConfigError(
            f"{source}: an application credential by name needs its owner",
            hint=f"give {spell('user_id')}, or {spell('user')} and {spell('user_domain')}, "
            f"or {spell('application_credential_id')} instead of the name",
        )
    return {"application_credential_name": given.application_credential_name} | secret | _user(given)


def _user(given: Credentials) -> dict[str, str]:
    if given.user_id:
        return {"user_id": given.user_id}
    return {"username": given.user} | _domain("user_domain", given.user_domain, given.user_domain_id)


def _scope(given: Credentials) -> dict[str, str]:
    """A trust, else a project; a project's domain is that of the user when it is not named, as in rclone."""
    if given.trust_id:
        return {"trust_id": given.trust_id}
    if given.project_id:
        return {"project_id": given.project_id}
    if not given.project:
        return {}
    if given.project_domain or given.project_domain_id:
        domain = _domain("project_domain", given.project_domain, given.project_domain_id)
    else:
        domain = _domain("project_domain", given.user_domain, given.user_domain_id)
    return {"project_name": given.project} | domain


def _domain(kind: str, name: str, identifier: str) -> dict[str, str]:
    if name:
        return {f"{kind}_name": name}
    return {f"{kind}_id": identifier or DEFAULT_DOMAIN}
