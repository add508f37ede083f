"""What goes over the wire says what it should, both ways."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.errors import Rejected, Truncated
from swiftfs.model import ByteRange, Kind, ListingEntry, ObjectVersion, Subdir
from swiftfs.swift import wire

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
TIMES = st.integers(min_value=-(10**18), max_value=4 * 10**18)


@given(NAMES)
def test_a_quoted_path_names_the_same_object_again(name: str) -> None:
    """Whatever an object is called, its path unquotes to its name and holds no byte that HTTP would misread."""
    path = wire.object_path("c", name)

    assert unquote(path) == f"/c/{name}"
    assert path.isascii()
    assert not set(path) & set(" ?#\n\r\t\"'")


@given(st.lists(st.sampled_from([".", "..", "a", "b.c", "..."]), min_size=1, max_size=6))
def test_dot_components_are_never_left_to_be_folded(parts: list[str]) -> None:
    """No component of a path is a bare ``.`` or ``..``, which a client or a proxy may fold away."""
    components = wire.object_path("c", "/".join(parts)).split("/")

    assert not {".", ".."} & set(components)


@pytest.mark.parametrize("container", ["", "a/b"])
def test_a_container_name_that_no_server_takes_is_refused(container: str) -> None:
    """A container's name is never sent when it would name something else."""
    with pytest.raises(Rejected):
        wire.container_path(container)


def test_a_name_that_is_not_unicode_is_refused() -> None:
    """A lone surrogate, as a file name that is not UTF-8 has, is refused and not mangled."""
    with pytest.raises(Rejected, match="not valid Unicode"):
        wire.object_path("c", "a\udc80")


@given(st.integers(0, 2**62), st.integers(1, 2**40))
def test_a_range_is_half_open_inside_and_inclusive_outside(start: int, length: int) -> None:
    """A range header and the Content-Range that answers it mean the same bytes."""
    span = ByteRange(start, start + length)
    asked = wire.range_header(span).removeprefix("bytes=")

    assert wire.parse_content_range(f"bytes {asked}/{start + length}") == (span, start + length)


@pytest.mark.parametrize("text", ["", "bytes", "bytes 1-0/5", "bytes */5", "bytes 0-4", "items 0-4/5", "bytes 0-4/-1"])
def test_an_unreadable_content_range_is_an_error(text: str) -> None:
    """Bytes are never placed by a header that cannot be read."""
    with pytest.raises(Truncated):
        wire.parse_content_range(text)


def test_an_empty_range_is_never_asked_for() -> None:
    """HTTP has no empty range: its end would lie before its start."""
    with pytest.raises(ValueError, match="empty range"):
        wire.range_header(ByteRange(5, 5))


@pytest.mark.row("H10", "H16")
def test_a_plain_object_is_pinned_by_its_etag_and_a_large_one_by_its_time() -> None:
    """If-Match is what fails for every large object on Ceph RGW; the time is what both servers compare."""
    version = ObjectVersion("o", 5, "abc", 1_500_000_000 * 10**9 + 1, Kind.PLAIN)
    dated = {"If-Unmodified-Since": "Fri, 14 Jul 2017 02:40:01 GMT"}

    assert wire.pin_headers(version) == {"If-Match": '"abc"'}
    assert wire.pin_headers(replace(version, kind=Kind.SLO)) == dated
    assert wire.pin_headers(replace(version, kind=Kind.DLO)) == dated


@given(TIMES)
def test_an_mtime_survives_to_the_nanosecond(mtime: int) -> None:
    """An mtime is read back exactly as it was written."""
    assert wire.parse_mtime(wire.format_mtime(mtime)) == mtime


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 10**9), ("1.5", 1_500_000_000), ("-0.25", -250_000_000), ("1.1234567899", 1_123_456_789), ("x", None)],
)
def test_mtimes_of_other_clients_are_understood(text: str, expected: int | None) -> None:
    """Fewer or more decimals than ours are fine, and nonsense is no time at all."""
    assert wire.parse_mtime(text) == expected


@given(st.integers(0, 4 * 10**9), st.integers(0, 999_999_999))
def test_an_http_date_is_never_before_its_moment(seconds: int, rest: int) -> None:
    """A pin by date lets the pinned version through: the date is rounded up to the next second."""
    moment = seconds * 10**9 + rest
    date = wire.parse_http_date(wire.format_http_date(moment))

    assert moment <= date < moment + 10**9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01.000001", 1_000_001_000),
        ("1970-01-01T00:00:01.250Z", 1_250_000_000),
        ("2026-11-22T10:00:00", 1_795_341_600_000_000_000),
        ("9999-12-31T23:59:59", 2**63 - 1),
        ("0001-01-01T00:00:00Z", 1 - 2**63),
    ],
)
def test_the_times_of_both_dialects_are_read(text: str, expected: int) -> None:
    """Swift writes microseconds without a zone, Ceph RGW milliseconds with Z: both are UTC. A time that no 63 bits hold
    is the last or the first that they do."""
    assert wire.parse_timestamp(text) == expected


@pytest.mark.parametrize("text", ['"ABC"', "abc", 'W/"abc"', "W/abc", ' "abc" '])
def test_etags_are_compared_bare(text: str) -> None:
    """Quotes, case and weakness marks do not make another ETag."""
    assert wire.bare_etag(text) == "abc"


ROWS = st.fixed_dictionaries(
    {
        "name": NAMES,
        "bytes": st.integers(0, 2**50),
        "hash": st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
        "last_modified": st.just("2026-11-22T10:00:00.123456"),
    },
    optional={"content_type": st.just("image/jpeg"), "slo_etag": st.just('"ABC"')},
)


@given(st.lists(ROWS | st.fixed_dictionaries({"subdir": NAMES}), max_size=8))
def test_a_listing_page_is_read_row_by_row(rows: list[dict[str, object]]) -> None:
    """Every row of a page becomes one entry or one subdir, in the page's order."""
    entries = wire.parse_listing(json.dumps(rows).encode())

    assert [e.name for e in entries] == [row.get("name", row.get("subdir")) for row in rows]
    assert [isinstance(e, Subdir) for e in entries] == ["subdir" in row for row in rows]
    assert all(e.slo_etag in {None, "abc"} for e in entries if isinstance(e, ListingEntry))


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"{}",
        b"",
        b" \n",
        b"[1]",
        b'[{"name": "a"}]',
        b'[{"name": "a", "bytes": -1, "hash": "x", "last_modified": "2026-11-22T10:00:00"}]',
        b'[{"name": "a", "bytes": 1, "hash": "x", "last_modified": "yesterday"}]',
        b'[{"name": "", "bytes": 1, "hash": "x", "last_modified": "2026-11-22T10:00:00"}]',
        b'[{"name": "a", "bytes": NaN, "hash": "x", "last_modified": "2026-11-22T10:00:00"}]',
        b"[" * 100_000,
    ],
)
def test_a_damaged_page_is_refused_whole(body: bytes) -> None:
    """Nothing of a page is used when any of it cannot be read."""
    with pytest.raises(Truncated):
        wire.parse_listing(body)


@pytest.mark.parametrize("size", [2**63, 2**64, 10**30])
def test_a_size_beyond_63_bits_is_refused(size: int) -> None:
    """No object has it, and no index could keep it: the listing is an error, and the object is named."""
    row = {"name": "dir/large", "bytes": size, "hash": "x", "last_modified": "2026-11-22T10:00:00"}
    with pytest.raises(Truncated) as caught:
        wire.parse_listing(json.dumps([row]).encode())
    assert size > 2**64 or "dir/large" in str(caught.value)
    headers = {"Content-Length": str(size), "ETag": "x", "Last-Modified": "Thu, 01 Jan 1970 00:00:01 GMT"}
    with pytest.raises(Truncated, match="dir/large"):
        wire.object_info("dir/large", headers)


@pytest.mark.parametrize(
    ("count", "size"), [("many", "1"), ("1", ""), ("1", "1.5"), (str(2**63), "1"), ("1", "9" * 99)]
)
def test_a_container_s_counts_that_are_none_are_an_error(count: str, size: str) -> None:
    """What stands in a header is the server's: it is said and not stumbled over."""
    with pytest.raises(Truncated, match="headers count"):
        wire.container_info("c", {"X-Container-Object-Count": count, "X-Container-Bytes-Used": size})


@given(st.binary(max_size=60))
def test_no_bytes_make_the_listing_parser_fail_otherwise(body: bytes) -> None:
    """Whatever a server sends as a listing, it is entries or one kind of error."""
    with contextlib.suppress(Truncated):
        wire.parse_listing(body)


def _entry(name: str) -> ListingEntry:
    return ListingEntry(name, 1, "0" * 32, 0)


@given(st.lists(NAMES, unique=True, max_size=10))
def test_a_page_in_order_is_kept_whole(names: list[str]) -> None:
    """Names sorted by their UTF-8 bytes, each once, are what a listing is."""
    names.sort(key=lambda name: name.encode())
    page = [_entry(name) for name in names]

    assert wire.in_order(page, "", flat=True) == page


def test_a_repeated_name_is_shown_once() -> None:
    """A server that lists an entry twice in a row does not double it."""
    page = [_entry("a"), _entry("a"), _entry("b")]

    assert [e.name for e in wire.in_order(page, "", flat=True)] == ["a", "b"]


def test_a_page_that_repeats_the_one_before_is_an_error() -> None:
    """A server that ignores the marker does not keep us listing for ever."""
    with pytest.raises(Truncated):
        wire.in_order([_entry("a"), _entry("b")], "b", flat=True)


def test_a_page_that_goes_back_is_an_error() -> None:
    """A listing out of order is refused: an entry may be missing in it."""
    with pytest.raises(Truncated):
        wire.in_order([_entry("b"), _entry("a")], "", flat=True)


def test_a_subdir_that_was_the_marker_is_dropped() -> None:
    """With a delimiter Ceph RGW may list the marker's subdir again: it ends the listing instead of looping."""
    assert wire.in_order([Subdir("a/")], "a/", flat=False) == []


@given(st.lists(NAMES, min_size=1, max_size=6))
def test_a_bulk_delete_names_every_object_on_a_line_of_its_own(names: list[str]) -> None:
    """Newlines and all else in names are quoted, so each line is one object."""
    lines = wire.bulk_delete_body("c", names).decode().splitlines()

    assert [unquote(line) for line in lines] == [f"c/{name}" for name in names]


def test_a_bulk_answer_tells_what_failed() -> None:
    """HTTP says 200 whatever happened: the errors stand in the body."""
    body = (
        b'  \r\n{"Number Deleted": 2, "Number Not Found": 1, "Errors": [["c/x", "403 Forbidden"]],'
        b' "Response Status": "400 Bad Request", "Response Body": ""}'
    )

    assert wire.parse_bulk_answer(body) == (2, 1, (("c/x", "403 Forbidden"),))


@pytest.mark.parametrize(
    ("headers", "kind"),
    [({}, Kind.PLAIN), ({"X-Static-Large-Object": "True"}, Kind.SLO), ({"X-Object-Manifest": "c/p"}, Kind.DLO)],
)
def test_headers_tell_the_kind_of_an_object(headers: dict[str, str], kind: Kind) -> None:
    """A large object is told by its header, and its quoted ETag is bared."""
    common = {"Content-Length": "5", "ETag": '"AB"', "Last-Modified": "Thu, 01 Jan 1970 00:00:01 GMT"}
    info = wire.object_info("n", {**common, **headers})

    assert (info.size, info.etag, info.last_modified, info.kind) == (5, "ab", 10**9, kind)


@given(NAMES)
def test_an_answer_about_another_object_is_a_links(name: str) -> None:
    """Swift names the other one; with versions it names the object itself, by whatever prefix a proxy has it."""
    path = wire.object_path("c", name)
    url = "https://store/swift/v1/AUTH_me"
    assert not wire.is_link({}, url, path)
    assert not wire.is_link({"Content-Location": f"/v1/AUTH_me{path}?version-id=1"}, url, path)
    for other in (f"/v1/AUTH_me/d{path}", f"/v1/AUTH_other{path}", f"/v1/AUTH_me{path}x"):
        assert wire.is_link({"Content-Location": other}, url, path)
