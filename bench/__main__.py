"""`python -m bench`: one sub-command for each half of swiftfs that is measured."""

from __future__ import annotations

import compileall
import importlib
import importlib.util

import click

from bench.clients import REPOSITORY
from bench.errors import BenchError

PARTS = ("load", "mount", "simulate")
"""Modules of this package that each hold a click command called ``command``."""


class Parts(click.Group):
    """Imports a sub-command when it is used: each needs things of its own."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [name for name in PARTS if importlib.util.find_spec(f"bench.{name}") is not None]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(context):
            return None
        command: click.Command = importlib.import_module(f"bench.{name}").command
        return command

    def invoke(self, context: click.Context) -> object:
        # As installing does, whatever the environment says of bytecode: or each run of ours compiled its modules anew.
        compileall.compile_dir(REPOSITORY / "swiftfs", quiet=1)
        try:
            return super().invoke(context)
        except BenchError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=Parts, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure swiftfs against its peers on this machine. Times are compared within one run only."""


if __name__ == "__main__":
    main()
