"""Starting the sink, asking what it has seen, and ending it."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.account import Account
from bench.errors import BenchError
from bench.nginx import running_nginx, write_private
from bench.sink import config
from swiftfs.localcloud import loopback, ports


@dataclass(frozen=True, slots=True)
class Counts:
    """What the sink was asked since the last reset: requests by method and level ("PUT object", "GET container", "POST
    bulk-delete", "POST token" …), and the bytes of object bodies that arrived whole."""

    requests: dict[str, int]
    received: int

    @property
    def total(self) -> int:
        """All requests of the store; logins and ``/info`` are not among them."""
        return sum(number for what, number in self.requests.items() if what not in {"POST token", "GET info"})

    def of(self, what: str) -> int:
        """How many of one kind."""
        return self.requests.get(what, 0)

    def by_method(self, method: str) -> int:
        """How many of one method, whatever they went to; logins left out."""
        return sum(
            number for what, number in self.requests.items() if what.split()[0] == method and what != "POST token"
        )


class Sink:
    """A running sink. ``rclone_conf`` describes it as remote ``sink``; ``files`` is served below ``files_url``."""

    def __init__(self, settings: config.SinkSettings) -> None:
        self._settings = settings
        self.pid = 0
        self.rclone_conf = settings.directory / "rclone.conf"
        self.files = settings.files
        self.port = settings.port
        self.remote = config.REMOTE

    @property
    def files_url(self) -> str:
        return f"{self._settings.url}/files"

    @property
    def auth_url(self) -> str:
        return f"{self._settings.url}/v3"

    @property
    def credential(self) -> tuple[str, str]:
        """Id and secret of the application credential that it takes."""
        return self._settings.credential, self._settings.secret

    def counts(self) -> Counts:
        """What was asked since the last :meth:`reset`."""
        found = self._control("counts")
        return Counts(found["requests"], found["received"])

    def reset(self) -> None:
        """Count from zero."""
        self._control("reset")

    def empty(self) -> None:
        """Forget every container."""
        self._control("empty")

    def set_delay(self, milliseconds: int) -> None:
        """Wait so long before each answer from now on."""
        self._control(f"delay?ms={milliseconds}")

    @property
    def account(self) -> Account:
        """Its only account. What is asked through it is counted as any client's requests are."""
        return Account(self.port, f"/v1/{config.ACCOUNT}", self._settings.token)

    def _control(self, what: str) -> Any:
        answer = loopback.request(self.port, "POST", f"/sink/{what}")
        if answer.status != 200:
            raise BenchError(f"the sink answers {what} with {answer.status}")
        return json.loads(answer.body)


@contextlib.contextmanager
def running_sink(directory: Path) -> Iterator[Sink]:
    """A sink in ``directory``, which is made; ended on the way out. Raises MissingProgram without nginx and Lua."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    files = directory / "files"
    files.mkdir(exist_ok=True)
    settings = config.SinkSettings(
        directory=directory.resolve(),
        port=ports.choose_ports(None)["proxy"],
        lua=Path(__file__).parent.resolve() / "swift.lua",
        files=files.resolve(),
        token=secrets.token_hex(32),
        credential=secrets.token_hex(16),
        secret=secrets.token_urlsafe(32),
    )
    sink = Sink(settings)
    write_private(sink.rclone_conf, config.rclone_conf(settings))
    with running_nginx(settings.directory, config.nginx_conf(settings), sink.counts) as process:
        sink.pid = process.pid
        yield sink
