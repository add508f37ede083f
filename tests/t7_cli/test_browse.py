"""Looking into a container beside the real rclone: the same lines, the same JSON, the same bytes."""

from __future__ import annotations

import json
import os
import random
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fakes.programs import check, run, until, write_tree

from swiftfs.cli.browse import _binary, _short
from swiftfs.localcloud import Cloud

pytestmark = pytest.mark.cloud

TREE = {
    "a/one.txt": b"hi\n",
    "a/sub/two.bin": random.Random(7).randbytes(100_000),
    "b/\N{LATIN SMALL LETTER U WITH DIAERESIS} name #1.txt": b"x\n",
    "empty": b"",
    "top.txt": b"123456\n",
}
LARGE = random.Random(8).randbytes(250_000)


@dataclass(frozen=True)
class Place:
    """A container with plain and large objects, and the environment of its user."""

    path: str
    environ: dict[str, str]

    def ours(self, *words: str) -> str:
        return check("swiftfs", *words, environ=self.environ)

    def theirs(self, *words: str) -> str:
        return check("rclone", *words, environ=self.environ)


@pytest.fixture(scope="module")
def place(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """TREE, written by rclone; below ``large/`` a DLO of rclone's and an SLO of swiftclient's."""
    work = tmp_path_factory.mktemp("browse")
    environ = {**os.environ, "HOME": str(work), "RCLONE_CONFIG": str(cloud.rclone_conf), "TZ": "America/St_Johns"}
    container = f"browse-{secrets.token_hex(4)}"
    top = write_tree(work / "tree", TREE)
    os.utime(top / "top.txt", ns=(0, 1_580_702_706_789_000_000))
    check("rclone", "copy", top, f"local:{container}", environ=environ)
    (work / "dlo.bin").write_bytes(LARGE)
    dlo = ("rclone", "copy", "--swift-chunk-size", "90k", work / "dlo.bin", f"local:{container}/large")
    check(*dlo, environ=environ)
    (work / "large").mkdir()
    (work / "large" / "slo.bin").write_bytes(LARGE)
    openrc = {
        "OS_AUTH_TYPE": "v3applicationcredential",
        "OS_AUTH_URL": cloud.auth_url,
        "OS_APPLICATION_CREDENTIAL_ID": cloud.application_credential_id,
        "OS_APPLICATION_CREDENTIAL_SECRET": cloud.application_credential_secret,
        "ST_AUTH_VERSION": "3",
        "PYTHONWARNINGS": "ignore",
    }
    slo = ("swift", "upload", "--use-slo", "-S", "90000", "--segment-container", f"{container}_segments")
    check(*slo, container, "large/slo.bin", environ=environ | openrc, cwd=work)
    yield Place(f"local:{container}", environ)
    for name in (container, f"{container}_segments"):
        check("rclone", "purge", f"local:{name}", environ=environ)


@pytest.mark.parametrize("below", ["/", "/a", "/top.txt"])
@pytest.mark.parametrize("command", ["ls", "lsl"])
def test_ls_and_lsl_are_rclones(place: Place, command: str, below: str) -> None:
    """Sizes, times to the nanosecond in local time and names, large objects among them; rclone's order is no order."""
    theirs = place.theirs(command, place.path + below)
    assert theirs
    assert sorted(theirs.splitlines()) == sorted(place.ours(command, place.path + below).splitlines())


def test_ls_goes_in_the_listings_order(place: Place) -> None:
    """The order in which a mount shows files and a loader reads them."""
    names = [line[10:] for line in place.ours("ls", place.path).splitlines()]
    assert sorted([*TREE, "large/dlo.bin", "large/slo.bin"]) == names


def test_lsl_with_server_times_costs_no_head_of_plain_files(place: Place, cloud: Cloud) -> None:
    """Only what may be large is looked at; the sizes stay true."""
    from swiftfs.localcloud.access_log import offset, requests

    start = offset(cloud.proxy_log)
    shown = place.ours("lsl", "--use-server-modtime", place.path)
    heads = {line.path.rpartition("/")[2] for line in requests(cloud, start) if line.method == "HEAD"}
    assert {"empty", "dlo.bin", "slo.bin"} == heads
    assert [int(line[:9]) for line in shown.splitlines()] == [3, 100_000, 2, 0, 250_000, 250_000, 7]


@pytest.mark.parametrize("words", [["lsd"], ["lsd", "-R"]], ids=" ".join)
@pytest.mark.parametrize("below", ["", "/a"])
def test_lsd_of_directories_is_rclones(place: Place, words: list[str], below: str) -> None:
    """Directories in a directory, and with -R all below it."""
    theirs = place.theirs(*words, place.path + below).splitlines()
    assert sorted(theirs) == sorted(place.ours(*words, place.path + below).splitlines())


def test_lsd_of_a_remote_shows_containers(place: Place) -> None:
    """Bytes, number and name as rclone has them; the time is the container's own, where rclone knows none."""
    own = place.path.partition(":")[2]

    def shown(done: str) -> list[str]:
        return [line for line in done.splitlines() if line.endswith((own, f"{own}_segments"))]

    def are_alike() -> bool:
        nonlocal ours
        ours, theirs = shown(place.ours("lsd", "local:")), shown(place.theirs("lsd", "local:"))
        return [(line[:12], line[33:]) for line in theirs] == [(line[:12], line[33:]) for line in ours]

    ours: list[str] = []
    until(are_alike)  # a busy store counts a container's objects behind their uploads
    assert len(ours) == 2
    assert all(datetime.fromisoformat(line[13:32]).year >= 2026 for line in ours)


@pytest.mark.parametrize("words", [["size"], ["size", "--json"]], ids=" ".join)
@pytest.mark.parametrize("below", ["", "/a", "/top.txt"])
def test_size_is_rclones(place: Place, words: list[str], below: str) -> None:
    """Number and true bytes, in words and as JSON."""
    assert place.theirs(*words, place.path + below) == place.ours(*words, place.path + below)


@pytest.mark.parametrize("number", [0, 1, 1023, 1024, 1536, 1537, 1_048_575, 1_048_576, 72_717_482, 5 << 30, 3 << 40])
def test_bytes_are_shown_in_rclones_units(here: Path, number: int) -> None:
    """Whole numbers without decimals, others with three."""
    with open("file", "wb") as file:
        file.truncate(number)
    said = check("rclone", "size", "file", environ=os.environ).splitlines()[1]
    assert said == f"Total size: {_binary(number)} ({number} Byte)"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (1000, "1k"), (1500, "1.500k"), (16_643, "16.643k"), (2 * 10**6, "2M")]
)
def test_counts_are_shown_in_rclones_units(count: int, text: str) -> None:
    """Decimal units."""
    assert text == _short(count)


def comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without what rclone makes up (sizes and times of directories), times and content types parsed."""
    kept = []
    for row in rows:
        if row["IsDir"]:
            row = {key: row[key] for key in row if key not in {"Size", "ModTime"}}
        elif row["ModTime"]:
            match = re.fullmatch(r"(\S{19})(?:\.(\d+))?(Z|[-+]\d\d:\d\d)", row["ModTime"])
            assert match is not None, row
            row = row | {"ModTime": (match[1], (match[2] or "").ljust(9, "0"), match[3])}
        if "MimeType" in row:
            # Swift's listings leave out the blank that its HEAD shows.
            row = row | {"MimeType": row["MimeType"].replace("; ", ";")}
        kept.append(row)
    return sorted(kept, key=lambda row: str(row["Path"]))


LSJSON = [
    ("", []),
    ("", ["-R", "--hash"]),
    ("", ["--no-modtime", "--no-mimetype"]),
    ("", ["-R", "--files-only"]),
    ("", ["-R", "--dirs-only"]),
    ("/a", ["-R"]),
    ("/top.txt", ["--hash", "--no-modtime"]),
]


@pytest.mark.parametrize(("below", "options"), LSJSON, ids=lambda value: "".join(value))
def test_lsjson_is_rclones(place: Place, below: str, options: list[str]) -> None:
    """The same items with the same keys in the same order and the same values."""
    theirs = json.loads(place.theirs("lsjson", *options, place.path + below))
    ours = json.loads(place.ours("lsjson", *options, place.path + below))
    assert comparable(theirs) == comparable(ours)
    assert {row["Path"]: list(row) for row in theirs} == {row["Path"]: list(row) for row in ours}


def test_lsjson_of_a_remote_marks_containers(place: Place) -> None:
    """They are directories that are buckets."""
    own = place.path.partition(":")[2]
    (theirs,), (ours,) = (
        [row for row in json.loads(text) if row["Path"] == own]
        for text in (place.theirs("lsjson", "local:"), place.ours("lsjson", "local:"))
    )
    assert theirs | {"ModTime": None} == ours | {"ModTime": None}


def test_lsjson_stat_shows_one_thing(place: Place) -> None:
    """An object as rclone shows it; a directory and a container as such; what is not there as an error."""
    stat = ("lsjson", "--stat", "--hash")
    theirs, ours = (
        json.loads(text)
        for text in (place.theirs(*stat, f"{place.path}/top.txt"), place.ours(*stat, f"{place.path}/top.txt"))
    )
    assert comparable([theirs]) == comparable([ours])
    for below, bucket in (("/a", False), ("", True)):
        found = json.loads(place.ours(*stat, place.path + below))
        assert (True, bucket) == (found["IsDir"], found.get("IsBucket", False))
    assert run("swiftfs", *stat, f"{place.path}/nope", environ=place.environ).code == 3


CAT = [
    ("/top.txt", []),
    ("/top.txt", ["--head", "2"]),
    ("/top.txt", ["--tail", "2"]),
    ("/top.txt", ["--offset", "2", "--count", "3"]),
    ("/top.txt", ["--offset", "-3", "--count", "1"]),
    ("/top.txt", ["--tail", "100"]),
    ("/empty", ["--head", "2"]),
    ("/large/slo.bin", []),
    ("/large/dlo.bin", ["--offset", "89999", "--count", "90002"]),
]


@pytest.mark.parametrize(("below", "options"), CAT, ids=lambda value: "".join(value))
def test_cat_is_rclones(place: Place, below: str, options: list[str]) -> None:
    """All of an object, its head, its tail, a piece of it."""
    assert place.theirs("cat", *options, place.path + below) == place.ours("cat", *options, place.path + below)


def test_cat_of_a_directory_writes_all_that_is_in_it(place: Place) -> None:
    """In the listing's order."""
    assert "hi\n" + os.fsdecode(TREE["a/sub/two.bin"]) == place.ours("cat", f"{place.path}/a")


def test_names_are_printed_as_they_are_in_any_locale(place: Place) -> None:
    """A terminal without UTF-8 changes no name: what is printed can be given back."""
    plain = place.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    assert place.ours("ls", f"{place.path}/b") == check("swiftfs", "ls", f"{place.path}/b", environ=plain)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["lsd", "{path}-nope"], 3, "container '{name}-nope' not found"),
        (["ls", "{path}-nope/a"], 3, "container '{name}-nope' not found"),
        (["lsjson", "{path}-nope"], 3, "not found"),
        (["size", "{path}-nope"], 3, "not found"),
        (["cat", "{path}-nope/a"], 3, "container '{name}-nope' not found"),
        (["cat", "{path}/nope"], 4, "object not found"),
        (["ls", "{path}/nope"], 3, "directory not found"),
        (["cat", "local:"], 2, "needs a container"),
        (["mkdir", "local:"], 2, "no container is named"),
        (["purge", "local:"], 2, "no container is named"),
        (["delete", "local:"], 2, "no container is named"),
        (["rmdir", "{path}-nope"], 3, "not found"),
        (["rmdir", "{path}"], 1, "the container is not empty"),
        (["purge", "{path}-nope"], 3, "not found"),
        (["delete", "{path}-nope"], 3, "not found"),
        (["mount", "{path}-nope", "mnt"], 3, "not found"),
        (["load", ".", "{path}/x", "--nonesuch"], 2, "No such option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_missing_is_one_line_and_its_exit_code(
    place: Place, here: Path, words: list[str], code: int, said: str
) -> None:
    """Container, directory, object, argument: each with rclone's code, and never a traceback."""
    (here / "mnt").mkdir()
    name = place.path.partition(":")[2]
    filled = [word.format(path=place.path, name=name) for word in words]
    done = run("swiftfs", *filled, environ=place.environ)
    lines = [line for line in done.err.splitlines() if line.startswith("swiftfs: error: ")]
    assert (code, 1) == (done.code, len(lines)), done.err
    assert lines == done.err.splitlines()
    assert said.format(name=name) in lines[0]


CREDENTIALS = [
    ("application_credential_secret", "canary-77aa", 1, "refuses the credentials"),
    ("application_credential_id", "0" * 32, 1, "refuses the credentials"),
    ("region", "nowhere", 1, "known regions: "),
    ("auth", "http://127.0.0.1:1/v3", 1, "cannot reach Keystone at http://127.0.0.1:1/v3"),
    ("auth_version", "2", 1, "only Keystone v3"),
    ("type", "s3", 1, "type 's3'"),
]


@pytest.mark.parametrize(("key", "value", "code", "said"), CREDENTIALS, ids=[row[0] for row in CREDENTIALS])
def test_wrong_settings_are_one_line_and_their_exit_code(
    place: Place, key: str, value: str, code: int, said: str
) -> None:
    """Secret, region, endpoint: what is wrong is named, what is right is listed, no secret is shown."""
    done = run("swiftfs", "ls", place.path, environ=place.environ | {f"RCLONE_CONFIG_LOCAL_{key.upper()}": value})
    lines = done.err.splitlines()
    assert (code, "", 1) == (done.code, done.out, len(lines)), done.err
    assert lines[0].startswith("swiftfs: error: ")
    assert said in lines[0]
    assert "canary-77aa" not in done.err
