"""A pytest plugin that watches every test: no secret gets out, no warning is unexpected, nothing is left open.

Tokens of the local Keystone are Fernet tokens, so each one issued is known by its shape; application credential
secrets and passwords are those that the local clouds' configuration files hold. They may stand in configuration files
that are private, in the variables that OpenStack's clients read, and nowhere else: not in what a program prints, not
in a log, an argument, another variable, an error or its repr, not in any file of the run's temporary directory.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swiftfs.errors import SwiftFSError

TOKEN = re.compile(rb"gAAAAA[A-Za-z0-9_=-]{80,}")
IN_CONFIGURATION = re.compile(rb"(?:application_credential_secret|password|key)\s*[=:]\s*[\"']?([A-Za-z0-9_-]{24,})")
CONFIGURATION = re.compile(r".*\.(conf|yaml|yml|ini|json|sh)$|.*openrc.*")
"""Files that may hold a secret, when only their owner may read them."""
MAY_BE_GIVEN = (b"OS_", b"RCLONE_CONFIG_", b"ST_")
"""Variables that a test, or a user, puts a secret into."""
SAMPLING = 0.2
"""Seconds between two looks at the processes that run."""
LONGEST = 32 << 20
"""Bytes of a file that are searched: logs and journals are shorter, objects may be longer."""
STORES = {"storage", "srv", "node", "data"}
"""Directories of a local cloud that hold what was uploaded."""
SETTLE = 30.0
"""Seconds that what a test has ended may take to be gone on a busy machine; the wait ends when nothing is left."""
DISCIPLINED = ("swiftfs", "asyncio", "aiohttp", "trio")


class Secrets:
    """What must not be seen, and where it was seen."""

    def __init__(self) -> None:
        self.known: set[bytes] = set()
        self.found: list[str] = []

    def learn(self, text: bytes) -> None:
        """Take note of the secrets of a configuration file."""
        self.known.update(IN_CONFIGURATION.findall(text))

    def search(self, text: bytes | str | None, where: str) -> None:
        """Note ``where`` when ``text`` holds a secret."""
        raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text or b""
        if TOKEN.search(raw):
            self.found.append(f"a token in {where}")
        if any(secret in raw for secret in self.known):
            self.found.append(f"a secret in {where}")

    def take(self) -> list[str]:
        """What was found since the last call."""
        found, self.found = self.found, []
        return sorted(set(found))


class Records(logging.Handler):
    """Every record of the root logger while a test runs."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__(logging.DEBUG)
        self.secrets = secrets
        self.loud: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        self.secrets.search(text, f"a log record of {record.name}")
        if record.levelno >= logging.WARNING and record.name.split(".")[0] in DISCIPLINED:
            self.loud.append(f"{record.levelname} {record.name}: {record.getMessage()}")


class Discipline:
    """The plugin."""

    def __init__(self) -> None:
        self.secrets = Secrets()
        self.records = Records(self.secrets)
        self.base: Path | None = None
        self._stop = threading.Event()
        self._sampler: threading.Thread | None = None
        self._looked_at: dict[int, int] = {}
        self._undo: list[tuple[Any, str, Any]] = []

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        if session.config.option.collectonly:
            return
        logging.getLogger().addHandler(self.records)
        self._wrap_errors()
        self._wrap_communicate()
        self._sampler = threading.Thread(target=self._sample, name="discipline", daemon=True)
        self._sampler.start()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._sampler is None:
            return
        self._stop.set()
        self._sampler.join()
        logging.getLogger().removeHandler(self.records)
        for owner, name, original in self._undo:
            setattr(owner, name, original)
        begun = time.monotonic()
        searched = self._search_files()
        found = self.secrets.take()
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        seconds = time.monotonic() - begun
        if reporter is not None:
            reporter.write_line(f"\n{searched} files searched for secrets in {seconds:.1f} s: {len(found)} found")
            for line in found:
                reporter.write_line(f"secrets: {line}", red=True)
        if found:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
        report = yield
        if call.excinfo is not None:
            error: BaseException | None = call.excinfo.value
            while error is not None:
                self.secrets.search(f"{error!s} {error!r}", f"an error of {item.name}")
                error = error.__cause__ or error.__context__
        for title, text in report.sections:
            self.secrets.search(text, f"{title} of {item.name}")
        return report

    @pytest.fixture(autouse=True)
    def _disciplined(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        """Fails a test that logs what it does not declare, shows a secret, or leaves something behind."""
        self.base = tmp_path_factory.getbasetemp()
        if request.node.get_closest_marker("cloud") is not None:
            request.getfixturevalue("cloud")  # what it starts is the session's, not the first test's
        self.records.loud.clear()
        before = _held(self.base)
        yield
        expected = [mark.args[0] for mark in request.node.iter_markers("logs")]
        loud = [line for line in self.records.loud if not any(re.search(one, line) for one in expected)]
        self.records.loud.clear()
        if loud and "caplog" not in request.fixturenames:
            pytest.fail(f"not declared with pytest.mark.logs: {loud}")
        if found := self.secrets.take():
            pytest.fail("; ".join(found))
        limit = time.monotonic() + SETTLE
        kept = [mark.args[0] for mark in request.node.iter_markers("leaves")]
        while left := {
            one for one in _left(_held(self.base), before) if not any(re.search(each, one) for each in kept)
        }:
            gc.collect()
            if time.monotonic() > limit:
                pytest.fail(f"left behind: {sorted(left)}")
            time.sleep(0.02)

    def _wrap_errors(self) -> None:
        """Search every error of ours when it is made."""
        original = SwiftFSError.__init__

        def made(error: SwiftFSError, *args: Any, **named: Any) -> None:
            original(error, *args, **named)
            self.secrets.search(f"{error!s} {error!r} {vars(error)}", f"a {type(error).__name__}")

        self._replace(SwiftFSError, "__init__", made)

    def _wrap_communicate(self) -> None:
        """Search all that programs print."""
        original = subprocess.Popen.communicate

        def communicate(process: subprocess.Popen[Any], *args: Any, **named: Any) -> Any:
            out, err = original(process, *args, **named)
            words = process.args if isinstance(process.args, list | tuple) else [process.args]
            said = " ".join(os.fsdecode(word) for word in list(words)[:5])
            self.secrets.search(out, f"the output of {said}")
            self.secrets.search(err, f"the standard error of {said}")
            return out, err

        self._replace(subprocess.Popen, "communicate", communicate)

    def _replace(self, owner: Any, name: str, value: Any) -> None:
        self._undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def _sample(self) -> None:
        """Look at arguments and variables of every process of this run, twice each: it may become another program."""
        while not self._stop.wait(SAMPLING):
            running = {int(name) for name in os.listdir("/proc") if name.isdigit()}
            self._looked_at = {pid: times for pid, times in self._looked_at.items() if pid in running}
            for pid in running:
                if self._looked_at.setdefault(pid, 0) < 2 and self.base is not None:
                    self._looked_at[pid] += 1
                    self._look_at(pid)

    def _look_at(self, pid: int) -> None:
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes()
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return
        if os.fsencode(self.base or "") not in variables + words or pid == os.getpid():
            return
        shown = words[:60].replace(b"\0", b" ").decode(errors="replace")
        self.secrets.search(words, f"the arguments of {shown}")
        given = [one for one in variables.split(b"\0") if not one.startswith(MAY_BE_GIVEN)]
        self.secrets.search(b"\0".join(given), f"the variables of {shown}")

    def _search_files(self) -> int:
        """Search every file of the run; returns how many."""
        if self.base is None:
            return 0
        paths = []
        for top, directories, names in os.walk(self.base):
            directories[:] = [name for name in directories if name not in STORES]
            paths += [Path(top, name) for name in names]
        paths = [path for path in paths if path.is_file() and not path.is_symlink()]
        for path in paths:
            if path.name in {"rclone.conf", "clouds.yaml"}:
                self.secrets.learn(path.read_bytes())
        for path in paths:
            with path.open("rb") as file:
                text = file.read(LONGEST)
            private = not stat.S_IMODE(path.stat().st_mode) & 0o077
            if not (private and CONFIGURATION.fullmatch(path.name)):
                self.secrets.search(text, f"the file {path.relative_to(self.base)}")
        return len(paths)


def _left(held: set[str], before: set[str]) -> set[str]:
    """What is held now and was not before. A proxy that outlives the test keeps connections and worker threads."""
    shared = "thread fault proxy" in held & before
    return {one for one in held - before if not (shared and one.startswith(("descriptor socket:", "thread asyncio_")))}


def _held(base: Path) -> set[str]:
    """What this process holds on to, and what it has started: descriptors, threads, children, mounts."""
    held = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if link.startswith(("socket:", str(base))):
            held.add(f"descriptor {link}")
    held |= {f"thread {one.name}" for one in threading.enumerate() if not one.daemon}
    for task in os.listdir("/proc/self/task"):
        try:
            children = Path(f"/proc/self/task/{task}/children").read_text().split()
        except OSError:
            continue
        held |= {f"child {pid} {words}" for pid in children if (words := _words(pid))}
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return held | {f"mount {line.split()[1]}" for line in mounts if line.split()[1].startswith(str(base))}


def _words(pid: str) -> str:
    """The beginning of a command line; nothing for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()[:80].replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
