"""A benchmark's report: goals are shown, exact counts decide, and the data sets are the same every time."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import dataset
from bench.growth import per_file
from bench.machine import Machine, Quietness
from bench.measured import Measured
from bench.pairs import Pair
from bench.report import (
    Block,
    Figure,
    Report,
    Run,
    Scenario,
    as_json,
    count,
    count_within,
    markdown,
    plain_figure,
    ratio_figure,
    write,
)
from bench.stores import kind

MACHINE = Machine("6.1", "a CPU", 2, 2**33, "3.11", {"rclone": "v1"})
RUN = Run("swiftfs", Measured(("swiftfs", "load"), 1.0, 0.5, 2**20, 0, "chatter"), {"PUT object": 5}, 7)


def report_of(*scenarios: Scenario) -> Report:
    return Report("load", "2026-01-02T03:04:05+00:00", ["python", "-m", "bench"], MACHINE, scenarios)


@given(st.floats(0.001, 1000), st.floats(0.001, 1000))
def test_goals_are_met_from_the_right_side(value: float, goal: float) -> None:
    """A goal is the most that a figure may be, or the least when that is said; without one there is no verdict."""
    assert Figure("wall", value, value, value, "x", goal).met == (value <= goal)
    assert Figure("rate", value, value, value, "1/s", goal, at_least=True).met == (value >= goal)
    assert Figure("wall", value, value, value).met is None


def test_only_counts_are_wrong() -> None:
    """A missed goal is no error; a count that differs, or lies outside its range, is named."""
    missed = Figure("wall", 9.0, 9.0, 9.0, "x", 0.5)
    fine = report_of(Scenario("1", "", [missed], [count("PUT", 5, 5), count_within("requests", 3, 1, 3)]))
    assert fine.wrong == []
    bad = report_of(Scenario("2", "", [], [count("PUT", 6, 5), count_within("requests", 4, 1, 3)]))
    assert bad.wrong == ["2: PUT is 6, must be 5", "2: requests is 4, must be 1 to 3"]


def test_figures_tell_their_spread() -> None:
    """A ratio comes with its interval, a plain value with its range, and a figure of void blocks says so."""
    figure = ratio_figure("wall", [Pair(1, 2), Pair(2, 2), Pair(3, 2)], goal=1.0)
    assert figure is not None
    assert (figure.value, figure.provisional, figure.met) == (1.0, False, True)
    assert figure.low <= 1.0 <= figure.high
    noisy = ratio_figure("wall", [Pair(1, 2, "noise")])
    assert noisy is not None
    assert noisy.provisional
    assert ratio_figure("wall", []) is None
    plain = plain_figure("memory", [3.0, 1.0, 2.0], "MiB", goal=2.0)
    assert (plain.low, plain.value, plain.high, plain.met) == (1.0, 2.0, 3.0, True)


def test_report_is_written_whole(tmp_path: Path) -> None:
    """The JSON has every block with its command line and why it is void, the page every figure with its verdict."""
    void = Block([RUN], Quietness(0.1, 0.2, 1.0, 1.0, 0.0))
    scenario = Scenario(
        "1", "t", [Figure("wall", 0.7, 0.6, 0.8, "x", 0.5)], [count("PUT", 6, 5)], [void], 5, ["a note"]
    )
    path = write(report_of(scenario), tmp_path)
    found = json.loads(path.read_text())
    assert found == json.loads(json.dumps(as_json(report_of(scenario))))
    assert path.name == "2026-01-02-load.json"
    (row,) = found["scenarios"]
    assert row["figures"][0]["met"] is False
    assert "100%" in row["blocks"][0]["void"]
    run = row["blocks"][0]["runs"][0]
    assert run["measured"]["argv"] == ["swiftfs", "load"]
    assert "output" not in run["measured"]
    assert (run["requests"], run["received"]) == ({"PUT object": 5}, 7)
    page = markdown(report_of(scenario))
    assert path.with_suffix(".md").read_text() == page
    assert "| 1 | wall | 0.70 x | 0.60 … 0.80 | <= 0.50 | missed |" in page
    assert "| 1 | PUT | 6 |  | 5 | WRONG |" in page
    assert "a note" in page


@given(st.integers(1, 10_000), st.integers(0, 10**9))
def test_growth_is_memory_over_files(each: int, base: int) -> None:
    """Memory that grows by so many bytes for each file is found as just that, whatever it starts from."""
    figure = per_file({files: base + each * files for files in (1_000, 10_000, 100_000)})
    assert figure.value == pytest.approx(each)
    assert figure.low == pytest.approx(each)
    assert figure.met == (each <= 400)


@given(st.integers(0, 300), st.integers(1, 100_000))
def test_datasets_are_like_food11(count_of_files: int, seed: int) -> None:
    """The same seed gives the same names and sizes, all different, in Food-11's directories, around its mean size."""
    files = list(dataset.food11_like(count_of_files, seed=seed))
    assert files == list(dataset.food11_like(count_of_files, seed=seed))
    assert len({file.name for file in files}) == count_of_files
    for file in files:
        split, group, _ = file.name.split("/")
        assert split in {"training", "validation", "evaluation"}
        assert group.startswith("class_")
        assert dataset.FOOD11_MEAN / 4 <= file.size <= dataset.FOOD11_MEAN * 7 / 4


def test_datasets_are_written_as_they_are_said_to_be(tmp_path: Path) -> None:
    """What `write` and `write_zip` return is what is in the files, and no two files are alike."""
    import hashlib

    files = [*dataset.food11_like(5, mean=4096), *dataset.tiny(3)]
    made = dataset.write(iter(files), tmp_path / "tree")
    assert len({md5 for _, md5 in made.values()}) == len(files) == len(made)
    for name, (size, md5) in made.items():
        data = (tmp_path / "tree" / name).read_bytes()
        assert (len(data), hashlib.md5(data).hexdigest()) == (size, md5)
    assert dataset.write_zip(iter(files), tmp_path / "all.zip", top="all") == made
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert sorted(archive.namelist()) == sorted(f"all/{name}" for name in made)
    size, md5 = dataset.write_big(tmp_path / "big", 5 * 2**20 + 1)
    data = (tmp_path / "big").read_bytes()
    assert (len(data), hashlib.md5(data).hexdigest()) == (size, md5)


@pytest.mark.parametrize(
    ("method", "path", "query", "what"),
    [
        ("GET", "/v1/AUTH_a", "format=json", "GET account"),
        ("POST", "/v1/AUTH_a", "bulk-delete=1", "POST bulk-delete"),
        ("GET", "/v1/AUTH_a/c", "format=json", "GET container"),
        ("PUT", "/v1/AUTH_a/c/d/e", "", "PUT object"),
        ("GET", "/info", "", "GET info"),
    ],
)
def test_swifts_log_is_counted_in_the_sinks_words(method: str, path: str, query: str, what: str) -> None:
    """A request is called the same in Swift's log as by the sink, so that their counts can be compared."""
    assert kind(method, path, query) == what
