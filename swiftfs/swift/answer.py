"""Answers of the store, and what a client counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

STALL = 15.0
"""Seconds without a byte after which a connection is given up and the request sent again on another."""
SENDING_STALL = 60.0
"""Seconds without a byte taken after which a request that is being sent is given up: TCP tries a path that was down for
20 s again in less, and a peer that never reads would be waited for until a deadline that grows with the request."""
PIECE = 1024 * 1024
"""Most bytes handed over at once, and of an error's body that is read to keep its connection."""


@dataclass(slots=True)
class Counters:
    """What one client has done: requests to the store (retries included), body bytes, retries and logins."""

    requests: int = 0
    sent: int = 0
    received: int = 0
    retries: int = 0
    logins: int = 0


@dataclass(slots=True)
class Answer:
    """Status, headers (by name in any case) and the whole body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes | bytearray = b""
