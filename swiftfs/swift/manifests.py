"""What goes over the wire for large objects, as pure functions: a server's limits, an SLO's manifest and its answer.

Sources of the rules: the OpenStack Object Storage API reference ("Large objects") and Swift's ``slo`` middleware.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

import msgspec

from swiftfs.errors import Truncated, printable
from swiftfs.model import Limits, Part, Segment
from swiftfs.swift.wire import bare_etag, bulk_answer


class _SwiftInfo(msgspec.Struct):
    max_file_size: int | None = None


class _SloInfo(msgspec.Struct):
    max_manifest_segments: int | None = None


class _Info(msgspec.Struct):
    """The sections of ``/info`` that matter here."""

    swift: _SwiftInfo = msgspec.field(default_factory=_SwiftInfo)
    slo: _SloInfo | None = None


class _ManifestRow(msgspec.Struct):
    """One segment in the body of ``?multipart-manifest=get``; one of inline data (Swift's SLO, "Inline Data") has no
    name."""

    name: str = ""
    bytes: int = 0
    hash: str = ""
    range: str | None = None
    sub_slo: bool = False

    def place(self) -> tuple[str, str]:
        """Container and name; both empty where it names no object."""
        container, _, name = self.name.lstrip("/").partition("/")
        return (container, name) if name else ("", "")


_info = msgspec.json.Decoder(_Info)
_manifest = msgspec.json.Decoder(list[_ManifestRow])


def parse_limits(body: bytes | bytearray) -> Limits:
    """The limits that ``/info`` names, the usual ones for the others. Raises Truncated."""
    usual = Limits()
    try:
        info = _info.decode(body)
    except msgspec.MsgspecError as error:
        raise Truncated(f"unreadable /info: {printable(str(error)[:120])}") from error
    segments = info.slo.max_manifest_segments if info.slo is not None else None
    return Limits(max(1, info.swift.max_file_size or usual.max_file_size), max(1, segments or usual.max_segments))


def manifest_body(segments: Sequence[Segment]) -> bytes:
    """The JSON of a manifest's PUT. Paths in it are not quoted."""
    return msgspec.json.encode(
        [{"path": f"/{one.container}/{one.name}", "etag": one.md5, "size_bytes": one.size} for one in segments]
    )


def parse_manifest(body: bytes | bytearray) -> tuple[Segment, ...] | None:
    """An SLO's segments; None for what is no list of whole objects: Ceph RGW sends nothing, others may use ranges."""
    found: list[Segment] = []
    for row in _rows(body) or ():
        container, name = row.place()
        if not name or row.range is not None or row.sub_slo or row.bytes < 0 or not row.hash:
            return None
        found.append(Segment(container, name, row.bytes, bare_etag(row.hash)))
    return tuple(found) or None


def manifest_parts(body: bytes | bytearray) -> tuple[Part, ...] | None:
    """Every object that an SLO's manifest names, in whole or in part; None where none can be read (Ceph RGW)."""
    rows = _rows(body)
    return None if rows is None else tuple(Part(*row.place(), row.sub_slo) for row in rows if row.place()[1])


def _rows(body: bytes | bytearray) -> list[_ManifestRow] | None:
    try:
        return _manifest.decode(body)
    except msgspec.MsgspecError:
        return None


def parse_manifest_answer(body: bytes | bytearray) -> tuple[str, tuple[str, ...]] | None:
    """What is wrong after a manifest's PUT: the status and the ``container/name`` of bad segments; None for success.

    Ceph RGW answers with an empty body, and Swift with one that begins with heartbeats. Raises Truncated.
    """
    text = body.strip()
    if not text:
        return None
    try:
        answer = bulk_answer.decode(text)
    except msgspec.MsgspecError as error:
        raise Truncated(f"unreadable answer to a manifest: {printable(str(error)[:120])}") from error
    if not answer.errors and answer.status.startswith("2"):
        return None
    return f"{answer.status} {answer.body}".strip(), tuple(unquote(path).lstrip("/") for path, _ in answer.errors)
