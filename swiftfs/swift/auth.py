"""One token for every request, from Keystone v3 through keystoneauth1, renewed by one login for all who wait.

keystoneauth1 is blocking: it runs in a worker thread. It renews by itself when less than 120 s of life are left, which
with short tokens means at every look; so it is asked once per login and the token is kept here, until the store
refuses it or its life is nearly over. Neither tokens nor secrets ever reach a message.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from swiftfs.errors import AuthError, ConfigError, KeystoneUnavailable, SwiftFSError, Unavailable, printable

if TYPE_CHECKING:
    from swiftfs.config import Remote

log = logging.getLogger(__name__)

SERVICE_TYPE = "object-store"
RENEW_AT = 0.8
"""Share of a token's life after which it is renewed before it is refused: a request in flight should outlive it."""
KEYSTONE_TIMEOUT = 10.0
"""Seconds for one exchange with Keystone: it answers in well under one."""
APPLICATION_CREDENTIAL = "v3applicationcredential"
NEEDED = ("auth_url", "application_credential_id", "application_credential_secret")
LOGIN_ATTEMPTS = 4
FIRST_LOGIN_PAUSE = 0.5
"""Pauses of 0.5, 1 and 2 s between attempts: a start against a store that is down fails within 10 s."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token and where it is good for. Times are in monotonic seconds, None when its life is not known."""

    value: str = field(repr=False)
    storage_url: str
    renew_at: float | None
    expires_at: float | None
    number: int

    def has_expired(self, now: float) -> bool:
        """Whether a refusal at ``now`` says nothing about the credentials: the token's life was over."""
        return self.expires_at is not None and now >= self.expires_at


class Login(Protocol):
    """The blocking exchange with Keystone: returns token value, storage URL and seconds of life (None: unknown)."""

    def __call__(self) -> tuple[str, str, float | None]: ...


class Authenticator:
    """Hands out the current token. One instance per client, used from one event loop.

    ``logins`` counts exchanges that gave a token. ``introduce``, when it is set, is called with every token after the
    first before anybody else gets it.
    """

    introduce: Callable[[Token], Awaitable[None]] | None = None

    def __init__(self, login: Login, *, renewable: bool = True) -> None:
        self._login = login
        self._renewable = renewable
        self._token: Token | None = None
        self._renewal: asyncio.Task[Token] | None = None
        self.logins = 0

    async def close(self) -> None:
        """End a login that is under way; who waits for it is cancelled."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    async def token(self) -> Token:
        """The token to send now. Raises AuthError, ConfigError or Unavailable."""
        token = self._token
        if token is not None and (token.renew_at is None or time.monotonic() < token.renew_at):
            return token
        return await self._replace(token)

    async def refused(self, token: Token) -> Token:
        """A token to use instead of ``token``, which the store has refused.

        However many requests were refused with the same token, one login is made. Raises AuthError when no other can
        be had.
        """
        if not self._renewable:
            raise AuthError(
                "the store refuses the token of this remote",
                hint="give credentials instead of a token: a token alone cannot be renewed",
                status=401,
            )
        return await self._replace(token)

    async def _replace(self, old: Token | None) -> Token:
        """The token that came after ``old``. A login belongs to nobody: who waits for it may be cancelled, and with a
        slow Keystone the login would be lost each time that the first of them gives up."""
        current = self._token
        if current is not None and (old is None or current.number != old.number):
            return current
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew(introduce=old is not None))
            self._renewal.add_done_callback(self._renewed)
        try:
            return await asyncio.shield(self._renewal)
        except SwiftFSError as error:
            raise copy.copy(error) from None  # each adds the place in the store that it was about

    def _renewed(self, renewal: asyncio.Task[Token]) -> None:
        self._renewal = None
        if not renewal.cancelled() and renewal.exception() is not None:
            log.debug("no token: %s", renewal.exception())

    async def _renew(self, *, introduce: bool) -> Token:
        value, storage_url, life = await self._exchange()
        self.logins += 1
        now = time.monotonic()
        if life is None or not self._renewable:
            renew_at = expires_at = None
        else:
            renew_at, expires_at = now + life * RENEW_AT, now + life
        token = Token(value, storage_url.rstrip("/"), renew_at, expires_at, self.logins)
        log.debug("login %d: token for %s, %s s of life", self.logins, storage_url, life)
        if introduce and self.introduce is not None:
            await self.introduce(token)
        self._token = token
        return token

    async def _exchange(self) -> tuple[str, str, float | None]:
        pause = FIRST_LOGIN_PAUSE
        for attempt in range(1, LOGIN_ATTEMPTS + 1):
            try:
                return await asyncio.to_thread(self._login)
            except Unavailable as error:
                if attempt == LOGIN_ATTEMPTS:
                    raise
                log.info("login failed, again in %.1f s: %s", pause, error)
            await asyncio.sleep(pause)
            pause *= 2
        raise AssertionError("unreachable")


def authenticator(remote: Remote, login: Login | None = None) -> Authenticator:
    """The authenticator for ``remote``; nothing is sent before its first token is asked for.

    ``login`` takes the place of Keystone's usual exchange; None where there is none under way.
    """
    if remote.auth_type == "none":
        if not remote.storage_url or not remote.auth_token:
            raise ConfigError(f"{remote.source} has neither credentials nor storage_url with auth_token")
        fixed = (remote.auth_token, remote.storage_url, None)
        return Authenticator(lambda: fixed, renewable=False)
    return Authenticator(login or KeystoneLogin(remote))


class EarlyLogin:
    """A login that is under way before anybody asks for it: the first call gets that one's outcome, others log in anew.

    So Keystone answers while the interpreter imports the rest. ``remote`` is whose login it is. The thread ends with
    the process.
    """

    def __init__(self, remote: Remote, login: Login) -> None:
        self.remote = remote
        self._login = login
        self._first: Future[tuple[str, str, float | None]] | None = Future()
        threading.Thread(target=self._run, args=(self._first,), name="early login", daemon=True).start()

    def __call__(self) -> tuple[str, str, float | None]:
        """The outcome of a login; the wait is bounded as that of :class:`KeystoneLogin` is."""
        first, self._first = self._first, None
        return first.result() if first is not None else self._login()

    def _run(self, outcome: Future[tuple[str, str, float | None]]) -> None:
        try:
            outcome.set_result(self._login())
        except BaseException as error:
            outcome.set_exception(error)


def early_login(remote: Remote) -> EarlyLogin | None:
    """A login at ``remote``, begun now; None where there is nothing to log in at."""
    if remote.auth_type == "none":
        return None
    import keystoneauth1.identity.v3
    import keystoneauth1.session  # noqa: F401 - here and not in the login's thread, with which it would share time

    return EarlyLogin(remote, KeystoneLogin(remote))


class KeystoneLogin:
    """One blocking login after another with the same credentials."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def __call__(self) -> tuple[str, str, float | None]:
        """Raises AuthError (refused), ConfigError (region or service missing) or Unavailable (no answer)."""
        from keystoneauth1 import exceptions, session

        remote = self._remote
        try:
            plugin = _plugin(remote)
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
            raise _login_error(remote, error) from None
        storage_url = remote.storage_url or _storage_url(remote, access)
        if storage_url != remote.storage_url:
            _refuse_downgrade(remote, storage_url)
        life = None
        if access.expires is not None:
            from datetime import UTC, datetime

            life = max(0.0, (access.expires - datetime.now(UTC)).total_seconds())
            if access.issued is not None:
                # By Keystone's own clock: ours may be off by more than a short token's life.
                life = max(0.0, (access.expires - access.issued).total_seconds())
        return str(access.auth_token), storage_url, life


def _plugin(remote: Remote) -> Any:
    """keystoneauth1's plugin for ``remote``. Most have an application credential with its id: that one is made without
    the loader, which looks through every installed distribution."""
    options: dict[str, Any] = dict(remote.auth_options)
    if remote.auth_type == APPLICATION_CREDENTIAL and all(options.get(name) for name in NEEDED):
        from keystoneauth1.identity import v3

        return v3.ApplicationCredential(**options)
    from keystoneauth1 import loading

    loader: Any = loading.get_plugin_loader(remote.auth_type)
    return loader.load_from_options(**options)


def _login_error(remote: Remote, error: Any) -> SwiftFSError:
    """Our error for keystoneauth1's ``error``; its text is not passed on where it could hold a secret."""
    from keystoneauth1 import exceptions

    where = remote.auth_options.get("auth_url", "Keystone")
    if isinstance(error, exceptions.RequestTimeout | exceptions.ConnectTimeout):
        return KeystoneUnavailable(f"Keystone at {where} did not answer within {KEYSTONE_TIMEOUT:.0f} s")
    if isinstance(error, exceptions.SSLError):
        return KeystoneUnavailable(
            f"the certificate of Keystone at {where} is not trusted", hint="name your CA's file in OS_CACERT"
        )
    if isinstance(error, exceptions.ConnectFailure | exceptions.DiscoveryFailure):
        return KeystoneUnavailable(
            f"cannot reach Keystone at {where}", hint=f"check the network and the auth URL in {remote.source}"
        )
    status = getattr(error, "http_status", None)
    if status is not None and (status >= 500 or status == 429):
        return KeystoneUnavailable(f"Keystone at {where} answers with status {status}", status=status)
    if status in {400, 401, 403, 404}:
        # 404: no such application credential; 400: malformed credentials.
        return AuthError(
            f"Keystone at {where} refuses the credentials of {remote.source} (status {status})",
            hint="check id and secret, and whether they have expired or been deleted",
            status=status,
        )
    return AuthError(f"login at {where} failed: {printable(type(error).__name__)}", hint=f"check {remote.source}")


def _refuse_downgrade(remote: Remote, storage_url: str) -> None:
    """Raise ConfigError where a catalogue from an encrypted Keystone would have the token sent in the clear."""
    where = str(remote.auth_options.get("auth_url", ""))
    if where.lower().startswith("https:") and not storage_url.lower().startswith("https:"):
        raise ConfigError(
            f"Keystone at {where} is encrypted, but the object store it names, {printable(storage_url)}, is not",
            hint="to send the token in the clear all the same, set storage_url to that URL",
        )


def _storage_url(remote: Remote, access: Any) -> str:
    """The storage URL of ``remote``'s region and interface. Raises ConfigError that names the known regions."""
    from keystoneauth1 import exceptions

    try:
        found = access.service_catalog.url_for(
            service_type=SERVICE_TYPE, interface=remote.interface, region_name=remote.region
        )
    except (exceptions.CatalogException, exceptions.EmptyCatalog):
        found = None
    if found:
        return str(found)
    endpoints = access.service_catalog.get_endpoints(service_type=SERVICE_TYPE) if access.has_service_catalog() else {}
    known = [
        (row.get("region_id") or row.get("region"), row.get("interface")) for rows in endpoints.values() for row in rows
    ]
    if not known:
        raise ConfigError(f"Keystone lists no object store for the credentials of {remote.source}")
    regions = sorted({region for region, _ in known if region})
    if remote.region is not None and remote.region not in regions:
        raise ConfigError(
            f"{remote.source}: no object store in region '{remote.region}'", hint=f"known regions: {', '.join(regions)}"
        )
    interfaces = sorted({interface for region, interface in known if interface and remote.region in {None, region}})
    raise ConfigError(
        f"{remote.source}: no {remote.interface} endpoint of the object store",
        hint=f"known endpoint types: {', '.join(interfaces)}",
    )
