"""Ask a mount over its control socket: where that is, one request, one reply. No event loop here."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from swiftfs import errors
from swiftfs.errors import ConfigError, SwiftFSError, Unavailable, printable

LONGEST_PATH = 107
"""Bytes of a Unix socket's path: ``sun_path`` has 108, the last of them zero (unix(7))."""
LONGEST_LINE = 1024 * 1024
"""Bytes of one request or reply: ``warm`` with thousands of paths."""
CONNECT_PATIENCE = 5.0
"""Seconds for a connection, which the kernel makes by itself."""
_CREDENTIALS = struct.Struct("3i")
"""``struct ucred``: process, user, group (unix(7))."""
_NONE_THERE = "no swiftfs mount is there"


def socket_path(runtime_directory: Path, mountpoint: Path) -> Path:
    """Where the mount at ``mountpoint`` (absolute, without symbolic links) listens.

    Raises ConfigError when no socket can have that path.
    """
    name = hashlib.blake2b(os.fsencode(mountpoint), digest_size=8).hexdigest()
    path = runtime_directory / f"mount-{name}.sock"
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise ConfigError(
            f"the control socket {printable(os.fspath(path))} has a path of more than {LONGEST_PATH} bytes",
            hint="set XDG_RUNTIME_DIR to a directory with a shorter path",
        )
    return path


def mount_process(path: Path) -> int:
    """The process that listens at ``path``, as the kernel knows it: also of one that answers nothing.

    Raises ConfigError when no mount listens there, Unavailable when it cannot be told which process does.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONNECT_PATIENCE)
        try:
            connection.connect(os.fspath(path))
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except (FileNotFoundError, ConnectionRefusedError):
            raise ConfigError(_NONE_THERE, hint="see 'swiftfs mount --help'") from None
        except OSError as error:
            raise Unavailable(f"the mount does not answer: {error.strerror or 'it took too long'}") from None
    process: int = _CREDENTIALS.unpack(raw)[0]
    if not process:
        raise Unavailable("the mount's process is not one of this machine's, or of this container's")
    return process


def ask(
    path: Path, request: Mapping[str, Any], *, patience: float, stream: Iterable[bytes] | None = None
) -> dict[str, Any]:
    """Send one command to a mount and return its reply; waits ``patience`` seconds at the most for each step.

    ``stream`` is what follows the command, for those that take it.

    Raises ConfigError when no mount listens there, Unavailable when it does not answer, and what the mount says.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience)
        try:
            connection.connect(os.fspath(path))
            connection.sendall(json.dumps(dict(request)).encode() + b"\n")
            if stream is not None:
                for piece in stream:
                    connection.sendall(piece)
                connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as answers:
                line = answers.readline(LONGEST_LINE)
        except (FileNotFoundError, ConnectionRefusedError):
            raise ConfigError(_NONE_THERE, hint="see 'swiftfs mount --help'") from None
        except OSError as error:
            raise Unavailable(f"the mount does not answer: {error.strerror or 'it took too long'}") from None
    try:
        reply: dict[str, Any] = json.loads(line)
    except ValueError:
        raise Unavailable("the mount ended while it was asked") from None
    if "error" in reply:
        kind = getattr(errors, reply["error"], SwiftFSError)
        raise kind(reply["message"])
    return reply
