"""What the loader needs of a store; ``swift.client.Client`` has it, and so has the fake of the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swiftfs.model import Limits, ListingEntry, ObjectInfo, Part, Segment
    from swiftfs.swift.body import Body
    from swiftfs.swift.removal import BulkOutcome


class Counted(Protocol):
    """Counts of HTTP requests, retries and logins so far."""

    @property
    def requests(self) -> int: ...

    @property
    def retries(self) -> int: ...

    @property
    def logins(self) -> int: ...


class Store(Protocol):
    """One account. Methods raise as those of ``swift.client.Client``."""

    @property
    def counters(self) -> Counted: ...

    def spares_segments(self, container: str) -> bool: ...

    async def create_container(self, container: str, *, storage_policy: str | None = None) -> bool: ...

    def list_objects(self, container: str, *, prefix: str = "") -> AsyncIterator[list[ListingEntry]]: ...

    async def head(self, container: str, name: str) -> ObjectInfo: ...

    async def put(
        self,
        container: str,
        name: str,
        body: Body,
        *,
        md5: str,
        mtime: int | None = None,
        content_type: str | None = None,
    ) -> str: ...

    async def delete(self, container: str, name: str, *, with_segments: int = 0) -> None: ...

    async def bulk_delete(self, container: str, names: Sequence[str]) -> BulkOutcome: ...

    async def limits(self) -> Limits: ...

    async def segments(self, container: str, name: str) -> tuple[Segment, ...] | None: ...

    async def parts(self, container: str, name: str) -> tuple[Part, ...] | None: ...

    async def put_manifest(
        self,
        container: str,
        name: str,
        segments: Sequence[Segment],
        *,
        mtime: int | None = None,
        content_type: str | None = None,
    ) -> None: ...
