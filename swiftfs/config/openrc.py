"""Remotes from the OS_* variables, as an OpenStack RC file sets them.

Pure: the environment comes in as a mapping. Names are those of python-openstackclient and keystoneauth1; OS_TENANT_*
and OS_ENDPOINT_TYPE, their older spellings, serve where the newer ones are not set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

from swiftfs.config.credentials import Credentials, choose_login
from swiftfs.config.plugins import login_from_variables
from swiftfs.config.remote import PREAUTHENTICATED, Remote
from swiftfs.config.remote_path import ENVIRONMENT
from swiftfs.errors import ConfigError, printable

SOURCE = "the environment"

VARIABLES: Mapping[str, tuple[str, ...]] = {
    "auth_url": ("OS_AUTH_URL",),
    "user": ("OS_USERNAME",),
    "user_id": ("OS_USER_ID",),
    "user_domain": ("OS_USER_DOMAIN_NAME",),
    "user_domain_id": ("OS_USER_DOMAIN_ID",),
    "password": ("OS_PASSWORD",),
    "project": ("OS_PROJECT_NAME", "OS_TENANT_NAME"),
    "project_id": ("OS_PROJECT_ID", "OS_TENANT_ID"),
    "project_domain": ("OS_PROJECT_DOMAIN_NAME",),
    "project_domain_id": ("OS_PROJECT_DOMAIN_ID",),
    "trust_id": ("OS_TRUST_ID",),
    "application_credential_id": ("OS_APPLICATION_CREDENTIAL_ID",),
    "application_credential_name": ("OS_APPLICATION_CREDENTIAL_NAME",),
    "application_credential_secret": ("OS_APPLICATION_CREDENTIAL_SECRET",),
    "token": ("OS_TOKEN", "OS_AUTH_TOKEN"),
    "storage_url": ("OS_STORAGE_URL",),
}
"""Fields of Credentials with the variables that give them, the first that is set."""

CHOSEN_KINDS = frozenset({"", "password", "v3password", "token", "v3token", "v3applicationcredential"})
"""What OS_AUTH_TYPE may be where the other variables say how to log in. A file of another kind, as Chameleon's of
``v3oidcpassword``, has a user and a password too, which are not Keystone's."""

INTERFACES = ("public", "internal", "admin")


def openrc_credentials(environ: Mapping[str, str], given: Credentials | None = None) -> Credentials:
    """``given`` with what it leaves open taken from the environment, as rclone's ``env_auth`` does."""
    given = given or Credentials()
    found = {}
    for field in fields(Credentials):
        if not getattr(given, field.name):
            values = (environ.get(variable, "").strip() for variable in VARIABLES[field.name])
            found[field.name] = next(filter(None, values), "")
    return replace(given, **found)


def remote_from_environment(environ: Mapping[str, str]) -> Remote:
    """The remote that the OS_* variables mean. Raises ConfigError naming the variable that is missing or wrong."""
    version = environ.get("OS_IDENTITY_API_VERSION", "").strip()
    if version.removeprefix("v").split(".")[0] not in {"", "3"}:
        raise ConfigError(
            f"OS_IDENTITY_API_VERSION = {printable(version)}: only Keystone v3 is supported", hint="set it to 3"
        )
    given = openrc_credentials(environ)
    kind = environ.get("OS_AUTH_TYPE", "").strip()
    if kind in CHOSEN_KINDS or (given.token and given.storage_url):
        login = choose_login(given, SOURCE, lambda field: f"${VARIABLES[field][0]}")
    else:
        login = login_from_variables(kind, environ, SOURCE)
    interface = environ.get("OS_INTERFACE") or environ.get("OS_ENDPOINT_TYPE") or ""
    return Remote(
        name=ENVIRONMENT,
        source=SOURCE,
        auth_type=login.auth_type,
        auth_options=login.options,
        region=environ.get("OS_REGION_NAME", "").strip() or None,
        interface=normal_interface(interface.strip(), "$OS_INTERFACE"),
        storage_url=given.storage_url.rstrip("/") or None,
        auth_token=given.token if login.auth_type == PREAUTHENTICATED else None,
        verify=tls_setting(environ),
    )


def normal_interface(text: str, where: str) -> str:
    """``public``, ``internal`` or ``admin`` for these and for ``publicURL`` and so on. Raises ConfigError."""
    name = text.removesuffix("URL") or INTERFACES[0]
    if name not in INTERFACES:
        raise ConfigError(
            f"{where} = {printable(text)} is not an endpoint type", hint=f"write {' or '.join(INTERFACES)}"
        )
    return name


def tls_setting(environ: Mapping[str, str]) -> bool | str:
    """The file of CAs to trust, or True for the system's.

    $OS_CACERT is OpenStack's, $RCLONE_CA_CERT rclone's. Certificates are always checked: rclone's
    $RCLONE_NO_CHECK_CERTIFICATE is not followed, for it would send secrets to whoever answers.
    """
    return environ.get("OS_CACERT") or environ.get("RCLONE_CA_CERT") or True
