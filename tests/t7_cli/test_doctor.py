"""doctor and the checks before a mount: what is missing is named with the command that mends it."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.programs import check, run
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.errors import ConfigError
from swiftfs.localcloud import Cloud
from swiftfs.mount import preflight
from swiftfs.mount.mounts import Mount, parse_mountinfo

LINE = "36 35 98:0 / {mountpoint} ro,nosuid shared:1 - fuse.swiftfs {source} rw,user_id=0"


def escaped(text: str) -> str:
    """As the kernel writes a path there: proc_pid_mountinfo(5)."""
    return re.sub(r"[ \t\n\\]", lambda match: f"\\{ord(match[0]):03o}", text)


PATHS = st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\0/"), min_size=1).map(
    "/{}".format
)


@given(st.lists(st.tuples(PATHS, PATHS), max_size=4))
def test_the_list_of_mounts_reads_back(pairs: list[tuple[str, str]]) -> None:
    """Blanks, tabs, newlines and backslashes in a mountpoint or a source come back as they were."""
    lines = [LINE.format(mountpoint=escaped(path), source=escaped(source)) for path, source in pairs]
    expected = [Mount("98:0", Path(path), "fuse.swiftfs", source) for path, source in pairs]
    assert expected == parse_mountinfo(lines)


@given(st.lists(st.text(max_size=60)))
def test_lines_of_another_shape_are_left_out(lines: list[str]) -> None:
    """No line, however odd, stops a command that looks for a mount."""
    assert [found for found in parse_mountinfo(lines) if found.ours] == []


@pytest.mark.parametrize(
    ("line", "mount"),
    [
        (
            r"75 28 0:51 / /mnt/my\040data ro - fuse.swiftfs chi_tacc:c rw",
            Mount("0:51", Path("/mnt/my data"), "fuse.swiftfs", "chi_tacc:c"),
        ),
        (
            r"75 28 0:51 / /a\134040b rw shared:1 master:2 - ext4 /dev/vda1 rw",
            Mount("0:51", Path(r"/a\040b"), "ext4", "/dev/vda1"),
        ),
        ("75 28 0:51 / /mnt rw - tmpfs", None),
        ("", None),
    ],
)
def test_lines_of_mountinfo(line: str, mount: Mount | None) -> None:
    """Optional fields may be none or many; a truncated line is no mount."""
    assert ([] if mount is None else [mount]) == parse_mountinfo([line + "\n"])


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("", False),
        ("#user_allow_other\n", False),
        ("mount_max = 1000\nuser_allow_other\n", True),
        ("  user_allow_other  ", True),
        ("user_allow_other_not\n", False),
    ],
)
def test_fuse_conf(text: str, allowed: bool) -> None:
    """Only a line of its own that is no comment counts."""
    assert allowed == preflight.allows_other(text)


def test_allow_other_is_roots_by_right_and_others_by_fuse_conf(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mend is the line to add; where nobody asked for it, it is no failure."""
    monkeypatch.setattr(preflight, "FUSE_CONF", here / "fuse.conf")
    assert preflight.check_allow_other(uid=0).ok
    found = preflight.check_allow_other(uid=1000)
    assert (False, f"echo user_allow_other | sudo tee -a {here}/fuse.conf") == (found.ok, found.mend)
    assert preflight.check_allow_other(uid=1000, needed=False).ok
    (here / "fuse.conf").write_text("user_allow_other\n")
    assert preflight.check_allow_other(uid=1000).ok


def test_a_mountpoint_must_be_an_empty_directory(here: Path) -> None:
    """Missing, a file, not empty: each has its mend; an empty directory is good."""
    good, full, file = here / "good", here / "full", here / "file"
    good.mkdir()
    full.mkdir()
    (full / "x").touch()
    file.touch()
    missing = preflight.check_mountpoint(here / "missing")
    mend = f"sudo mkdir -p {here}/missing && sudo chown $USER {here}/missing"
    assert (False, f"{here}/missing does not exist", mend) == (missing.ok, missing.found, missing.mend)
    assert (False, f"{file} is not a directory") == (
        preflight.check_mountpoint(file).ok,
        preflight.check_mountpoint(file).found,
    )
    assert (False, f"{full} is not empty") == (
        preflight.check_mountpoint(full).ok,
        preflight.check_mountpoint(full).found,
    )
    assert preflight.check_mountpoint(full, allow_non_empty=True).ok
    assert preflight.check_mountpoint(good).ok


def test_something_mounted_there_is_no_mountpoint() -> None:
    """Another file system is named with its type, and left alone by --recover."""
    found = preflight.check_mountpoint(Path("/proc"))
    assert not found.ok
    assert "/proc is already mounted" in found.found
    with pytest.raises(ConfigError, match="already mounted"):
        preflight.before_mount(Path("/proc"), allow_other=False, allow_non_empty=True, recover=True)


def test_a_missing_program_or_device_has_its_mend(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fusermount3 comes with fuse3, the device with the module."""
    monkeypatch.setenv("PATH", str(here))
    assert preflight.check_fusermount().mend == "sudo apt-get install fuse3"
    monkeypatch.setattr(preflight, "DEVICE", here / "fuse")
    missing = preflight.check_device()
    assert not missing.ok
    assert "modprobe fuse" in str(missing.mend)


def test_a_look_at_a_mountpoint_ends(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 when it answers, its errno when it fails, None when it does not answer in time."""
    assert preflight.probe(here) == 0
    assert preflight.probe(here / "missing") == errno.ENOENT
    import threading

    hang = threading.Event()
    monkeypatch.setattr(preflight.os, "statvfs", lambda path: hang.wait())
    monkeypatch.setattr(preflight, "PROBE_PATIENCE", 0.01)
    assert preflight.probe(here) is None
    hang.set()


# The command


@pytest.fixture
def container(local_environ: dict[str, str]) -> Iterator[str]:
    """An empty container."""
    path = f"local:doctor-{secrets.token_hex(4)}"
    check("swiftfs", "mkdir", path, environ=local_environ)
    yield path
    check("swiftfs", "rmdir", path, environ=local_environ)


@pytest.mark.cloud
@pytest.mark.fuse
def test_all_is_well(container: str, here: Path, local_environ: dict[str, str], cloud: Cloud) -> None:
    """Every check passes with a real login and a real container; exit code 0 and nothing on standard error."""
    (here / "mnt").mkdir()
    done = run("swiftfs", "doctor", container, here / "mnt", "--allow-other", environ=local_environ)
    assert (done.code, done.err) == (0, ""), done.out
    assert {"✓"} == {line[0] for line in done.out.splitlines()}
    for said in ("/dev/fuse", "fusermount3", "pyfuse3", f"{here}/mnt is free", cloud.storage_url, "0 objects"):
        assert said in done.out


@pytest.mark.cloud
@pytest.mark.parametrize(
    ("variable", "value", "what", "said"),
    [
        ("REGION", "nowhere", "region and endpoint", "known regions: "),
        ("APPLICATION_CREDENTIAL_SECRET", "canary-12cd", "credentials", "check id and secret"),
        ("AUTH", "http://127.0.0.1:1/v3", "credentials", "cannot reach Keystone"),
        ("AUTH_VERSION", "2", "remote", "only Keystone v3"),
    ],
)
def test_what_is_wrong_with_a_remote_is_named(
    container: str, local_environ: dict[str, str], variable: str, value: str, what: str, said: str
) -> None:
    """One line with a cross for the check that failed, and what to do below it."""
    environ = local_environ | {f"RCLONE_CONFIG_LOCAL_{variable}": value}
    done = run("swiftfs", "doctor", container, environ=environ)
    assert done.code == 1
    (crossed,) = [line for line in done.out.splitlines() if line.startswith("✗")]
    assert crossed.startswith(f"✗ {what} ")
    assert said in done.out
    assert "canary-12cd" not in done.out + done.err
    assert [line[:16] for line in done.err.splitlines()] == ["swiftfs: error: "]


@pytest.mark.cloud
def test_a_missing_container_has_its_mend(container: str, local_environ: dict[str, str]) -> None:
    """The command that makes it."""
    done = run("swiftfs", "doctor", f"{container}-nope", environ=local_environ)
    assert done.code == 1
    assert f"→ swiftfs mkdir {container}-nope" in done.out


def test_a_mountpoint_alone_can_be_checked(here: Path) -> None:
    """Without a remote; the configured ones are listed, and that there are none is a failure."""
    done = run("swiftfs", "doctor", here, environ=os.environ)
    assert done.code == 1
    assert f"✓ mountpoint     {here} is free" in done.out
    assert "✗ remotes" in done.out
