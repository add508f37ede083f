"""Faults of the wire for state machines: drawn, with what may come of each."""

from __future__ import annotations

from dataclasses import dataclass

from fakes.fault_proxy import (
    Action,
    Endless,
    Extra,
    FlipBit,
    HangUp,
    IgnoreRange,
    RepeatPage,
    Reset,
    SetHeader,
    Stall,
    Status,
    Truncate,
    redirect,
)
from hypothesis import strategies as st

from swiftfs.errors import AuthError, Changed, Conflict, Forbidden, Rejected, SwiftFSError, Truncated

LONGEST = 6000
"""Bytes within which a body is broken: those of a chunk and a half."""
TEMPORARY = (408, 429, 498, 500, 502, 503, 504, 507, 529)
"""Statuses after which a request is sent again."""
FINAL = {403: Forbidden, 404: Changed, 409: Conflict, 412: Changed, 416: Changed}
"""Statuses that end a read, and how. To the reader of a file, an object that is gone has changed."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """``action`` for ``count`` requests; ``error`` None: what is asked for must succeed all the same."""

    action: Action
    count: int
    error: type[SwiftFSError] | None = None


REFUSED = Status(401)
PLACES = st.integers(0, LONGEST)
MENDED = st.one_of(
    st.builds(Reset, st.none() | st.just(-1) | PLACES),
    st.builds(Truncate, PLACES, st.booleans()),
    st.builds(Status, st.sampled_from(TEMPORARY), st.sampled_from([None, "0", "soon"])),
    st.builds(Status, st.just(200), body=st.sampled_from([b"", b"<html>Please log in.</html>"])),
    st.sampled_from([Extra(), Extra(b"\0" * 999), Endless(), HangUp(), IgnoreRange(), Status(204)]),
    st.sampled_from(
        [SetHeader("ETag", None), SetHeader("Content-Range", None), SetHeader("Content-Range", "bytes 9-9/9")]
    ),
)
"""What one more request makes good."""
READ_FAULTS = st.one_of(
    st.builds(Drawn, MENDED, st.integers(1, 2)),
    st.builds(Drawn, st.builds(Reset, st.none()), st.just(1)),
    st.builds(Drawn, st.just(REFUSED), st.just(1)),
    st.sampled_from([Drawn(Status(status), 1, error) for status, error in FINAL.items()]),
    st.just(Drawn(redirect(302, "http://127.0.0.1:9/v1/AUTH_x/c/o"), 1, Rejected)),
    st.just(Drawn(SetHeader("ETag", "0" * 32), 1, Changed)),
    st.just(Drawn(REFUSED, 2, AuthError)),
)
WHOLE_READ_FAULTS = st.one_of(
    st.builds(Drawn, st.builds(FlipBit, PLACES), st.just(1)),
    st.builds(Drawn, st.builds(FlipBit, PLACES), st.just(2)),
    *(st.builds(Drawn, st.builds(FlipBit, st.integers(-8, 8)), st.just(1)) for _ in range(6)),
    st.builds(Drawn, st.builds(Stall, st.none() | PLACES), st.just(1)),
)
"""For a plain object that is read in one request: only there a checksum tells of a bit. Stalls cost seconds, and are
rare for that."""
LISTING_FAULTS = st.one_of(
    st.builds(Drawn, st.builds(Reset, st.none() | PLACES), st.just(1)),
    st.builds(Drawn, st.builds(Truncate, PLACES, st.booleans()), st.just(1)),
    st.builds(Drawn, st.builds(Status, st.sampled_from((*TEMPORARY, 401))), st.just(1)),
    st.just(Drawn(Status(200, body=b"[{"), 1)),
    st.just(Drawn(RepeatPage(), 1, Truncated)),
    st.sampled_from([Drawn(Status(403), 1, Forbidden), Drawn(Status(412), 1, SwiftFSError)]),
)
