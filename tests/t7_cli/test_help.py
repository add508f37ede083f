"""What ``--help`` says of every command: readable, and its examples are command lines that exist; README's too."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from swiftfs.cli.app import app

README = Path(__file__).parents[2] / "README.md"


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The command and all below it, with the words that lead there."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name="swiftfs", obj={})
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None, name
            yield from commands(below, (*path, name))


ALL = dict(commands(app))
LEAVES = [path for path, command in ALL.items() if not isinstance(command, click.Group)]


def help_of(path: tuple[str, ...]) -> str:
    """The text of ``--help``, wide enough that no example is broken."""
    context = click.Context(ALL[path], info_name=" ".join(("swiftfs", *path)), obj={}, max_content_width=200)
    context.terminal_width = 200
    return ALL[path].get_help(context)


def examples(text: str) -> Iterator[list[str]]:
    """The arguments of each call of swiftfs in the indented lines of a text, also of those in a pipeline."""
    for line in text.splitlines():
        if not (line.startswith("  ") and (line.strip().startswith("swiftfs ") or "| swiftfs " in line)):
            continue
        reader = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        reader.whitespace_split = True
        calls: list[list[str]] = [[]]
        for word in reader:
            if word in {"|", "&&", ";"}:
                calls.append([])
            else:
                calls[-1].append(word)
        yield from (call[1:] for call in calls if call[:1] == ["swiftfs"])


def call(words: list[str]) -> click.Command:
    """The command that the words would run. Raises UsageError for options, values and numbers of arguments that it does
    not take."""
    command: click.Command = app
    path: tuple[str, ...] = ()
    while isinstance(command, click.Group):
        path, words = (*path, words[0]), words[1:]
        assert path in ALL, path
        command = ALL[path]
    context = click.Context(command, info_name=" ".join(path), obj={})
    given, rest, order = command.make_parser(context).parse_args(words)
    assert rest == [], words
    said = {name: value for name, value in given.items() if isinstance(value, str | tuple | list)}
    for parameter in dict.fromkeys(order):
        # A path of an example is not here, which some types would mind.
        if not isinstance(parameter.type, click.Path | click.File) and parameter.name in said:
            parameter.type_cast_value(context, said[parameter.name])
    for parameter in command.params:
        if parameter.required and not said.get(str(parameter.name)):
            raise click.MissingParameter(ctx=context, param=parameter)
    return command


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_is_readable(path: tuple[str, ...]) -> None:
    """Click's mark of a paragraph, which is a backslash and a b in the source, is not left in the text."""
    text = help_of(path)
    assert "\\b" not in text
    assert "\b" not in text


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_example_of_a_command_can_be_run(path: tuple[str, ...]) -> None:
    """Each example in a help text has commands, options and values that exist, and one of them is of the command."""
    assert ALL[path] in [call(words) for words in examples(help_of(path))]


def test_every_example_of_the_overview_and_of_the_readme_can_be_run() -> None:
    """The blocks of commands in ``swiftfs --help`` and README.md have commands, options and values that exist."""
    for text in (help_of(()), README.read_text()):
        assert len([call(words) for words in examples(text)]) >= 2


@pytest.mark.parametrize(
    "line",
    [
        "  swiftfs mount a:b /mnt --nothing",
        "  swiftfs mount a:b /mnt --refresh soon",
        "  swiftfs mount a:b",
        "  find | swiftfs mount a:b /mnt --refresh",
    ],
)
def test_an_example_that_is_wrong_is_seen(line: str) -> None:
    """An option or a value that does not exist, an argument or a value that lacks: each is refused."""
    (words,) = examples(line)
    with pytest.raises(click.UsageError):
        call(words)
