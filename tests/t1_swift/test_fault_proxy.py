"""The fault proxy changes nothing by itself, and breaks what it is told to break."""

from __future__ import annotations

import asyncio
import http.client
import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from fakes.fault_proxy import Fault, FaultProxy, Reset, Status
from fakes.tokens import token_of

from swiftfs.config import Remote, find_remote
from swiftfs.localcloud import Cloud

pytestmark = pytest.mark.cloud

OWN = {"date", "x-trans-id", "x-openstack-request-id", "last-modified", "x-timestamp"}
"""Headers that differ from one request to the next."""


@pytest.fixture(scope="module")
def access(cloud: Cloud) -> tuple[str, str]:
    """The storage URL and a token."""

    async def login() -> tuple[str, str]:
        remote: Remote = find_remote("local", {"RCLONE_CONFIG": str(cloud.rclone_conf)})
        token = await token_of(remote)
        return token.storage_url, token.value

    return asyncio.run(login())


@pytest.fixture
def proxy(access: tuple[str, str]) -> Iterator[FaultProxy]:
    with FaultProxy(access[0]) as running:
        yield running


def ask(url: str, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[object, ...]:
    """One request on a connection of its own: status, reason, headers that stay the same, body."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request(method, parts.path + path, body, headers)
        response = connection.getresponse()
        kept = [(name, value) for name, value in response.getheaders() if name.lower() not in OWN]
        return response.status, response.reason, kept, response.read()
    finally:
        connection.close()


def test_what_passes_is_what_the_server_says(access: tuple[str, str], proxy: FaultProxy) -> None:
    """Every kind of request has the same answer through the proxy as without it, header by header."""
    url, token = access
    container = f"/proxy-{secrets.token_hex(4)}"
    content = secrets.token_bytes(100_000)
    odd = "/a%20b%2F%C3%A9%25"
    for method, path, body, headers in [
        ("PUT", container, None, {}),
        ("PUT", container + odd, content, {"X-Object-Meta-A": "b"}),
        ("PUT", container + "/empty", b"", {}),
        ("GET", container + odd, None, {}),
        ("GET", container + odd, None, {"Range": "bytes=1000-1999"}),
        ("GET", container + odd, None, {"Range": "bytes=999999-"}),
        ("GET", container + odd, None, {"If-Match": '"no"'}),
        ("HEAD", container + odd, None, {}),
        ("GET", container + "/empty", None, {}),
        ("GET", container + "/absent", None, {}),
        ("HEAD", container, None, {}),
        ("GET", "", None, {}),
        ("POST", container + odd, None, {"X-Object-Meta-A": "c"}),
        ("DELETE", container, None, {}),
        ("DELETE", container + odd, None, {}),
        ("DELETE", container + "/empty", None, {}),
    ]:
        headers["X-Auth-Token"] = token
        if method == "DELETE" and path != container:
            ask(url, "PUT", path, b"again", headers)
        if method == "PUT" and path == container:
            ask(url, "PUT", path, None, headers)
        straight = ask(url, method, path, body, headers)
        if method == "DELETE" and path != container:
            ask(url, "PUT", path, b"again", headers)

        assert ask(proxy.url, method, path, body, headers) == straight
    listing = container + "?format=json"
    assert ask(proxy.url, "GET", listing, None, headers) == ask(url, "GET", listing, None, headers)
    assert ask(proxy.url, "DELETE", container, None, headers)[0] == 204


def test_a_fault_hits_the_requests_that_it_names(access: tuple[str, str], proxy: FaultProxy) -> None:
    """Method, path, skip and count choose; outside of ``broken`` everything passes."""
    headers = {"X-Auth-Token": access[1]}

    def statuses(method: str, *paths: str) -> list[object]:
        return [ask(proxy.url, method, path, None, headers)[0] for path in paths]

    with proxy.broken(Fault(Status(599), "GET", "/x", skip=1, count=2)):
        assert statuses("GET", "/x", "/y", "/x", "/x", "/x") == [404, 404, 599, 599, 404]
        assert statuses("HEAD", "/x") == [404]
        assert proxy.played() == 2
    with proxy.broken(Fault(Reset())), pytest.raises(ConnectionError):
        statuses("GET", "/x")

    assert statuses("GET", "/x") == [404]


def test_a_proxy_that_is_down_refuses_and_comes_back(access: tuple[str, str], proxy: FaultProxy) -> None:
    """While it is down its port is closed; afterwards it is the same port."""
    url = proxy.url
    proxy.down()
    with pytest.raises(ConnectionRefusedError):
        ask(url, "GET", "/x", None, {})
    proxy.up()

    assert ask(url, "GET", "/x", None, {"X-Auth-Token": access[1]})[0] == 404
