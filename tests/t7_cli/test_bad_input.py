"""Wrong input ends in one clear line and rclone's exit code, in the foreground and from the background."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.programs import Done, check, mounted, run, write_tree

from swiftfs.localcloud import Cloud

pytestmark = pytest.mark.cloud


@pytest.fixture
def container(local_environ: dict[str, str]) -> Iterator[str]:
    name = f"bad-{secrets.token_hex(4)}"
    check("swiftfs", "mkdir", f"local:{name}", environ=local_environ)
    yield name
    check("swiftfs", "purge", f"local:{name}", environ=local_environ)


def changed_conf(cloud: Cloud, target: Path, **keys: str) -> Path:
    """The cloud's rclone.conf with some keys of [local] replaced."""
    lines = []
    for line in cloud.rclone_conf.read_text().splitlines():
        key = line.partition("=")[0].strip()
        lines.append(f"{key} = {keys[key]}" if key in keys else line)
    target.write_text("\n".join(lines) + "\n")
    target.chmod(0o600)
    return target


def assert_one_line(done: Done, code: int, *words: str) -> None:
    """It ended with ``code``, said exactly one line, with all ``words`` in it, and no traceback."""
    assert done.code == code, done.err
    assert len(done.err.splitlines()) == 1, done.err
    assert done.err.startswith("swiftfs: error: ")
    for word in words:
        assert word in done.err
    assert done.out == ""


@pytest.mark.parametrize("daemon", [[], ["--daemon"]], ids=["foreground", "daemon"])
@pytest.mark.fuse
@pytest.mark.row("P5", "P16")
def test_a_mount_that_cannot_be_says_why(
    daemon: list[str], here: Path, cloud: Cloud, container: str, local_environ: dict[str, str], unused_tcp_port: int
) -> None:
    """No remote, container, secret, region, network or mountpoint: each is one line, and nothing stays mounted."""
    good = here / "mnt"
    good.mkdir()
    full = write_tree(here / "full", {"file": b""})
    source = f"local:{container}"

    def mount(where: str, mountpoint: Path, conf: Path = cloud.rclone_conf) -> Done:
        command = ["swiftfs", "mount", where, str(mountpoint), "--cache-dir", str(here / "cache"), *daemon]
        return run(*command, environ={**local_environ, "RCLONE_CONFIG": str(conf)})

    wrong_secret = changed_conf(cloud, here / "secret.conf", application_credential_secret="canary")
    wrong_region = changed_conf(cloud, here / "region.conf", region="CHI@NOWHERE")
    nobody = changed_conf(cloud, here / "nobody.conf", auth=f"http://127.0.0.1:{unused_tcp_port}/v3")
    assert_one_line(mount(f"nix:{container}", good), 1, "nix", "local")
    assert_one_line(mount("local:was-never-made", good), 3, "was-never-made", "not found")
    assert_one_line(mount("local:", good), 2, "container")
    assert_one_line(mount("nonsense", good), 2, "nonsense")
    secret = mount(source, good, wrong_secret)
    assert_one_line(secret, 1, "secret.conf", "[local]")
    assert "canary" not in secret.err
    assert_one_line(mount(source, good, wrong_region), 1, "CHI@NOWHERE", "known regions: local")
    assert_one_line(mount(source, good, nobody), 1, f"127.0.0.1:{unused_tcp_port}")
    assert_one_line(mount(source, here / "missing"), 1, "missing", "mkdir")
    assert_one_line(mount(source, full), 1, "not empty")
    assert_one_line(mount(source, full / "file"), 1, "not a directory")
    assert not os.path.ismount(good)
    with mounted(source, good, "--cache-dir", here / "cache", environ=local_environ):
        assert_one_line(mount(source, good), 1, "already mounted", f"swiftfs umount {good}")


def test_a_load_that_cannot_be_says_why(
    here: Path, cloud: Cloud, container: str, local_environ: dict[str, str], unused_tcp_port: int
) -> None:
    """A missing source, a malformed destination, a wrong secret: one line each, and nothing is made."""
    tree = write_tree(here / "tree", {"a": b"x"})
    wrong_secret = changed_conf(cloud, here / "secret.conf", application_credential_secret="canary")
    nobody = changed_conf(cloud, here / "nobody.conf", auth=f"http://127.0.0.1:{unused_tcp_port}/v3")

    def load(*words: str | Path, conf: Path = cloud.rclone_conf) -> Done:
        return run("swiftfs", "load", *words, environ={**local_environ, "RCLONE_CONFIG": str(conf)})

    assert_one_line(load(here / "nothing", f"local:{container}"), 3, "nothing")
    assert_one_line(load(tree, "no-colon"), 2, "no-colon")
    assert_one_line(load(tree, "local:"), 2, "container")
    assert_one_line(load(tree), 2, "DEST")
    assert_one_line(load(tree, f"nix:{container}"), 1, "nix")
    assert_one_line(load(tree, f"local:{container}", conf=wrong_secret), 1, "secret.conf")
    assert_one_line(load(tree, f"local:{container}", conf=nobody), 1, f"127.0.0.1:{unused_tcp_port}")
    assert check("swiftfs", "ls", f"local:{container}", environ=local_environ) == ""


@pytest.mark.parametrize(
    "words",
    [
        ["lsd", "nix:"],
        ["ls", "local:was-never-made"],
        ["size", "local:was-never-made"],
        ["lsjson", "local:was-never-made"],
        ["copy", "/was/never/made", "local:c"],
        ["ls"],
        ["frobnicate", "local:"],
    ],
    ids=" ".join,
)
def test_exit_codes_are_rclones(words: list[str], local_environ: dict[str, str]) -> None:
    """The same mistake ends with the same exit code in rclone and in swiftfs."""
    ours = ["load", *words[1:]] if words[0] == "copy" else words
    theirs = run("rclone", *words, "--retries", "1", "--low-level-retries", "1", environ=local_environ)

    assert run("swiftfs", *ours, environ=local_environ).code == theirs.code


@pytest.mark.parametrize(
    "keys", [{"auth": "http://127.0.0.1:1/v3"}, {"application_credential_secret": "wrong"}], ids=str
)
def test_exit_codes_of_a_login_that_fails_are_rclones(
    keys: dict[str, str], here: Path, cloud: Cloud, local_environ: dict[str, str]
) -> None:
    """Nobody at the auth URL, and a wrong secret, end as they do in rclone."""
    environ = {**local_environ, "RCLONE_CONFIG": str(changed_conf(cloud, here / "wrong.conf", **keys))}
    theirs = run("rclone", "lsd", "local:", "--retries", "1", "--low-level-retries", "1", environ=environ)

    assert run("swiftfs", "lsd", "local:", environ=environ).code == theirs.code


@pytest.mark.parametrize("daemon", [[], ["--daemon"]], ids=["foreground", "daemon"])
@pytest.mark.fuse
def test_a_socket_whose_path_is_too_long_is_said_before_anything_is_mounted(
    daemon: list[str], here: Path, container: str, local_environ: dict[str, str]
) -> None:
    """A Unix socket's path may have 107 bytes: with one more in XDG_RUNTIME_DIR the mount says so in one line and
    nothing is mounted; a runtime directory with exactly as many works."""
    with tempfile.TemporaryDirectory(prefix="s") as top:
        most = 107 - len("/swiftfs/mount-0123456789abcdef.sock")
        fits, too_long = (Path(top) / ("r" * (size - len(top) - 1)) for size in (most, most + 1))
        mountpoint, cache = here / "mnt", here / "cache"
        mountpoint.mkdir()
        command = ["swiftfs", "mount", f"local:{container}", mountpoint, "--cache-dir", cache, *daemon]
        for directory in (fits, too_long):
            directory.mkdir(mode=0o700)
        refused = run(*command, environ={**local_environ, "XDG_RUNTIME_DIR": str(too_long)})

        assert_one_line(refused, 1, "107 bytes", "XDG_RUNTIME_DIR")
        assert not os.path.ismount(mountpoint)
        environ = {**local_environ, "XDG_RUNTIME_DIR": str(fits)}
        with mounted(f"local:{container}", mountpoint, "--cache-dir", cache, environ=environ):
            check("swiftfs", "status", mountpoint, environ=environ)
