"""A mount's figures for Prometheus: its status as exposition text, and the small HTTP server that gives it out.

The format is that of "Exposition formats" (prometheus.io), version 0.0.4. The server answers ``GET /metrics`` and
closes the connection; it runs in the file system process, so a scrape that is answered also says that its loop turns.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from swiftfs.errors import ConfigError, SwiftFSError, UsageError
from swiftfs.mount.places import Bounded

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LONGEST_REQUEST = 8192
"""Bytes of a request's head; a scraper's has a few hundred."""
IDLE = 10.0
"""Seconds a client gets to ask and to take the answer."""
MOST_CLIENTS = 8
"""Connections served at once. The others wait unaccepted: whoever reaches the port must not use up the descriptors
that readers need."""

Answer = Mapping[str, Any]
Status = Callable[[Mapping[str, Any]], Awaitable[Answer]]


def _of_fetch(name: str) -> Callable[[Answer], int | None]:
    """A figure of the fetch process; None while that tells none."""
    return lambda answer: answer["fetch"][name] if answer["fetch"] else None


_METRICS: tuple[tuple[str, str, str, Callable[[Answer], float | int | None]], ...] = (
    ("uptime_seconds", "gauge", "Seconds since the mount was made.", lambda a: a["uptime"]),
    ("files", "gauge", "Files in the tree.", lambda a: a["files"]),
    ("directories", "gauge", "Directories in the tree.", lambda a: a["directories"]),
    ("dataset_bytes", "gauge", "Bytes of all files in the tree.", lambda a: a["bytes"]),
    ("hidden_objects", "gauge", "Objects that the tree does not show.", _of_fetch("hidden")),
    ("drifted_files", "gauge", "Files of a pinned dataset that changed.", _of_fetch("drifted")),
    ("known_inodes", "gauge", "Inodes that the kernel knows.", lambda a: a["known_inodes"]),
    ("fuse_requests_total", "counter", "Requests of the kernel.", lambda a: a["fuse_requests"]),
    ("opens_total", "counter", "Files opened.", lambda a: a["reads"]["opens"]),
    ("reads_total", "counter", "Read requests of the kernel.", lambda a: a["reads"]["reads"]),
    ("read_bytes_total", "counter", "Bytes given to readers.", lambda a: a["reads"]["read_bytes"]),
    ("cache_hits_total", "counter", "Chunks that readers found in the cache.", lambda a: a["reads"]["hits"]),
    ("cache_misses_total", "counter", "Chunks that readers waited for.", lambda a: a["reads"]["misses"]),
    ("read_wait_seconds_total", "counter", "Seconds that readers waited.", lambda a: a["reads"]["waited"]),
    ("read_errors_total", "counter", "Requests that failed.", lambda a: a["reads"]["errors"]),
    ("fetch_process_up", "gauge", "Whether the fetch process tells its figures.", lambda a: int(bool(a["fetch"]))),
    ("fetch_restarts_total", "counter", "Fetch processes that had to be replaced.", lambda a: a["fetch_restarts"]),
    ("store_requests_total", "counter", "HTTP requests to the store.", _of_fetch("requests")),
    ("store_received_bytes_total", "counter", "Bytes from the store.", _of_fetch("received")),
    ("store_retries_total", "counter", "Requests sent again.", _of_fetch("retries")),
    ("logins_total", "counter", "Logins at Keystone.", _of_fetch("logins")),
    ("fetched_chunks_total", "counter", "Chunks fetched.", _of_fetch("fetched_chunks")),
    ("fetched_pieces_total", "counter", "Pieces of chunks fetched.", _of_fetch("fetched_pieces")),
    ("failed_chunks_total", "counter", "Chunks that could not be fetched.", _of_fetch("failed_chunks")),
    ("fetches_waiting", "gauge", "Chunks that wait to be fetched.", _of_fetch("waiting")),
    ("fetches_running", "gauge", "Chunks that are being fetched.", _of_fetch("running")),
    ("cache_bytes", "gauge", "Bytes in the cache, of all mounts that share it.", _of_fetch("cache_bytes")),
    ("cache_limit_bytes", "gauge", "Most bytes that the cache may hold.", _of_fetch("cache_limit")),
)  # fmt: skip


def exposition(answer: Answer) -> str:
    """A mount's status as exposition text; every figure is labelled with its remote path and its mountpoint.

    Figures of the fetch process that are not known are left out: a gap in a graph is true, a nought is not.
    """
    labels = f'{{remote="{_escaped(answer["remote"])}",mountpoint="{_escaped(answer["mountpoint"])}"}}'
    lines = []
    for name, kind, text, figure in _METRICS:
        value = figure(answer)
        if value is not None:
            lines.append(f"# HELP swiftfs_{name} {text}")
            lines.append(f"# TYPE swiftfs_{name} {kind}")
            lines.append(f"swiftfs_{name}{labels} {value}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """A label's value: backslash, quote and newline are the three that the format escapes."""
    clean = text.encode("utf-8", "replace").decode()
    return clean.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def listen_address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, ``:PORT`` or ``PORT``; loopback unless another address is given.

    Only addresses are taken, no names: what is listened on should be seen on the command line. Raises UsageError.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if host == "localhost":
        host = "127.0.0.1"
    try:
        ipaddress.ip_address(host)
        number = int(port)
    except ValueError:
        number = -1
    if not 0 <= number <= 65_535:
        raise UsageError(f"'{text}' is not an address to listen on", hint="write for example 127.0.0.1:9409")
    return host, number


async def serve(
    address: tuple[str, int],
    status: Status,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer scrapes until cancelled; reports the port. Raises ConfigError when the address cannot be had."""
    host, port = address
    if not ipaddress.ip_address(host).is_loopback:
        log.warning("metrics are given to anybody who can reach %s port %d", host, port)
    listening = trio.socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    with listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            await listening.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host} port {port}: {error.strerror}", hint="see --metrics-addr"
            ) from None
        listening.listen()
        task_status.started(int(listening.getsockname()[1]))
        places = trio.Semaphore(MOST_CLIENTS)
        handler = functools.partial(_answer, status=status, places=places)
        await trio.serve_listeners(handler, [Bounded(listening, places)])


async def _answer(stream: trio.SocketStream, *, status: Status, places: trio.Semaphore) -> None:
    """One client: one request, one reply; gives its place back. Whatever goes wrong stays in this connection."""
    try:
        async with stream:
            with trio.move_on_after(IDLE):
                await stream.send_all(await _reply(await _head(stream), status))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the client has gone
    finally:
        places.release()


async def _head(stream: trio.SocketStream) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < LONGEST_REQUEST:
        piece = await stream.receive_some()
        if not piece:
            break
        head += piece
    return head


async def _reply(head: bytes, status: Status) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if method not in (b"GET", b"HEAD"):
        return _http("405 Method Not Allowed", "only GET\n")
    if path != b"/metrics":
        return _http("404 Not Found", "see /metrics\n")
    try:
        text = exposition(await status({}))
    except SwiftFSError as error:
        return _http("503 Service Unavailable", f"{error}\n")
    except Exception:
        log.exception("a request for metrics failed")
        return _http("500 Internal Server Error", "internal error, see the mount's log\n")
    return _http("200 OK", text, with_body=method == b"GET")


def _http(line: str, text: str, *, with_body: bool = True) -> bytes:
    body = text.encode("utf-8", "backslashreplace")
    head = (
        f"HTTP/1.1 {line}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")
