"""The calls that large objects need: the server's limits, writing an SLO's manifest, reading one back.

A manifest's PUT asks for heartbeats, so that a thousand segments can be looked at without a proxy on the way giving
up: the status is then 202 before anything is decided, and only the body says how it ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swiftfs.errors import AuthError, Conflict, NotFound, Rejected, SwiftFSError, Truncated, printable
from swiftfs.model import Limits, Part, Segment
from swiftfs.swift import manifests, wire
from swiftfs.swift.translate import about_object

if TYPE_CHECKING:
    from swiftfs.swift.transport import Transport

LONGEST_MANIFEST = 16 * 1024 * 1024
"""Bytes of a manifest that is read: twice Swift's ``max_manifest_size``."""
SEGMENTS_A_SECOND = 10
"""Segments a server is expected to look at in a second before it answers a manifest's PUT."""


class BadSegments(Conflict):
    """The server refuses a manifest because of its segments; ``paths`` are those it names, ``container/name``."""

    def __init__(self, message: str, paths: tuple[str, ...], **place: str) -> None:
        super().__init__(message, **place)  # type: ignore[arg-type]
        self.paths = paths


class LargeObjects:
    """What :class:`swiftfs.swift.client.Client` can do for large objects."""

    _transport: Transport

    async def limits(self) -> Limits:
        """What ``/info`` says of sizes; the usual limits where a server does not say, or not to us (Swift's
        ``expose_info = false``, which is 403, or 401 of a proxy before it)."""
        try:
            answer = await self._transport.request("GET", wire.INFO, limit=LONGEST_MANIFEST)
            return manifests.parse_limits(answer.body)
        except (AuthError, NotFound, Rejected, Conflict, Truncated):
            return Limits()

    async def segments(self, container: str, name: str) -> tuple[Segment, ...] | None:
        """The segments of an SLO as its manifest has them; None where it cannot be read (Ceph RGW) or is too nested.

        Raises NotFound.
        """
        return manifests.parse_manifest(await self._manifest(container, name))

    async def parts(self, container: str, name: str) -> tuple[Part, ...] | None:
        """What the manifest of an SLO names, also where that is not all of an object; None where it cannot be read.

        Raises NotFound.
        """
        return manifests.manifest_parts(await self._manifest(container, name))

    async def _manifest(self, container: str, name: str) -> bytes | bytearray:
        query = {"multipart-manifest": "get"}
        try:
            answer = await self._transport.request(
                "GET", wire.object_path(container, name), query=query, limit=LONGEST_MANIFEST
            )
        except SwiftFSError as error:
            raise about_object(error, container, name) from None
        return answer.body

    async def put_manifest(
        self,
        container: str,
        name: str,
        segments: Sequence[Segment],
        *,
        mtime: int | None = None,
        content_type: str | None = None,
    ) -> None:
        """Make ``name`` the SLO of ``segments``; it appears at once and whole, or not at all.

        Raises BadSegments, Rejected and Unavailable. Ceph RGW checks no segment: look before.
        """
        headers = {"Content-Type": content_type or "application/octet-stream", "Accept": "application/json"}
        if mtime is not None:
            headers[wire.MTIME_HEADER] = wire.format_mtime(mtime)
        try:
            answer = await self._transport.request(
                "PUT",
                wire.object_path(container, name),
                query={"multipart-manifest": "put", "heartbeat": "on"},
                headers=headers,
                body=manifests.manifest_body(segments),
                limit=LONGEST_MANIFEST,
                extra_time=len(segments) / SEGMENTS_A_SECOND,
            )
        except NotFound:
            # Ceph RGW's answer to a segment that is missing; it does not say which.
            raise BadSegments("a segment is missing", (), container=container, object=name) from None
        except SwiftFSError as error:
            raise about_object(error, container, name) from None
        if (refused := manifests.parse_manifest_answer(answer.body)) is not None:
            status, paths = refused
            if paths:
                message = f"the store refuses {len(paths)} segments, the first: {printable(paths[0])}"
                raise BadSegments(message, paths, container=container, object=name)
            raise Rejected(f"the store refuses the manifest: {printable(status)}", container=container, object=name)
