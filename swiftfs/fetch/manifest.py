"""Manifests of dataset versions: bytes in, the version's files out.

Pure. A manifest is the object ``.swiftfs/manifest-<digest>.jsonl``, a JSON object a line: ``name``, ``size``, ``md5``
(null for a large object, which has ``slo_etag`` instead: the MD5 of its segments' MD5s) and ``mtime``. The digest is
the SHA-256 of its bytes, so nobody can change a dataset under its name.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from itertools import pairwise

import msgspec

from swiftfs.errors import Damaged, UsageError
from swiftfs.model import INTERNAL_PREFIX, LARGEST, kept_time

SECONDS_BELOW = 10**12
"""A whole number below this is seconds since the epoch, above it nanoseconds: 10^12 ns is a quarter of an hour."""
NANOSECONDS = 1_000_000_000
_DIGEST = re.compile(r"[0-9a-f]{64}")


class PinnedFile(msgspec.Struct, frozen=True, gc=False):
    """One line of a manifest. ``mtime`` is nanoseconds, or seconds as a decimal or RFC 3339 text; None: not known."""

    name: str
    size: int
    md5: str | None = None
    mtime: int | float | str | None = None
    slo_etag: str | None = None

    @property
    def etag(self) -> str:
        """What the object is pinned to. Raises ValueError for a line that has neither MD5 nor SLO ETag."""
        etag = self.md5 or self.slo_etag
        if not etag:
            raise ValueError(f"'{self.name}' has neither md5 nor slo_etag")
        return etag

    @property
    def last_modified(self) -> int:
        """The file's own time in nanoseconds; 0 when it is not known. Raises ValueError for a text that is no time."""
        if isinstance(self.mtime, int):
            return kept_time(self.mtime if abs(self.mtime) >= SECONDS_BELOW else self.mtime * NANOSECONDS)
        if isinstance(self.mtime, str):
            return kept_time(_nanoseconds(self.mtime))
        return kept_time(self.mtime * NANOSECONDS) if self.mtime is not None else 0


def _nanoseconds(text: str) -> int:
    if re.fullmatch(r"-?\d+(\.\d*)?", text):
        whole, _, part = text.partition(".")
        sign = -1 if whole.startswith("-") else 1
        return int(whole) * NANOSECONDS + sign * int(part[:9].ljust(9, "0"))
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000) * 1000


def manifest_name(digest: str) -> str:
    """The object that holds the manifest, below the dataset's prefix or at the container's top."""
    return f"{INTERNAL_PREFIX}manifest-{digest}.jsonl"


def check_digest(text: str) -> str:
    """A digest as it stands in the manifest's name. Raises UsageError."""
    if not _DIGEST.fullmatch(text.lower()):
        raise UsageError(f"'{text}' is not the digest of a manifest", hint="it has 64 hexadecimal digits")
    return text.lower()


def read_manifest(body: bytes, digest: str, listing_prefix: str = "") -> list[PinnedFile]:
    """The files of a manifest in the order of a listing, under their objects' full names.

    A manifest's names are relative to the place that was loaded; ``listing_prefix`` is that place, '' or ending with a
    slash. Names that begin with it are relative all the same: ``train`` may hold a directory ``train``. Raises Damaged
    when the bytes are not those of ``digest``, or are no manifest.
    """
    if hashlib.sha256(body).hexdigest() != digest:
        raise Damaged(f"the manifest {digest} does not have its digest: it was changed")
    try:
        files = msgspec.json.Decoder(PinnedFile).decode_lines(body)
        for file in files:
            _ = file.last_modified, file.etag  # what cannot be read shows here and not half-way through a rebuild
            if not 0 <= file.size <= LARGEST:
                raise Damaged(f"the manifest {digest} tells of {file.size} bytes", object=listing_prefix + file.name)
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise Damaged(f"the manifest {digest} cannot be read: {error}") from error
    if listing_prefix:
        files = [msgspec.structs.replace(file, name=listing_prefix + file.name) for file in files]
    files.sort(key=lambda file: file.name)
    if any(one.name == other.name for one, other in pairwise(files)):
        raise Damaged(f"the manifest {digest} names a file twice")
    return files
