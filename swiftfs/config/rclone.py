"""Remotes from rclone's configuration: one file, and the RCLONE_* variables that override it.

As in rclone (docs "Config file", "Environment Variables"): the file is ``$RCLONE_CONFIG`` or the first that exists of
``$XDG_CONFIG_HOME/rclone/rclone.conf``, ``~/.config/rclone/rclone.conf`` and ``~/.rclone.conf``; a value is taken from
``RCLONE_CONFIG_<NAME>_<KEY>``, else ``RCLONE_SWIFT_<KEY>``, else the file; a remote may consist of variables alone.
"""

from __future__ import annotations

import functools
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from swiftfs.config import rclone_format
from swiftfs.errors import ConfigError, printable

log = logging.getLogger(__name__)

SWIFT = "swift"
"""The ``type`` of remotes that are ours."""
LARGEST_FILE = 16 * 1024 * 1024
"""Bytes of a configuration that is read: a thousand remotes have less than one."""
SECRET_KEYS = frozenset({"key", "application_credential_secret", "auth_token"})
OTHERS_MAY_READ = stat.S_IRWXG | stat.S_IRWXO
REMOTE_VARIABLE = "RCLONE_CONFIG_"
BACKEND_VARIABLE = "RCLONE_SWIFT_"
NOT_REMOTES = frozenset({"RCLONE_CONFIG", "RCLONE_CONFIG_DIR", "RCLONE_CONFIG_PASS"})
"""Variables of rclone itself that look like those of a remote."""


@dataclass(frozen=True, slots=True)
class Section:
    """The values of one remote with where each comes from.

    ``source`` names the file and the section, or the variables. ``origins`` has the variable's name for each key that
    a variable gave.
    """

    name: str
    source: str
    values: Mapping[str, str] = field(repr=False)
    origins: Mapping[str, str]

    def get(self, key: str) -> str:
        """The value of ``key`` without blanks around it; empty when it is not given."""
        return self.values.get(key, "").strip()

    def spell(self, key: str) -> str:
        """How the user writes ``key``: as a key in the section, or as the variable that was set."""
        return f"${self.origins[key]}" if key in self.origins else f"'{key}'"


@dataclass(frozen=True, slots=True)
class RcloneConfig:
    """The file that was read, None when there is none, and its sections; ``looked_at`` has every place in order."""

    path: Path | None
    looked_at: tuple[Path, ...]
    sections: Mapping[str, Mapping[str, str]] = field(repr=False)


def config_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where rclone's configuration may be; the first that exists is it."""
    named = environ.get("RCLONE_CONFIG")
    if named:
        return (Path(os.path.abspath(named)),)
    places = []
    if base := environ.get("XDG_CONFIG_HOME"):
        places.append(Path(base) / "rclone" / "rclone.conf")
    if home := environ.get("HOME"):
        places += [Path(home) / ".config" / "rclone" / "rclone.conf", Path(home) / ".rclone.conf"]
    return tuple(dict.fromkeys(places))


def read_config(environ: Mapping[str, str]) -> RcloneConfig:
    """The configuration; without a file it has no sections.

    Raises ConfigError for a file that cannot be read, is encrypted, or has another format.
    """
    places = config_files(environ)
    for path in places:
        try:
            with open(path, "rb") as file:
                content = file.read(LARGEST_FILE + 1)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise ConfigError(f"cannot read {printable(str(path))}: {error.strerror}") from None
        return RcloneConfig(path, places, _parsed(path, content))
    return RcloneConfig(None, places, {})


def _parsed(path: Path, content: bytes) -> Mapping[str, Mapping[str, str]]:
    shown = printable(str(path))
    if len(content) > LARGEST_FILE:
        raise ConfigError(f"{shown} has more than {LARGEST_FILE} bytes: it is no rclone.conf")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{shown} is not UTF-8 text") from None
    if rclone_format.is_encrypted(text):
        raise ConfigError(
            f"{shown} is encrypted, which is not supported",
            hint="put this remote into a file of its own (rclone config show NAME), readable by you alone, and name it "
            "with --config",
        )
    try:
        return rclone_format.parse(text)
    except rclone_format.Unreadable as error:
        raise ConfigError(f"{shown}, line {error.line}: {error.reason}") from None


def find_section(config: RcloneConfig, name: str, environ: Mapping[str, str]) -> Section | None:
    """The values of the remote ``name``; None when neither the file nor a variable knows it.

    Warns when other users may read secrets in the file.
    """
    written = config.sections.get(name)
    prefix = f"{REMOTE_VARIABLE}{name.upper()}_"
    if written is None and not environ.get(f"{prefix}TYPE"):
        return None
    values = dict(written or {})
    origins: dict[str, str] = {}
    for start in (BACKEND_VARIABLE, prefix):
        for variable, value in environ.items():
            if variable.startswith(start) and len(variable) > len(start) and variable not in NOT_REMOTES:
                key = variable[len(start) :].lower()
                values[key] = value
                origins[key] = variable
    if written is None or config.path is None:
        return Section(name, f"${prefix}*", values, origins)
    if any(written.get(key) for key in SECRET_KEYS):
        _warn_if_shared(config.path)
    return Section(name, f"{printable(str(config.path))} [{printable(name)}]", values, origins)


@functools.cache
def _warn_if_shared(path: Path) -> None:
    """Say once in a process that others may read the secrets in ``path``."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if mode & OTHERS_MAY_READ:
        shown = printable(str(path))
        log.warning("other users may read the secrets in %s; chmod 600 %s", shown, shown)


def swift_remotes(config: RcloneConfig, environ: Mapping[str, str]) -> list[str]:
    """Names of the remotes with ``type = swift``, those of the file first and in its order."""
    written = [name for name in config.sections if name != rclone_format.DEFAULT_SECTION]
    found = []
    for name in written:
        kind = environ.get(f"{REMOTE_VARIABLE}{name.upper()}_TYPE") or config.sections[name].get("type", "")
        if kind.strip() == SWIFT:
            found.append(name)
    shouted = {name.upper() for name in written}
    for variable, value in sorted(environ.items()):
        if variable.startswith(REMOTE_VARIABLE) and variable.endswith("_TYPE") and value.strip() == SWIFT:
            name = variable[len(REMOTE_VARIABLE) : -len("_TYPE")]
            if name and name.upper() not in shouted:
                found.append(name.lower())
    return found
