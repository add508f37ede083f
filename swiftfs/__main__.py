"""``python -m swiftfs`` and the ``swiftfs`` command: run it, and turn every end into one line and an exit code."""

from __future__ import annotations

import os
import sys

from swiftfs.errors import SwiftFSError, printable

USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141
"""128 + the signal's number, as shells report a program that a signal ended."""


def main() -> int:
    """Run the command line of this process; returns the exit code (rclone's, docs "List of exit codes")."""
    import click

    from swiftfs.cli.app import app

    try:
        app.main(prog_name="swiftfs", standalone_mode=False)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        command = getattr(getattr(error, "ctx", None), "command_path", "swiftfs")
        return _complain(f"{printable(error.format_message().rstrip('.'))}; see '{command} --help'", USAGE)
    except click.Abort:
        return INTERRUPTED
    except SwiftFSError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone: nothing more can be said there, not even by the interpreter's own flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        import logging

        if logging.getLogger("swiftfs").isEnabledFor(logging.DEBUG):
            raise
        text = printable(f"{type(error).__name__}: {error}")
        return _complain(f"internal error: {text}; run it again with -vv for the details", 1)


def _complain(text: str, code: int) -> int:
    print(f"swiftfs: error: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
