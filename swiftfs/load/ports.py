"""What the loader needs of a store; ``swift.client.Client`` has it, and so has the fake of the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swiftfs.model import Limits, ListingEntry, ObjectInfo, Segment


class Body(Protocol):
    """A body of ``size`` bytes that can be opened anew for each attempt."""

    @property
    def size(self) -> int: ...

    def open(self) -> AsyncIterator[bytes | memoryview]: ...


class Counted(Protocol):
    """Counts of HTTP requests, retries and logins so far."""

    @property
    def requests(self) -> int: ...

    @property
    def retries(self) -> int: ...

    @property
    def logins(self) -> int: ...


class BulkOutcome(Protocol):
    """What a bulk delete did; ``errors`` holds quoted ``container/name`` and status of what is still there."""

    @property
    def deleted(self) -> int: ...

    @property
    def errors(self) -> tuple[tuple[str, str], ...]: ...


class Store(Protocol):
    """One account. Methods raise as those of ``swift.client.Client``."""

    @property
    def counters(self) -> Counted: ...

    async def create_container(self, container: str, *, storage_policy: str | None = None) -> bool: ...

    def list_objects(self, container: str, *, prefix: str = "") -> AsyncIterator[list[ListingEntry]]: ...

    async def head(self, container: str, name: str) -> ObjectInfo: ...

    async def put(
        self,
        container: str,
        name: str,
        body: bytes | Body,
        *,
        md5: str,
        mtime: int | None = None,
        content_type: str | None = None,
    ) -> str: ...

    async def delete(self, container: str, name: str, *, with_segments: bool = False) -> None: ...

    async def bulk_delete(self, container: str, names: Sequence[str]) -> BulkOutcome: ...

    async def limits(self) -> Limits: ...

    async def segments(self, container: str, name: str) -> tuple[Segment, ...] | None: ...

    async def put_manifest(
        self,
        container: str,
        name: str,
        segments: Sequence[Segment],
        *,
        mtime: int | None = None,
        content_type: str | None = None,
    ) -> None: ...
