"""Making and removing, beside what rclone leaves behind: containers stay or go as it has them, no segment is lost."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.fault_proxy import Fault, FaultProxy, Status
from fakes.large_objects import put_link, put_manifest
from fakes.programs import check, run, through, write_tree

from swiftfs.config import Remote
from swiftfs.localcloud import Cloud
from swiftfs.localcloud.access_log import offset, requests

pytestmark = pytest.mark.cloud

NAMES = ["a/one", "a/sub/two", "b/ü #?%25.txt", "top"]


@pytest.fixture
def container(here: Path, local_environ: dict[str, str]) -> Iterator[str]:
    """A container with NAMES in it; whatever is left of it and of its segments goes at the end."""
    name = f"remove-{secrets.token_hex(4)}"
    write_tree(here / "tree", {each: each.encode() for each in NAMES})
    check("rclone", "copy", here / "tree", f"local:{name}", environ=local_environ)
    yield f"local:{name}"
    for left in (name, f"{name}_segments"):
        run("rclone", "purge", f"local:{left}", environ=local_environ)


def names(path: str, environ: dict[str, str]) -> list[str] | None:
    """What rclone finds below ``path``; None when there is no such container."""
    done = run("rclone", "lsf", "-R", "--files-only", path, environ=environ)
    return sorted(done.out.splitlines()) if done.code == 0 else None


def test_mkdir_makes_a_container_once_and_again(container: str, local_environ: dict[str, str]) -> None:
    """A second mkdir is no error and changes nothing."""
    check("swiftfs", "mkdir", f"{container}-new", environ=local_environ)
    check("swiftfs", "mkdir", f"{container}-new", environ=local_environ)
    assert names(f"{container}-new", local_environ) == []
    check("swiftfs", "mkdir", container, environ=local_environ)
    assert sorted(NAMES) == names(container, local_environ)
    check("swiftfs", "rmdir", f"{container}-new", environ=local_environ)
    assert names(f"{container}-new", local_environ) is None


@pytest.mark.parametrize("options", [[], ["--rmdirs"]], ids=["plain", "rmdirs"])
def test_delete_empties_a_container_and_leaves_it(
    container: str, options: list[str], local_environ: dict[str, str], cloud: Cloud
) -> None:
    """With --rmdirs too, as rclone's; one bulk request deletes what rclone needs two requests an object for."""
    start = offset(cloud.proxy_log)
    check("swiftfs", "delete", container, *options, environ=local_environ)
    sent = [line.method for line in requests(cloud, start) if line.method not in {"GET", "HEAD"}]
    assert [method for method in sent if method == "POST"] == ["POST"]
    assert names(container, local_environ) == []


@pytest.mark.parametrize(
    ("below", "left"),
    [("/a", ["b/ü #?%25.txt", "top"]), ("/a/one", ["a/sub/two", "b/ü #?%25.txt", "top"])],
)
@pytest.mark.parametrize("command", ["delete", "purge"])
def test_a_directory_or_an_object_alone_is_removed(
    container: str, command: str, below: str, left: list[str], local_environ: dict[str, str]
) -> None:
    """What only begins with the same letters stays."""
    check("swiftfs", command, container + below, environ=local_environ)
    assert left == names(container, local_environ)


def test_purge_removes_the_container(container: str, local_environ: dict[str, str]) -> None:
    """With all that is in it."""
    check("swiftfs", "purge", container, environ=local_environ)
    assert names(container, local_environ) is None


@pytest.mark.parametrize("command", ["delete", "purge"])
def test_a_dry_run_names_everything_and_removes_nothing(
    container: str, command: str, local_environ: dict[str, str], cloud: Cloud
) -> None:
    """The store sees reading requests only."""
    start = offset(cloud.proxy_log)
    shown = check("swiftfs", command, container, "--dry-run", environ=local_environ)
    assert {"GET"} == {line.method for line in requests(cloud, start)} - {"HEAD"}
    assert [f"would delete {name}" for name in sorted(NAMES)] == shown.splitlines()
    assert sorted(NAMES) == names(container, local_environ)


def test_what_swiftfs_keeps_is_listed_and_deleted_as_any_object(
    container: str, here: Path, local_environ: dict[str, str]
) -> None:
    """A manifest is shown and counted, as rclone shows it, is left out by a filter, and goes with a delete."""
    loaded = check("swiftfs", "load", here / "tree", container, "--manifest", environ=local_environ)
    name = f".swiftfs/manifest-{loaded.split('manifest ')[1].strip()}.jsonl"
    shown = sorted([*NAMES, name])
    assert shown == names(container, local_environ)
    for program in ("swiftfs", "rclone"):
        lines = check(program, "ls", container, environ=local_environ).splitlines()
        assert shown == sorted(line[10:] for line in lines)
    assert "Total objects: 5" in check("swiftfs", "size", container, environ=local_environ)
    dataset = check("swiftfs", "ls", container, "--exclude", "/.swiftfs/**", environ=local_environ)
    assert sorted(NAMES) == sorted(line[10:] for line in dataset.splitlines())
    check("swiftfs", "delete", container, environ=local_environ)
    assert names(container, local_environ) == []


def test_large_objects_take_their_segments_along(
    container: str, cloud: Cloud, here: Path, local_environ: dict[str, str]
) -> None:
    """A DLO of rclone's and an SLO of swiftclient's leave nothing behind that nobody would ever find, and
    a limit of size means their bytes."""
    (here / "big").mkdir()
    (here / "big" / "one").write_bytes(random.Random(3).randbytes(250_000))
    dlo = ("rclone", "copy", "--swift-chunk-size", "90k", here / "big", f"{container}/dlo")
    check(*dlo, environ=local_environ)
    openrc = {
        **os.environ,
        "OS_AUTH_TYPE": "v3applicationcredential",
        "OS_AUTH_URL": cloud.auth_url,
        "OS_APPLICATION_CREDENTIAL_ID": cloud.application_credential_id,
        "OS_APPLICATION_CREDENTIAL_SECRET": cloud.application_credential_secret,
        "ST_AUTH_VERSION": "3",
        "PYTHONWARNINGS": "ignore",
    }
    name = container.partition(":")[2]
    slo = ("swift", "upload", "--use-slo", "-S", "90000", "--segment-container", f"{name}_segments", name, "big/one")
    check(*slo, environ=openrc, cwd=here)
    assert len(names(f"{container}_segments", local_environ) or []) == 6
    limits = ("--max-size", "100K", "--dry-run")
    assert [f"would delete {name}" for name in sorted(NAMES)] == check(
        "swiftfs", "delete", container, *limits, environ=local_environ
    ).splitlines()
    check("swiftfs", "delete", container, environ=local_environ)
    assert names(container, local_environ) == []
    assert names(f"{container}_segments", local_environ) == []


@pytest.fixture
def albums(container: str, remote: Remote, local_environ: dict[str, str]) -> str:
    """NAMES, and below ``sets/`` large objects of which some are parts: a range of one, a whole one, and such a large
    object itself. One that lies among the segments has a segment of its own."""
    name = container.partition(":")[2]
    check("swiftfs", "mkdir", f"{container}_segments", environ=local_environ)
    check("rclone", "copyto", f"{container}/top", f"{container}_segments/sets/part", environ=local_environ)
    one, other = {"path": f"/{name}/a/one"}, {"path": f"/{name}/top"}
    hidden = {"path": f"/{name}_segments/sets/hidden"}

    async def put() -> None:
        await put_manifest(remote, name, "sets/both", [{**one, "range": "0-2"}, other])
        await put_manifest(remote, name, "kept", [one, other])
        await put_manifest(remote, f"{name}_segments", "sets/hidden", [{"path": f"/{name}_segments/sets/part"}, one])
        await put_manifest(remote, name, "sets/nested", [{"path": f"/{name}/kept"}, hidden])

    asyncio.run(put())
    return container


@pytest.mark.dialect("swift")
@pytest.mark.parametrize("command", ["delete", "purge", "delete-extra", "clean"])
def test_objects_of_which_a_larger_one_was_made_stay(
    albums: str, here: Path, command: str, local_environ: dict[str, str]
) -> None:
    """In whole or in part, and when a larger one is itself a part: only what lies among the segments goes along."""
    assert names(f"{albums}_segments", local_environ) == ["sets/hidden", "sets/part"]
    if command in {"delete", "purge"}:
        check("swiftfs", command, f"{albums}/sets", environ=local_environ)
    else:
        tree = write_tree(here / "other", {"new": b"new"})
        check("swiftfs", "load", tree, f"{albums}/sets", f"--{command}", environ=local_environ)
    left = [one for one in names(albums, local_environ) or [] if one != "sets/new"]
    assert left == sorted([*NAMES, "kept"])
    assert names(f"{albums}_segments", local_environ) == []
    assert check("swiftfs", "cat", f"{albums}/kept", environ=local_environ) == "a/onetop"


@pytest.fixture
def beside(container: str, here: Path, cloud: Cloud, local_environ: dict[str, str]) -> dict[str, str]:
    """The environment of a user whose segments are kept beside the objects; the container has a large one then."""
    config = here / "beside.conf"
    config.write_text(cloud.rclone_conf.read_text() + "use_segments_container = false\n")
    config.chmod(0o600)
    environ = {**local_environ, "RCLONE_CONFIG": str(config)}
    (here / "beside").mkdir()
    (here / "beside" / "film.bin").write_bytes(random.Random(4).randbytes(250_000))
    check("rclone", "copy", "--swift-chunk-size", "90k", here / "beside", container, environ=environ)
    return environ


@pytest.mark.parametrize("remote_shows", [True, False], ids=["shown", "hidden"])
@pytest.mark.parametrize("limits", [("--exclude", "*.bin"), ("--max-size", "100K")], ids=["name", "size"])
def test_a_filter_never_takes_the_segments_of_what_it_keeps(
    container: str,
    here: Path,
    limits: tuple[str, str],
    remote_shows: bool,
    local_environ: dict[str, str],
    beside: dict[str, str],
) -> None:
    """Whatever the remote says of segments beside objects; without a filter everything goes."""
    environ = local_environ if remote_shows else beside
    check("swiftfs", "delete", container, *limits, environ=environ)
    assert names(container, beside) == ["film.bin"]
    film = run("swiftfs", "cat", f"{container}/film.bin", environ=environ)
    assert os.fsencode(film.out) == (here / "beside" / "film.bin").read_bytes()
    check("swiftfs", "delete", container, environ=environ)
    assert names(container, local_environ) == []


def test_segments_beside_objects_are_hidden_where_they_are_kept(
    container: str, local_environ: dict[str, str], beside: dict[str, str]
) -> None:
    """In every listing, as with rclone; a remote that keeps them elsewhere shows them, as rclone does then."""
    for command in (("ls",), ("lsl",), ("size", "--json"), ("cat",)):
        for environ in (local_environ, beside):
            ours, theirs = (run(one, *command, container, environ=environ).out for one in ("swiftfs", "rclone"))
            assert sorted(ours.split("\n")) == sorted(theirs.split("\n")), command
    for environ, segments in ((local_environ, True), (beside, False)):
        for command in (("lsd",), ("lsjson",), ("lsjson", "-R")):
            for program in ("swiftfs", "rclone"):
                assert segments == (".file-segments" in check(program, *command, container, environ=environ)), command


@pytest.mark.dialect("swift")
@pytest.mark.parametrize("command", ["delete", "purge", "load", "clean"])
def test_a_link_goes_without_what_it_points_to(
    container: str, here: Path, remote: Remote, command: str, local_environ: dict[str, str]
) -> None:
    """Deleted or replaced, a symbolic link to a large object leaves that as it is, and one to a plain object, too."""
    name = container.partition(":")[2]
    film = random.Random(5).randbytes(2 << 20)
    cut = ("--multi-thread-cutoff", "1M", "--segment-size", "1M")
    check("swiftfs", "load", write_tree(here / "films", {"film": film}), container, *cut, environ=local_environ)
    asyncio.run(put_link(remote, name, "links/film", f"{name}/film"))
    asyncio.run(put_link(remote, name, "links/top", f"{name}/top"))
    assert os.fsencode(run("swiftfs", "cat", f"{container}/links/film", environ=local_environ).out) == film
    if command in {"delete", "purge"}:
        check("swiftfs", command, f"{container}/links", environ=local_environ)
    else:
        tree = write_tree(here / "links", {"film": b"another", "top": b"top"})
        options = ["--clean"] if command == "clean" else []
        check("swiftfs", "load", tree, f"{container}/links", *options, environ=local_environ)
        check("rclone", "check", tree, f"{container}/links", environ=local_environ)
        check("swiftfs", "delete", f"{container}/links", environ=local_environ)
    assert names(container, local_environ) == sorted([*NAMES, "film"])
    assert os.fsencode(run("swiftfs", "cat", f"{container}/film", environ=local_environ).out) == film
    assert check("swiftfs", "cat", f"{container}/top", environ=local_environ) == "top"


@pytest.mark.parametrize("refusals", [1, 2])
def test_purge_waits_for_a_container_that_counts_what_is_deleted(
    container: str, refusals: int, cloud: Cloud, here: Path
) -> None:
    """Once, and then it says what is to be done, which is not to use purge."""
    name = container.partition(":")[2]
    with FaultProxy(cloud.storage_url) as proxy:
        environ = through(cloud, proxy.url, here)
        with proxy.broken(Fault(Status(409), "DELETE", f"/{name}$", count=refusals)):
            done = run("swiftfs", "purge", container, environ=environ)
        assert (done.code, "run it again" in done.err) == ((0, False) if refusals == 1 else (1, True)), done.err
        assert (names(container, environ) is None) == (refusals == 1)
