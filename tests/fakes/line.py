"""A line as the world has them: slow, far away, lossy; a port that takes no call, a resolver that misleads."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fakes.fault_proxy import Exchange

PIECE = 2048


@dataclass(slots=True)
class Narrow:
    """All bodies of the requests that it is for share ``rate`` bytes a second."""

    rate: int
    _free_at: float = field(default=0.0)

    async def play(self, exchange: Exchange) -> None:
        wire = await exchange.send_part(0)
        for start in range(0, len(wire), PIECE):
            piece = wire[start : start + PIECE]
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + len(piece) / self.rate
            await asyncio.sleep(self._free_at - now)
            await exchange.send(piece)


@dataclass(frozen=True, slots=True)
class Far:
    """The answer comes ``seconds`` late."""

    seconds: float = 0.2

    async def play(self, exchange: Exchange) -> None:
        await asyncio.sleep(self.seconds)
        await exchange.answer(await exchange.forward(exchange.request))


@dataclass(slots=True)
class EndlessHeaders:
    """Header after header, ``size`` bytes each; ``sent`` counts them. ``pause`` seconds between two."""

    size: int = 1000
    pause: float = 0.0
    sent: int = 0

    async def play(self, exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await exchange.send(b"X-%d: " % self.sent + b"x" * self.size + b"\r\n")
            self.sent += 1
            await asyncio.sleep(self.pause)


@contextlib.contextmanager
def lossy(port: int, percent: int) -> Iterator[None]:
    """``percent`` of the TCP packets to and from a local port are lost. Needs root and nft."""
    table = f"swiftfs_test_{secrets.token_hex(4)}"
    rules = "".join(
        f"add rule inet {table} out tcp {side} {port} numgen random mod 100 < {percent} drop\n"
        for side in ("sport", "dport")
    )
    script = f"add table inet {table}\nadd chain inet {table} out {{ type filter hook output priority 0; }}\n{rules}"
    subprocess.run(["nft", "-f", "-"], input=script.encode(), check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", table], check=True)


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port whose queue is full: every further SYN is lost, as on a line that leads nowhere."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        while True:
            caller = stack.enter_context(socket.socket())
            caller.settimeout(0.3)
            try:
                caller.connect(listening.getsockname())
            except TimeoutError:
                break
        yield listening.getsockname()[1]


@dataclass(slots=True)
class Resolver:
    """A name server at ``address``, port 53, that says 127.0.0.1 for ``host`` after ``delay`` seconds, and that no
    other name exists. Needs root."""

    host: str
    delay: float = 0.0
    address: str = "127.77.0.53"
    asked: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[Resolver]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((self.address, 53))
            sock.settimeout(0.1)
            thread = threading.Thread(target=self._serve, args=(sock,))
            thread.start()
            try:
                yield self
            finally:
                self._stop.set()
                thread.join()

    def _serve(self, sock: socket.socket) -> None:
        while not self._stop.is_set():
            try:
                query, peer = sock.recvfrom(512)
            except TimeoutError:
                continue
            self.asked += 1
            labels, place = [], 12
            while length := query[place]:
                labels.append(query[place + 1 : place + 1 + length].decode())
                place += 1 + length
            kind = struct.unpack(">H", query[place + 1 : place + 3])[0]
            known = ".".join(labels) == self.host
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\x7f\0\0\1" if known and kind == 1 else b""
            flags = 0x8180 if known else 0x8183
            head = query[:2] + struct.pack(">HHHHH", flags, 1, bool(answer), 0, 0)
            if self._stop.wait(self.delay):
                return
            sock.sendto(head + query[12 : place + 5] + answer, peer)


def with_resolver(address: str, resolv_conf: Path) -> list[str]:
    """The beginning of a command line whose command asks the name server at ``address`` and no other."""
    resolv_conf.write_text(f"nameserver {address}\noptions timeout:8 attempts:1\n")
    return ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(resolv_conf)]
