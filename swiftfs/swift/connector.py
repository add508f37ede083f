"""aiohttp's session as this client needs it: nothing is sent twice behind our back, no answer is another request's.

Bytes beyond an answer's end would be taken for the answer to the next request, and every later one would come one
request late. aiohttp looks for them when a connection is given back, not when it is taken up (3.14).
"""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING

import aiohttp

from swiftfs import __version__
from swiftfs.errors import ConfigError

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from swiftfs.config import Remote

log = logging.getLogger(__name__)

KEEP_ALIVE = 20.0
"""Seconds an idle connection is kept: below the 30 to 75 s of common servers, so that we close first."""
READ_BUFFER = 256 * 1024
"""Bytes aiohttp may hold of one body before it stops reading: a whole Food-11 image fits."""


class Connector(aiohttp.TCPConnector):
    """As aiohttp's, less the connections that cannot be trusted."""

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        for protocol, _ in self._conns.get(key, ()):
            if protocol.should_close:
                protocol.close()  # what is closed is passed over
        return await super()._get(key, traces)


def open_session(remote: Remote, connections: int) -> aiohttp.ClientSession:
    """A session of at most ``connections``, to be closed. Raises ConfigError for a CA file that cannot be read."""
    connector = Connector(limit=connections, keepalive_timeout=KEEP_ALIVE, ssl=_tls(remote), ttl_dns_cache=60)
    session = aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=READ_BUFFER,
        skip_auto_headers={"User-Agent", "Accept-Encoding", "Accept", "Content-Type"},
        headers={"User-Agent": f"swiftfs/{__version__}", "Accept-Encoding": "identity"},
    )
    # aiohttp sends a request again by itself when a kept connection turns out closed: uncounted, and with a streamed
    # body that is read up already.
    session._retry_connection = False
    return session


def _tls(remote: Remote) -> ssl.SSLContext | bool:
    if remote.verify is True:
        return True
    if remote.verify is False:
        log.warning("certificates are not checked for %s: anybody on the way can read and change the data", remote.name)
        return False
    try:
        return ssl.create_default_context(cafile=remote.verify)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot read the CA file {remote.verify}: {error}") from None
