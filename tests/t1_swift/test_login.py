"""Logging in with an application credential over the client's own connections, and when keystoneauth1 does it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fakes.certificates import Authority
from fakes.tokens import Kept
from hypothesis import given
from hypothesis import strategies as st
from keystoneauth1 import exceptions
from keystoneauth1.access.service_catalog import ServiceCatalogV3

from swiftfs.config import Remote, find_remote
from swiftfs.errors import AuthError, ConfigError, KeystoneUnavailable, SwiftFSError
from swiftfs.localcloud.cloud import Cloud
from swiftfs.swift import login as login_module
from swiftfs.swift.connections import Connections
from swiftfs.swift.login import CredentialLogin, PluginLogin, is_one_request, login_of

SECRET = "a secret that nobody may see"
STORE = "https://store.test/v1/AUTH_x"


def remote_at(url: str, **changes: Any) -> Remote:
    options = {"auth_url": url, "application_credential_id": "id", "application_credential_secret": SECRET}
    remote = Remote(name="r", source="r.conf [r]", auth_type="v3applicationcredential", auth_options=options)
    return dataclasses.replace(remote, **changes)


def catalogue(*rows: tuple[str | None, str, str | None]) -> list[dict[str, Any]]:
    """The catalogue with an object store of these (region, interface, URL), beside another service."""
    endpoints = [{"region": r, "region_id": r, "interface": i, "url": u, "id": "e"} for r, i, u in rows]
    other = {"region": "A", "region_id": "A", "interface": "public", "url": "https://other.test", "id": "o"}
    return [
        {"type": "compute", "name": "nova", "endpoints": [other]},
        {"type": "object-store", "name": "swift", "endpoints": endpoints},
    ]


def answer(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def granted(rows: list[dict[str, Any]] | None = None, **more: Any) -> bytes:
    token = {"catalog": rows if rows is not None else catalogue(("A", "public", STORE)), **more}
    return answer(201, json.dumps({"token": token}).encode(), "X-Subject-Token: the-token")


@dataclasses.dataclass
class Keystone:
    """Answers every request with ``raw``, and keeps what it was sent; None never answers."""

    raw: bytes | None
    asked: list[bytes] = dataclasses.field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.asked.append(head + await reader.readexactly(length))
                if self.raw is not None:
                    writer.write(self.raw)
                    await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def keystone(raw: bytes | None, tls: ssl.SSLContext | None = None) -> AsyncIterator[Keystone]:
    running = Keystone(raw)
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    running.url = f"http{'s' if tls else ''}://127.0.0.1:{port}/v3"
    try:
        yield running
    finally:
        server.close()


async def logged_in(remote: Remote) -> tuple[str, str, float | None]:
    async with contextlib.aclosing(Kept(remote)) as kept:
        assert isinstance(kept.login, CredentialLogin)
        return await kept.login()


@pytest.mark.asyncio
async def test_one_request_gives_token_storage_url_and_life() -> None:
    """The credential goes to /auth/tokens, and the life counts by Keystone's own clock."""
    times = {"issued_at": "2020-01-01T00:00:00.000000Z", "expires_at": "2020-01-01T01:00:00.000000Z"}
    async with keystone(granted(**times)) as running:
        assert await logged_in(remote_at(running.url)) == ("the-token", STORE, 3600.0)
    (asked,) = running.asked
    head, _, body = asked.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v3/auth/tokens HTTP/1.1\r\n")
    assert json.loads(body)["auth"]["identity"] == {
        "methods": ["application_credential"],
        "application_credential": {"id": "id", "secret": SECRET},
    }


@pytest.mark.cloud
@pytest.mark.asyncio
async def test_a_real_keystone_gives_the_same_as_to_keystoneauth1(cloud: Cloud, remote: Remote) -> None:
    """Storage URL and life are equal, and both tokens are good for something."""
    ours, theirs = await logged_in(remote), await PluginLogin(remote)()
    assert ours[1:] == theirs[1:] == (cloud.storage_url, ours[2])
    assert ours[2] is not None
    assert ours[0]
    assert theirs[0]


@pytest.mark.parametrize(
    ("raw", "kind", "words"),
    [
        (answer(401, b"{}"), AuthError, "refuses the credentials"),
        (answer(404, b"{}"), AuthError, "refuses the credentials"),
        (answer(400, b"{}"), AuthError, "refuses the credentials"),
        (answer(500, b"no"), KeystoneUnavailable, "status 500"),
        (answer(503, b"no"), KeystoneUnavailable, "status 503"),
        (answer(429, b"no"), KeystoneUnavailable, "status 429"),
        (answer(200, b"<html>"), KeystoneUnavailable, "status 200"),
        (answer(201, b"<html>", "X-Subject-Token: t"), KeystoneUnavailable, "is not Keystone"),
        (answer(201, b'{"token": {}}'), KeystoneUnavailable, "is not Keystone"),
        (answer(201, b'{"token": {"catalog": 3}}', "X-Subject-Token: t"), KeystoneUnavailable, "is not Keystone"),
        (granted([]), ConfigError, "lists no object store"),
        (granted(catalogue(("B", "public", STORE))), ConfigError, "no object store in region 'A'; known regions: B"),
        (granted(catalogue(("A", "internal", STORE))), ConfigError, "known endpoint types: internal"),
        (b"SSH-2.0-x\r\n", KeystoneUnavailable, "cannot reach Keystone"),
    ],
)
@pytest.mark.asyncio
async def test_whatever_answers_is_one_clear_error_without_the_secret(
    raw: bytes, kind: type[SwiftFSError], words: str
) -> None:
    """Refused, down, somebody else, or without a store: said in one line, and the secret is not in it."""
    async with keystone(raw) as running:
        with pytest.raises(kind) as caught:
            await logged_in(remote_at(running.url, region="A"))
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.asyncio
async def test_a_keystone_that_is_silent_or_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not waited for beyond the limit of one exchange."""
    monkeypatch.setattr(login_module, "KEYSTONE_TIMEOUT", 0.2)
    async with keystone(None) as running:
        with pytest.raises(KeystoneUnavailable, match=r"did not answer within|cannot reach"):
            await logged_in(remote_at(running.url))
    with pytest.raises(KeystoneUnavailable, match="cannot reach Keystone"):
        await logged_in(remote_at(running.url))


@pytest.mark.asyncio
async def test_a_certificate_that_is_not_trusted_says_which_check_failed(tmp_path: Path) -> None:
    """The certificate of a CA that nobody named is refused before the secret is sent; with its CA named it is good."""
    authority = Authority.made(tmp_path / "ca.pem")
    async with keystone(granted(), authority.server(tmp_path)) as running:
        with pytest.raises(KeystoneUnavailable, match="is not trusted: unable to get local issuer"):
            await logged_in(remote_at(running.url))
        assert running.asked == []
        assert (await logged_in(remote_at(running.url, verify=str(authority.file))))[1] == STORE


@pytest.mark.asyncio
async def test_a_redirect_is_for_keystoneauth1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own request follows none: it would carry the secret along."""

    async def theirs(self: PluginLogin) -> tuple[str, str, float | None]:
        return "theirs", STORE, None

    monkeypatch.setattr(PluginLogin, "__call__", theirs)
    async with keystone(answer(301, b"", "Location: http://other.test/v3")) as running:
        assert (await logged_in(remote_at(running.url)))[0] == "theirs"
    assert len(running.asked) == 1


@pytest.mark.asyncio
async def test_other_credentials_and_surroundings_are_for_keystoneauth1() -> None:
    """Passwords, credentials by name, proxies and CA bundles of requests go the way they always went."""
    remote = remote_at("https://keystone.test/v3")
    by_name = {**remote.auth_options, "username": "u"}
    assert is_one_request(remote, {"HOME": "/root", "NO_PROXY": "x"})
    assert not is_one_request(remote, {"https_proxy": "http://proxy:3128"})
    assert not is_one_request(remote, {"REQUESTS_CA_BUNDLE": "/ca.pem"})
    plain = remote_at("http://keystone.test/v3")
    assert not is_one_request(plain, {"HTTP_PROXY": "http://proxy:3128"})
    assert is_one_request(plain, {"https_proxy": "http://proxy:3128", "REQUESTS_CA_BUNDLE": "/ca.pem"})
    assert not is_one_request(dataclasses.replace(remote, auth_options=by_name), {})
    assert not is_one_request(dataclasses.replace(remote, auth_type="v3password"), {})
    async with contextlib.aclosing(Kept(remote)) as kept:
        connections: Connections = kept.connections
        assert isinstance(login_of(remote, connections, {"all_proxy": "socks5://p"}), PluginLogin)


REGIONS = st.sampled_from(["A", "B", None])
INTERFACES = st.sampled_from(["public", "internal", "admin"])
ROWS = st.lists(st.tuples(REGIONS, INTERFACES, st.sampled_from(["https://1", "https://2", "https://3"])), max_size=6)


@given(ROWS, REGIONS, INTERFACES)
def test_the_storage_url_is_the_one_that_keystoneauth1_chooses(
    rows: list[tuple[str | None, str, str]], region: str | None, interface: str
) -> None:
    """For every catalogue, region and interface."""
    remote = remote_at("https://keystone.test/v3", region=region, interface=interface)
    services = catalogue(*rows)
    try:
        theirs = ServiceCatalogV3(services).url_for(
            service_type="object-store", interface=interface, region_name=region
        )
    except (exceptions.CatalogException, exceptions.EmptyCatalog):
        theirs = None
    endpoints = [
        login_module._Endpoint(row["url"], row["interface"], row["region"], row["region_id"])
        for service in services
        if service["type"] == "object-store"
        for row in service["endpoints"]
    ]
    try:
        ours = login_module._checked_url(remote, endpoints)
    except ConfigError:
        ours = None
    assert ours == theirs


@dataclasses.dataclass
class Federation:
    """An OpenID provider that knows a password, and a Keystone that trusts it, in one server."""

    password: str
    url: str = ""
    asked: list[str] = dataclasses.field(default_factory=list)

    async def discovery(self, request: web.Request) -> web.Response:
        return web.json_response({"token_endpoint": f"{self.url}/token"})

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.asked.append(f"{form['grant_type']} of {form['username']}")
        good = form["password"] == self.password
        return web.json_response({"access_token": "an access token"} if good else {}, status=200 if good else 401)

    async def federated(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer an access token"
        token = {"token": {"methods": ["openid"], "user": {"id": "u", "name": "u"}}}
        return web.json_response(token, status=201, headers={"X-Subject-Token": "unscoped"})

    async def scoped(self, request: web.Request) -> web.Response:
        auth = (await request.json())["auth"]
        assert auth["identity"] == {"methods": ["token"], "token": {"id": "unscoped"}}
        token = {"catalog": catalogue(("A", "public", STORE)), "project": {"id": auth["scope"]["project"]["id"]}}
        token |= {"issued_at": "2020-01-01T00:00:00.000000Z", "expires_at": "2020-01-01T01:00:00.000000Z"}
        return web.json_response({"token": token}, status=201, headers={"X-Subject-Token": "the-token"})


@contextlib.asynccontextmanager
async def federation(password: str) -> AsyncIterator[Federation]:
    running = Federation(password)
    app = web.Application()
    app.router.add_get("/openid", running.discovery)
    app.router.add_post("/token", running.token)
    app.router.add_post("/v3/OS-FEDERATION/identity_providers/chameleon/protocols/openid/auth", running.federated)
    app.router.add_post("/v3/auth/tokens", running.scoped)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    running.url = f"http://{host}:{port}"
    try:
        yield running
    finally:
        await runner.cleanup()


@pytest.mark.asyncio
async def test_an_openrc_file_of_a_federated_cloud_logs_in() -> None:
    """With the password of its identity provider, as Chameleon's is; a wrong one is refused with what may be done."""
    async with federation(SECRET) as running:
        environ = {
            "OS_AUTH_TYPE": "v3oidcpassword",
            "OS_AUTH_URL": f"{running.url}/v3",
            "OS_IDENTITY_PROVIDER": "chameleon",
            "OS_PROTOCOL": "openid",
            "OS_DISCOVERY_ENDPOINT": f"{running.url}/openid",
            "OS_CLIENT_ID": "keystone",
            "OS_CLIENT_SECRET": "none",
            "OS_ACCESS_TOKEN_TYPE": "access_token",
            "OS_USERNAME": "me",
            "OS_PASSWORD": SECRET,
            "OS_PROJECT_ID": "7",
        }
        assert await PluginLogin(find_remote("env", environ))() == ("the-token", STORE, 3600.0)
        assert running.asked == ["password of me"]
        wrong = find_remote("env", {**environ, "OS_PASSWORD": f"not {SECRET}"})
        with pytest.raises(AuthError, match=r"check user and password, or make an application credential") as caught:
            await PluginLogin(wrong)()
    assert SECRET not in str(caught.value)
