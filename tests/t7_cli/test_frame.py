"""The command line's frame: quick help, options on both sides of the command, one line for every end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.programs import run

from swiftfs import __version__
from swiftfs.cli.app import COMMANDS

HEAVY = {"aiohttp", "asyncio", "keystoneauth1", "rich", "trio", "openstack", "pyfuse3", "sqlite3", "msgspec"}
COMMAND_LINES = [[name] for name in COMMANDS] + [
    *(["localcloud", name] for name in ("up", "down", "status")),
    *(["cache", name] for name in ("info", "verify", "clear")),
]
PATIENCE = 30


@pytest.fixture
def environ(here: Path) -> dict[str, str]:
    """The environment of somebody who has configured nothing."""
    return dict(os.environ)


def refusing_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.mark.parametrize("words", COMMAND_LINES, ids=" ".join)
def test_every_help_has_an_example(words: list[str], environ: dict[str, str]) -> None:
    """A reader of ``--help`` sees a command line to copy."""
    done = run("swiftfs", *words, "--help", environ=environ)
    assert (done.code, done.err) == (0, "")
    assert "Example" in done.out
    assert f"swiftfs {' '.join(words)}" in done.out.split("Example", 1)[1]


@pytest.mark.parametrize(("word", "first"), [("--json=true", "{"), ("--json=false", "/"), ("--json", "{")])
def test_switches_may_have_a_value_as_with_rclone(word: str, first: str, environ: dict[str, str], here: Path) -> None:
    """``--switch=true`` and ``--switch=false`` are understood, also by the commands of a group."""
    done = run("swiftfs", "cache", "info", word, "--cache-dir", str(here / "cache"), environ=environ)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(first)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["lsd", "--help"], ["mount", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(words: list[str], environ: dict[str, str]) -> None:
    """Start-up is quick because no library of the network, the terminal or FUSE is loaded for a text."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "swiftfs", *words],
        env=environ, capture_output=True, timeout=PATIENCE, check=True, text=True,
    )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in loaded
    assert set() == loaded & HEAVY


def test_help_lists_every_command_with_what_it_does(environ: dict[str, str]) -> None:
    """``swiftfs --help`` is a map of the program."""
    shown = run("swiftfs", "--help", environ=environ).out
    for name, (_, line) in COMMANDS.items():
        assert f"  {name} " in shown
        assert line.split()[0] in shown


def test_version_is_told_in_both_ways(environ: dict[str, str]) -> None:
    """``--version`` for scripts, ``version`` with what it runs on for reports."""
    assert f"swiftfs {__version__}\n" == run("swiftfs", "--version", environ=environ).out
    lines = run("swiftfs", "version", environ=environ).out.splitlines()
    assert f"swiftfs {__version__}" == lines[0]
    assert any(line.startswith("- aiohttp ") for line in lines)


@pytest.mark.parametrize("words", [[], ["localcloud"]], ids=["swiftfs", "localcloud"])
def test_without_a_command_the_help_is_shown(words: list[str], environ: dict[str, str]) -> None:
    """On standard error, with the exit code of a wrong command line."""
    done = run("swiftfs", *words, environ=environ)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: swiftfs")
    assert "\nCommands:\n" in done.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nonesuch"], 2, "No such command 'nonesuch'; see 'swiftfs --help'"),
        (["lsd"], 2, "Missing argument 'REMOTE:[PATH]'; see 'swiftfs lsd --help'"),
        (["lsd", "--nonesuch", "x:"], 2, "No such option '--nonesuch'; see 'swiftfs lsd --help'"),
        (["ls", "a:", "b:"], 2, "unexpected extra argument"),
        (["cat", "x:c/o", "--head", "many"], 2, "'many' is not a valid integer"),
        (["cat", "x:c/o", "--head", "1", "--tail", "1"], 2, "exclude each other"),
        (["lsd", "./local"], 2, "'./local' names no remote"),
        (["load", ".", "nowhere"], 2, "names no remote"),
        (["lsd", ":swift,env_auth:"], 2, "not supported"),
        (["lsd", "nix:"], 1, "no remote 'nix'; there are none"),
        (["lsd", "x:", "--log-file", "/nonexistent/log"], 1, "cannot write the log /nonexistent/log"),
        (["lsd", "env:"], 1, "lacks $OS_AUTH_URL"),
        (["mount", "nix:c", "/mnt", "--allow-non-empty"], 1, "no remote 'nix'"),
        (["status", "/nowhere"], 1, "/nowhere"),
        (["umount", "/nowhere"], 1, "nothing is mounted on /nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_input_is_one_line_and_its_exit_code(
    words: list[str], code: int, said: str, environ: dict[str, str]
) -> None:
    """One printable line that says what is wrong, rclone's exit code, and never a traceback."""
    done = run("swiftfs", *words, environ=environ)
    lines = done.err.splitlines()
    assert (code, "", 1) == (done.code, done.out, len(lines)), done.err
    assert lines[0].startswith("swiftfs: error: ")
    assert said in lines[0]


def test_control_characters_of_an_argument_are_escaped(environ: dict[str, str]) -> None:
    """No argument can fake a second line or move the terminal's cursor."""
    done = run("swiftfs", "lsd", "a\nswiftfs: all is well\x1b[2J:", environ=environ)
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "\x1b" not in done.err


CONF = "[z]\ntype = swift\nauth = http://127.0.0.1:{port}/v3\nuser = u\nkey = canary-91c2\nregoin = x\n"


@pytest.mark.parametrize(
    "words",
    [["--config", "mine.conf", "-q", "lsd", "z:"], ["lsd", "z:", "--config", "mine.conf", "-q"],
     ["-q", "lsd", "--config=mine.conf", "z:"]],
    ids=["before", "after", "both"],
)  # fmt: skip
def test_general_options_are_taken_before_and_after_the_command(words: list[str], environ: dict[str, str]) -> None:
    """As rclone's users write them: the file is found, and -q leaves the one line of the error only."""
    Path("mine.conf").write_text(CONF.format(port=refusing_port()))
    Path("mine.conf").chmod(0o600)
    done = run("swiftfs", *words, environ=environ)
    assert done.code == 1
    assert [line.partition(" at ")[0] for line in done.err.splitlines()] == ["swiftfs: error: cannot reach Keystone"]


def test_warnings_come_before_the_error_and_v_tells_more(environ: dict[str, str]) -> None:
    """An unknown key is warned about without any option; -v adds the attempts; no secret is in any of it."""
    Path("mine.conf").write_text(CONF.format(port=refusing_port()))
    Path("mine.conf").chmod(0o644)
    plain = run("swiftfs", "--config", "mine.conf", "lsd", "z:", environ=environ).err
    assert "other users may read the secrets in" in plain
    assert "unknown key 'regoin' is ignored" in plain
    assert len(plain.splitlines()) == 3
    more = run("swiftfs", "-v", "--config", "mine.conf", "lsd", "z:", environ=environ).err
    assert "login failed, again in" in more
    everything = run("swiftfs", "lsd", "-vv", "z:", "--config", "mine.conf", environ=environ).err
    assert len(more.splitlines()) >= 6
    assert "canary-91c2" not in plain + more + everything


def test_the_log_level_can_be_told_in_rclones_words(environ: dict[str, str]) -> None:
    """ERROR is -q, NOTICE is neither, INFO is -v, in small letters too; another word is one line and code 2."""
    Path("mine.conf").write_text(CONF.format(port=refusing_port()))
    Path("mine.conf").chmod(0o600)

    def lines(*words: str) -> list[str]:
        return run("swiftfs", "lsd", "z:", "--config", "mine.conf", *words, environ=environ).err.splitlines()

    told = {words: lines(*words) for words in [("-q",), (), ("--log-level", "ERROR"), ("--log-level", "NOTICE")]}
    assert told["--log-level", "ERROR"] == told["-q",]
    assert told["--log-level", "NOTICE"] == told[()]
    assert len(told["-q",]) < len(told[()])
    assert any("login failed, again in" in line for line in lines("--log-level", "info"))
    assert "LOUD" in run("swiftfs", "lsd", "z:", "--log-level", "LOUD", environ=environ).err


def test_a_log_file_takes_the_messages_but_not_the_error(environ: dict[str, str]) -> None:
    """What went on is in the file, why it ended is on standard error."""
    Path("mine.conf").write_text(CONF.format(port=refusing_port()))
    Path("mine.conf").chmod(0o600)
    done = run("swiftfs", "-v", "lsd", "z:", "--config", "mine.conf", "--log-file", "log", environ=environ)
    assert len(done.err.splitlines()) == 1
    logged = Path("log").read_text()
    assert "unknown key 'regoin' is ignored" in logged
    assert "login failed, again in" in logged
    assert "canary-91c2" not in logged + done.err


@pytest.mark.row("S1")
def test_a_secret_in_a_configuration_is_in_no_error(environ: dict[str, str]) -> None:
    """Whichever line is broken, what it says is not repeated, with -vv neither."""
    for text in (
        "[z]\ncanary-91c2\n",
        "[z]\ntype = canary\nkey = canary-91c2\n",
        "[z]\ntype = swift\nkey = canary-91c2\n",
        "[z]\ntype = swift\nauth = https://u:canary-91c2@k/v3\n",
        "RCLONE_ENCRYPT_V0:\ncanary-91c2\n",
    ):
        Path("mine.conf").write_text(text)
        done = run("swiftfs", "-vv", "--config", "mine.conf", "lsd", "z:", environ=environ)
        assert done.code == 1
        assert "canary-91c2" not in done.err + done.out


def test_an_unforeseen_error_is_one_line_and_vv_shows_its_place(environ: dict[str, str]) -> None:
    """A defect is told as such; the traceback is for those who ask for it."""
    program = "import sys; from swiftfs.cli import version; import swiftfs.__main__ as m\n"
    program += "version.platform = None\nsys.exit(m.main())"
    for option, tracebacks in (("-q", 0), ("-vv", 1)):
        done = subprocess.run(
            [sys.executable, "-c", program, "version", option],
            env=environ, capture_output=True, timeout=PATIENCE, check=False, text=True,
        )  # fmt: skip
        assert done.returncode == 1
        assert tracebacks == done.stderr.count("Traceback")
        if not tracebacks:
            assert done.stderr.startswith("swiftfs: error: internal error: AttributeError: ")
            assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_goes_away_ends_it_quietly(environ: dict[str, str]) -> None:
    """``swiftfs … | head -1``: no message, and the exit code of SIGPIPE."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "swiftfs", "--help"],
        env=environ, stdout=theirs, stderr=subprocess.PIPE, timeout=PATIENCE, check=False, text=True,
    )  # fmt: skip
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_full_disk_is_told(environ: dict[str, str]) -> None:
    """Output that could not be written is an error, not a success."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "swiftfs", "version"],
            env=environ, stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE, check=False, text=True,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "swiftfs: error: No space left on device\n")


def test_ctrl_c_ends_it_with_130_and_no_traceback(environ: dict[str, str]) -> None:
    """SIGINT while it waits for Keystone: nothing is printed."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        Path("mine.conf").write_text(CONF.replace("regoin = x\n", "").format(port=silent.getsockname()[1]))
        Path("mine.conf").chmod(0o600)
        with subprocess.Popen(
            [sys.executable, "-m", "swiftfs", "--config", "mine.conf", "lsd", "z:"],
            env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as program:  # fmt: skip
            silent.settimeout(PATIENCE)
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)
                program.send_signal(signal.SIGINT)
                connection.close()
                out, err = program.communicate(timeout=PATIENCE)
    assert (program.returncode, out, err) == (130, "", "")


def test_shell_completion_knows_the_commands(environ: dict[str, str]) -> None:
    """click's own completion works through our entry point."""
    words = {"COMP_WORDS": "swiftfs ls", "COMP_CWORD": "1", "_SWIFTFS_COMPLETE": "bash_complete"}
    done = run("swiftfs", environ=environ | words)
    assert {"plain,ls", "plain,lsd", "plain,lsl", "plain,lsjson"} == set(done.out.split())
