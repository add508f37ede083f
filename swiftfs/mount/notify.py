"""Tell systemd that a service is ready (sd_notify(3)): one datagram to the socket that it names, if it names one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import MutableMapping

VARIABLE = "NOTIFY_SOCKET"
PATIENCE = 1.0
"""Seconds for one datagram: systemd's queue is long, and a mount does not fail because nobody listens."""


def ready(environ: MutableMapping[str, str]) -> bool:
    """Say that the mount answers; whether anybody was told. The name is taken away: children must not use it."""
    address = environ.pop(VARIABLE, "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # Linux's abstract namespace
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(PATIENCE)
        datagrams.sendto(b"READY=1", address)
        return True
    return False
