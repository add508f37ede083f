"""Tokens for tests that speak to a store beside the client."""

from __future__ import annotations

import contextlib

from swiftfs.config import Remote
from swiftfs.swift.auth import Token, authenticator
from swiftfs.swift.connections import Connections
from swiftfs.swift.login import Login, login_of
from swiftfs.swift.tls import tls_of


async def token_of(remote: Remote) -> Token:
    """A token of ``remote``, got as a client gets it."""
    async with contextlib.aclosing(Kept(remote)) as kept:
        return await authenticator(remote, kept.connections).token()


class Kept:
    """Connections for logins at ``remote``; close it."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.connections = Connections(tls_of(remote))

    @property
    def login(self) -> Login:
        """The way to log in there, whatever this process's variables say."""
        return login_of(self.remote, self.connections, {})

    async def aclose(self) -> None:
        await self.connections.close()
