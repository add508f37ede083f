"""A pool of connections that takes none up again on which the store has spoken unasked.

Bytes beyond an answer's end would be taken for the answer to the next request, and every later one would come one
request late. aiohttp looks for them when a connection is given back, not when it is taken up (3.14).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace


class Connector(aiohttp.TCPConnector):
    """As aiohttp's, less the connections that cannot be trusted."""

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        for protocol, _ in self._conns.get(key, ()):
            if protocol.should_close:
                protocol.close()  # what is closed is passed over
        return await super()._get(key, traces)
