"""Rows of the fault matrix through the real client, a proxy that misbehaves and a real Swift."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import random
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from fakes.fault_proxy import Fault, FaultProxy
from fakes.read_faults import READ_FAULTS, SIZE, ReadFault, params

from swiftfs.config import Remote, find_remote
from swiftfs.localcloud import Cloud
from swiftfs.model import ByteRange, Kind, ObjectVersion
from swiftfs.swift.auth import authenticator
from swiftfs.swift.client import Client, open_client

pytestmark = [pytest.mark.cloud, pytest.mark.asyncio]

CONTENT = random.Random(5).randbytes(SIZE)
ETAG = hashlib.md5(CONTENT).hexdigest()
SPAN = ByteRange(50_000, 120_000)
DEADLINE = 4.0
"""Seconds for a call: a stall is given up after a quarter of them."""


@pytest.fixture(scope="module")
def token(cloud: Cloud) -> str:
    return asyncio.run(authenticator(find_remote("local", {"RCLONE_CONFIG": str(cloud.rclone_conf)})).token()).value


@pytest.fixture
def proxy(cloud: Cloud) -> Iterator[FaultProxy]:
    with FaultProxy(cloud.storage_url) as running:
        yield running


@pytest_asyncio.fixture
async def client(proxy: FaultProxy, token: str) -> AsyncIterator[Client]:
    """A client that goes through the proxy."""
    remote = Remote("x", "a test", "none", {}, storage_url=proxy.url, auth_token=token)
    async with open_client(remote, deadline=DEADLINE) as opened:
        yield opened


@pytest_asyncio.fixture
async def version(client: Client) -> AsyncIterator[ObjectVersion]:
    """An object of CONTENT in a container of its own."""
    container = f"rows-{secrets.token_hex(4)}"
    await client.create_container(container)
    await client.put(container, "o", CONTENT, md5=ETAG)
    yield ObjectVersion(f"{container}/o", SIZE, ETAG, 0, Kind.PLAIN)
    await client.delete(container, "o")
    await client.delete_container(container)


@pytest.mark.parametrize("fault", params(READ_FAULTS))
async def test_a_read_gives_the_bytes_or_an_error(
    client: Client, proxy: FaultProxy, version: ObjectVersion, fault: ReadFault
) -> None:
    """A read is right or fails in the right way, within a number of requests, and the next one is right."""
    container, name = version.name.split("/")
    pinned = dataclasses.replace(version, name=name)
    span = SPAN if fault.ranged else None
    right = CONTENT[SPAN.start : SPAN.stop] if fault.ranged else CONTENT
    with proxy.broken(Fault(fault.action, "GET", "/o$", count=fault.count)) as seen:
        async with asyncio.timeout(DEADLINE + 1):
            if fault.error is None:
                assert await client.get(container, pinned, span) == right
            else:
                with pytest.raises(fault.error):
                    await client.get(container, pinned, span)

        assert 1 <= proxy.played() <= len(seen) <= fault.most
    assert await client.get(container, pinned, span) == right
