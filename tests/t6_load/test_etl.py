"""The whole pipeline as a user runs it: one command from a file, or the three stages of the compose file."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from fakes.programs import write_tree

from swiftfs.load.pipeline import read_pipeline

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "food11"
URL = "https://nyu.box.com/shared/static/m5kvcl25hfpljul3elhu6xz8y2w61op4.zip"


def run(*command: str | Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), env=dict(environ), cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def swiftfs(*arguments: str | Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "swiftfs", *arguments, environ=environ)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Food-11 in small, as its archive has it."""
    path = tmp_path / "Food-11.zip"
    with zipfile.ZipFile(path, "w") as made:
        for split in ("training", "validation", "evaluation"):
            for number in range(22):
                made.writestr(f"Food-11/{split}/{number % 11}_{number}.jpg", os.urandom(2000 + number))
    return path


def listed(container: str, environ: Mapping[str, str]) -> str:
    ended = swiftfs("lsjson", "-R", "--hash", "--no-modtime", f"local:{container}", environ=environ)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.cloud
def test_one_command_does_what_the_three_stages_of_the_compose_file_do(
    tmp_path: Path, archive: Path, local_environ: dict[str, str]
) -> None:
    """The services' own commands, run one after another, and `swiftfs etl` leave equal containers."""
    services: dict[str, Any] = yaml.safe_load((EXAMPLES / "docker-compose-etl.yaml").read_text())["services"]
    program = tmp_path / "bin" / "swiftfs"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m swiftfs "$@"\n')
    program.chmod(0o755)
    container = f"etl-{uuid4().hex[:8]}"
    environ = local_environ | {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "RCLONE_CONTAINER": f"{container}-staged",
        "PYTHONPATH": str(ROOT),
    }
    for name in ("extract-data", "transform-data", "load-data"):
        entry = services[name].get("entrypoint", ["swiftfs"])
        command = [
            one.replace(URL, str(archive)).replace("/data/", f"{tmp_path}/data/")
            for one in (*entry, *services[name]["command"])
        ]
        ended = run(*command, environ=environ)
        assert ended.returncode == 0, ended.stderr
    pipeline = tmp_path / "food11.toml"
    text = (EXAMPLES / "food11.toml").read_text()
    pipeline.write_text(text.replace(URL, archive.name))
    once = swiftfs("etl", pipeline, f"local:{container}", environ=local_environ)
    assert (once.returncode, once.stderr) == (0, "")
    assert "verified 66 objects" in once.stdout
    assert listed(container, local_environ) == listed(f"{container}-staged", local_environ)
    assert "class_10/10_21.jpg" in listed(container, local_environ)


@pytest.mark.cloud
def test_files_in_options_lie_beside_the_pipeline(tmp_path: Path, local_environ: dict[str, str]) -> None:
    """What a pipeline's options read and write is where the file is, wherever the command is run."""
    write_tree(tmp_path, {"tree/a.jpg": b"1", "tree/b.tmp": b"2", "skip.txt": b"*.tmp\n"})
    pipeline = tmp_path / "p.toml"
    pipeline.write_text(
        'source = "tree"\n[options]\nexclude-from = "skip.txt"\nsummary-json = "run.json"\nlog-file = "run.log"\n'
    )
    container = f"etl-{uuid4().hex[:8]}"
    ended = swiftfs("-v", "etl", pipeline, f"local:{container}", environ=local_environ)
    assert ended.returncode == 0, ended.stderr
    assert swiftfs("ls", f"local:{container}", environ=local_environ).stdout.split() == ["1", "a.jpg"]
    assert json.loads((tmp_path / "run.json").read_text())["sent"] == 1
    assert (tmp_path / "run.log").exists()


def test_the_compose_file_keeps_what_others_rely_on() -> None:
    """Services, container names, the volume and the variable are those that the course's material names."""
    document: dict[str, Any] = yaml.safe_load((EXAMPLES / "docker-compose-etl.yaml").read_text())
    services = document["services"]
    assert {name: one["container_name"] for name, one in services.items()} == {
        "extract-data": "etl_extract_data",
        "transform-data": "etl_transform_data",
        "load-data": "etl_load_data",
    }
    assert list(document["volumes"]) == ["food11"]
    assert all("food11:/data" in one["volumes"] and one["image"] == "swiftfs" for one in services.values())
    assert services["load-data"]["environment"] == ["RCLONE_CONTAINER"]


def test_the_example_pipeline_is_one() -> None:
    """The file in the repository is understood, and its rules are the course's."""
    arguments = read_pipeline(str(EXAMPLES / "food11.toml")).arguments("chi:c")
    assert arguments == ["--transfers=64", "--transform=food11", "--", URL, "chi:c"]


def test_what_is_wrong_with_a_pipeline_is_one_line(tmp_path: Path) -> None:
    """A missing file, a broken one and an option that load does not have are each one line and an exit code."""
    path, conf = tmp_path / "p.toml", tmp_path / "rclone.conf"
    conf.write_text("[nobody]\ntype = swift\nuser = u\nkey = k\ntenant = t\nauth = http://127.0.0.1:9/v3\n")
    conf.chmod(0o600)
    for text, code, said in [
        (None, 1, "cannot read the pipeline"),
        ("source", 2, "is not TOML"),
        ('source = "a"\n[options]\ntransfrs = 1', 2, "transfrs"),
        ('source = "a"\n[options]\ntransfers = 0', 2, "transfers"),
        ('source = "a"\nrules = "none"', 2, "no rules"),
    ]:
        if text is not None:
            path.write_text(text)
        ended = swiftfs("etl", path, "nobody:c", environ=os.environ | {"RCLONE_CONFIG": str(conf)})
        assert ended.returncode == code, ended.stderr
        assert said in ended.stderr
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
