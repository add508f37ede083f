"""What each key of rclone's Swift backend means here: taken, taken note of, or refused by name.

Pure. Every key of rclone 1.75's ``swift`` backend is in one of the tables below. A key that rclone does not know
either is ignored, as rclone does, and a warning says so: a typing error would otherwise show as a failed login.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping

from swiftfs.config.credentials import Credentials, choose_login
from swiftfs.config.openrc import normal_interface, openrc_credentials, tls_setting
from swiftfs.config.rclone import SWIFT, Section
from swiftfs.config.remote import LARGEST_OBJECT, PREAUTHENTICATED, Remote
from swiftfs.errors import ConfigError, printable

log = logging.getLogger(__name__)

CREDENTIAL_KEYS = {
    "auth_url": "auth",
    "user": "user",
    "user_id": "user_id",
    "user_domain": "domain",
    "password": "key",
    "project": "tenant",
    "project_id": "tenant_id",
    "project_domain": "tenant_domain",
    "application_credential_id": "application_credential_id",
    "application_credential_name": "application_credential_name",
    "application_credential_secret": "application_credential_secret",
    "token": "auth_token",
    "storage_url": "storage_url",
}
"""Fields of Credentials as rclone spells them."""

OTHER_KEYS = frozenset(
    {
        "type",
        "env_auth",
        "auth_version",
        "region",
        "endpoint_type",
        "storage_policy",
        "no_large_objects",
        "use_segments_container",
        "chunk_size",
        "encoding",
    }
)
WITHOUT_EFFECT = {
    "description": "it is for people",
    "leave_parts_on_error": "segments of a broken load are always kept, to continue it",
    "fetch_until_empty_page": "listings always end at an empty page",
    "partial_page_fetch_threshold": "listings always end at an empty page",
    "no_chunk": "objects up to the segment size are never cut",
}
"""Keys that change nothing here, each with why."""

DEFAULT_ENCODING = frozenset({"slash", "invalidutf8"})
"""Names go over the wire as they are but for what Swift cannot hold."""

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)(?:([bB])|([kKmMgGtTpP])(?:i?[bB]|i)?)?")
_POWERS = {"K": 10, "M": 20, "G": 30, "T": 40, "P": 50}


def remote_from_section(section: Section, environ: Mapping[str, str]) -> Remote:
    """The remote that a section means. Raises ConfigError naming the source, the key and what to write instead."""
    kind = section.get("type")
    if kind != SWIFT:
        said = f"has type '{printable(kind)}'" if kind else "has no type"
        raise ConfigError(f"{section.source} {said}", hint="only remotes with 'type = swift' can be used")
    _check_keys(section)
    given = Credentials(**{field: section.get(key) for field, key in CREDENTIAL_KEYS.items()})
    region = section.get("region")
    interface = section.get("endpoint_type")
    if _boolean(section, "env_auth"):
        given = openrc_credentials(environ, given)
        region = region or environ.get("OS_REGION_NAME", "").strip()
        interface = interface or environ.get("OS_ENDPOINT_TYPE", "").strip()
    login = choose_login(given, section.source, lambda field: section.spell(CREDENTIAL_KEYS.get(field, field)))
    return Remote(
        name=section.name,
        source=section.source,
        auth_type=login.auth_type,
        auth_options=login.options,
        region=region or None,
        interface=normal_interface(interface, f"{section.source}: {section.spell('endpoint_type')}"),
        storage_url=given.storage_url.rstrip("/") or None,
        auth_token=given.token if login.auth_type == PREAUTHENTICATED else None,
        verify=tls_setting(environ),
        storage_policy=section.get("storage_policy") or None,
        no_large_objects=_boolean(section, "no_large_objects"),
        use_segments_container=_tristate(section, "use_segments_container"),
        chunk_size=_segment_size(section),
    )


def _check_keys(section: Section) -> None:
    known = OTHER_KEYS | set(CREDENTIAL_KEYS.values())
    for key in section.values:
        if key in WITHOUT_EFFECT:
            log.debug("%s: %s changes nothing: %s", section.source, section.spell(key), WITHOUT_EFFECT[key])
        elif key not in known:
            log.warning("%s: unknown key %s is ignored", section.source, printable(section.spell(key)))
    version = section.get("auth_version")
    if version not in {"", "0", "3"}:
        raise ConfigError(
            f"{section.source}: {section.spell('auth_version')} = {printable(version)}: only Keystone v3 is supported",
            hint="set it to 3, or leave it out, and log in at https://HOST:5000/v3",
        )
    encoding = section.get("encoding")
    if encoding and {part.strip().lower() for part in encoding.split(",")} != DEFAULT_ENCODING:
        raise ConfigError(
            f"{section.source}: {section.spell('encoding')} = {printable(encoding)} is not supported",
            hint="leave it out: names are taken as they are",
        )


def _boolean(section: Section, key: str) -> bool:
    return _tristate(section, key) or False


def _tristate(section: Section, key: str) -> bool | None:
    """Go's spellings of true and false; None when nothing is given, or ``unset``."""
    text = section.get(key)
    if text in {"", "unset"}:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ConfigError(
        f"{section.source}: {section.spell(key)} = {printable(text)} is neither true nor false",
        hint="write true or false",
    )


def _segment_size(section: Section) -> int:
    """Bytes of ``chunk_size``: rclone's sizes, where a bare number counts KiB."""
    text = section.get("chunk_size")
    if not text:
        return LARGEST_OBJECT
    match = _SIZE.fullmatch(text)
    power = 0 if match and match[2] else _POWERS.get(match[3].upper(), 10) if match and match[3] else 10
    size = math.floor(float(match[1]) * (1 << power)) if match else 0
    if not 1 <= size <= LARGEST_OBJECT:
        raise ConfigError(
            f"{section.source}: {section.spell('chunk_size')} = {printable(text)} is not a segment's size",
            hint="write a size of at most 5Gi, such as 1Gi or 512Mi",
        )
    return size
