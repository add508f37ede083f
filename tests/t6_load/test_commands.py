"""The commands load, extract and transform as a user runs them: exit codes, one line per error, and the real store."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from fakes.fault_proxy import Fault, FaultProxy, Meanwhile
from fakes.programs import through, until

from swiftfs.localcloud import Cloud
from swiftfs.localcloud.access_log import offset, requests

RCLONE = Path(sys.executable).with_name("rclone")


def swiftfs(*arguments: str | Path, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        [sys.executable, "-m", "swiftfs", *map(str, arguments)],
        env=dict(environ if environ is not None else os.environ),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small dataset with what is awkward: an empty file, odd names, one file above the limit of memory."""
    root = tmp_path / "tree"
    for split in ("training", "evaluation"):
        for number in range(20):
            path = root / split / f"class_{number % 3:02d}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(2000 + number))
    (root / "empty").write_bytes(b"")
    (root / "odd #?%&+ ä\n日本").write_bytes(b"odd")
    (root / "big.bin").write_bytes(os.urandom(6_000_000))
    return root


@pytest.fixture
def container() -> str:
    """A container's name that no other test has."""
    return f"load-{uuid4().hex[:8]}"


@pytest.mark.cloud
def test_rclone_finds_what_was_loaded_identical(
    tree: Path, container: str, cloud: Cloud, local_environ: dict[str, str]
) -> None:
    """rclone check finds every file with its size and MD5, and rclone copy has nothing to send, not even a time."""
    loaded = swiftfs("load", tree, f"local:{container}/data", environ=local_environ)
    assert (loaded.returncode, loaded.stderr) == (0, "")
    assert "verified 43 objects" in loaded.stdout
    options = ["--config", str(cloud.rclone_conf), "-v"]
    checked = subprocess.run(
        [RCLONE, "check", tree, f"local:{container}/data", *options], capture_output=True, text=True, timeout=120
    )
    assert checked.returncode == 0, checked.stderr
    copied = subprocess.run(
        [RCLONE, "copy", tree, f"local:{container}/data", *options], capture_output=True, text=True, timeout=120
    )
    assert copied.returncode == 0, copied.stderr
    assert "Copied" not in copied.stderr
    assert "Updated modification time" not in copied.stderr


@pytest.mark.cloud
def test_a_second_load_sends_no_put(tree: Path, container: str, cloud: Cloud, local_environ: dict[str, str]) -> None:
    """The real proxy sees no PUT of an object when a tree is loaded again, whoever loaded it first."""
    subprocess.run(
        [RCLONE, "copy", tree, f"local:{container}", "--config", str(cloud.rclone_conf)], check=True, timeout=120
    )
    before = offset(cloud.proxy_log)
    again = swiftfs("load", tree, f"local:{container}", environ=local_environ)
    assert again.returncode == 0, again.stderr
    assert "0 sent, 43 skipped, 0 failed" in again.stdout
    seen = [line.method for line in requests(cloud, before, settle=0.3) if container in line.path]
    assert "GET" in seen
    assert "PUT" not in seen


@pytest.mark.cloud
def test_a_changed_and_a_new_file_are_all_that_is_sent(
    tree: Path, container: str, local_environ: dict[str, str], tmp_path: Path
) -> None:
    """After one file changed in place and one was added, exactly these two are sent."""
    assert swiftfs("load", tree, f"local:{container}", environ=local_environ).returncode == 0
    changed = tree / "training" / "class_00" / "0.jpg"
    changed.write_bytes(changed.read_bytes()[::-1])
    (tree / "new").write_bytes(b"new")
    summary = tmp_path / "summary.json"
    again = swiftfs("load", tree, f"local:{container}", "--summary-json", summary, environ=local_environ)
    assert again.returncode == 0, again.stderr
    figures = json.loads(summary.read_text())
    assert tuple(figures[key] for key in ("files", "sent", "skipped", "verified", "complete")) == (44, 2, 42, 44, True)


@pytest.mark.cloud
def test_the_destination_comes_from_the_environment(tree: Path, container: str, local_environ: dict[str, str]) -> None:
    """Without DEST, SWIFTFS_DEST is taken, and RCLONE_CONTAINER with the only remote that is configured."""
    first = swiftfs("load", tree, environ=local_environ | {"SWIFTFS_DEST": f"local:{container}"})
    second = swiftfs("load", tree, environ=local_environ | {"RCLONE_CONTAINER": container})
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "43 sent, 0 skipped" in first.stdout
    assert "0 sent, 43 skipped" in second.stdout


@pytest.mark.cloud
@pytest.mark.row("P3")
def test_ctrl_c_ends_a_load_and_the_next_one_completes_it(tmp_path: Path, container: str, cloud: Cloud) -> None:
    """SIGINT ends a load with exit code 130 and what it sent whole; the next load sends only the rest."""
    stored = 50
    root = tmp_path / "many"
    root.mkdir()
    for number in range(400):
        (root / f"{number:03d}").write_bytes(os.urandom(1000))
    with FaultProxy(cloud.storage_url) as proxy:
        environ = through(cloud, proxy.url, tmp_path)
        go_on = threading.Event()
        held = Meanwhile(partial(go_on.wait, 60))
        with proxy.broken(Fault(held, "PUT", f"/{container}/", skip=stored, count=None)):
            process = subprocess.Popen(
                [sys.executable, "-m", "swiftfs", "load", root, f"local:{container}", "--transfers", "2"],
                env=environ,
                cwd=Path(__file__).parents[2],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            until(proxy.played)
            process.send_signal(signal.SIGINT)
            go_on.set()  # the signal is there before the answers are
            output, errors = process.communicate(timeout=60)
            proxy.settle()
        assert process.returncode == 130, output + errors
        assert "stopped" in errors
        again = swiftfs("load", root, f"local:{container}", environ=environ)
        assert again.returncode == 0, again.stderr
        assert "verified 400 objects" in again.stdout
        figures = re.search(r"(\d+) sent, (\d+) skipped", again.stdout)
        assert figures is not None
        sent, skipped = map(int, figures.groups())
        assert sent + skipped == 400
        assert stored <= skipped < 400


@pytest.mark.cloud
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("TREE", "local:"), 2, "names no container"),
        (("TREE", "nowhere:c"), 1, "nowhere"),
        (("TREE",), 2, "no destination"),
        (("/nonexistent", "local:c"), 3, "directory not found"),
        (("TREE/empty", "local:c"), 2, "is not a directory"),
        (("TREE", "local:c", "--transfers", "0"), 2, "--transfers"),
        (("TREE", "local:c", "--stats", "soon"), 2, "duration"),
        ((), 2, "SOURCE"),
    ],
)
def test_wrong_input_is_one_line_and_its_exit_code(
    tree: Path, local_environ: dict[str, str], arguments: tuple[str, ...], code: int, said: str
) -> None:
    """Whatever is wrong with the command line, one line says so and the exit code is rclone's."""
    ended = swiftfs("load", *(one.replace("TREE", str(tree)) for one in arguments), environ=local_environ)
    assert code == ended.returncode
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""


def test_quiet_says_nothing_and_dry_run_names_the_moves(tmp_path: Path) -> None:
    """-q silences what went well; --dry-run of transform shows each move and makes none."""
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "3_1.jpg").write_bytes(b"x")
    shown = swiftfs("transform", tmp_path, "--rules", "food11", "--dry-run")
    assert (
        shown.stdout
        == "training/3_1.jpg -> training/class_03/3_1.jpg\nwould move 1 file, 0 in place already or named by no rule\n"
    )
    assert (tmp_path / "training" / "3_1.jpg").exists()
    moved = swiftfs("transform", tmp_path, "--rules", "food11", "-q")
    assert (moved.returncode, moved.stdout, moved.stderr) == (0, "", "")
    assert (tmp_path / "training" / "class_03" / "3_1.jpg").exists()


def test_extract_and_transform_end_as_the_course_has_it(tmp_path: Path) -> None:
    """A zip with the course's layout becomes, in two commands, the directory that ImageFolder reads."""
    with zipfile.ZipFile(tmp_path / "Food-11.zip", "w") as archive:
        for split in ("training", "validation", "evaluation"):
            archive.writestr(f"Food-11/{split}/10_0.jpg", split)
    target = tmp_path / "Food-11"
    extracted = swiftfs("extract", tmp_path / "Food-11.zip", target)
    assert (extracted.returncode, extracted.stderr) == (0, "")
    assert "3 written" in extracted.stdout
    assert swiftfs("transform", target, "--rules", "food11").returncode == 0
    assert [f"{split}/class_10/10_0.jpg" for split in ("evaluation", "training", "validation")] == sorted(
        str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()
    )


def test_a_refused_member_is_named_and_exit_code_1(tmp_path: Path) -> None:
    """extract names each refused member on standard error, escapes it, and ends with one line and exit code 1."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../\x1b[2Jx", b"x")
        archive.writestr("good", b"x")
    ended = swiftfs("extract", tmp_path / "a.zip", tmp_path / "out")
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "refused: ../\\x1b[2Jx: leads upwards with '..'",
        "swiftfs: error: 1 member of the archive not extracted",
    ]
    assert os.listdir(tmp_path / "out") == ["good"]


@pytest.mark.parametrize("command", ["load", "extract", "transform"])
def test_help_has_an_example_and_loads_nothing_heavy(command: str) -> None:
    """--help shows an example, and neither it nor the module imports the network or the terminal libraries."""
    ended = swiftfs(command, "--help")
    assert ended.returncode == 0
    assert "Example" in ended.stdout
    code = (
        f"import sys, swiftfs.cli.{command}; "
        "print([name for name in ('aiohttp', 'keystoneauth1', 'rich', 'asyncio') if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert loaded.stdout == "[]\n", loaded.stderr


def test_everything_a_load_says_is_json_when_asked(tree: Path, container: str, local_environ: dict[str, str]) -> None:
    """Failures, figures and the last line of an error are messages a program can read, each on a line of its own; what
    is left out by rule is a warning."""
    (tree / "link").symlink_to("elsewhere")
    done = swiftfs("load", "--use-json-log", tree, f"local:{container}", environ=local_environ)
    messages = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 0
    assert done.stdout == ""
    assert messages[-1]["stats"]["complete"] is True
    assert [one["level"] for one in messages if "left out: link" in one["msg"]] == ["warning"]
    assert not [one for one in messages if one["level"] == "error"]
    assert "loaded" in messages[-1]["msg"]

    done = swiftfs("load", "--use-json-log", tree / "nowhere", f"local:{container}", environ=local_environ)
    (message,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (done.returncode, message["level"]) == (3, "error")
    assert "directory not found" in message["msg"]
