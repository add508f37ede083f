"""The connections of one client, kept between requests; nothing is sent twice behind the caller's back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import aiohappyeyeballs

from swiftfs import __version__
from swiftfs.errors import Rejected
from swiftfs.swift.connection import Connection
from swiftfs.swift.translate import CONNECT_TIMEOUT, UNUSABLE_URL, too_late_to_connect, unreachable, untrusted

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType

    from swiftfs.swift.answer import Answer

KEEP_ALIVE = 20.0
"""Seconds an idle connection is kept: below the 30 to 75 s of common servers, so that we close first."""
NAME_LIFE = 60.0
"""Seconds that a host's addresses are believed."""
NEXT_ADDRESS = 0.25
"""Seconds after which a host's next address is tried beside the one that does not answer (RFC 8305, section 8)."""
GOODBYE = 1.0
"""Seconds that closed connections may take to be gone; they need a turn or two of the loop."""
PORTS = {"http": 80, "https": 443}


@dataclass(slots=True)
class Origin:
    """A server as a URL names it, and the idle connections to it, the one used last at the end."""

    scheme: str
    host: str
    port: int
    common_headers: str
    idle: list[Connection] = field(default_factory=list)
    lookup: asyncio.Task[list[AddrInfoType]] | None = None
    looked_up: float = 0.0


class Connections:
    """Connections for requests that are in memory whole. How many there are is for who sends the requests to bound.

    ``tls`` gives what certificates are checked against; it is asked for when the first of them is to be checked.
    """

    def __init__(self, tls: Callable[[], ssl.SSLContext]) -> None:
        self._tls = tls
        self._origins: dict[str, Origin] = {}
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None

    async def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, limit: int, stall: float
    ) -> Answer:
        """Send one request and return its whole answer, of whatever status; see :meth:`Connection.ask`.

        Raises ConfigError for a certificate that is not trusted, Rejected for a URL that cannot be used, Unavailable
        and Truncated.
        """
        scheme, _, rest = url.partition("://")
        authority, slash, target = rest.partition("/")
        origin = self._origins.get(f"{scheme}://{authority}") or self._origin(scheme, authority)
        head = _head(method, slash + target or "/", origin.common_headers, headers, body)
        connection = self._kept(origin) or await self._connect(origin)
        try:
            return await connection.ask(
                head,
                body or b"",
                bodiless=method == "HEAD",
                limit=limit,
                stall=stall,
                paced=method == "GET",  # a server that works long sends a blank now and then (Swift's heartbeats)
            )
        finally:
            if connection.is_usable:
                origin.idle.append(connection)
                self._sweep_later()

    def forget(self) -> None:
        """Close every idle connection."""
        for origin in self._origins.values():
            idle, origin.idle = origin.idle, []
            for connection in idle:
                connection.abort()

    async def close(self) -> None:
        """Close every connection; exchanges under way fail."""
        if self._sweep is not None:
            self._sweep.cancel()
        for origin in self._origins.values():
            origin.idle.clear()
            if origin.lookup is not None:
                origin.lookup.cancel()
        lost = [connection.lost for connection in self._open]
        for connection in self._open:
            connection.abort()
        if lost:
            await asyncio.wait(lost, timeout=GOODBYE)

    def _origin(self, scheme: str, authority: str) -> Origin:
        """The origin that a URL begins with. Raises Rejected."""
        try:
            parts = urlsplit(f"{scheme}://{authority}")
            host, port = parts.hostname, parts.port
            named = "" if host is None or ":" in host else host.encode("idna").decode("ascii")
        except (ValueError, UnicodeError):
            raise Rejected(UNUSABLE_URL) from None
        if host is None or scheme not in PORTS or "@" in authority:
            raise Rejected(UNUSABLE_URL)
        shown = (named or f"[{host}]") + ("" if port is None else f":{port}")
        common = f"Host: {shown}\r\nUser-Agent: swiftfs/{__version__}\r\nAccept-Encoding: identity\r\n"
        origin = Origin(scheme, named or host, PORTS[scheme] if port is None else port, common)
        self._origins[f"{scheme}://{authority}"] = origin
        return origin

    def _kept(self, origin: Origin) -> Connection | None:
        """The idle connection that was used last; None: there is none that may be used."""
        while origin.idle:
            connection = origin.idle.pop()
            age = asyncio.get_running_loop().time() - connection.idle_since
            if age < KEEP_ALIVE and connection.is_quiet():
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        limit = asyncio.timeout(CONNECT_TIMEOUT)
        try:
            async with limit:
                tls = self._tls() if origin.scheme == "https" else None
                found = await self._addresses(origin)
                connected = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=NEXT_ADDRESS)
                if tls is None:
                    _, connection = await loop.create_connection(lambda: Connection(loop), sock=connected)
                else:
                    below, _ = await loop.create_connection(asyncio.Protocol, sock=connected)
                    connection = Connection(loop, below)
                    above = await loop.start_tls(below, connection, tls, server_hostname=origin.host)
                    if above is None:
                        raise ConnectionResetError
                    connection.connection_made(above)
        except TimeoutError as error:
            _forget_addresses(origin)
            if not limit.expired():
                raise unreachable(origin.host, origin.port, error) from None
            raise too_late_to_connect() from None
        except ssl.SSLError as error:
            raise untrusted(origin.host, origin.port, error) from None
        except OSError as error:
            _forget_addresses(origin)
            raise unreachable(origin.host, origin.port, error) from None
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._open.discard(connection))
        return connection

    async def _addresses(self, origin: Origin) -> list[AddrInfoType]:
        """The host's addresses: one question for all who connect at the same moment. Raises OSError."""
        loop = asyncio.get_running_loop()
        if origin.lookup is None or loop.time() - origin.looked_up >= NAME_LIFE:
            origin.looked_up = loop.time()
            origin.lookup = asyncio.create_task(_look_up(origin.host, origin.port))
            origin.lookup.add_done_callback(_looked_up)
        return await asyncio.shield(origin.lookup)

    def _sweep_later(self) -> None:
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(KEEP_ALIVE, self._sweep_idle)

    def _sweep_idle(self) -> None:
        self._sweep = None
        now = asyncio.get_running_loop().time()
        for origin in self._origins.values():
            for connection in origin.idle:
                if now - connection.idle_since >= KEEP_ALIVE:
                    connection.abort()
            origin.idle = [connection for connection in origin.idle if connection.is_usable]
            if origin.idle:
                self._sweep_later()


def _head(method: str, target: str, common: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """A request's first bytes. Raises Rejected for what would break its lines."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    length = "" if body is None and method not in {"PUT", "POST"} else f"Content-Length: {len(body or b'')}\r\n"
    breaks = len(headers)
    if lines.count("\n") != breaks or lines.count("\r") != breaks or "\0" in lines:
        raise Rejected("a header of the request has a line break in it")
    if not target.isprintable() or " " in target:
        raise Rejected(UNUSABLE_URL)
    try:
        return f"{method} {target} HTTP/1.1\r\n{common}{lines}{length}\r\n".encode()
    except UnicodeEncodeError:
        raise Rejected("a header of the request is not valid Unicode") from None


def _forget_addresses(origin: Origin) -> None:
    """Have the host looked up anew: its addresses did not answer."""
    if origin.lookup is not None and origin.lookup.done():
        origin.lookup = None


async def _look_up(host: str, port: int) -> list[AddrInfoType]:
    try:
        # An address is its own answer, also of a family that the machine has on its loopback interface alone.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return cast("list[AddrInfoType]", found)


def _looked_up(lookup: asyncio.Task[list[AddrInfoType]]) -> None:
    """Nobody may be waiting any more: an error that is not asked for would be complained about."""
    with contextlib.suppress(asyncio.CancelledError):
        lookup.exception()
