"""MemorySwift: one account in memory, with the public methods of ``swift.client.Client``.

It checks what a server checks (MD5 sent as ETag, length, container there, container empty) and answers with the same
errors. ``faults`` are called before a request is served, with the method and its place, and may raise.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

from swiftfs.errors import Changed, Conflict, ContainerNotFound, NotFound, Rejected
from swiftfs.model import (
    EMPTY_MD5,
    ByteRange,
    ContainerInfo,
    Kind,
    Limits,
    ListingEntry,
    ObjectInfo,
    ObjectVersion,
    Part,
    Segment,
    Subdir,
)
from swiftfs.swift.answer import Counters
from swiftfs.swift.body import Body
from swiftfs.swift.deletes import BulkDeleted
from swiftfs.swift.large import BadSegments
from swiftfs.swift.listing import Top

SECOND = 1_000_000_000
TOP = "?delimiter=/"
"""Stands for an object's name in the log of requests for the names on top of a container."""
Fault = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class Stored:
    """One object: its bytes and what its HEAD says."""

    body: bytes
    info: ObjectInfo


@dataclass(slots=True)
class MemorySwift:
    """The account. ``page`` is how many names a listing page has, ``top`` how many are too many for ``list_top``; times
    are counted in whole seconds from 1."""

    page: int = 10_000
    top: int = 1000
    faults: list[Fault] = field(default_factory=list)
    log: list[tuple[str, str, str]] = field(default_factory=list)
    held: dict[str, dict[str, Stored]] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)
    in_flight: int = 0
    most_in_flight: int = 0
    bytes_in_flight: int = 0
    most_bytes_in_flight: int = 0
    info: Limits = field(default_factory=Limits)
    readable: bool = True
    versioned: set[str] = field(default_factory=set)
    manifests: dict[tuple[str, str], tuple[Segment, ...]] = field(default_factory=dict)
    before_store: Callable[[str], AsyncIterator[None]] | None = None
    _now: int = 0

    def puts(self) -> list[str]:
        """Names of the objects that PUTs were sent for, in their order."""
        return [name for method, _, name in self.log if method == "PUT" and name]

    def bodies(self, container: str) -> dict[str, bytes]:
        """Every object of a container with its bytes."""
        return {name: stored.body for name, stored in self.held[container].items()}

    def alter(self, container: str, name: str, body: bytes) -> None:
        """Replace an object's bytes behind everybody's back."""
        self._store(container, name, body, None, None)

    def store_large(self, container: str, name: str, body: bytes, kind: Kind) -> None:
        """Put a large object there: its ETag is not its MD5, and it is listed with the MD5 of nothing."""
        etag = hashlib.md5(hashlib.md5(body).hexdigest().encode()).hexdigest()
        self._store(container, name, body, None, None)
        stored = self.held[container][name]
        self.held[container][name] = replace(stored, info=replace(stored.info, etag=etag, kind=kind))

    async def containers(self) -> list[ContainerInfo]:
        """Every container, by name."""
        self._request("GET", "", "")
        return [self._container_info(name) for name in sorted(self.held)]

    async def container_info(self, container: str) -> ContainerInfo:
        """Count and bytes of one container."""
        self._request("HEAD", container, "")
        self._objects(container)
        return self._container_info(container)

    def spares_segments(self, container: str) -> bool:
        """Whether the container is one of ``versioned``, which keep old versions of their objects."""
        return container in self.versioned

    async def create_container(self, container: str, *, storage_policy: str | None = None) -> bool:
        """Make the container; False when it was there."""
        self._request("PUT", container, "")
        made = container not in self.held
        self.held.setdefault(container, {})
        return made

    async def delete_container(self, container: str) -> None:
        """Remove an empty container."""
        self._request("DELETE", container, "")
        if self._objects(container):
            raise Conflict("the container is not empty", container=container, hint="use purge, or delete first")
        del self.held[container]

    async def list_pages(
        self, container: str, *, prefix: str = "", delimiter: str | None = None, marker: str = "", end_marker: str = ""
    ) -> AsyncGenerator[list[ListingEntry | Subdir]]:
        """Pages in the order of the UTF-8 bytes, until one is empty."""
        while True:
            self._request("GET", container, "")
            names = sorted(name for name in self._objects(container) if name.startswith(prefix))
            page: list[ListingEntry | Subdir] = []
            for name in names:
                shown = name
                if delimiter and delimiter in name[len(prefix) :]:
                    cut = name.index(delimiter, len(prefix)) + len(delimiter)
                    shown = name[:cut]
                if shown <= marker or (end_marker and shown >= end_marker) or (page and page[-1].name == shown):
                    continue
                page.append(Subdir(shown) if shown != name else self._entry(container, name))
                if len(page) == self.page:
                    break
            if not page:
                return
            yield page
            marker = page[-1].name

    async def list_top(self, container: str, *, prefix: str = "") -> Top:
        """What is directly below ``prefix``, with what the headers say before it is listed."""
        self._request("GET", container, TOP)
        objects = self._objects(container)
        names: list[ListingEntry | Subdir] = []
        for name in sorted(name for name in objects if name.startswith(prefix)):
            cut = name.find("/", len(prefix)) + 1
            if not cut:
                names.append(self._entry(container, name))
            elif not names or names[-1].name != name[:cut]:
                names.append(Subdir(name[:cut]))
        return Top(self._container_info(container), names if len(names) < self.top else None)

    async def list_objects(self, container: str, *, prefix: str = "") -> AsyncIterator[list[ListingEntry]]:
        """Pages of a flat listing."""
        async for page in self.list_pages(container, prefix=prefix):
            yield [entry for entry in page if isinstance(entry, ListingEntry)]

    async def head(self, container: str, name: str) -> ObjectInfo:
        """What is known of one object."""
        self._request("HEAD", container, name)
        return self._stored(container, name).info

    async def get(self, container: str, version: ObjectVersion | str, span: ByteRange | None = None) -> bytes:
        """The object's bytes, or those of ``span``."""
        name = version if isinstance(version, str) else version.name
        self._request("GET", container, name)
        stored = self._stored(container, name)
        if isinstance(version, ObjectVersion) and version.etag != stored.info.etag:
            raise Changed("the object has changed in the store", container=container, object=name)
        return stored.body if span is None else stored.body[span.start : span.stop]

    async def stream(
        self, container: str, version: ObjectVersion | str, span: ByteRange | None = None
    ) -> AsyncIterator[bytes]:
        """As :meth:`get`, in pieces of 64 KiB."""
        body = await self.get(container, version, span)
        for first in range(0, len(body), 65536):
            yield body[first : first + 65536]

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
        """Store an object whose length and MD5 are as announced; returns its ETag."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        held = len(body) if isinstance(body, bytes) else 0
        self.bytes_in_flight += held
        self.most_bytes_in_flight = max(self.most_bytes_in_flight, self.bytes_in_flight)
        try:
            if self.before_store is not None:
                async for _ in self.before_store(name):
                    pass
            self._request("PUT", container, name)
            objects = self._objects(container)
            received = body if isinstance(body, bytes) else await _received(body)
            if len(received) > self.info.max_file_size:
                raise Rejected("the store refuses the size", container=container, object=name, status=413)
            if hashlib.md5(received).hexdigest() != md5:
                raise Rejected(
                    "the store got other bytes than were announced", container=container, object=name, status=422
                )
            self._store(container, name, received, mtime, content_type or "application/octet-stream")
            self.counters.sent += len(received)
            return objects[name].info.etag
        finally:
            self.in_flight -= 1
            self.bytes_in_flight -= held

    async def limits(self) -> Limits:
        """What ``/info`` says."""
        self._request("GET", "", "/info")
        return self.info

    async def segments(self, container: str, name: str) -> tuple[Segment, ...] | None:
        """An SLO's segments; None when ``readable`` says that this server shows no manifests, as Ceph RGW."""
        self._request("GET", container, name)
        self._stored(container, name)
        return self.manifests.get((container, name)) if self.readable else None

    async def parts(self, container: str, name: str) -> tuple[Part, ...] | None:
        """What an SLO's manifest names, large objects among it; None as :meth:`segments`."""
        found = await self.segments(container, name)
        if found is None:
            return None
        return tuple(Part(one.container, one.name, (one.container, one.name) in self.manifests) for one in found)

    async def put_manifest(
        self,
        container: str,
        name: str,
        segments: Sequence[Segment],
        *,
        mtime: int | None = None,
        content_type: str | None = None,
    ) -> None:
        """Make an SLO of segments that are there as the manifest says."""
        self._request("MANIFEST", container, name)
        bad = []
        for one in segments:
            stored = self.held.get(one.container, {}).get(one.name)
            if stored is None or (stored.info.size, stored.info.etag) != (one.size, one.md5):
                bad.append(f"{one.container}/{one.name}")
        if bad or len(segments) > self.info.max_segments:
            raise BadSegments("segments are refused", tuple(bad), container=container, object=name)
        body = b"".join(self.held[one.container][one.name].body for one in segments)
        self._store(container, name, body, mtime, content_type or "application/octet-stream")
        etag = hashlib.md5("".join(one.md5 for one in segments).encode()).hexdigest()
        stored = self.held[container][name]
        self.held[container][name] = replace(stored, info=replace(stored.info, etag=etag, kind=Kind.SLO))
        self.manifests[container, name] = tuple(segments)

    async def delete(self, container: str, name: str, *, with_segments: int = 0) -> None:
        """Remove one object; ``with_segments`` removes what an SLO's manifest names, too."""
        self._request("DELETE", container, name)
        self._stored(container, name)
        del self.held[container][name]
        for one in self.manifests.pop((container, name), ()) if with_segments else ():
            self.held[one.container].pop(one.name, None)

    async def bulk_delete(self, container: str, names: Sequence[str]) -> BulkDeleted:
        """Remove many objects in one request."""
        self._request("POST", container, "")
        objects = self._objects(container)
        deleted = sum(1 for name in names if objects.pop(name, None) is not None)
        return BulkDeleted(deleted, len(names) - deleted, ())

    def _request(self, method: str, container: str, name: str) -> None:
        self.counters.requests += 1
        self.log.append((method, container, name))
        for fault in self.faults:
            fault(method, container, name)

    def _objects(self, container: str) -> dict[str, Stored]:
        if container not in self.held:
            raise ContainerNotFound(f"container '{container}' not found", container=container, status=404)
        return self.held[container]

    def _stored(self, container: str, name: str) -> Stored:
        found = self._objects(container).get(name)
        if found is None:
            raise NotFound("not found", container=container, object=name, status=404)
        return found

    def _store(self, container: str, name: str, body: bytes, mtime: int | None, content_type: str | None) -> None:
        self._now += 1
        info = ObjectInfo(
            name, len(body), hashlib.md5(body).hexdigest(), self._now * SECOND, Kind.PLAIN, content_type, mtime
        )
        self._objects(container)[name] = Stored(body, info)

    def _container_info(self, container: str) -> ContainerInfo:
        objects = self.held[container].values()
        return ContainerInfo(container, len(objects), sum(stored.info.size for stored in objects))

    def _entry(self, container: str, name: str) -> ListingEntry:
        info = self.held[container][name].info
        large = info.kind is not Kind.PLAIN
        # As Ceph RGW lists them: the manifest's own size and the MD5 of nothing.
        size, etag = (327 if info.kind is Kind.SLO else 0, EMPTY_MD5) if large else (info.size, info.etag)
        return ListingEntry(name, size, etag, info.last_modified, info.content_type)


async def _received(body: Body) -> bytes:
    assert not isinstance(body, bytes)
    received = b"".join([piece async for piece in body.open()])
    if len(received) != body.size:
        raise Changed("the source has shrunk or grown while it was read")
    return received
