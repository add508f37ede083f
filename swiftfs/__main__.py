"""``python -m swiftfs`` and the ``swiftfs`` command: run it, and turn every end into one line and an exit code."""

from __future__ import annotations

import gc
import io
import os
import sys
from typing import NoReturn

from swiftfs.errors import SwiftFSError, printable
from swiftfs.privacy import keep_private

NAME = "swiftfs"
COMPLETION = "_SWIFTFS_COMPLETE"
"""The variable by which click's shell completion asks."""
FAILED = 1
USAGE = 2
INTERRUPTED = 130
BAD_INVOCATION = 1
MOUNT_FAILED = 32
"""mount(8)'s codes."""
YOUNG = 10_000
"""Objects made between two looks for garbage. What a command imports stays, and Python's default, 700, has it looked
through a hundred times: a twentieth of a short command's time."""
BROKEN_PIPE = 141
"""128 + the signal's number, as shells report a program that a signal ended."""


def run() -> NoReturn:
    """The ``swiftfs`` command: ends this process. What is to be kept is on the disk when :func:`main` returns; taking
    the interpreter apart as well would take a tenth of a short command's time."""
    code = main()
    logging = sys.modules.get("logging")
    if logging is not None:
        logging.shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or FAILED
    os._exit(code)


def main() -> int:
    """Run the command line of this process; returns the exit code (rclone's, docs "List of exit codes")."""
    keep_private()
    gc.set_threshold(YOUNG)
    import click
    from click.shell_completion import shell_complete

    from swiftfs.cli.app import app

    # Names are printed as they are, whatever the locale: they are UTF-8 in the store.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if COMPLETION in os.environ:
        return shell_complete(app, {}, NAME, COMPLETION, os.environ[COMPLETION])
    try:
        # Not app.main(): it ends with 1 on a broken pipe and writes to standard error on Ctrl-C.
        with app.make_context(NAME, sys.argv[1:]) as context:
            app.invoke(context)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.ctx.get_help(), file=sys.stderr)
        return USAGE
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
        _drop_output()
        return BROKEN_PIPE
    except OSError as error:
        if _wants_details():
            raise
        # A full disk below standard output shows here, and would once more in the interpreter's own flush.
        _drop_output()
        return _complain(printable(": ".join(str(part) for part in (error.filename, error.strerror) if part)), FAILED)
    except Exception as error:
        if _wants_details():
            raise
        text = printable(f"{type(error).__name__}: {error}")
        return _complain(f"internal error: {text}; run it again with -vv for the details", FAILED)


def mount_helper() -> int:
    """``mount.swiftfs``, as mount(8) calls it; returns one of its exit codes ("EXIT STATUS" in its manual)."""
    from swiftfs.cli.fstab import mount_words

    try:
        words = mount_words(sys.argv[1:])
    except SwiftFSError as error:
        return _complain(str(error), BAD_INVOCATION)
    if words is None:
        return 0
    sys.argv[1:] = words
    return MOUNT_FAILED if main() else 0


def _wants_details() -> bool:
    import logging

    return logging.getLogger("swiftfs").isEnabledFor(logging.DEBUG)


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(text: str, code: int) -> int:
    if _logs_json():
        import logging

        logging.getLogger("swiftfs").error("%s", text)
    else:
        print(f"swiftfs: error: {text}", file=sys.stderr)
    return code


def _logs_json() -> bool:
    """Whether --use-json-log was given: then the last line is for programs as well."""
    import logging

    app = sys.modules.get("swiftfs.cli.app")
    return app is not None and any(isinstance(one.formatter, app.JsonLines) for one in logging.getLogger().handlers)


if __name__ == "__main__":
    run()
