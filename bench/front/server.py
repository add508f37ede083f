"""Starting the front, filling its cache, asking what it has seen, and ending it."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bench.errors import BenchError
from bench.front import config, log
from bench.nginx import running_nginx, write_private
from swiftfs.localcloud import Cloud, bootstrap, loopback, ports

FILL_TIMEOUT = 600.0
FILLERS = 6
"""Requests at once while the cache is filled: the real Swift behind it is no faster with more."""
PROBES = 15
"""Requests that show how long the front really waits."""
MEMORY = Path("/dev/shm")
"""A tmpfs that every Linux has."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the front's log."""

    offset: int


class Front:
    """A running front. ``rclone_conf`` describes it as remote ``front``."""

    def __init__(self, settings: config.FrontSettings, cloud: Cloud) -> None:
        self._settings = settings
        self._cloud = cloud
        self._token = ""
        self.rclone_conf = settings.directory / "rclone.conf"
        self.port = settings.port
        self.remote = config.REMOTE

    @property
    def account_path(self) -> str:
        """The path of the account; :attr:`token` opens it."""
        return "/v1/" + self._cloud.storage_url.rpartition("/")[2]

    @property
    def token(self) -> str:
        """A token of the cloud, asked for once."""
        if not self._token:
            body = bootstrap.credential_login(
                self._cloud.application_credential_id, self._cloud.application_credential_secret
            )
            self._token = bootstrap.login(self._cloud.ports["keystone"], body)
        return self._token

    def set_delay(self, milliseconds: int) -> None:
        """Wait so long before each answer from now on."""
        self._control(f"delay?ms={milliseconds}")

    def set_rate(self, bytes_a_second: int) -> None:
        """Send no faster than this on each connection; 0 for as fast as it goes."""
        self._control(f"rate?bytes={bytes_a_second}")

    def mark(self) -> Mark:
        """Here and now in the log. One process writes it, each line before it looks at another request."""
        self._control("ready")
        return Mark(self._settings.log.stat().st_size)

    def since(self, mark: Mark) -> log.Requests:
        """What was asked since ``mark``."""
        self._control("ready")
        with self._settings.log.open("rb") as file:
            file.seek(mark.offset)
            return log.count(file.read().decode(errors="replace").splitlines())

    def fill(self, container: str, expected: Mapping[str, tuple[int, str]]) -> None:
        """Have every object in the cache, so that the store's own speed is out of all figures.

        ``expected`` maps names to size and MD5; raises BenchError when the store holds something else.
        """
        with ThreadPoolExecutor(FILLERS) as pool:
            for _ in pool.map(lambda item: self._fill_one(container, item[0], *item[1]), expected.items()):
                pass

    def measured_delay(self, container: str, name: str) -> float:
        """Median seconds of a small cached request on a connection of its own."""
        path = f"{self.account_path}/{quote(container)}/{quote(name)}"
        taken = []
        for _ in range(PROBES):
            started = time.perf_counter()
            loopback.request(self.port, "GET", path, headers={"X-Auth-Token": self.token, "Range": "bytes=0-0"})
            taken.append(time.perf_counter() - started)
        return statistics.median(taken)

    def _fill_one(self, container: str, name: str, size: int, md5: str) -> None:
        path = f"{self.account_path}/{quote(container)}/{quote(name)}"
        for method in ("GET", "HEAD"):
            answer = loopback.request(
                self.port, method, path, headers={"X-Auth-Token": self.token}, timeout=FILL_TIMEOUT
            )
            etag = answer.headers.get("etag", "").strip('"')
            length = int(answer.headers.get("content-length", "-1"))
            if answer.status != 200 or etag != md5 or length != size:
                raise BenchError(f"{container}/{name} is not what was loaded: {answer.status}, {length} bytes, {etag}")

    def _control(self, what: str) -> None:
        answer = loopback.request(self.port, "POST", f"/front/{what}")
        if answer.status != 200:
            raise BenchError(f"the front answers {what} with {answer.status}")


@contextlib.contextmanager
def running_front(directory: Path, cloud: Cloud) -> Iterator[Front]:
    """A front of ``cloud`` in ``directory``, which is made; ended on the way out, its cache removed.

    Raises MissingProgram without nginx and Lua.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="swiftfs-front-", dir=MEMORY if MEMORY.is_dir() else None) as cache:
        settings = config.FrontSettings(
            directory=directory.resolve(),
            cache=Path(cache),
            port=ports.choose_ports(None)["proxy"],
            lua=Path(__file__).parent.resolve() / "front.lua",
            swift=cloud.ports["proxy"],
            keystone=cloud.ports["keystone"],
        )
        settings.log.unlink(missing_ok=True)
        front = Front(settings, cloud)
        write_private(front.rclone_conf, config.rclone_conf(settings, cloud))
        with running_nginx(settings.directory, config.nginx_conf(settings), front.mark):
            yield front
