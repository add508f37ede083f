"""Logging in at Keystone v3: credentials in; token, storage URL and seconds of life out.

An application credential with its id, the usual case, is one request over the client's own connections (Identity API
v3, "Authenticating with an Application Credential"): importing keystoneauth1 with what it needs takes longer than
that, in every command. All other kinds of credentials, a Keystone that redirects, and surroundings with proxies or
authorities that only requests knows of are keystoneauth1's, in a thread. Neither tokens nor secrets reach a message.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from swiftfs.errors import AuthError, ConfigError, KeystoneUnavailable, SwiftFSError, printable

if TYPE_CHECKING:
    from swiftfs.config import Remote
    from swiftfs.swift.answer import Answer
    from swiftfs.swift.connections import Connections

SERVICE_TYPE = "object-store"
KEYSTONE_TIMEOUT = 10.0
"""Seconds for one exchange with Keystone: it answers in well under one."""
LARGEST_CATALOGUE = 16 * 1024 * 1024
"""Bytes of Keystone's answer at the most; one of a cloud with a dozen regions has 100,000."""
APPLICATION_CREDENTIAL = "v3applicationcredential"
NEEDED = ("auth_url", "application_credential_id", "application_credential_secret")
REFUSALS = frozenset({400, 401, 403, 404})
"""404: no such application credential; 400: malformed credentials."""
SURROUNDINGS = {
    "http": ("http_proxy", "all_proxy"),
    "https": ("https_proxy", "all_proxy", "requests_ca_bundle", "curl_ca_bundle"),
}
"""Variables, in upper or lower case, that keystoneauth1's requests obeys and our connections do not know, by scheme."""


class Login(Protocol):
    """One exchange with Keystone: token, storage URL and seconds of life (None: unknown).

    Raises AuthError (refused), ConfigError (region or service missing) or Unavailable (no answer)."""

    async def __call__(self) -> tuple[str, str, float | None]: ...


def login_of(remote: Remote, connections: Connections, environ: Mapping[str, str] = os.environ) -> Login:
    """The way to log in at ``remote``, which has credentials."""
    if is_one_request(remote, environ):
        return CredentialLogin(remote, connections)
    return PluginLogin(remote)


def is_one_request(remote: Remote, environ: Mapping[str, str]) -> bool:
    """Whether an application credential, known by its id, can be used over our own connections."""
    if remote.auth_type != APPLICATION_CREDENTIAL or set(remote.auth_options) != set(NEEDED):
        return False
    scheme = remote.auth_options["auth_url"].partition(":")[0].lower()
    return not any(environ.get(name) or environ.get(name.upper()) for name in SURROUNDINGS.get(scheme, ()))


class CredentialLogin:
    """Logs in with an application credential, over ``connections``."""

    def __init__(self, remote: Remote, connections: Connections) -> None:
        self._remote = remote
        self._connections = connections

    async def __call__(self) -> tuple[str, str, float | None]:
        """See :class:`Login`."""
        remote = self._remote
        where, identity, secret = (remote.auth_options[name] for name in NEEDED)
        credential = {"id": identity, "secret": secret}
        body = {"auth": {"identity": {"methods": ["application_credential"], "application_credential": credential}}}
        try:
            async with asyncio.timeout(KEYSTONE_TIMEOUT):
                answer = await self._connections.exchange(
                    "POST",
                    f"{where.rstrip('/')}/auth/tokens",
                    {"Content-Type": "application/json", "Accept": "application/json"},
                    msgspec.json.encode(body),
                    limit=LARGEST_CATALOGUE,
                    stall=KEYSTONE_TIMEOUT,
                )
        except TimeoutError:
            raise _too_late(where) from None
        except ConfigError as error:
            raise _untrusted(where, error) from None
        except SwiftFSError as error:
            raise _unreachable(remote, where, error.message) from None
        if 300 <= answer.status < 400:
            return await PluginLogin(remote)()
        if answer.status != 201:
            raise _status_error(remote, where, answer.status)
        return _granted(remote, answer)


class _Endpoint(msgspec.Struct):
    url: str | None = None
    interface: str | None = None
    region: str | None = None
    region_id: str | None = None


class _Service(msgspec.Struct):
    type: str | None = None
    endpoints: list[_Endpoint] = []


class _Token(msgspec.Struct):
    catalog: list[_Service] = []
    issued_at: datetime | None = None
    expires_at: datetime | None = None


class _Body(msgspec.Struct):
    token: _Token


def _granted(remote: Remote, answer: Answer) -> tuple[str, str, float | None]:
    """What a 201 says (Identity API v3, "Password authentication with scoped authorization", response)."""
    value = answer.headers.get("X-Subject-Token", "")
    try:
        token = msgspec.json.decode(answer.body, type=_Body).token
    except msgspec.DecodeError:
        value = ""
    if not value:
        where = remote.auth_options["auth_url"]
        raise KeystoneUnavailable(f"what answers at {where} is not Keystone, or its answer is damaged")
    rows = [row for service in token.catalog if service.type == SERVICE_TYPE for row in service.endpoints]
    return value, _checked_url(remote, rows), _life(token.issued_at, token.expires_at)


class PluginLogin:
    """Logs in through a plugin of keystoneauth1, which blocks, in a thread."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    async def __call__(self) -> tuple[str, str, float | None]:
        """See :class:`Login`."""
        return await asyncio.to_thread(self._log_in)

    def _log_in(self) -> tuple[str, str, float | None]:
        from keystoneauth1 import exceptions, loading, session

        remote = self._remote
        try:
            loader: Any = loading.get_plugin_loader(remote.auth_type)
            plugin = loader.load_from_options(**remote.auth_options)
            keystone = session.Session(auth=plugin, verify=remote.verify, timeout=KEYSTONE_TIMEOUT)
            try:
                access = plugin.get_access(keystone)
            finally:
                keystone.session.close()
        except exceptions.MissingRequiredOptions as error:
            missing = ", ".join(option.dest for option in error.options)
            raise ConfigError(f"{remote.source} lacks {missing}") from None
        except exceptions.NoMatchingPlugin:
            raise ConfigError(f"{remote.source}: unknown kind of credentials '{remote.auth_type}'") from None
        except exceptions.ClientException as error:
            raise _plugin_error(remote, error) from None
        found = access.service_catalog.get_endpoints(service_type=SERVICE_TYPE) if access.has_service_catalog() else {}
        rows = [
            _Endpoint(row.get("url"), row.get("interface"), row.get("region"), row.get("region_id"))
            for rows in found.values()
            for row in rows
        ]
        return str(access.auth_token), _checked_url(remote, rows), _life(access.issued, access.expires)


def _life(issued: datetime | None, expires: datetime | None) -> float | None:
    """Seconds, by Keystone's own clock where it tells: ours may be off by more than a short token's life."""
    if expires is None:
        return None
    return max(0.0, (expires - (issued or datetime.now(UTC))).total_seconds())


def _plugin_error(remote: Remote, error: Any) -> SwiftFSError:
    """Our error for keystoneauth1's ``error``; its text is not passed on where it could hold a secret."""
    from keystoneauth1 import exceptions

    where = remote.auth_options.get("auth_url", "Keystone")
    if isinstance(error, exceptions.RequestTimeout | exceptions.ConnectTimeout):
        return _too_late(where)
    if isinstance(error, exceptions.SSLError):
        return _untrusted(where)
    if isinstance(error, exceptions.ConnectFailure | exceptions.DiscoveryFailure):
        return _unreachable(remote, where)
    status = getattr(error, "http_status", None)
    if status is not None:
        return _status_error(remote, where, status)
    return AuthError(f"login at {where} failed: {printable(type(error).__name__)}", hint=f"check {remote.source}")


def _too_late(where: str) -> SwiftFSError:
    return KeystoneUnavailable(f"Keystone at {where} did not answer within {KEYSTONE_TIMEOUT:.0f} s")


def _untrusted(where: str, error: SwiftFSError | None = None) -> SwiftFSError:
    check = "" if error is None else error.message.rpartition(":")[2]
    return KeystoneUnavailable(
        f"the certificate of Keystone at {where} is not trusted" + (f":{check}" if check else ""),
        hint="name your CA's file in OS_CACERT",
    )


def _unreachable(remote: Remote, where: str, reason: str = "") -> SwiftFSError:
    why = f": {reason}" if reason else ""
    return KeystoneUnavailable(
        f"cannot reach Keystone at {where}{why}", hint=f"check the network and the auth URL in {remote.source}"
    )


def _status_error(remote: Remote, where: str, status: int) -> SwiftFSError:
    if status in REFUSALS:
        federated = remote.auth_type.startswith("v3oidc")
        return AuthError(
            f"Keystone at {where} refuses the credentials of {remote.source} (status {status})",
            hint="check user and password, or make an application credential"
            if federated
            else "check id and secret, and whether they have expired or been deleted",
            status=status,
        )
    return KeystoneUnavailable(f"Keystone at {where} answers with status {status}", status=status)


def _checked_url(remote: Remote, rows: Iterable[_Endpoint]) -> str:
    """The storage URL that the user names, or that of the catalogue's ``rows``.

    Raises ConfigError, also where a catalogue from an encrypted Keystone would have the token sent in the clear.
    """
    if remote.storage_url:
        return remote.storage_url
    found = _catalogued_url(remote, list(rows))
    where = str(remote.auth_options.get("auth_url", ""))
    if where.lower().startswith("https:") and not found.lower().startswith("https:"):
        raise ConfigError(
            f"Keystone at {where} is encrypted, but the object store it names, {printable(found)}, is not",
            hint="to send the token in the clear all the same, set storage_url to that URL",
        )
    return found


def _catalogued_url(remote: Remote, rows: list[_Endpoint]) -> str:
    """The URL of ``remote``'s region and interface. Raises ConfigError that names the known ones."""
    if not rows:
        raise ConfigError(f"Keystone lists no object store for the credentials of {remote.source}")
    here = [row for row in rows if remote.region is None or remote.region in {row.region_id, row.region}]
    for row in here:
        if row.interface == remote.interface and row.url:
            return row.url
    if not here:
        regions = sorted({name for row in rows if (name := row.region_id or row.region)})
        raise ConfigError(
            f"{remote.source}: no object store in region '{remote.region}'", hint=f"known regions: {', '.join(regions)}"
        )
    interfaces = sorted({row.interface for row in here if row.interface})
    raise ConfigError(
        f"{remote.source}: no {remote.interface} endpoint of the object store",
        hint=f"known endpoint types: {', '.join(interfaces)}",
    )
