"""A client and an empty container: on the real cloud, and in memory, so that the fake cannot drift from the server."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import cast

import pytest
import pytest_asyncio
from fakes.memory_swift import MemorySwift

from swiftfs.config import Remote
from swiftfs.swift.client import Client, open_client
from swiftfs.swift.removal import delete_objects


@pytest_asyncio.fixture(params=["swift", "memory"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    if request.param == "memory":
        yield cast("Client", MemorySwift())
        return
    remote: Remote = request.getfixturevalue("remote")
    async with open_client(remote) as opened:
        yield opened


@pytest_asyncio.fixture
async def container(client: Client) -> AsyncIterator[str]:
    name = f"client-{secrets.token_hex(4)}"
    await client.create_container(name)
    yield name
    await delete_objects(client, name, "", dry_run=False, say=print)
    await client.delete_container(name)
