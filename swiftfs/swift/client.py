"""The store as coroutines: containers, listings, objects; each call retried by table, pinned and bounded in time.

One :class:`Client` belongs to one event loop and one account. Rules it keeps, each with its reason in
docs/CONCURRENCY.md and docs/SEMANTICS.md: redirects are refused (they would carry the token elsewhere), bodies are
never decompressed, a body counts only with its full length, a resumed body continues under the same pin.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from swiftfs.errors import (
    Changed,
    Damaged,
    DeadlineExceeded,
    NotFound,
    SwiftFSError,
    Truncated,
    Unavailable,
    printable,
)
from swiftfs.model import ByteRange, ContainerInfo, Kind, ListingEntry, ObjectInfo, ObjectVersion, Subdir, is_md5
from swiftfs.swift import wire
from swiftfs.swift.deletes import Deletes
from swiftfs.swift.large import LargeObjects
from swiftfs.swift.listing import TOP_LIMIT, Listings, Top
from swiftfs.swift.translate import about_container, about_object
from swiftfs.swift.transport import Transport, open_transport

if TYPE_CHECKING:
    from swiftfs.config import Remote
    from swiftfs.swift.answer import Counters
    from swiftfs.swift.body import Body
    from swiftfs.swift.rate import RateLimit
    from swiftfs.swift.streams import Streamed

log = logging.getLogger(__name__)

PAGE = 10_000
"""Names asked for in one page: Swift's usual ``container_listing_limit``; a lower one is found out, and Ceph RGW sends
fewer without saying so."""
PUT_ATTEMPTS = 2
"""Times an object is sent whose answer does not prove it: one that is only accepted (202) goes to a server whose clock
is right, with luck; another ETag may have been the answer to nobody."""
FRUITLESS = 3
"""Resumes in a row that may bring no byte before a body is given up: a segment that is gone never comes."""
DAMAGED_ATTEMPTS = 3
"""Times a whole object is fetched when its bytes have the wrong MD5: once damaged on the way is bad luck, three times
is damage in the store."""
SLOWEST_PUT = 64 * 1024
"""Bytes a second a PUT is expected to make: its deadline grows with its size at this rate."""
ON_THE_WAY = 16 * 1024 * 1024
"""Bytes of a body that buffers on the way may hold when its last one has left: the answer waits for these alone."""


@contextlib.asynccontextmanager
async def open_client(
    remote: Remote,
    *,
    connections: int = 32,
    deadline: float = 60.0,
    rate: RateLimit | None = None,
    meanwhile: Iterable[Callable[[], object]] = (),
) -> AsyncIterator[Client]:
    """A client for ``remote`` with at most ``connections`` requests at once; ``deadline`` seconds bound each call.

    ``rate`` limits its bytes and requests a second; what a call waits for that is not counted in its deadline.
    ``meanwhile`` is done while Keystone is waited for.

    Logs in before it returns, so that wrong credentials show here: raises AuthError, ConfigError, Unavailable.
    """
    async with open_transport(remote, connections=connections, deadline=deadline, rate=rate) as transport:
        await transport.login(meanwhile)
        yield Client(transport)


class Client(LargeObjects, Deletes):
    """One account. Every method raises SwiftFSError subclasses only: AuthError, Forbidden, Unavailable and
    DeadlineExceeded anywhere; the others where they are named."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._listings = Listings(transport)
        self._versioned: dict[str, bool] = {}
        self._spared: set[str] = set()

    @property
    def counters(self) -> Counters:
        """What was sent and received so far."""
        return self._transport.counters

    async def get_ready_to_stream(self) -> None:
        """Take the time that the first :meth:`stream` would take to begin, beside the loop."""
        await self._transport.get_ready_to_stream()

    async def storage_url(self) -> str:
        """The account's URL as the catalogue gives it."""
        return await self._transport.storage_url()

    # Containers

    async def containers(self) -> list[ContainerInfo]:
        """Every container of the account, by name."""
        found: list[ContainerInfo] = []
        while True:
            marker = found[-1].name if found else ""
            answer = await self._listings.ask("", {"format": "json", "marker": marker}, PAGE)
            rows = wire.parse_containers(answer.body) if answer.status != wire.NO_CONTENT else []
            page = [row for row in rows if row.name > marker]
            if not page:
                return found
            found.extend(page)

    async def container_info(self, container: str) -> ContainerInfo:
        """Object count and bytes of a container. Raises ContainerNotFound."""
        try:
            answer = await self._transport.request("HEAD", wire.container_path(container))
        except SwiftFSError as error:
            raise about_container(error, container) from None
        self._versioned[container] = wire.keeps_versions(answer.headers)
        return wire.container_info(container, answer.headers)

    def spares_segments(self, container: str) -> bool:
        """Whether segments of the container's large objects are to be left alone, for it keeps old versions of them,
        which may need them; the log says so once.

        Told by what was asked last about the container, a listing as a rule: this asks nothing.
        """
        if not self._versioned.get(container):
            return False
        if container not in self._spared:
            self._spared.add(container)
            log.warning(
                "%s keeps old versions of its objects, which may need old segments: none is deleted",
                printable(container),
            )
        return True

    async def create_container(self, container: str, *, storage_policy: str | None = None) -> bool:
        """Make sure the container exists; True when it was made now."""
        headers = {"X-Storage-Policy": storage_policy} if storage_policy else {}
        answer = await self._transport.request("PUT", wire.container_path(container), headers=headers)
        return answer.status == 201

    # Listings

    async def list_pages(
        self, container: str, *, prefix: str = "", delimiter: str | None = None, marker: str = "", end_marker: str = ""
    ) -> AsyncGenerator[list[ListingEntry | Subdir]]:
        """Pages of a listing, names strictly increasing by the bytes of their UTF-8, until a page is empty.

        A page that is shorter than asked for is not the last: Ceph RGW sends 1,000 of 10,000 and says nothing.
        Raises ContainerNotFound, and Truncated for a listing that repeats itself.
        """
        query = {"format": "json"}
        if prefix:
            query["prefix"] = prefix
        if delimiter:
            query["delimiter"] = delimiter
        if end_marker:
            query["end_marker"] = end_marker
        path = wire.container_path(container)
        while True:
            if marker:
                query["marker"] = marker
            try:
                kept, headers = await self._listings.page(path, query, PAGE)
            except SwiftFSError as error:
                raise about_container(error, container) from None
            self._versioned[container] = wire.keeps_versions(headers)
            if not kept:
                return
            marker = kept[-1].name
            yield kept
            del kept  # or two pages are held while the next is read

    async def list_objects(self, container: str, *, prefix: str = "") -> AsyncIterator[list[ListingEntry]]:
        """Pages of a flat listing. Raises as :meth:`list_pages`."""
        async for page in self.list_pages(container, prefix=prefix):
            yield [entry for entry in page if isinstance(entry, ListingEntry)]
            del page

    async def list_top(self, container: str, *, prefix: str = "") -> Top:
        """What is directly below ``prefix``, and the container's headers, by one request.

        Raises ContainerNotFound, and Truncated for a listing that repeats itself.
        """
        query = {"format": "json", "delimiter": "/"}
        if prefix:
            query["prefix"] = prefix
        try:
            page, headers = await self._listings.page(wire.container_path(container), query, TOP_LIMIT)
        except SwiftFSError as error:
            raise about_container(error, container) from None
        self._versioned[container] = wire.keeps_versions(headers)
        # A server that has refused so many names may have sent fewer than there are.
        all_told = len(page) < TOP_LIMIT and (not page or self._listings.takes(TOP_LIMIT))
        return Top(wire.container_info(container, headers), page if all_told else None)

    # Objects

    async def head(self, container: str, name: str) -> ObjectInfo:
        """Size, ETag, times and kind of an object. Raises NotFound."""
        path = wire.object_path(container, name)
        try:
            answer = await self._transport.request("HEAD", path)
            info = wire.object_info(name, answer.headers)
            if "Content-Location" in answer.headers:
                is_link = wire.is_link(answer.headers, await self._transport.storage_url(), path)
                info = replace(info, is_link=is_link)
            return info
        except SwiftFSError as error:
            raise about_object(error, container, name) from None

    async def get(self, container: str, version: ObjectVersion | str, span: ByteRange | None = None) -> bytes:
        """The object's bytes, or those of ``span``; exactly as many as asked for.

        ``version`` pins: other bytes than that version's raise Changed. A plain name takes what is there at the first
        byte. The MD5 of a whole plain object is compared with its ETag, where that is one. Raises NotFound, Changed,
        Truncated.
        """
        for attempt in range(1, DAMAGED_ATTEMPTS + 1):
            try:
                pieces = [piece async for piece in self.stream(container, version, span)]
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            except Damaged:
                if attempt == DAMAGED_ATTEMPTS:
                    raise
                await self._transport.before_resume(attempt)
        raise AssertionError("unreachable")

    async def stream(
        self, container: str, version: ObjectVersion | str, span: ByteRange | None = None
    ) -> AsyncGenerator[bytes]:
        """As :meth:`get`, in pieces as they come, for objects of any size.

        A body that breaks off is continued with a range under the same pin, three times in a row without a new byte
        at the most. A wrong MD5 shows after the last piece: the caller must not trust the pieces before the end.
        """
        if isinstance(version, str):
            pinned, name = None, version
        else:
            pinned, name = version, version.name
        if span is not None and not len(span):
            return
        if pinned is not None and pinned.size == 0:
            return
        path = wire.object_path(container, name)
        start = 0 if span is None else span.start
        stop = (None if pinned is None else pinned.size) if span is None else span.stop
        whole = span is None or (pinned is not None and span == ByteRange(0, pinned.size))
        digest = hashlib.md5(usedforsecurity=False) if whole else None
        fruitless = 0
        position = start
        while stop is None or position < stop:
            headers = {} if pinned is None else wire.pin_headers(pinned)
            ranged = not (whole and position == start)
            if ranged:
                headers["Range"] = (
                    f"bytes={position}-" if stop is None else wire.range_header(ByteRange(position, stop))
                )
            before = position
            try:
                async with self._transport.body(path, headers) as answer:
                    info = _checked(answer, name, pinned, position if ranged else None)
                    if pinned is None:
                        pinned = ObjectVersion(name, info.size, info.etag, info.last_modified, info.kind)
                    stop = min(pinned.size, pinned.size if stop is None else stop)
                    async for piece in answer.pieces():
                        if position + len(piece) > stop:
                            raise Truncated("the store sent more bytes than the object has")
                        position += len(piece)
                        if digest is not None:
                            digest.update(piece)
                        yield piece
                if position < stop:
                    raise Truncated(f"the body ended at byte {position} of {stop}")
            except (Truncated, Unavailable) as error:
                fruitless = fruitless + 1 if position == before else 0
                if fruitless >= FRUITLESS or isinstance(error, DeadlineExceeded):
                    raise about_object(error, container, name, ByteRange(start, stop or position)) from None
                await self._transport.before_resume(fruitless)
            except SwiftFSError as error:
                asked = ByteRange(start, stop) if stop is not None and span is not None else None
                raise about_object(error, container, name, asked) from None
        if (
            digest is not None
            and pinned is not None
            and pinned.kind is Kind.PLAIN
            and is_md5(pinned.etag)
            and digest.hexdigest() != pinned.etag
        ):
            raise Damaged("the bytes do not have the MD5 that their ETag says", container=container, object=name)

    async def put(
        self,
        container: str,
        name: str,
        body: Body,
        *,
        md5: str,
        mtime: int | None = None,
        content_type: str | None = None,
    ) -> str:
        """Store ``body`` under ``name`` and return its ETag.

        ``md5`` travels as ``ETag``, so the server refuses a damaged body. ``mtime`` in nanoseconds is kept as
        ``X-Object-Meta-Mtime``. Raises ContainerNotFound, Rejected (too large, quota), Truncated (the server got
        other bytes), and what reading ``body`` raises.
        """
        headers = {"ETag": md5, "Content-Type": content_type or "application/octet-stream"}
        if mtime is not None:
            headers[wire.MTIME_HEADER] = wire.format_mtime(mtime)
        size = len(body) if isinstance(body, bytes) else body.size
        for _ in range(PUT_ATTEMPTS):
            try:
                answer = await self._transport.request(
                    "PUT",
                    wire.object_path(container, name),
                    headers=headers,
                    body=body,
                    extra_time=size / SLOWEST_PUT,
                    extra_silence=min(size, ON_THE_WAY) / SLOWEST_PUT,
                )
            except NotFound as error:
                raise about_container(error, container) from None
            except SwiftFSError as error:
                raise about_object(error, container, name) from None
            if answer.status != 202:
                if wire.bare_etag(answer.headers.get("ETag", "")) == md5:
                    return md5
                self._transport.forget_connections()  # it may be the answer to nobody, and all later ones one late
            # A server whose clock is behind accepts a PUT that does not win (Swift's obj.py): look what is there.
            with contextlib.suppress(NotFound):
                if (await self.head(container, name)).etag == md5:
                    return md5
        raise Truncated("the store holds other bytes than were sent", container=container, object=name)


def _checked(answer: Streamed, name: str, pinned: ObjectVersion | None, position: int | None) -> ObjectInfo:
    """What the headers of a GET say, once they fit the version pinned and the byte asked for.

    ``position`` is None when the whole object was asked for. Raises Changed and Truncated.
    """
    headers = answer.headers
    if answer.status == 206:
        if position is None:
            raise Truncated("the store sent a part where the whole object was asked for")
        if "multipart/byteranges" in headers.get("Content-Type", ""):
            raise Truncated("the store sent several ranges where one was asked for")
        sent, total = wire.parse_content_range(headers.get("Content-Range", ""))
        if sent.start != position:
            raise Truncated(f"the store sent bytes from {sent.start} where {position} was asked for")
        if total is None:
            raise Truncated("the store does not say the object's size")
    elif position is not None:
        raise Truncated("the store ignored the range that was asked for")
    else:
        total = None
    info = wire.object_info(name, headers, total)
    if pinned is None:
        return info
    if info.etag != pinned.etag:
        raise Changed("the object has changed in the store")
    if info.size != pinned.size:
        raise Truncated(f"the store sends {info.size} bytes of an object of {pinned.size}")
    return info
