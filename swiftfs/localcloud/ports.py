"""The ports of a cloud: chosen once, and checked before each use."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

from swiftfs.errors import ConfigError
from swiftfs.localcloud.model import LOOPBACK, PORT_NAMES

# Below Linux's ephemeral range (32768 to 60999): an outgoing connection never takes a port of a cloud that is down.
FIRST_FREE_CHOICE = 20_000
LAST_FREE_CHOICE = 32_767

# How many random ports are tried: so many are never all taken.
CHOICE_ATTEMPTS = 1_000


def choose_ports(base: int | None) -> dict[str, int]:
    """A port for each server: `base` and those that follow it, or any free ones when it is None.

    Raises ConfigError when a port that was asked for is in use.
    """
    if base is not None:
        ports = {name: base + number for number, name in enumerate(PORT_NAMES)}
        for name, port in ports.items():
            if not is_free(port):
                raise ConfigError(f"port {port}, wanted for {name}, is in use: choose another --port-base")
        return ports
    candidates = iter(random.sample(range(FIRST_FREE_CHOICE, LAST_FREE_CHOICE + 1), CHOICE_ATTEMPTS))
    with ExitStack() as held:  # all at once, so that none is chosen twice
        return {name: next(port for port in candidates if _hold(port, held)) for name in PORT_NAMES}


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback interface now."""
    with ExitStack() as held:
        return _hold(port, held)


def _hold(port: int, held: ExitStack) -> bool:
    probe = held.enter_context(socket.socket())
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: past connections are no hindrance
    try:
        probe.bind((LOOPBACK, port))
        probe.listen(1)
    except OSError:
        return False
    return True
