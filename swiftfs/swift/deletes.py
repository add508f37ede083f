"""The calls that delete: an object, an SLO with its segments, many objects at once, a container."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftfs.errors import Conflict, SwiftFSError
from swiftfs.swift import wire
from swiftfs.swift.translate import about_container, about_object

if TYPE_CHECKING:
    from swiftfs.swift.transport import Transport

BULK = 10_000
"""Names in one bulk delete: ``max_deletes_per_request`` of Swift's bulk middleware."""
DELETES_A_SECOND = 10
"""Objects a server is expected to delete in a second: it does it one by one or few at a time before it answers."""
LONGEST_REPORT = 16 * 1024 * 1024
"""Bytes of the answer to a bulk delete: 10,000 names that could not be deleted stay below."""


@dataclass(frozen=True, slots=True)
class BulkDeleted:
    """Outcome of a bulk delete; ``errors`` holds ``(container/name, status)`` of what is still there."""

    deleted: int
    not_found: int
    errors: tuple[tuple[str, str], ...]


class Deletes:
    """What :class:`swiftfs.swift.client.Client` can do to get rid of things."""

    _transport: Transport

    async def delete_container(self, container: str) -> None:
        """Remove an empty container. Raises ContainerNotFound, and Conflict when it is not empty."""
        try:
            await self._transport.request("DELETE", wire.container_path(container))
        except Conflict as error:
            raise Conflict(
                "the container is not empty", container=container, txid=error.txid, hint="use purge, or delete first"
            ) from None
        except SwiftFSError as error:
            raise about_container(error, container) from None

    async def delete(self, container: str, name: str, *, with_segments: int = 0) -> None:
        """Remove an object; ``with_segments``, how many there are, removes what an SLO's manifest names too.

        Raises NotFound, Conflict.
        """
        query = {"multipart-manifest": "delete"} if with_segments else {}
        try:
            answer = await self._transport.request(
                "DELETE",
                wire.object_path(container, name),
                query=query,
                headers={"Accept": "application/json"} if with_segments else None,
                limit=LONGEST_REPORT,
                extra_time=with_segments / DELETES_A_SECOND,
            )
            if with_segments and answer.body.strip():
                _, _, errors = wire.parse_bulk_answer(answer.body)
                if errors:
                    raise Conflict(f"{len(errors)} segments could not be deleted, the first: {errors[0][1]}")
        except SwiftFSError as error:
            raise about_object(error, container, name) from None

    async def bulk_delete(self, container: str, names: Sequence[str]) -> BulkDeleted:
        """Remove many objects, 10,000 a request. Raises ContainerNotFound; single failures are in the outcome."""
        deleted = not_found = 0
        errors: list[tuple[str, str]] = []
        for first in range(0, len(names), BULK):
            batch = names[first : first + BULK]
            try:
                answer = await self._transport.request(
                    "POST",
                    "",
                    query={"bulk-delete": "1"},
                    headers={"Content-Type": "text/plain", "Accept": "application/json"},
                    body=wire.bulk_delete_body(container, batch),
                    limit=LONGEST_REPORT,
                    extra_time=len(batch) / DELETES_A_SECOND,
                )
                one, missing, failed = wire.parse_bulk_answer(answer.body)
            except SwiftFSError as error:
                raise about_container(error, container) from None
            deleted += one
            not_found += missing
            errors.extend(failed)
        return BulkDeleted(deleted, not_found, tuple(errors))
