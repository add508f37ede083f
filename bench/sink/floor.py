"""How fast the sink itself is: the same PUT over and over from a client that does nothing else."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError
from swiftfs.localcloud.model import LOOPBACK

if TYPE_CHECKING:
    from bench.sink.server import Sink

CONNECTIONS = 16
"""Enough that the next request waits already when one is answered."""
TIMEOUT = 30.0
CONTAINER = "bench-floor"


@dataclass(frozen=True, slots=True)
class Floor:
    """``rate`` is PUTs a second with client and sink on this machine, ``cpu`` the sink's CPU seconds for one: its
    reciprocal is what one core of the sink can do, whatever else is running."""

    rate: float
    cpu: float


def put_rate(sink: Sink, *, size: int, rounds: int) -> Floor:
    """Send ``rounds`` times one PUT of ``size`` bytes on each of 16 connections. Raises BenchError for a refusal."""
    account = sink.account
    header = f"Host: {LOOPBACK}\r\nX-Auth-Token: {account.token}\r\n"
    connections = [socket.create_connection((LOOPBACK, account.port), TIMEOUT) for _ in range(CONNECTIONS)]
    try:
        connections[0].sendall(f"PUT {account.path}/{CONTAINER} HTTP/1.1\r\n{header}Content-Length: 0\r\n\r\n".encode())
        _receive(connections[0])
        body = os.urandom(size)
        requests = [
            f"PUT {account.path}/{CONTAINER}/{number} HTTP/1.1\r\n{header}Content-Length: {size}\r\n\r\n".encode()
            + body
            for number in range(CONNECTIONS)
        ]
        started, spent = time.perf_counter(), _cpu(sink.pid)
        for _ in range(rounds):
            for connection, request in zip(connections, requests, strict=True):
                connection.sendall(request)
            for connection in connections:
                _receive(connection)
        wall, cpu = time.perf_counter() - started, _cpu(sink.pid) - spent
    finally:
        for connection in connections:
            connection.close()
        account.remove(CONTAINER)
    done = rounds * CONNECTIONS
    return Floor(done / wall, cpu / done)


def _receive(connection: socket.socket) -> None:
    """Read one answer without a body."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = connection.recv(64 * 1024)
        if not piece:
            raise BenchError("the sink hung up")
        answer += piece
    if b" 201 " not in answer.split(b"\r\n", 1)[0]:
        raise BenchError(f"the sink answers a PUT with {answer[:100]!r}")


def _cpu(pid: int) -> float:
    """CPU seconds of a process so far (proc(5): utime and stime are fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
