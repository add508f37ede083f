"""``mount.swiftfs``: what mount(8) calls for a line of fstab, turned into a ``swiftfs mount`` command line.

Pure: words in, words out. mount(8) calls ``/sbin/mount.swiftfs SOURCE DIR [-sfnv] [-N namespace] [-t type]
[-o options]`` ("External helpers" in its manual). Every flag of ``swiftfs mount`` is an option by its name, ``-`` or
``_`` between the words; what only mount(8) and systemd understand is dropped; the kernel's own options go to
fusermount3.
"""

from __future__ import annotations

from swiftfs.errors import UsageError

FOR_OTHERS = frozenset(
    ("defaults", "ro", "rw", "auto", "noauto", "nofail", "_netdev", "user", "nouser", "users", "owner", "group",
     "async", "suid", "nosuid", "dev", "nodev", "atime", "noatime", "relatime", "norelatime", "silent", "loud")
)  # fmt: skip
"""Options that say nothing to us: the mount is read-only, without devices and set-user-id programs, in any case."""
FOR_THE_KERNEL = frozenset(("noexec", "exec", "dirsync", "sync"))
"""Options that fusermount3 takes."""
HELP = "mount.swiftfs is called by mount(8): mount -t swiftfs REMOTE:CONTAINER DIRECTORY -o allow_other"


def mount_words(words: list[str]) -> list[str] | None:
    """The words for ``swiftfs`` that the helper's ``words`` mean; None when nothing is to be done (``-f``).

    Raises UsageError for words that mount(8) never gives.
    """
    places: list[str] = []
    options: list[str] = []
    flags: list[str] = []
    fake = False
    rest = iter(words)
    for word in rest:
        if word in ("-o", "-N", "-t"):
            value = next(rest, None)
            if value is None:
                raise UsageError(f"nothing follows {word}", hint=HELP)
            if word == "-o":
                options += value.split(",")
        elif word.startswith("-") and len(word) > 1:
            if set(word[1:]) - set("sfnv"):
                raise UsageError(f"'{word}' is not an option of mount.swiftfs", hint=HELP)
            fake = fake or "f" in word
            flags += ["-v"] * word.count("v")
        else:
            places.append(word)
    if len(places) != 2:
        raise UsageError(f"{len(places)} places are given instead of two", hint=HELP)
    if fake:
        return None
    return ["mount", "--daemon", *flags, *(flag for option in options for flag in _flag(option)), "--", *places]


def _flag(option: str) -> list[str]:
    name, has_value, value = option.partition("=")
    if not name or name in FOR_OTHERS or name.startswith("x-") or name == "comment":
        return []
    if name in FOR_THE_KERNEL:
        return ["-o", option]
    flag = "--" + name.replace("_", "-")
    return [f"{flag}={value}"] if has_value else [flag]
