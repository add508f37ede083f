"""The frame of the command line: which command is where, and the options that all of them take.

A command's module is imported when it is run: ``swiftfs --help`` loads none of them. Options such as ``-v`` are taken
before and after the command's name, as rclone takes them.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections.abc import MutableMapping
from datetime import datetime
from typing import Any

import click

from swiftfs import __version__
from swiftfs.cli.parameters import plain_switches, switches_of
from swiftfs.errors import LocalFileError, printable

COMMANDS = {
    "load": ("load", "Load a directory or an archive into a container, and prove it."),
    "check": ("check", "Compare a directory or a manifest with a container."),
    "extract": ("extract", "Unpack an archive safely."),
    "transform": ("transform", "Rename the files of a dataset by rules."),
    "etl": ("etl", "Extract, transform and load in one run, from a pipeline file."),
    "mount": ("mount", "Show a container as files, read-only."),
    "umount": ("mount", "Unmount."),
    "status": ("status", "Show what a mount has done."),
    "refresh": ("mount", "Have a mount list its container again."),
    "warm": ("warm", "Have a mount fetch everything."),
    "order": ("order", "Tell a mount in which order its files will be read."),
    "cache": ("cache", "Show, check or empty the cache on this disk."),
    "doctor": ("doctor", "Check what mounting needs, and say how to mend it."),
    "lsd": ("browse", "List containers or directories."),
    "ls": ("browse", "List objects with their sizes."),
    "lsl": ("browse", "List objects with sizes and times."),
    "lsjson": ("browse", "List objects as JSON."),
    "size": ("browse", "Count objects and bytes."),
    "cat": ("browse", "Write objects to standard output."),
    "mkdir": ("containers", "Make a container."),
    "rmdir": ("containers", "Remove an empty container."),
    "delete": ("containers", "Delete objects."),
    "purge": ("containers", "Delete a container or directory with all it holds."),
    "localcloud": ("localcloud", "Run a real Keystone and Swift on this machine."),
    "version": ("version", "Show the versions of swiftfs and of what it runs on."),
}
"""Module and one line of help for each command, in the order in which they are shown."""

LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
RCLONE_LEVELS = {"ERROR": -1, "NOTICE": 0, "INFO": 1, "DEBUG": 2}
"""What ``-q`` and ``-v`` count, by the words of rclone's ``--log-level``."""


def _configure(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Take note of a general option, wherever on the line it stood."""
    settings = context.find_root().ensure_object(dict)
    name = str(parameter.name)
    if name == "verbose":
        settings["level"] = settings.get("level", 0) + value
    elif name == "quiet" and value:
        settings["level"] = -1
    elif name == "log_level" and value:
        settings["level"] = RCLONE_LEVELS[value]
    elif name == "config" and value:
        os.environ["RCLONE_CONFIG"] = os.path.abspath(value)
    elif name == "log_file" and value:
        settings["log_file"] = value
    elif name == "use_json_log" and value:
        settings["json"] = True
    _log_to(settings)
    return value


def _log_to(settings: dict[str, Any]) -> None:
    level = LEVELS.get(settings.get("level", 0), logging.DEBUG)
    root = logging.getLogger()
    if settings.get("log_file"):
        try:
            handler: logging.Handler = logging.FileHandler(settings["log_file"], encoding="utf-8")
        except OSError as error:
            raise LocalFileError(f"cannot write the log {settings['log_file']}: {error.strerror}") from None
        form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    else:
        handler = logging.StreamHandler()
        form = "swiftfs: %(message)s" if level > logging.DEBUG else "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler.setFormatter(JsonLines() if settings.get("json") else _OneLine(form))
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    # Libraries speak only when they warn; keystoneauth1's DEBUG would tell of tokens, if only by their hash.
    root.setLevel(logging.WARNING)
    logging.getLogger("swiftfs").setLevel(level)
    # A mount's processes read it: they log for themselves.
    os.environ["SWIFTFS_LOG"] = logging.getLevelName(level)


class _OneLine(logging.Formatter):
    """Messages without control characters: no object's name can fake a line of the log."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the library's name)
        record.message = printable(record.message)
        return super().formatMessage(record)


class JsonLines(logging.Formatter):
    """Messages as JSON objects, one a line, with the keys of rclone's ``--use-json-log``; figures in ``stats``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created).astimezone().isoformat(),
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
            "source": f"{record.name}:{record.lineno}",
        }
        if (stats := getattr(record, "stats", None)) is not None:
            fields["stats"] = stats
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def _general_options(*, log_file: bool) -> list[click.Option]:
    options = [
        click.Option(["-v", "--verbose"], count=True, help="Say more; -vv says everything."),
        click.Option(["-q", "--quiet"], is_flag=True, help="Say nothing but errors."),
        click.Option(
            ["--log-level"],
            type=click.Choice(list(RCLONE_LEVELS), case_sensitive=False),
            help="The same in rclone's words: DEBUG is -vv, INFO -v, NOTICE neither, ERROR -q.",
        ),
        click.Option(["--config"], metavar="FILE", help="rclone.conf to use."),
        click.Option(["--use-json-log"], is_flag=True, help="Write messages as JSON, one object a line."),
        click.Option(["--log-file"], metavar="FILE", help="Write messages there instead of to standard error."),
    ]
    for option in options:
        option.expose_value = False
        option.callback = _configure
        option.is_eager = True
    return options if log_file else options[:-1]


class Frame(click.Group):
    """The ``swiftfs`` command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of a dataset's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now, with the general options added."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"swiftfs.cli.{module}"), cmd_name)
        if isinstance(command, click.Group):
            for child in command.commands.values():
                _extend(child)
        else:
            _extend(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command and its arguments, rclone's ``--switch=true`` among them in click's words."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, rest if command is None else plain_switches(rest, switches_of(command))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _extend(command: click.Command) -> None:
    names = {name for parameter in command.params for name in parameter.opts}
    if "--verbose" not in names:
        command.params.extend(_general_options(log_file="--log-file" not in names))


@click.group(
    cls=Frame, params=_general_options(log_file=True), context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="swiftfs", message="%(prog)s %(version)s")
@click.pass_context
def app(context: click.Context) -> None:
    """Load a dataset into OpenStack Swift, and mount it to train from.

    Remotes are those of rclone.conf, clouds.yaml, or 'env:' for OS_* variables: NAME:container/path.

    \b
    Example:
      swiftfs load ./Food-11 chi_tacc:object-persist-netID
      swiftfs mount chi_tacc:object-persist-netID /mnt/object --allow-other --daemon
    """
    _pin_files(os.environ)


def _pin_files(environ: MutableMapping[str, str]) -> None:
    """Make the configuration's files findable from any directory: a mount in the background works in ``/``."""
    if environ.get("RCLONE_CONFIG"):
        environ["RCLONE_CONFIG"] = os.path.abspath(environ["RCLONE_CONFIG"])
    for variable, name in (("OS_CLIENT_CONFIG_FILE", "clouds.yaml"), ("OS_CLIENT_SECURE_FILE", "secure.yaml")):
        if environ.get(variable):
            environ[variable] = os.path.abspath(environ[variable])
        elif os.path.exists(name):
            environ[variable] = os.path.abspath(name)
    if environ.get("OS_CACERT"):
        environ["OS_CACERT"] = os.path.abspath(environ["OS_CACERT"])


class _Context(click.Context):
    """A context whose root has a place for what the general options say."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.parent is None:
            self.obj = {}


Frame.context_class = _Context
