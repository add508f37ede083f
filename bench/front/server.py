"""Starting the front, filling its cache, asking what it has seen, and ending it."""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bench.errors import BenchError, MissingProgram
from bench.front import config, log
from bench.machine import program_path
from bench.sink.config import MODULE_DIRECTORIES, MODULES
from swiftfs.errors import Unavailable
from swiftfs.localcloud import Cloud, bootstrap, loopback, ports

READY_DEADLINE = 20.0
"""Seconds for nginx to answer: it takes a tenth of one."""
READY_POLL = 0.02
END_DEADLINE = 10.0
FILL_TIMEOUT = 600.0
FILLERS = 6
"""Requests at once while the cache is filled: the real Swift behind it is no faster with more."""
PROBES = 15
"""Requests that show how long the front really waits."""
PRIVATE_FILE = 0o600
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
    (directory / "temporary").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="swiftfs-front-", dir=MEMORY if MEMORY.is_dir() else None) as cache:
        settings = config.FrontSettings(
            directory=directory.resolve(),
            cache=Path(cache),
            port=ports.choose_ports(None)["proxy"],
            lua=Path(__file__).parent.resolve() / "front.lua",
            modules=_modules(),
            swift=cloud.ports["proxy"],
            keystone=cloud.ports["keystone"],
        )
        settings.log.unlink(missing_ok=True)
        (directory / "nginx.conf").write_text(config.nginx_conf(settings), encoding="utf-8")
        front = Front(settings, cloud)
        front.rclone_conf.touch(PRIVATE_FILE)
        front.rclone_conf.write_text(config.rclone_conf(settings, cloud), encoding="utf-8")
        with (directory / "nginx.log").open("wb") as said:
            process = subprocess.Popen(
                [_nginx(), "-p", str(settings.directory), "-e", "error.log", "-c", str(directory / "nginx.conf")],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
        try:
            _wait_until_ready(front, process, directory)
            yield front
        finally:
            process.terminate()
            try:
                process.wait(END_DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(END_DEADLINE)


def _wait_until_ready(front: Front, process: subprocess.Popen[bytes], directory: Path) -> None:
    give_up = time.monotonic() + READY_DEADLINE
    while True:
        try:
            front.mark()
            return
        except Unavailable:
            if process.poll() is not None or time.monotonic() > give_up:
                said = (directory / "nginx.log").read_text(errors="replace")[-500:]
                raise BenchError(f"nginx does not answer: {said}".strip()) from None
        time.sleep(READY_POLL)


def _nginx() -> str:
    where = shutil.which("nginx", path=program_path())
    if where is None:
        raise MissingProgram("nginx is not installed: apt-get install nginx-light libnginx-mod-http-lua")
    return where


def _modules() -> tuple[Path, ...]:
    found = []
    for name in MODULES:
        path = next((Path(place) / name for place in MODULE_DIRECTORIES if (Path(place) / name).exists()), None)
        if path is None:
            raise MissingProgram(f"nginx has no {name}: apt-get install libnginx-mod-http-lua")
        found.append(path)
    return tuple(found)
