"""What ends a benchmark: a command that failed, wrong bytes, or a machine that lacks something."""

from __future__ import annotations


class BenchError(Exception):
    """A benchmark cannot go on; the message says why and is shown without a traceback."""


class CommandFailed(BenchError):
    """A measured command ended with another exit code than it must, or not before its deadline."""


class MissingProgram(BenchError):
    """A program that the benchmark needs is not installed; the message names the Debian package."""
