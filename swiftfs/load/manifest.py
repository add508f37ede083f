"""The manifest of a dataset: one line per object, whose SHA-256 is the dataset's version.

A line is a JSON object without blanks: ``name`` relative to the dataset's place, ``size`` in bytes, ``md5``, ``mtime``
in nanoseconds or null; lines are in the order of the UTF-8 bytes of the name. A large object has ``slo_etag``, the MD5
of its segments' MD5s, and null for its ``md5``: so its segment size is part of the version. A manifest is kept as
``.swiftfs/manifest-<digest>.jsonl`` at the top of the container.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from swiftfs.errors import Damaged, NotFound, UsageError
from swiftfs.model import INTERNAL_PREFIX

if TYPE_CHECKING:
    from swiftfs.load.ports import Store
    from swiftfs.load.proof import Proof

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Described:
    """One line of a manifest; exactly one of ``md5`` and ``slo_etag`` is not None."""

    name: str
    size: int
    md5: str | None
    mtime: int | None
    slo_etag: str | None = None

    @staticmethod
    def of(name: str, proof: Proof, mtime: int | None) -> Described:
        """The line of an object that has been proven."""
        if proof.segments is None:
            return Described(name, proof.size, proof.md5, mtime)
        return Described(name, proof.size, None, mtime, proof.md5)


class Reading(Protocol):
    """What reading needs of a store: a method of ``swift.client.Client``."""

    async def get(self, container: str, version: str) -> bytes: ...


def manifest_text(objects: Iterable[Described]) -> bytes:
    """The canonical lines, whatever the order of ``objects``. Pure."""
    return b"".join(_line(one) for one in sorted(objects, key=lambda one: one.name.encode()))


def manifest_digest(text: bytes) -> str:
    """The version that canonical lines stand for. Pure."""
    return hashlib.sha256(text).hexdigest()


def manifest_name(digest: str) -> str:
    """Where the manifest of this digest is kept. Raises UsageError for what is no digest."""
    if not _DIGEST.match(digest):
        raise UsageError("a manifest's digest has 64 hexadecimal digits", hint="give what load --manifest printed")
    return f"{INTERNAL_PREFIX}manifest-{digest}.jsonl"


def parse_manifest(text: bytes, digest: str) -> list[Described]:
    """The objects that the manifest of this digest describes. Raises Damaged when it is another text."""
    if manifest_digest(text) != digest:
        raise Damaged("the manifest does not have the digest that its name says")
    # The digest proves that these are lines of ours.
    return [_parsed(json.loads(line)) for line in text.splitlines()]


async def write_manifest(store: Store, container: str, objects: Iterable[Described]) -> str:
    """Keep the manifest of ``objects`` in the container; returns its digest. Raises as ``Client.put``."""
    text = manifest_text(objects)
    digest = manifest_digest(text)
    md5 = hashlib.md5(text, usedforsecurity=False).hexdigest()
    await store.put(container, manifest_name(digest), text, md5=md5, content_type="application/jsonl")
    return digest


async def read_manifest(store: Reading, container: str, digest: str) -> list[Described]:
    """The manifest of this digest. Raises NotFound, Damaged and UsageError."""
    try:
        text = await store.get(container, manifest_name(digest))
    except NotFound as error:
        if error.object is None:
            raise
        raise NotFound("the container has no manifest of this digest", container=container) from None
    return parse_manifest(text, digest)


def _line(one: Described) -> bytes:
    fields: dict[str, Any] = {"name": one.name, "size": one.size, "md5": one.md5, "mtime": one.mtime}
    if one.slo_etag is not None:
        fields["slo_etag"] = one.slo_etag
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _parsed(fields: dict[str, Any]) -> Described:
    return Described(fields["name"], fields["size"], fields["md5"], fields["mtime"], fields.get("slo_etag"))
