"""A client and an empty container on the real cloud."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest_asyncio

from swiftfs.config import Remote
from swiftfs.swift.client import Client, open_client
from swiftfs.swift.removal import delete_objects


@pytest_asyncio.fixture
async def client(remote: Remote) -> AsyncIterator[Client]:
    async with open_client(remote) as opened:
        yield opened


@pytest_asyncio.fixture
async def container(client: Client) -> AsyncIterator[str]:
    name = f"client-{secrets.token_hex(4)}"
    await client.create_container(name)
    yield name
    await delete_objects(client, name, "", dry_run=False, say=print)
    await client.delete_container(name)
