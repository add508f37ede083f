"""The faults that a read of one object may meet, with what must come of each: rows of the fault matrix."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pytest
from fakes.fault_proxy import (
    Action,
    Endless,
    Extra,
    FlipBit,
    HangUp,
    IgnoreRange,
    Reset,
    Seen,
    SetHeader,
    Stall,
    Status,
    Trickle,
    Truncate,
    redirect,
)

from swiftfs.errors import AuthError, Changed, Conflict, Forbidden, NotFound, Rejected, SwiftFSError, Truncated
from swiftfs.swift.transport import STALL_SHARE

SIZE = 150_000
"""Bytes of the object that is read."""
CUT = 70_001
"""Where a body breaks: inside it, and not at the edge of anything."""
WITHOUT_END = frozenset({"Endless", "HangUp", "Reset", "Stall", "Swallow", "Trickle", "Truncate"})
"""Faults after which the proxy cannot say how long an answer took: there was none, or no end of it."""


def late(seen: Iterable[Seen], deadline: float) -> int:
    """How many requests a busy store answered so late that a client with this deadline may have asked again."""
    longest = deadline * STALL_SHARE / 2
    return sum(one.action not in WITHOUT_END if one.seconds is None else one.seconds > longest for one in seen)


def is_cost(number: int, seen: Sequence[Seen], deadline: float) -> bool:
    """Whether the requests are ``number``, and the rest explained by late answers. Let the proxy come to rest first."""
    return number <= len(seen) <= number + late(seen, deadline)


@dataclass(frozen=True, slots=True)
class ReadFault:
    """``action`` for the first ``count`` GETs of the object; ``error`` None: the read gives the right bytes.

    ``most`` bounds the GETs that one read may cost, retries included. ``ranged`` is about a part of the object.
    """

    row: str
    name: str
    action: Action
    error: type[SwiftFSError] | None = None
    most: int = 2
    count: int | None = 1
    ranged: bool = False

    @property
    def is_silent(self) -> bool:
        """Whether only the client's patience finds it out."""
        return isinstance(self.action, Stall | Trickle)


ELSEWHERE = "http://127.0.0.1:9/v1/AUTH_x/c/o"
PAGE_OF_HTML = b"<html><body>Please log in to the hotel's network.</body></html>"

READ_FAULTS = (
    ReadFault("N5", "reset-before-headers", Reset()),
    ReadFault("N5", "reset-after-headers", Reset(0)),
    ReadFault("N5", "reset-after-one-byte", Reset(1)),
    ReadFault("N5", "reset-inside", Reset(CUT)),
    ReadFault("N5", "reset-after-the-last-byte", Reset(-1)),
    ReadFault("N5", "reset-three-times-with-progress", Reset(1000), most=4, count=3),
    ReadFault("N6", "cut", Truncate(CUT)),
    ReadFault("N6", "cut-to-nothing", Truncate(0)),
    ReadFault("N7", "cut-and-told-so", Truncate(CUT, honest=True)),
    ReadFault("N7", "cut-to-nothing-and-told-so", Truncate(0, honest=True)),
    ReadFault("N7", "cut-range-and-told-so", Truncate(1000, honest=True), ranged=True),
    ReadFault("N8", "an-answer-too-many", Extra()),
    ReadFault("N8", "garbage-after-the-end", Extra(b"\0" * 1000)),
    ReadFault("N8", "chunks-without-an-end", Endless()),
    ReadFault("N9", "stalled-before-headers", Stall()),
    ReadFault("N9", "stalled-inside", Stall(CUT)),
    ReadFault("N10", "a-byte-at-a-time", Trickle()),
    ReadFault("N13", "closed-while-idle", HangUp()),
    ReadFault("N14", "redirect-301", redirect(301, ELSEWHERE), Rejected, most=1),
    ReadFault("N14", "redirect-307", redirect(307, ELSEWHERE), Rejected, most=1),
    ReadFault("H4", "forbidden", Status(403), Forbidden, most=1),
    ReadFault("H5", "gone", Status(404), NotFound, most=1),
    ReadFault("H7", "request-timeout", Status(408)),
    ReadFault("H8", "conflict", Status(409), Conflict, most=1),
    ReadFault("H10", "precondition", Status(412), Changed, most=1),
    ReadFault("H11", "range", Status(416), Changed, most=1, ranged=True),
    *(
        ReadFault("H12", f"{status}-after-{name}", Status(status, after))
        for status in (429, 498)
        for name, after in (
            ("nothing", None),
            ("a-second", "1"),
            ("a-past-date", "Thu, 01 Jan 1970 00:00:01 GMT"),
            ("garbage", "soon"),
        )
    ),
    *(
        ReadFault("H13", f"{status}-three-times", Status(status), most=4, count=3)
        for status in (500, 502, 503, 504, 507, 529)
    ),
    ReadFault("H14", "range-ignored", IgnoreRange(), ranged=True),
    ReadFault("H14", "range-always-ignored", IgnoreRange(), Truncated, most=3, count=None, ranged=True),
    ReadFault("H14", "another-range", SetHeader("Content-Range", f"bytes 0-{SIZE - 1}/{SIZE}"), ranged=True),
    ReadFault("H14", "no-content-range", SetHeader("Content-Range", None), ranged=True),
    ReadFault("H14", "several-ranges", SetHeader("Content-Type", "multipart/byteranges; boundary=x"), ranged=True),
    ReadFault("H15", "first-bit", FlipBit(0)),
    ReadFault("H15", "last-bit", FlipBit(-1)),
    ReadFault("H15", "always-a-bit", FlipBit(CUT), Truncated, most=3, count=None),
    ReadFault("H15", "another-etag", SetHeader("ETag", "0" * 32), Changed, most=1),
    ReadFault("H15", "no-etag", SetHeader("ETag", None)),
    ReadFault("H18", "a-web-page", Status(200, body=PAGE_OF_HTML, headers=(("Content-Type", "text/html"),))),
    ReadFault("H18", "a-compressed-web-page", Status(200, body=gzip.compress(PAGE_OF_HTML))),
    ReadFault("H18", "an-empty-body", Status(200, body=b"")),
    ReadFault("H18", "204", Status(204)),
    ReadFault("H2", "token-refused-for-good", Status(401), AuthError, most=2, count=None),
)


def params(faults: Sequence[ReadFault]) -> list[object]:
    """The faults as parameters of a test, each with its row."""
    return [pytest.param(fault, id=f"{fault.row}-{fault.name}", marks=pytest.mark.row(fault.row)) for fault in faults]
