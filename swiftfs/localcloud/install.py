"""The virtual environment of the servers: installed once per machine and set of requirements, then reused.

It is apart from swiftfs' own environment, because Keystone and Swift bring dozens of dependencies. Beside it lies
Keystone's empty database: making its tables takes longer than everything else that a new cloud needs.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from swiftfs.errors import ConfigError, Unavailable
from swiftfs.localcloud import configs
from swiftfs.localcloud.files import PRIVATE_FILE, last_line, locked, make_private_directory, write_private

# The oldest releases that this room was written for; pip takes the newest.
REQUIREMENTS = (
    "swift>=2.35",
    "keystone>=27",
    "keystonemiddleware>=10.9",
    "gunicorn>=25",  # has control_socket_disable; Keystone needs some WSGI server, and this one needs no compiler
)

# Seconds. pip downloads about 60 MB and installs 90 packages: half a minute on a good day, many on a slow line.
INSTALL_DEADLINE = 1800.0
# Seconds to make Keystone's tables: some 10 on a slow core.
SCHEMA_DEADLINE = 300.0

# A user's PATH may lack the directories where distributions put servers.
SERVER_DIRECTORIES = ("/usr/bin", "/usr/sbin")

# What the servers may inherit. All else stays out: proxies would stand between Swift and Keystone, PYTHONPATH would
# change what they import, and OS_* holds the secrets of other clouds.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")


@dataclass(frozen=True, slots=True)
class Environment:
    """An installed environment: `root` is the virtual environment, `schema` an SQLite file with Keystone's tables."""

    root: Path
    schema: Path

    @property
    def python(self) -> str:
        """Its Python interpreter."""
        return str(self.root / "bin" / "python")

    def command(self, program: str, *arguments: str) -> tuple[str, ...]:
        """One of its programs, through its Python: the first line of a script may be too long for the kernel."""
        return (self.python, str(self.root / "bin" / program), *arguments)


def server_environ(**more: str) -> dict[str, str]:
    """The environment variables of a server: a chosen few of this process's, and `more`."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    # Swift and Keystone still stand on eventlet, which says at every start that it is deprecated.
    return {**inherited, "PYTHONWARNINGS": "ignore", **more}


def find_memcached(search: str) -> Path:
    """The memcached program on the search path `search`. Raises ConfigError when it is not installed."""
    found = shutil.which("memcached", path=search)
    if found is None:
        raise ConfigError("memcached is not installed", hint="apt-get install memcached")
    return Path(found)


def find_environment() -> Environment:
    """Where the environment of these requirements and this Python is, or will be."""
    wanted = "\n".join((*REQUIREMENTS, platform.python_version(), platform.machine(), sys.base_prefix))
    key = hashlib.sha256(wanted.encode()).hexdigest()[:16]
    # Resolved: the same environment reached by another way is no reason to restart a server.
    root = (platformdirs.user_cache_path("swiftfs") / "localcloud").resolve() / key
    return Environment(root=root / "venv", schema=root / "keystone.db")


def ensure_environment(say: Callable[[str], None]) -> Environment:
    """The installed environment, installing it if need be.

    Raises Unavailable when `venv`, pip or Keystone fails, naming the log.
    """
    environment = find_environment()
    home = environment.schema.parent
    complete = home / "complete"
    if complete.exists():
        return environment
    make_private_directory(home)
    with locked(
        home / "lock", INSTALL_DEADLINE, lambda: say(f"another process is installing into {home}: waiting")
    ) as lock:
        if complete.exists():
            return environment
        _install(environment, home, lock, say)
        _make_schema(environment, home, lock, say)
        write_private(complete, "\n".join(REQUIREMENTS) + "\n")
    return environment


def _install(environment: Environment, home: Path, lock: int, say: Callable[[str], None]) -> None:
    say(f"installing Keystone and Swift into {environment.root}: once only, it may take minutes")
    started = time.monotonic()
    shutil.rmtree(environment.root, ignore_errors=True)
    log = home / "install.log"
    venv = (sys.executable, "-I", "-m", "venv", str(environment.root))
    run(venv, log, INSTALL_DEADLINE, what="python -m venv (on Debian: apt-get install python3-venv)", lock=lock)
    # -I: what PYTHONPATH holds would count as installed.
    pip = (environment.python, "-I", "-m", "pip", "install", "--disable-pip-version-check")
    run((*pip, *REQUIREMENTS), log, INSTALL_DEADLINE, what="pip install", lock=lock)
    say(f"installed in {time.monotonic() - started:.0f} s")


def _make_schema(environment: Environment, home: Path, lock: int, say: Callable[[str], None]) -> None:
    say("making the tables of Keystone's database: once only")
    started = time.monotonic()
    environment.schema.unlink(missing_ok=True)
    partial = home / "keystone.db.partial"
    partial.unlink(missing_ok=True)
    config = home / "keystone.conf"
    write_private(config, configs.keystone_database(str(partial)))
    db_sync = environment.command("keystone-manage", "--config-file", str(config), "db_sync")
    run(
        db_sync,
        home / "install.log",
        SCHEMA_DEADLINE,
        what="keystone-manage db_sync",
        environ=server_environ(),
        lock=lock,
    )
    partial.replace(environment.schema)
    say(f"made in {time.monotonic() - started:.0f} s")


def run(
    argv: Sequence[str],
    log: Path,
    deadline: float,
    *,
    what: str,
    environ: Mapping[str, str] | None = None,
    lock: int | None = None,
) -> None:
    """Run a command to its end, its output added to `log`. `environ` None means this process's own variables; `lock` is
    the descriptor of a lock that the command shall hold as long as it runs, whatever becomes of this process.

    Raises Unavailable when it fails or takes longer than `deadline` seconds.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        subprocess.run(
            argv, env=environ, stdin=subprocess.DEVNULL, stdout=descriptor, stderr=descriptor, check=True,
            timeout=deadline, umask=0o077, cwd="/", pass_fds=() if lock is None else (lock,),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{what} took longer than {deadline:.0f} s: {last_line(log)} (see {log})") from None
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"{what} failed with {error.returncode}: {last_line(log)} (see {log})") from None
    finally:
        os.close(descriptor)
