"""An nginx of its own with Lua: what its configuration always says, its start, its end."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.errors import BenchError, MissingProgram
from bench.machine import program_path
from swiftfs.errors import Unavailable

LOOPBACK = "127.0.0.1"
MODULE_DIRECTORIES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")
PACKAGES = "apt-get install nginx-light libnginx-mod-http-lua lua-cjson"
CONNECTIONS = 4096
"""More than any client opens here: the server must not be what limits."""
REQUESTS_A_CONNECTION = 10_000_000
"""nginx would close a connection after 1,000 requests; Swift does not."""
READY_DEADLINE = 20.0
"""Seconds for nginx to answer: it takes a tenth of one."""
READY_POLL = 0.02
END_DEADLINE = 10.0
SAID = 500
"""Characters of what nginx said that an error shows."""
PRIVATE_FILE = 0o600
"""The configurations hold secrets, and swiftfs warns of those that others may read."""


def main_conf(here: Path) -> str:
    """What stands before ``http``: one process in the foreground, what it writes below ``here``.

    Raises MissingProgram when nginx has no Lua.
    """
    load = "\n".join(f"load_module {module};" for module in _modules())
    return f"""\
{load}
daemon off;
master_process off;
pid {here}/nginx.pid;
error_log {here}/error.log warn;
worker_rlimit_nofile {2 * CONNECTIONS};
events {{
    worker_connections {CONNECTIONS};
}}"""


def http_conf(here: Path, lua: Path) -> str:
    """What every ``http`` block begins with; ``lua`` is the directory of the modules."""
    temporary = "\n".join(
        f"    {name}_temp_path {here}/temporary;" for name in ("client_body", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
    server_tokens off;
    tcp_nodelay on;
{temporary}
    client_max_body_size 0;
    keepalive_timeout 300s;
    keepalive_requests {REQUESTS_A_CONNECTION};
    large_client_header_buffers 8 32k;
    lua_package_path "{lua}/?.lua;;";"""


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.touch(PRIVATE_FILE)
    path.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def running_nginx(directory: Path, conf: str, ready: Callable[[], object]) -> Iterator[subprocess.Popen[bytes]]:
    """nginx with the configuration ``conf``, from when ``ready`` no longer raises Unavailable until the way out.

    Everything that it writes is below ``directory``. Raises MissingProgram without nginx, and BenchError when it does
    not answer.
    """
    where = shutil.which("nginx", path=program_path())
    if where is None:
        raise MissingProgram(f"nginx is not installed: {PACKAGES}")
    (directory / "temporary").mkdir(parents=True, exist_ok=True)
    write_private(directory / "nginx.conf", conf)
    with (directory / "nginx.log").open("wb") as said:
        process = subprocess.Popen(
            [where, "-p", str(directory), "-e", "error.log", "-c", str(directory / "nginx.conf")],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_until(ready, process, directory)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_DEADLINE)


def _wait_until(ready: Callable[[], object], process: subprocess.Popen[bytes], directory: Path) -> None:
    give_up = time.monotonic() + READY_DEADLINE
    while True:
        try:
            ready()
            return
        except Unavailable:
            if process.poll() is not None or time.monotonic() > give_up:
                logs = [directory / "nginx.log", directory / "error.log"]
                said = " ".join(log.read_text(errors="replace")[-SAID:] for log in logs if log.exists())
                raise BenchError(f"nginx does not answer: {said}".strip()) from None
        time.sleep(READY_POLL)


def _modules() -> list[Path]:
    found = []
    for name in MODULES:
        path = next((Path(place) / name for place in MODULE_DIRECTORIES if (Path(place) / name).exists()), None)
        if path is None:
            raise MissingProgram(f"nginx has no {name}: {PACKAGES}")
        found.append(path)
    return found
