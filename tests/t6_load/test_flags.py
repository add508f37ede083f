"""What the flags of ``swiftfs load`` do through the command itself, on a real store, judged by what it was sent."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

import pytest
from fakes.programs import check, run, write_tree

from swiftfs.localcloud import Cloud
from swiftfs.localcloud.access_log import offset, requests

pytestmark = pytest.mark.cloud

MIB = 1 << 20
THEN = 1_700_000_000
"""A file's time in seconds; what is newer or older is so by a hundred."""
BEFORE = {"same": b"11", "content": b"22", "size": b"3", "newer": b"44"}
NOW = {"same": b"11", "content": b"xx", "size": b"333", "newer": b"yy", "new": b"5"}
AGES = {"content": 100, "size": 100, "newer": -100}
"""How much newer than its object each file is."""


@pytest.fixture
def container(local_environ: dict[str, str]) -> Iterator[str]:
    name = f"flags-{secrets.token_hex(4)}"
    check("swiftfs", "mkdir", f"local:{name}", environ=local_environ)
    yield name
    check("swiftfs", "purge", f"local:{name}", environ=local_environ)


def aged(top: Path, files: Mapping[str, bytes], ages: Mapping[str, int]) -> Path:
    """The tree, each file as much newer than :data:`THEN` as ``ages`` says."""
    write_tree(top, files)
    for name in files:
        os.utime(top / name, (THEN, THEN + ages.get(name, 0)))
    return top


def sent(cloud: Cloud, since: int, below: str) -> list[str]:
    """The objects below ``below`` (CONTAINER/PREFIX/) that were put since then, each as often as it was."""
    lines = [line for line in requests(cloud, since, settle=0.3) if line.method == "PUT"]
    return sorted(unquote(line.path).partition(f"/{below}")[2] for line in lines if f"/{below}" in unquote(line.path))


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        (None, ["content", "new", "newer", "size"]),
        ("--checksum", ["content", "new", "newer", "size"]),
        ("--size-only", ["new", "size"]),
        ("--ignore-existing", ["new"]),
        ("--update", ["content", "new", "size"]),
        ("--update --checksum", ["content", "new", "size"]),
        ("--update --size-only", ["new", "size"]),
        ("--ignore-times", ["content", "new", "newer", "same", "size"]),
        ("--immutable", ["new"]),
    ],
)
def test_each_flag_sends_what_it_means_and_what_rclone_sends(
    tmp_path: Path, container: str, cloud: Cloud, local_environ: dict[str, str], flag: str | None, expected: list[str]
) -> None:
    """Of files that are the same, of other bytes, of another size, older than what is there, and new, the server's log
    shows PUTs for exactly those that the flag means, from swiftfs and from rclone; --immutable ends with an error."""
    both = {f"{program}/{name}": body for program in ("swiftfs", "rclone") for name, body in BEFORE.items()}
    check("swiftfs", "load", aged(tmp_path / "before", both, {}), f"local:{container}", environ=local_environ)
    tree = aged(tmp_path / "now", NOW, AGES)
    for program, command in (("swiftfs", ["load"]), ("rclone", ["copy", "--retries", "1"])):
        since = offset(cloud.proxy_log)
        words = [*command, tree, f"local:{container}/{program}", *(flag or "").split()]
        done = run(program, *words, environ=local_environ)
        assert (done.code != 0) is (flag == "--immutable"), done.err
        assert sent(cloud, since, f"{container}/{program}/") == expected, program
        if flag == "--immutable":
            assert [name for name in NOW if f"{name}: " in done.err] == ["content", "size", "newer"], done.err


@pytest.mark.parametrize("flag", ["--delete-extra", "--clean"])
def test_segments_go_with_the_large_objects_that_are_deleted(
    tmp_path: Path, container: str, local_environ: dict[str, str], swiftclient_environ: dict[str, str], flag: str
) -> None:
    """A load that deletes an SLO that swiftfs made, and an SLO and a DLO that python-swiftclient made, takes their
    segments along, and no segment of what lies beside its destination."""
    body = os.urandom(2 * MIB + 5)
    places = ("p/deep", "q/deep", "p-beside")
    trees = {kind: tmp_path / kind for kind in ("ours", "static", "dynamic")}
    for kind, tree in trees.items():
        write_tree(tree, {f"{place}/{kind}.bin": body for place in places})
    cut = ["--multi-thread-cutoff", "1M", "--segment-size", "1M"]
    check("swiftfs", "load", trees["ours"], f"local:{container}", *cut, environ=local_environ)
    for kind, way in (("static", "--use-slo"), ("dynamic", "--use-dlo")):
        upload = ["swift", "upload", way, "--segment-size", str(MIB), container, "."]
        check(*upload, environ=swiftclient_environ, cwd=trees[kind])

    def names(of: str) -> list[str]:
        rows = json.loads(check("swiftfs", "lsjson", "-R", "--files-only", f"local:{of}", environ=local_environ))
        return sorted(row["Path"] for row in rows)

    segments = names(f"{container}_segments")
    assert len(segments) == 3 * len(trees) * len(places)
    gone = [name for name in segments if "p/deep" in name]
    assert len(gone) == 3 * len(trees)

    small = write_tree(tmp_path / "small", {"new": b"1"})
    done = check("swiftfs", "load", small, f"local:{container}/p", flag, environ=local_environ)

    assert "deleted 3 objects" in done
    assert names(container) == sorted(["p/new", *(f"{place}/{kind}.bin" for place in places[1:] for kind in trees)])
    assert names(f"{container}_segments") == [name for name in segments if name not in gone]
    check("swiftfs", "purge", f"local:{container}_segments", environ=local_environ)


def test_rules_on_the_way_are_decided_before_anything_is_sent(
    tmp_path: Path, container: str, cloud: Cloud, local_environ: dict[str, str]
) -> None:
    """``load --transform``: two files with one target are an error, and a dry run says what goes where; neither sends
    anything. The load then sends each file once under its new name, and a second one nothing."""
    tree = write_tree(tmp_path / "tree", {"training/3_1.jpg": b"x", "training/10_2.jpg": b"yy", "notes": b"z"})
    rules = tmp_path / "clash.toml"
    rules.write_text('[[rule]]\npattern = "training/.*(?P<end>jpg)"\nreplacement = "all.{end}"\n')
    place = f"local:{container}/p"

    def load(*options: str | Path) -> tuple[int, str, str, list[str]]:
        since = offset(cloud.proxy_log)
        done = run("swiftfs", "load", tree, place, *options, environ=local_environ)
        return done.code, done.out, done.err, sent(cloud, since, f"{container}/p/")

    code, out, err, puts = load("--transform", rules)
    assert (code, out, puts) == (2, "", [])
    assert "training/10_2.jpg and training/3_1.jpg would both become all.jpg" in err
    assert len(err.splitlines()) == 1

    code, out, err, puts = load("--transform", "food11", "--dry-run")
    renamed = ["training/class_03/3_1.jpg", "training/class_10/10_2.jpg"]
    assert (code, puts) == (0, [])
    assert sorted(line for line in out.splitlines() if " -> " in line) == [
        "notes -> notes",
        f"training/10_2.jpg -> {renamed[1]}",
        f"training/3_1.jpg -> {renamed[0]}",
    ]
    assert all(f"would send: p/{name}" in err for name in ["notes", *renamed])

    code, _, err, puts = load("--transform", "food11")
    assert (code, err, puts) == (0, "", ["notes", *renamed])
    code, out, err, puts = load("--transform", "food11")
    assert (code, err, puts) == (0, "", [])
    assert "0 sent, 3 skipped" in out


def test_a_transform_that_would_join_files_moves_none_and_a_second_one_has_nothing_to_do(
    tmp_path: Path, local_environ: dict[str, str]
) -> None:
    """``swiftfs transform`` as a command: a clash is exit code 2 and one line with both names, and nothing has moved;
    food11 moves each file once."""
    tree = write_tree(tmp_path / "tree", {"training/3_1.jpg": b"x", "training/10_2.jpg": b"yy"})
    rules = tmp_path / "clash.toml"
    rules.write_text('[[rule]]\npattern = "training/.*(?P<end>jpg)"\nreplacement = "all.{end}"\n')
    clash = run("swiftfs", "transform", tree, "--rules", rules, environ=local_environ)
    assert (clash.code, len(clash.err.splitlines())) == (2, 1)
    assert "would both become all.jpg" in clash.err
    assert sorted(path.name for path in (tree / "training").iterdir()) == ["10_2.jpg", "3_1.jpg"]

    said = [check("swiftfs", "transform", tree, "--rules", "food11", environ=local_environ) for _ in range(2)]
    assert [text.splitlines()[-1].partition(",")[0] for text in said] == ["moved 2 files", "moved 0 files"]
    assert sorted(path.name for path in tree.rglob("*.jpg")) == ["10_2.jpg", "3_1.jpg"]
