"""load.pipeline: what a pipeline file means, and what is wrong with one."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.cli.app import app
from swiftfs.errors import UsageError
from swiftfs.load.pipeline import PATHS, Pipeline, parse_pipeline


def test_a_pipeline_becomes_the_arguments_of_load() -> None:
    """Every key finds its option; relative paths begin at the file; DEST overrules the file's."""
    pipeline = parse_pipeline(
        {
            "source": "Food-11.zip",
            "sha256": "AB" * 32,
            "strip-components": 1,
            "rules": "my-rules.toml",
            "destination": "chi:c",
            "options": {"transfers": 64, "progress": True, "fast-list": False, "exclude": ["*.txt", "a b"]},
        },
        "/data/sets/food11.toml",
    )
    options = ["--transfers=64", "--progress", "--exclude=*.txt", "--exclude=a b", f"--sha256={'ab' * 32}"]
    options += ["--strip-components=1", "--transform=/data/sets/my-rules.toml", "--", "/data/sets/Food-11.zip"]
    assert pipeline.arguments() == [*options, "chi:c"]
    assert pipeline.arguments("other:d") == [*options, "other:d"]


def test_paths_in_options_begin_at_the_file() -> None:
    """Every file that an option names lies where the pipeline's file does, unless it is absolute; standard input stays
    what it is."""
    options = {"exclude-from": ["skip.txt", "/etc/skip", "-"], "summary-json": "out/run.json", "exclude": "skip.txt"}
    pipeline = parse_pipeline({"source": "a.zip", "options": options}, "/data/sets/food11.toml")
    assert pipeline.arguments() == [
        "--exclude-from=/data/sets/skip.txt",
        "--exclude-from=/etc/skip",
        "--exclude-from=-",
        "--summary-json=/data/sets/out/run.json",
        "--exclude=skip.txt",
        "--",
        "/data/sets/a.zip",
    ]


def test_every_option_that_names_a_file_is_known_to() -> None:
    """An option of load whose value is a file is one whose relative path begins at the pipeline's file."""
    load = app.get_command(click.Context(app), "load")
    assert load is not None
    options = [one for one in load.params if isinstance(one, click.Option)]
    files = [one for one in options if one.metavar == "FILE" or isinstance(one.type, click.Path)]
    assert {name.removeprefix("--") for one in files for name in one.opts} == PATHS


def test_urls_and_presets_are_no_paths() -> None:
    """A URL stays a URL and a preset a preset; without a destination the environment decides."""
    pipeline = parse_pipeline({"source": "https://example.org/a.zip", "rules": "food11"}, "/x/y.toml")
    assert pipeline.arguments() == ["--transform=food11", "--", "https://example.org/a.zip"]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "names no source"),
        ({"source": 1}, "source must be text"),
        ({"source": "a", "sorce": "b"}, "unknown key 'sorce'"),
        ({"source": "a", "sha256": "12"}, "64 hexadecimal"),
        ({"source": "a", "strip-components": True}, "strip-components must be a number"),
        ({"source": "a", "strip-components": -1}, "strip-components must be a number"),
        ({"source": "a", "options": []}, "options must be a table"),
        ({"source": "a", "options": {"--transfers": 1}}, "is no option"),
        ({"source": "a", "options": {"transform": "food11"}}, "is said at the top"),
        ({"source": "a", "options": {"transfers": {"a": 1}}}, "must be true, false"),
        ({"source": "a", "options": {"filter": [["a"]]}}, "must be true, false"),
    ],
)
def test_what_is_wrong_is_said(document: dict[str, object], said: str) -> None:
    """Every mistake in a file is a usage error that names the file and the key."""
    with pytest.raises(UsageError, match=said) as caught:
        parse_pipeline(document, "p.toml")
    assert "p.toml" in str(caught.value)


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_source_or_option_becomes_another_option(source: str, value: str) -> None:
    """Whatever text a source or a value is, it stays behind its dashes."""
    arguments = Pipeline(source, options={"exclude": value}).arguments()
    assert arguments == [f"--exclude={value}", "--", source]
