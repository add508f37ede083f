"""The first fetch process of a mount: a fork that gets ready while its parent does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import swiftfs
from swiftfs.fetch.start import Forked

PACKAGE = Path(swiftfs.__file__).parent

HELLO = """
import json, logging, os, socket, sys
from swiftfs.fetch import protocol
from swiftfs.fetch.__main__ import main
from swiftfs.fetch.start import start_early
hello = protocol.Hello(
    remote="nowhere", container="c", prefix="", index_dir=sys.argv[1], cache_dir=sys.argv[1], cache_size=0,
    cache_min_free=0, chunk_size=8 << 20, streams=4, deadline=5.0, refresh=None, parent=os.getpid(),
)
ours, others = socket.socketpair()
logging.getLogger().addHandler(logging.FileHandler(os.path.join(sys.argv[1], "log")))
started = start_early(main)
started.greet(hello)
others.close()
pid = started.process.pid
"""
"""A program that forks a fetch process with something else open."""

FAILS = """
said = b""
while data := started.sock.recv(65536):
    said += data
(body,) = protocol.Unframer().feed(said)
message = protocol.decode_from_fetch(body)
print(json.dumps([type(message).__name__, message.message, started.process.wait(), started.process.poll()]))
"""

LOOKS = """
assert started.greeted
assert ours.recv(1) == b""  # nobody but us held the other end
print(json.dumps(started.process.wait()))
"""

WARNS = """
import logging, socket, sys
from swiftfs.fetch.start import start_early

def serve(descriptor):
    with socket.socket(fileno=descriptor):
        logging.basicConfig(format="something else: %(message)s")
        logging.getLogger("swiftfs.fetch").warning("one thing")
    return 0

logging.basicConfig(format="swiftfs: %(message)s")
start_early(serve).process.wait()
"""
"""A program whose log goes to standard error, and a fork of it that has something to say."""


def environ_of(top: Path) -> dict[str, str]:
    return {"HOME": str(top), "PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGE.parent)}


def printed(code: str, top: Path, before: str = HELLO) -> object:
    done = subprocess.run(
        [sys.executable, "-c", before + code, str(top)],
        env=environ_of(top), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_a_forked_process_that_cannot_begin_says_why_and_ends(tmp_path: Path) -> None:
    """As one that is started anew: its error comes over the socket, its exit code is the error's."""
    kind, text, code, polled = printed(FAILS, tmp_path)  # type: ignore[misc]
    assert (kind, code, polled) == ("StartFailed", 1, 1)
    assert "no remote 'nowhere'" in text


def test_a_forked_process_holds_nothing_of_its_parent_open(tmp_path: Path) -> None:
    """A socket, a pipe or a log that the parent had open does not live on in it."""
    assert printed(LOOKS, tmp_path) == 1


def test_a_forked_process_writes_to_a_terminal_as_its_parent_does() -> None:
    """What it warns of reads like everything else that the command says, --use-json-log included."""
    done = subprocess.run([sys.executable, "-c", WARNS], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "swiftfs: one thing\n"


def test_a_child_is_killed_waited_for_and_never_killed_again() -> None:
    """Its number is nobody's to kill once it has ended."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    child = Forked(pid)
    assert child.poll() is None
    child.kill()
    assert child.wait() == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    child.kill()
    assert (child.poll(), child.returncode) == (-signal.SIGKILL, -signal.SIGKILL)


FOREIGN = ("random", "msgspec", "asyncio", "swiftfs")
"""Modules that a fetch process imports, and that may be files of a user's directory by name."""

ANEW = HELLO.replace("start_early(main)", "start()").replace("import start_early", "import start")
"""A program that starts a fetch process anew, not as a fork."""


def test_a_process_that_is_started_anew_imports_nothing_from_the_working_directory(tmp_path: Path) -> None:
    """Files there that are called as modules neither break it nor are run: it begins, and says what a fork says."""
    here = tmp_path / "here"
    here.mkdir()
    for name in FOREIGN:
        (here / f"{name}.py").write_text("open('was-run', 'w').close()\nraise SystemExit(3)\n")

    done = subprocess.run(
        [sys.executable, "-P", "-c", ANEW + FAILS, str(tmp_path)],
        env=environ_of(tmp_path), cwd=here, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[0] == "StartFailed"
    assert not (here / "was-run").exists()


TITLED = """
import json, os, time
from pathlib import Path
from swiftfs.fetch import serve  # now: who may do little may not read it later
from swiftfs.fetch.__main__ import main
from swiftfs.fetch.start import start, start_early
from swiftfs.privacy import keep_private

def title_of(started):
    limit = time.monotonic() + 30
    while True:
        title = Path(f"/proc/{started.process.pid}/comm").read_text().strip()
        if title.startswith("swiftfs") or time.monotonic() > limit:
            return title
        time.sleep(0.01)

keep_private()
processes = [start()]
titles = [title_of(processes[0])]
if os.getuid() == 0:  # who may write what others may not
    os.setgid(65534)
    os.setuid(65534)
processes.append(start_early(main))
titles.append(title_of(processes[1]))
for started in processes:
    started.sock.close()
    started.process.wait()
print(json.dumps(titles))
"""
"""A program that starts a fetch process in either way, and tells what ps shows of them."""


def test_fetch_processes_have_a_title_of_their_own(tmp_path: Path) -> None:
    """ps and top show which of a mount's processes is which, to any user, however it was started."""
    assert printed("", tmp_path, TITLED) == ["swiftfs-fetch", "swiftfs-fetch"]


NEVER_GREETED = """
started.sock.close()
print(json.dumps(started.process.wait()))
"""


def test_a_forked_process_that_is_not_wanted_ends(tmp_path: Path) -> None:
    """A command line that is wrong shows after the fork: the socket closes, and nothing is said."""
    assert printed(NEVER_GREETED, tmp_path, HELLO.replace("started.greet(hello)", "")) == 0
