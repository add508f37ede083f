"""Rows of the fault matrix about the line itself: names, routes, certificates, distance, width, headers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import os
import random
import secrets
import ssl
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from fakes.certificates import Authority
from fakes.fault_proxy import Fault, FaultProxy, Reset, SetHeader, Status
from fakes.line import EndlessHeaders, Far, Narrow, Resolver, deaf_port, lossy, with_resolver
from fakes.programs import run
from fakes.tokens import Kept, token_of

from swiftfs.config import Remote
from swiftfs.errors import ConfigError, SwiftFSError, Truncated, Unavailable
from swiftfs.localcloud import Cloud
from swiftfs.swift.client import Client, open_client
from swiftfs.swift.login import PluginLogin

pytestmark = [pytest.mark.cloud, pytest.mark.asyncio]

SIZE = 32_768
CONTENT = random.Random(8).randbytes(SIZE)
ETAG = hashlib.md5(CONTENT).hexdigest()
DEADLINE = 12.0
"""Seconds for a call: a stall is given up after a quarter of them, which a busy store must keep."""
SHORT = 4.0
"""The same where a test waits for it to end."""
LATE = 20.0
"""Seconds by which a deadline may be missed on a busy machine."""
NAMES = [f"o{number}" for number in range(8)]


@pytest.fixture(scope="module")
def place(cloud: Cloud) -> Iterator[tuple[str, str]]:
    """A container with eight objects of CONTENT, and a token for it."""
    from swiftfs.config import find_remote

    remote = find_remote("local", {"RCLONE_CONFIG": str(cloud.rclone_conf)})
    container = f"line-{secrets.token_hex(4)}"

    async def make() -> str:
        async with open_client(remote) as client:
            await client.create_container(container)
            for name in NAMES:
                await client.put(container, name, CONTENT, md5=ETAG)
        return (await token_of(remote)).value

    async def remove() -> None:
        async with open_client(remote) as client:
            await client.bulk_delete(
                container, [entry.name async for page in client.list_objects(container) for entry in page]
            )
            await client.delete_container(container)

    token = asyncio.run(make())
    yield container, token
    asyncio.run(remove())


def at(url: str, token: str, verify: bool | str = True) -> Remote:
    """A remote that has nothing but a URL and a token."""
    return Remote("x", "a test", "none", {}, storage_url=url, auth_token=token, verify=verify)


@pytest.fixture
def proxy(cloud: Cloud) -> Iterator[FaultProxy]:
    with FaultProxy(cloud.storage_url) as running:
        yield running


@pytest_asyncio.fixture
async def client(proxy: FaultProxy, place: tuple[str, str]) -> AsyncIterator[Client]:
    async with open_client(at(proxy.url, place[1]), deadline=DEADLINE) as opened:
        yield opened


@pytest_asyncio.fixture
async def impatient(proxy: FaultProxy, place: tuple[str, str]) -> AsyncIterator[Client]:
    async with open_client(at(proxy.url, place[1]), deadline=SHORT) as opened:
        yield opened


SLOW_NAME = """
import asyncio, os, socket, sys
from swiftfs.config import Remote
from swiftfs.errors import Unavailable
from swiftfs.swift.client import open_client

ticks, lookups = 0, []
getaddrinfo = socket.getaddrinfo

def look_up(*args, **named):
    lookup = [ticks, None]
    lookups.append(lookup)
    try:
        return getaddrinfo(*args, **named)
    finally:
        lookup[1] = ticks

socket.getaddrinfo = look_up

async def main():
    async def tick():
        global ticks
        while True:
            await asyncio.sleep(0.02)
            ticks += 1
    ticking = asyncio.create_task(tick())
    remote = Remote("x", "a test", "none", {}, storage_url=sys.argv[1], auth_token=os.environ["OS_TOKEN"])
    async with open_client(remote, deadline=float(sys.argv[3])) as client:
        try:
            said = (await client.head(sys.argv[2], "o0")).etag
        except Unavailable as error:
            said = str(error)
    ticking.cancel()
    print(max((ticks if end is None else end) - begin for begin, end in lookups), said)

asyncio.run(main())
"""


@pytest.mark.row("N2")
@pytest.mark.parametrize(
    ("host", "delay", "deadline"),
    [("store.test", 1.0, DEADLINE + LATE), ("other.test", 0.0, SHORT), ("store.test", 9.0, SHORT)],
)
async def test_a_name_that_is_found_late_or_never_holds_up_nothing_else(
    tmp_path: Path, proxy: FaultProxy, place: tuple[str, str], host: str, delay: float, deadline: float
) -> None:
    """While a name server thinks the loop goes on; then the request succeeds, or fails at its deadline; a name that
    does not exist is in the error."""
    url = urlsplit(proxy.url)._replace(netloc=f"{host}:{proxy.port}").geturl()
    with Resolver("store.test", delay=delay).running() as resolver:
        command = [*with_resolver(resolver.address, tmp_path / "resolv.conf"), sys.executable, "-c", SLOW_NAME]
        environ = {**os.environ, "OS_TOKEN": place[1]}
        done = await asyncio.to_thread(run, *command, url, place[0], f"{deadline}", environ=environ)
        assert done.code == 0, done.err
        assert resolver.asked
    ticks, _, said = done.out.strip().partition(" ")
    if host == "other.test":
        assert host in said
    else:
        assert int(ticks) > 3
        assert said == ETAG if delay < deadline else "within" in said


@pytest.mark.row("N3")
async def test_a_store_that_no_packet_reaches_is_given_up_in_time(proxy: FaultProxy, place: tuple[str, str]) -> None:
    """SYNs that are lost end in an error at the deadline, and requests to a store that answers go on meanwhile."""
    container, token = place
    with deaf_port() as port:
        url = proxy.url.replace(str(proxy.port), str(port))
        async with (
            open_client(at(url, token), deadline=SHORT) as lost,
            open_client(at(proxy.url, token), deadline=DEADLINE) as good,
        ):
            begun = time.monotonic()
            waiting = asyncio.create_task(lost.head(container, "o0"))
            served = 0
            while not waiting.done():
                assert await good.get(container, NAMES[served % len(NAMES)]) == CONTENT
                served += 1
                await asyncio.sleep(0.1)
            assert served > 1
            with pytest.raises(Unavailable):
                await waiting
            assert time.monotonic() - begun < SHORT + LATE


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made(tmp_path_factory.mktemp("ca") / "ca.pem")


@pytest.mark.row("N4")
@pytest.mark.parametrize(
    ("host", "days", "words"),
    [("127.0.0.1", -1, "expired"), ("store.example", 1, "IP address mismatch")],
    ids=["expired", "another-host"],
)
async def test_a_certificate_that_is_not_good_is_refused_by_name(
    cloud: Cloud, authority: Authority, place: tuple[str, str], tmp_path: Path, host: str, days: int, words: str
) -> None:
    """One try, no request, and the message says which check failed."""
    with FaultProxy(cloud.storage_url, tls=authority.server(tmp_path, host=host, days=days)) as proxy:
        async with open_client(at(proxy.url, place[1], str(authority.file)), deadline=DEADLINE) as client:
            with pytest.raises(ConfigError, match=words):
                await client.head(place[0], "o0")
        assert proxy.seen == []


@pytest.mark.row("N4")
async def test_only_a_ca_that_is_named_is_trusted_and_a_new_certificate_of_it_too(
    cloud: Cloud, authority: Authority, place: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the CA's file nothing is sent; with it reads go on when the certificate is renewed; without checks there
    is a warning each time."""
    container, token = place
    with FaultProxy(cloud.storage_url, tls=authority.server(tmp_path)) as proxy:
        async with open_client(at(proxy.url, token), deadline=DEADLINE) as client:
            with pytest.raises(ConfigError, match="local issuer certificate"):
                await client.head(container, "o0")
        assert proxy.seen == []
        async with open_client(at(proxy.url, token, str(authority.file)), deadline=DEADLINE) as client:
            assert await client.get(container, "o0") == CONTENT
            assert proxy.tls is not None
            proxy.tls.load_cert_chain(authority.certificate(tmp_path, host="127.0.0.1", days=2))
            with proxy.broken(Fault(Reset())):
                assert await client.get(container, "o1") == CONTENT
        assert not caplog.records
        for number in (1, 2):
            async with open_client(at(proxy.url, token, False), deadline=DEADLINE) as client:
                assert await client.get(container, "o2") == CONTENT
            assert sum("not checked" in record.message for record in caplog.records) == number


@pytest.mark.row("N4")
async def test_what_is_not_todays_tls_is_never_spoken(
    cloud: Cloud, authority: Authority, place: tuple[str, str], tmp_path: Path
) -> None:
    """A store that speaks TLS 1.0 alone, and one that does not encrypt where it should, get no request."""
    old = authority.server(tmp_path)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1
    old.set_ciphers("ALL:@SECLEVEL=0")
    for context in (old, None):
        with FaultProxy(cloud.storage_url, tls=context) as proxy:
            url = proxy.url.replace("http:", "https:")
            async with open_client(at(url, place[1], str(authority.file)), deadline=SHORT) as client:
                with pytest.raises(SwiftFSError, match=r"no trusted connection|cannot connect|no success"):
                    await client.head(place[0], "o0")
            assert proxy.seen == []


@pytest.mark.row("N16")
async def test_a_far_and_lossy_line_costs_time_alone(proxy: FaultProxy, client: Client, place: tuple[str, str]) -> None:
    """With 200 ms to each answer and every twentieth packet lost, reads and writes are right."""
    with lossy(proxy.port, 5), proxy.broken(Fault(Far(), count=None)):
        got = await asyncio.gather(*(client.get(place[0], name) for name in NAMES))
        await asyncio.gather(*(client.put(place[0], f"new{n}", CONTENT, md5=ETAG) for n in range(4)))
    assert got == [CONTENT] * len(NAMES)


@pytest.mark.row("N17")
async def test_a_narrow_line_is_not_taken_for_a_broken_one(proxy: FaultProxy, place: tuple[str, str]) -> None:
    """Eight reads that share 64 KiB/s all end right, and none is asked for twice."""
    async with open_client(at(proxy.url, place[1]), deadline=60.0) as client:
        with proxy.broken(Fault(Narrow(65_536), "GET", count=None)) as seen:
            begun = time.monotonic()
            got = await asyncio.gather(*(client.get(place[0], name) for name in NAMES))
            assert time.monotonic() - begun > 3
            assert len(seen) == len(NAMES)
        assert got == [CONTENT] * len(NAMES)
        assert client.counters.retries == 0


@pytest.mark.row("H17")
async def test_a_put_that_is_only_accepted_is_looked_at(
    proxy: FaultProxy, client: Client, place: tuple[str, str]
) -> None:
    """202 is no success by itself: what is there is compared; other bytes, or none, are sent once more, and then it is
    an error."""
    with proxy.broken(Fault(Status(202), "PUT")) as seen:
        assert await client.put(place[0], "accepted", CONTENT, md5=ETAG) == ETAG
        assert [one.method for one in seen] == ["PUT", "HEAD", "PUT"]
    assert await client.get(place[0], "accepted") == CONTENT
    with proxy.broken(Fault(Status(202), "PUT", count=None)) as seen:
        assert await client.put(place[0], "accepted", CONTENT, md5=ETAG) == ETAG
        assert [one.method for one in seen] == ["PUT", "HEAD"]
        with pytest.raises(Truncated):
            await client.put(place[0], "accepted", b"other", md5=hashlib.md5(b"other").hexdigest())
        with pytest.raises(Truncated):
            await client.put(place[0], "never there", CONTENT, md5=ETAG)
        assert [one.method for one in seen].count("PUT") == 5


@pytest.mark.row("S7")
async def test_headers_without_end_are_given_up(
    proxy: FaultProxy, client: Client, impatient: Client, place: tuple[str, str]
) -> None:
    """Headers that never end, quickly or slowly, and too long ones, are an error, in time and in little memory."""
    for action in (EndlessHeaders(), EndlessHeaders(size=1, pause=0.05)):
        begun = time.monotonic()
        with proxy.broken(Fault(action, count=None)), pytest.raises(SwiftFSError):
            await impatient.head(place[0], "o0")
        assert time.monotonic() - begun < SHORT + LATE
        assert action.sent * action.size < 64 << 20
    too_long = Status(200, headers=(("X-Long", "x" * 100_000),))
    with proxy.broken(Fault(too_long, count=None)), pytest.raises(SwiftFSError):
        await impatient.head(place[0], "o0")
    assert await client.get(place[0], "o0") == CONTENT


@pytest.mark.row("S7")
async def test_a_length_of_a_terabyte_is_not_waited_for(
    proxy: FaultProxy, client: Client, impatient: Client, place: tuple[str, str]
) -> None:
    """A Content-Length far beyond the object is an error, in time."""
    with proxy.broken(Fault(SetHeader("Content-Length", str(10**12)), "GET")):
        async with asyncio.timeout(SHORT + LATE):
            with pytest.raises(SwiftFSError):
                await impatient.get(place[0], "o0")
    assert await client.get(place[0], "o0") == CONTENT


@pytest.mark.row("S8")
async def test_an_encrypted_keystone_cannot_send_the_token_into_the_clear(
    cloud: Cloud, remote: Remote, authority: Authority, tmp_path: Path
) -> None:
    """A catalogue that names a store without TLS is refused, with both URLs, unless the user names that store."""
    with FaultProxy(cloud.auth_url, tls=authority.server(tmp_path)) as keystone:
        options = {**remote.auth_options, "auth_url": keystone.url}
        through = dataclasses.replace(remote, auth_options=options, verify=str(authority.file))
        async with contextlib.aclosing(Kept(through)) as kept:
            for login in (kept.login, PluginLogin(through)):
                with pytest.raises(ConfigError, match="is not") as caught:
                    await login()
                assert keystone.url in str(caught.value)
                assert cloud.storage_url in str(caught.value)
        named = dataclasses.replace(through, storage_url=cloud.storage_url)
        async with contextlib.aclosing(Kept(named)) as kept:
            assert (await kept.login())[1] == cloud.storage_url
