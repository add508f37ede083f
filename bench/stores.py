"""The two stores that clients are measured against: the sink and a real Swift; what each has seen and holds."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from bench.account import Account, account_of
from bench.sink import Counts, Sink
from swiftfs.localcloud import access_log

if TYPE_CHECKING:
    from pathlib import Path

    from swiftfs.localcloud import Cloud

SETTLED = 0.3
"""Seconds without a new line after which Swift's log is complete: a line follows its answer within milliseconds."""


class Store(Protocol):
    """A store with one remote in ``rclone_conf``."""

    @property
    def name(self) -> str: ...

    @property
    def remote(self) -> str: ...

    @property
    def rclone_conf(self) -> Path: ...

    @property
    def account(self) -> Account: ...

    def reset(self) -> None:
        """Count requests from now on."""
        ...

    def counts(self) -> Counts:
        """The requests since the last reset."""
        ...


class SinkStore:
    """The sink; its counts are its own."""

    name = "sink"

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.remote = sink.remote
        self.rclone_conf = sink.rclone_conf
        self.account = sink.account

    def reset(self) -> None:
        self.sink.reset()

    def counts(self) -> Counts:
        return self.sink.counts()


class CloudStore:
    """A local cloud; its counts are those of the proxy's log, and ``received`` is not known (0)."""

    name = "swift"

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._offset = 0
        self.remote = "local"
        self.rclone_conf = cloud.rclone_conf

    @property
    def account(self) -> Account:
        """With a new token each time: a run may outlive one."""
        return account_of(self._cloud)

    def reset(self) -> None:
        access_log.requests(self._cloud, access_log.offset(self._cloud.proxy_log), settle=SETTLED)
        self._offset = access_log.offset(self._cloud.proxy_log)

    def counts(self) -> Counts:
        lines = access_log.requests(self._cloud, self._offset, settle=SETTLED)
        return Counts(dict(Counter(kind(line.method, line.path, line.query) for line in lines)), 0)


def kind(method: str, path: str, query: str) -> str:
    """What a request was for, in the sink's words, from its path and query as a proxy logs them."""
    if path == "/info":
        return f"{method} info"
    parts = path.strip("/").split("/", 3)
    level = ("account", "account", "account", "container", "object")[len(parts)]
    if level == "account" and "bulk-delete" in query:
        level = "bulk-delete"
    return f"{method} {level}"
