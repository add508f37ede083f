"""What goes over the wire, as pure functions: paths, ranges, headers, listing pages and bulk answers.

No I/O, no clock, no loop. Half-open ranges and nanoseconds inside; HTTP's inclusive ends, dates and quoted ETags
outside. Sources of the rules: the OpenStack Object Storage API reference and RFC 9110.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

import msgspec

from swiftfs.errors import Rejected, Truncated, printable
from swiftfs.model import (
    LARGEST,
    ByteRange,
    ContainerInfo,
    Kind,
    ListingEntry,
    ObjectInfo,
    ObjectVersion,
    Subdir,
    kept_time,
)

NANOSECONDS = 1_000_000_000
DAY = 86_400
MD5_LENGTH = 32
MTIME_HEADER = "X-Object-Meta-Mtime"
"""Seconds with a fraction, as rclone and python-swiftclient write a file's own time."""

VERSIONING_HEADERS = ("X-History-Location", "X-Versions-Location", "X-Versions-Enabled")
"""Headers of a container that keeps what is replaced or deleted in it (Swift's ``versioned_writes``, both modes)."""

INFO = "/info"
"""The path that stands for the server's ``/info``, which is not below the account."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_MTIME = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,}))?\Z")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)\Z")


def container_path(container: str) -> str:
    """The quoted path of a container below the storage URL. Raises Rejected for a name no server takes."""
    if not container or "/" in container:
        raise Rejected(f"'{printable(container)}' is not a container's name", hint="it may not be empty or hold a '/'")
    return "/" + _quote(container)


def object_path(container: str, name: str) -> str:
    """The quoted path of an object below the storage URL.

    Components ``.`` and ``..`` have their dots quoted: they are ordinary names to Swift, and nothing between us and it
    may fold them away.
    """
    if not name:
        raise Rejected("an object's name may not be empty", container=container)
    return container_path(container) + "/" + "/".join(_quote(part) for part in name.split("/"))


def _quote(part: str) -> str:
    if part in {".", ".."}:
        return part.replace(".", "%2E")
    try:
        return quote(part, safe="")
    except UnicodeEncodeError as error:
        raise Rejected(f"'{printable(part)}' is not valid Unicode", hint="Swift keeps names as UTF-8") from error


NO_CONTENT = 204
"""The status of a listing that says that there is nothing. A 200 without a body says nothing: it was lost."""


def quote_query(value: str) -> str:
    """A value of a query: everything but letters, digits and ``_.-~`` is quoted."""
    return quote(value, safe="")


def info_url(storage_url: str) -> str:
    """Where a server describes itself: beside the ``/v1`` of its storage URL.

    That is the host's root for Swift, and ``/swift`` for Ceph RGW, whose storage URLs begin with that prefix.
    """
    scheme, _, rest = storage_url.partition("://")
    host, slash, path = rest.partition("/")
    parts = (slash + path).split("/")
    before = parts[: parts.index("v1")] if "v1" in parts else [""]
    return f"{scheme}://{host}{'/'.join(before)}{INFO}"


def range_header(span: ByteRange) -> str:
    """RFC 9110 section 14.1.2; ``span`` must not be empty."""
    if not len(span):
        raise ValueError("an empty range cannot be asked for")
    return f"bytes={span.start}-{span.stop - 1}"


def parse_content_range(text: str) -> tuple[ByteRange, int | None]:
    """The range that was sent and the object's size, None where the server does not know it. Raises Truncated."""
    match = _CONTENT_RANGE.match(text.strip())
    if not match or int(match[2]) < int(match[1]):
        raise Truncated(f"unreadable Content-Range '{printable(text[:80])}'")
    total = None if match[3] == "*" else int(match[3])
    return ByteRange(int(match[1]), int(match[2]) + 1), total


def bare_etag(text: str) -> str:
    """An ETag without quotes, weakness mark or upper case: Swift quotes those of SLOs, etag-quoter all of them."""
    if len(text) == MD5_LENGTH and text.isalnum() and text.islower():
        return text
    text = text.strip()
    if text.startswith("W/"):
        text = text[2:]
    return text.strip('"').lower()


def parse_mtime(text: str) -> int | None:
    """Nanoseconds from ``X-Object-Meta-Mtime``, exact to the last digit; None when it is not a time."""
    match = _MTIME.match(text.strip())
    if not match:
        return None
    fraction = (match[3] or "0")[:9].ljust(9, "0")
    value = int(match[2]) * NANOSECONDS + int(fraction)
    return -value if match[1] else value


def format_mtime(mtime: int) -> str:
    """The header's value for ``mtime`` nanoseconds: seconds with nine decimals, as rclone writes it."""
    sign = "-" if mtime < 0 else ""
    seconds, rest = divmod(abs(mtime), NANOSECONDS)
    return f"{sign}{seconds}.{rest:09d}"


def parse_timestamp(text: str) -> int:
    """Nanoseconds from a listing's ``last_modified``: UTC, with or without ``Z``, micro- or milliseconds."""
    moment = datetime.fromisoformat(text)
    since = moment - (_NAIVE_EPOCH if moment.tzinfo is None else _EPOCH)
    return kept_time((since.days * DAY + since.seconds) * NANOSECONDS + since.microseconds * 1000)


def parse_http_date(text: str) -> int:
    """Nanoseconds from an HTTP date; it has whole seconds only. Raises ValueError."""
    from email.utils import parsedate_to_datetime  # with what it imports it takes longer than a request

    moment = parsedate_to_datetime(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return kept_time(((moment - _EPOCH) // _MICROSECOND) * 1000)


def format_http_date(moment: int) -> str:
    """The HTTP date not before ``moment`` nanoseconds: rounded up, so that a version is never older than its pin."""
    from email.utils import format_datetime

    seconds = -(-moment // NANOSECONDS)
    return format_datetime(_EPOCH + timedelta(seconds=seconds), usegmt=True)


def container_info(name: str, headers: Mapping[str, str]) -> ContainerInfo:
    """What the headers of a HEAD or a listing of a container say. ``headers`` as in :func:`object_info`.

    Raises Truncated when a count is none.
    """
    count, size = (headers.get(f"X-Container-{what}", "0") for what in ("Object-Count", "Bytes-Used"))
    try:
        info = ContainerInfo(name, int(count), int(size))
    except ValueError:
        info = None
    if info is None or max(info.count, info.size) > LARGEST:
        said = f"'{printable(count[:80])}' objects, '{printable(size[:80])}' bytes"
        raise Truncated(f"the container's headers count {said}", container=name)
    return info


def keeps_versions(headers: Mapping[str, str]) -> bool:
    """Whether a container with these headers keeps old versions of its objects. One that does no longer
    (``X-Versions-Enabled: False``) has those that it kept."""
    return any(headers.get(name) for name in VERSIONING_HEADERS)


def is_link(headers: Mapping[str, str], storage_url: str, path: str) -> bool:
    """Whether an answer about the object at ``path`` below ``storage_url`` tells of another one, to which it is a
    symbolic link.

    Swift's ``symlink`` names that in ``Content-Location``. So does its ``object_versioning``, with the object's own
    path and the version. Of the storage URL only its end counts: a proxy may show the rest as something else.
    """
    location = headers.get("Content-Location")
    if location is None:
        return False
    own = f"/{storage_url.rpartition('/')[2]}{path}"
    return not unquote(location.partition("?")[0]).endswith(unquote(own))


def object_info(name: str, headers: Mapping[str, str], size: int | None = None) -> ObjectInfo:
    """What the headers of a HEAD or a GET say; ``size`` in bytes where it is known better than by Content-Length.

    ``headers`` must look names up without regard to case. Raises Truncated when a size or an ETag is missing, or
    the size is none.
    """
    try:
        size = int(headers["Content-Length"]) if size is None else size
        etag = bare_etag(headers["ETag"])
        last_modified = parse_http_date(headers["Last-Modified"])
    except (KeyError, ValueError) as error:
        raise Truncated(f"the answer lacks a usable {error}", object=name) from error
    if not 0 <= size <= LARGEST:
        raise Truncated(f"the answer tells of {size} bytes", object=name)
    if headers.get("X-Static-Large-Object", "").lower() == "true":
        kind = Kind.SLO
    elif "X-Object-Manifest" in headers:
        kind = Kind.DLO
    else:
        kind = Kind.PLAIN
    mtime = headers.get(MTIME_HEADER)
    return ObjectInfo(
        name=name,
        size=size,
        etag=etag,
        last_modified=last_modified,
        kind=kind,
        content_type=headers.get("Content-Type"),
        mtime=None if mtime is None else parse_mtime(mtime),
        manifest=unquote(headers["X-Object-Manifest"]) if kind is Kind.DLO else None,
    )


class _Row(msgspec.Struct, gc=False):
    """One row of a JSON listing of objects. There are ten thousand at once: the collector need not look at them."""

    name: str | None = None
    subdir: str | None = None
    bytes: int | None = None
    hash: str | None = None
    last_modified: str | None = None
    content_type: str | None = None
    slo_etag: str | None = None


class _ContainerRow(msgspec.Struct):
    """One row of a JSON listing of containers."""

    name: str
    count: int
    bytes: int
    last_modified: str | None = None


class _BulkAnswer(msgspec.Struct):
    """The body of a bulk delete's answer: HTTP says 200 whatever happened."""

    deleted: int = msgspec.field(name="Number Deleted", default=0)
    not_found: int = msgspec.field(name="Number Not Found", default=0)
    status: str = msgspec.field(name="Response Status", default="")
    body: str = msgspec.field(name="Response Body", default="")
    errors: list[tuple[str, str]] = msgspec.field(name="Errors", default_factory=list)


_rows = msgspec.json.Decoder(list[_Row])
_container_rows = msgspec.json.Decoder(list[_ContainerRow])
bulk_answer = msgspec.json.Decoder(_BulkAnswer)
"""Reads the answer to a bulk delete; one to a manifest has the same form."""


def parse_listing(body: bytes | bytearray) -> list[ListingEntry | Subdir]:
    """One page of a container listing. Raises Truncated when it is not one; nothing of a bad page is used."""
    try:
        rows = _rows.decode(body)
        rows.reverse()  # a row is let go of as soon as its entry is made
        return [_entry(rows.pop()) for _ in range(len(rows))]
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise Truncated(f"unreadable listing: {printable(str(error)[:120])}") from error


def _entry(row: _Row) -> ListingEntry | Subdir:
    if row.subdir is not None:
        return Subdir(row.subdir)
    if not row.name or row.bytes is None or row.bytes < 0 or row.hash is None or row.last_modified is None:
        raise ValueError("a row lacks its name, bytes, hash or last_modified")
    if row.bytes > LARGEST:
        raise Truncated(f"the listing tells of {row.bytes} bytes", object=row.name)
    return ListingEntry(
        name=row.name,
        size=row.bytes,
        etag=bare_etag(row.hash),
        last_modified=parse_timestamp(row.last_modified),
        content_type=None if row.content_type is None else sys.intern(row.content_type),  # there are few of them
        slo_etag=None if row.slo_etag is None else bare_etag(row.slo_etag),
    )


def parse_containers(body: bytes | bytearray) -> list[ContainerInfo]:
    """One page of an account listing. Raises Truncated."""
    try:
        rows = _container_rows.decode(body)
        return [
            ContainerInfo(r.name, r.count, r.bytes, parse_timestamp(r.last_modified) if r.last_modified else None)
            for r in rows
        ]
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise Truncated(f"unreadable listing: {printable(str(error)[:120])}") from error


def in_order(page: Sequence[ListingEntry | Subdir], after: str, *, flat: bool) -> list[ListingEntry | Subdir]:
    """The entries of ``page`` that follow the marker ``after``, each name once.

    Names are ordered by the bytes of their UTF-8. A flat listing that goes back or repeats itself raises Truncated:
    following it might never end. With a delimiter, Ceph RGW may show the subdir that was the marker once more: that
    one is dropped.
    """
    kept: list[ListingEntry | Subdir] = []
    previous = after.encode("utf-8", "surrogatepass")
    last = previous
    for entry in page:
        name = entry.name.encode("utf-8", "surrogatepass")
        if name == last:
            continue
        if name < last and (flat or kept):
            raise Truncated(f"the listing is out of order at '{printable(entry.name)}'", hint="try again")
        if name < last:
            continue
        kept.append(entry)
        last = name
    if flat and page and not kept:
        raise Truncated(f"the listing repeats itself after '{printable(after)}'", hint="try again")
    return kept


def bulk_delete_body(container: str, names: Sequence[str]) -> bytes:
    """Quoted ``container/name`` lines, as ``POST ?bulk-delete`` takes them."""
    return b"".join(object_path(container, name)[1:].encode() + b"\n" for name in names)


def parse_bulk_answer(body: bytes | bytearray) -> tuple[int, int, tuple[tuple[str, str], ...]]:
    """Deleted, not found, and ``(quoted path, status)`` of what failed.

    Raises Truncated when the body is unreadable and Rejected when the server refused the request as a whole.
    """
    try:
        answer = bulk_answer.decode(body.strip())
    except msgspec.MsgspecError as error:
        raise Truncated(f"unreadable answer to a bulk delete: {printable(str(error)[:120])}") from error
    # "400 Bad Request" with errors listed is a normal outcome: those names failed, the others went.
    if not answer.errors and not answer.status.startswith(("2", "404")):
        raise Rejected(f"bulk delete: {printable(answer.status)} {printable(answer.body[:120])}".rstrip())
    return answer.deleted, answer.not_found, tuple(answer.errors)


def pin_headers(version: ObjectVersion) -> dict[str, str]:
    """Headers that make a GET fail with 412 unless the object is still ``version``.

    Large objects on Ceph RGW answer 412 to any ``If-Match``; ``If-Unmodified-Since`` works on both servers.
    """
    if version.kind is Kind.PLAIN:
        return {"If-Match": f'"{version.etag}"'}
    return {"If-Unmodified-Since": format_http_date(version.last_modified)}
