"""Flags of rclone that ``swiftfs mount`` knows only by name, and what it says to each.

So that a command line can stay as it is: what changes nothing here is taken with a note that ``-v`` shows, what would
have had an effect is taken with a warning, and what would change which bytes or names are shown, or who may see them,
is refused. Tables and the options made of them, no more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import click

from swiftfs.errors import UsageError

log = logging.getLogger(__name__)


class Answer(Enum):
    """What becomes of a flag."""

    NOTE = logging.INFO
    WARNING = logging.WARNING
    REFUSED = logging.ERROR


@dataclass(frozen=True, slots=True)
class Flag:
    """What is said of a flag, and whether a value follows it."""

    answer: Answer
    text: str
    has_value: bool = True


def _flags(answer: Answer, text: str, names: str, *, switches: str = "") -> dict[str, Flag]:
    """One answer for several flags; ``names`` are followed by a value, ``switches`` are not."""
    with_value = {name: Flag(answer, text) for name in names.split()}
    return with_value | {name: Flag(answer, text, has_value=False) for name in switches.split()}


def _note(text: str, names: str, *, switches: str = "") -> dict[str, Flag]:
    return _flags(Answer.NOTE, text, names, switches=switches)


def _warning(text: str, names: str, *, switches: str = "") -> dict[str, Flag]:
    return _flags(Answer.WARNING, text, names, switches=switches)


def _refused(text: str, names: str, *, switches: str = "") -> dict[str, Flag]:
    return _flags(Answer.REFUSED, text, names, switches=switches)


OF_MOUNT: dict[str, Flag] = {
    **_note("the mount is always read-only", "", switches="read-only"),
    **_note("nothing is written", "vfs-write-back vfs-write-wait", switches="write-back-cache"),
    **_note("reads are always asynchronous", "", switches="async-read"),
    **_note("times come from the listing and cost nothing", "", switches="no-modtime use-server-modtime"),
    **_note("checksums are always checked", "", switches="no-checksum"),
    **_note("files can always be read from anywhere", "", switches="no-seek"),
    **_note("the whole tree is listed before the mount answers", "", switches="vfs-refresh"),
    **_note("versions are told by ETag at no cost", "", switches="vfs-fast-fingerprint"),
    **_note("the kernel always checks permissions", "", switches="default-permissions"),
    **_note("there is one flat listing always", "", switches="fast-list"),
    **_note("everything read is cached; see --cache-size", "vfs-cache-mode"),
    **_note("cached chunks are kept until room is needed", "vfs-cache-max-age"),
    **_note("the cache's bound is kept at every write", "vfs-cache-poll-interval"),
    **_note("see --chunk-size", "vfs-read-chunk-size vfs-read-chunk-size-limit"),
    **_note("reading ahead adapts to the reader", "vfs-read-ahead"),
    **_note("reads out of order do not wait", "vfs-read-wait"),
    **_note("handles cost nothing", "vfs-handle-caching"),
    **_note("there is no buffer for each file", "buffer-size max-buffer-memory", switches="use-mmap"),
    **_note("see --refresh", "poll-interval"),
    **_note("--daemon waits until the mount answers", "daemon-wait"),
    **_note("every request has a deadline, see --deadline", "daemon-timeout"),
    **_note("see --streams", "transfers max-connections"),
    **_note("there is nothing to check one by one", "checkers"),
    **_note("Linux knows nothing of it", "volname", switches="network-mode noappledouble noapplexattr"),
    **_note("the source in /proc/mounts is the remote path", "devname"),
    **_note("what the kernel keeps is right, for an inode is one version", "", switches="direct-io"),
    **_note("the kernel reads ahead as far as one request may carry", "max-read-ahead"),
    **_note("the size is that of what is in it", "vfs-disk-space-total-size", switches="vfs-used-is-size"),
    **_note("see -vv", "", switches="debug-fuse"),
    **_note("there are no symbolic links", "link-perms"),
    **_note("names are bytes: none of them is the duplicate of another", "", switches="vfs-block-norm-dupes"),
    **_warning("names are matched exactly", "", switches="vfs-case-insensitive mount-case-insensitive"),
    **_warning("objects that end in .rclonelink are shown as files", "", switches="vfs-links links"),
    **_warning("no files of metadata are shown", "vfs-metadata-extension"),
    **_warning("libfuse gets no flags of one's own; see -o", "fuse-flag"),
    **_warning("the mount cannot be id-mapped", "", switches="allow-idmap"),
}  # fmt: skip
"""The flags of ``rclone mount`` itself."""

GENERAL: dict[str, Flag] = {
    **_warning("a mount reads as fast as it can", "bwlimit bwlimit-file tpslimit tpslimit-burst"),
    **_warning("the system chooses the address and the class of connections", "bind dscp"),
    **_note("see --deadline", "contimeout expect-continue-timeout low-level-retries retries retries-sleep"),
    **_note("connections stay and speak HTTP/1.1", "", switches="disable-http-keep-alives disable-http2 use-cookies"),
    **_note("bytes come as they are stored", "", switches="no-gzip-encoding"),
    **_note("swiftfs has a name of its own", "user-agent"),
    **_refused("the file of trusted certificates is what OS_CACERT names", "ca-cert"),
    **_refused("certificates are always checked; see OS_CACERT", "", switches="no-check-certificate"),
    **_refused("a client cannot show a certificate", "client-cert client-key client-pass"),
    **_refused("requests have no headers of one's own", "header header-download header-upload"),
    **_refused("rclone.conf must not be encrypted", "password-command"),
    **_note("nothing is ever asked", "", switches="ask-password auto-confirm interactive"),
    **_refused("connections go to the store itself", "http-proxy"),
    **_note(
        "a mount changes nothing in the container",
        "metadata-mapper metadata-set",
        switches="dry-run error-on-no-transfer metadata",
    ),
    **_note("there are no colours and no console", "color", switches="no-console"),
    **_note("every object has a time", "default-time"),
    **_note("there are no such features", "disable"),
    **_note("a remote is looked up once", "fs-cache-expire-duration fs-cache-expire-interval kv-lock-time"),
    **_note("sizes are shown in the way of each command", "", switches="human-readable"),
    **_note("names are shown as they are, byte for byte", "", switches="no-unicode-normalization"),
    **_note("see --cache-dir", "temp-dir"),
    **_note("see -vv", "cpuprofile memprofile dump", switches="dump-bodies dump-headers"),
    **_warning(
        "the log is one file, see --log-file",
        "log-file-max-age log-file-max-backups log-file-max-size syslog-facility",
        switches="log-file-compress syslog",
    ),
    **_note("lines have their own form, or see --use-json-log", "log-format", switches="log-systemd"),
    **_note(
        "see 'swiftfs status --watch'",
        "max-stats-groups stats stats-file-name-length stats-log-level stats-one-line-date-format stats-unit",
        switches="progress progress-terminal-title stats-one-line stats-one-line-date",
    ),
    **_warning(
        "there is no remote control; see 'swiftfs status', 'swiftfs refresh' and --metrics-addr",
        "rc-addr",
        switches="rc rc-enable-metrics rc-web-gui rc-serve",
    ),
    **_note(
        "there is no remote control",
        "rc-allow-origin rc-baseurl rc-cert rc-client-ca rc-files rc-htpasswd rc-job-expire-duration"
        " rc-job-expire-interval rc-key rc-max-header-bytes rc-min-tls-version rc-pass rc-realm rc-response-header"
        " rc-salt rc-server-read-timeout rc-server-write-timeout rc-template rc-user rc-user-from-header"
        " rc-web-fetch-url",
        switches="rc-no-auth rc-serve-no-modtime rc-web-gui-force-update rc-web-gui-no-open-browser rc-web-gui-update",
    ),
    **_refused(
        "figures are served without a password and without TLS, on loopback unless --metrics-addr says otherwise",
        "metrics-cert metrics-client-ca metrics-htpasswd metrics-key metrics-min-tls-version metrics-pass metrics-realm"
        " metrics-salt metrics-user metrics-user-from-header",
    ),
    **_note(
        "figures are served plainly",
        "metrics-allow-origin metrics-baseurl metrics-max-header-bytes metrics-response-header"
        " metrics-server-read-timeout metrics-server-write-timeout metrics-template",
    ),
    **_refused(
        "a mount shows all that is in the container; mount CONTAINER/PREFIX, or --pin a version",
        "exclude exclude-from exclude-if-present files-from files-from-raw files-from0 filter filter-from hash-filter"
        " include include-from max-age max-depth max-size metadata-exclude metadata-exclude-from metadata-filter"
        " metadata-filter-from metadata-include metadata-include-from min-age min-size",
        switches="delete-excluded ignore-case",
    ),
}  # fmt: skip
"""rclone's general flags: networking, configuration, logging, remote control, figures, filters."""

FLAGS = OF_MOUNT | GENERAL
SHORT = {"filter": "-f", "progress": "-P", "interactive": "-i", "dry-run": "-n", "metadata": "-M", "links": "-l"}


def rclone_flags(command: Any) -> Any:
    """The command with an option for each of these flags, which its help does not show."""
    for name, flag in FLAGS.items():
        words: Iterable[str] = (f"--{name}", *([SHORT[name]] if name in SHORT else []))
        command = click.option(
            *words, is_flag=not flag.has_value, hidden=True, expose_value=False, callback=_say
        )(command)  # fmt: skip
    return command


def _say(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Raises UsageError for a flag that is refused."""
    if value is None or value is False:
        return
    name = str(parameter.opts[0]).removeprefix("--")
    flag = FLAGS[name]
    if flag.answer is Answer.REFUSED:
        raise UsageError(f"--{name} is not for a mount: {flag.text}")
    log.log(flag.answer.value, "--%s: %s", name, flag.text)
