"""The requests that a local cloud has answered, read back from its logs: tests and benchmarks count them.

The proxy writes to `log/proxy.log` one line for each request of a client, beside lines of its own that begin otherwise:

    access: METHOD PATH STATUS TXID RECEIVED SENT SECONDS USER-AGENT END

Fields are separated by single spaces and percent-encoded, "-" where there is nothing. PATH is the request's own path
and query, so what was encoded in it is encoded twice in the file. RECEIVED and SENT are the bytes of the bodies,
SECONDS the time it took, END the time of its end since the epoch. STATUS is 499 when the client hung up early. The
requests that Swift makes to itself, for the segments of a manifest or the objects of a bulk delete, are not there; nor
are health checks. The query of a request to an account or a container is as the proxy rewrote it for itself: encoded
anew, `format=json` whatever the format was, and in a listing `states=listing`.

Keystone writes `log/keystone-access.log`, one line for each request, health checks included:

    METHOD PATH STATUS REQUEST-ID - SENT SECONDS "USER-AGENT"

A line is written when the last byte has been handed to the kernel: the client may have it a moment earlier.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from swiftfs.localcloud.configs import ACCESS_LOG_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from swiftfs.localcloud.model import Cloud

PREFIX = f"{ACCESS_LOG_NAME}: "
NOTHING = "-"

# The number of fields that every line has up to the first one that is not read here.
PROXY_FIELDS = 8
KEYSTONE_FIELDS = 8

# Seconds between two looks at a log that is waited for.
SETTLE_POLL = 0.02


@dataclass(frozen=True, slots=True)
class AccessLine:
    """One answered request. `path` and `query` are percent-encoded, `query` is empty when there is none; `sent` is the
    bytes of the response's body, `txid` Swift's transaction id or Keystone's request id."""

    method: str
    path: str
    query: str
    status: int
    txid: str
    sent: int
    user_agent: str


def offset(log: Path) -> int:
    """The size of a log in bytes: where `requests` shall begin to see only what comes next."""
    return log.stat().st_size


def requests(cloud: Cloud, since_offset: int = 0, *, settle: float = 0.0) -> list[AccessLine]:
    """The client requests in the proxy's log from byte `since_offset` on, in the order of their ends.

    With `settle`, waits first until the log has not grown for that many seconds, or for ten times as long in all.
    """
    _settle(cloud.proxy_log, settle)
    return parse_proxy(_read(cloud.proxy_log, since_offset))


def keystone_requests(cloud: Cloud, since_offset: int = 0, *, settle: float = 0.0) -> list[AccessLine]:
    """The requests in Keystone's log, as `requests` has the proxy's. Swift's own are among them: see `user_agent`."""
    _settle(cloud.keystone_log, settle)
    return parse_keystone(_read(cloud.keystone_log, since_offset))


def parse_proxy(text: str) -> list[AccessLine]:
    """The requests in the text of a proxy's log; an unfinished last line is left out."""
    found = []
    for line in _finished_lines(text):
        fields = line.removeprefix(PREFIX).split(" ")
        if not line.startswith(PREFIX) or len(fields) < PROXY_FIELDS:
            continue
        method, target, status, txid, _, sent, _, user_agent = (unquote(field) for field in fields[:PROXY_FIELDS])
        found.append(_access_line(method, target, status, txid, sent, user_agent))
    return found


def parse_keystone(text: str) -> list[AccessLine]:
    """The requests in the text of Keystone's access log; an unfinished last line is left out."""
    found = []
    for line in _finished_lines(text):
        fields = line.split(" ", KEYSTONE_FIELDS - 1)
        if len(fields) < KEYSTONE_FIELDS:
            continue
        method, target, status, txid, _, sent, _, user_agent = fields
        found.append(_access_line(method, target, status, txid, sent, user_agent.strip('"')))
    return found


def _access_line(method: str, target: str, status: str, txid: str, sent: str, user_agent: str) -> AccessLine:
    path, _, query = target.partition("?")
    bytes_sent = 0 if sent == NOTHING else int(sent)
    return AccessLine(method, path, query, int(status), txid, bytes_sent, "" if user_agent == NOTHING else user_agent)


def _finished_lines(text: str) -> list[str]:
    return text[: text.rfind("\n") + 1].split("\n")


def _read(log: Path, since_offset: int) -> str:
    with log.open("rb") as file:
        file.seek(since_offset)
        return file.read().decode(errors="replace")


def _settle(log: Path, settle: float) -> None:
    give_up = time.monotonic() + 10 * settle
    size, quiet_since = offset(log), time.monotonic()
    while (now := time.monotonic()) < min(give_up, quiet_since + settle):
        time.sleep(SETTLE_POLL)
        if offset(log) != size:
            size, quiet_since = offset(log), now
