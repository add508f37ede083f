"""Guess an object's content type from its name, as rclone does."""

from __future__ import annotations

import mimetypes
import posixpath

UNKNOWN = "application/octet-stream"
COMPRESSED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
"""Types of compressed files: ``mimetypes`` tells of ``x.tar.gz`` only what is inside."""


class ContentTypes:
    """Content types by suffix, each looked up once: a dataset has many names and few suffixes."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The content type for an object called ``name``."""
        suffix = posixpath.splitext(name)[1].lower()
        if (known := self._known.get(suffix)) is not None:
            return known
        # Only the suffix is asked about: mimetypes would read a name such as `data:…` as a URL.
        guessed, encoding = mimetypes.guess_type("name" + suffix)
        kind = guessed if encoding is None else COMPRESSED.get(encoding)
        self._known[suffix] = kind or UNKNOWN
        return self._known[suffix]
