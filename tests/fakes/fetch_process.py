"""A fetch process without a store: ``python fetch_process.py FD MODE`` speaks the protocol as its mode says.

``ok`` answers every want; ``fail`` answers with an error; ``silent`` never answers; ``refuse`` cannot start; ``mute``
ends before it is ready; ``garbage`` sends what is no message; ``once:FILE`` dies at its first want, and when FILE is
there (it makes it) answers everything; ``moved:FILE`` the same, but then it has another account.
"""

from __future__ import annotations

import os
import socket
import sys

from swiftfs.fetch import protocol
from swiftfs.fetch.protocol import (
    AskStatus,
    Failed,
    Have,
    HavePieces,
    Hello,
    Ready,
    Refresh,
    Refreshed,
    StartFailed,
    Status,
    Want,
)


def main() -> None:
    mode, _, marker = sys.argv[2].partition(":")
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        unframer = protocol.Unframer()
        while data := sock.recv(65536):
            for body in unframer.feed(data):
                answer(sock, protocol.decode_to_fetch(body), mode, marker)


def answer(sock: socket.socket, message: protocol.ToFetch, mode: str, marker: str) -> None:
    def send(reply: protocol.Message) -> None:
        sock.sendall(protocol.frame(reply))

    if isinstance(message, Hello):
        if mode == "refuse":
            send(StartFailed("ContainerNotFound", "container 'c' not found"))
            sys.exit(3)
        if mode == "mute":
            sys.exit(7)
        if mode == "garbage":
            sock.sendall(b"\xff" * 64)
            return
        moved = mode == "moved" and os.path.exists(marker)
        send(Ready("http://other" if moved else "http://store", "/nowhere", 1, 0, 5, 0))
    elif isinstance(message, Want):
        if mode in {"once", "moved"} and not os.path.exists(marker):
            with open(marker, "w"):
                pass
            os._exit(9)
        if mode == "fail":
            send(Failed(message.ino, message.first, "Changed", "another version", message.ids[0][2]))
        elif mode != "silent" and message.pieces:
            rows = [(4096, piece) for piece in range(message.first, message.stop)]
            send(HavePieces(message.ino, message.first, message.stop, "key", rows))
        elif mode != "silent":
            send(Have(message.ino, message.first, "key", os.getpid(), 0))
    elif isinstance(message, Refresh) and mode != "silent":
        send(Refreshed(1, 2, 3, 4, answers=message.number))
    elif isinstance(message, AskStatus) and mode != "silent":
        send(Status(*range(11)))


if __name__ == "__main__":
    main()
