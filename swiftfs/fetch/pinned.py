"""An index of exactly one version of a dataset: the files of a manifest, whatever the store holds by now.

The container is listed too: that tells which objects are large, and what has drifted. A file that drifted stays in the
tree under its pinned ETag, so reading it fails and never gives other bytes.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from swiftfs.errors import ConfigError, NotFound
from swiftfs.fetch.indexer import Indexer
from swiftfs.fetch.manifest import PinnedFile, manifest_name, read_manifest
from swiftfs.index.entry import Diff, Resolved
from swiftfs.model import EMPTY_MD5, Kind, ListingEntry

if TYPE_CHECKING:
    from swiftfs.model import ContainerInfo, ObjectInfo
    from swiftfs.swift.client import Client

log = logging.getLogger(__name__)

PAGE = 10_000
"""Entries handed on at a time: as many as a listing's page has."""


class PinnedIndexer(Indexer):
    """The index of the dataset version ``digest``. ``drifted`` counts its files that the store does not hold so."""

    top_first = False

    def __init__(self, client: Client, directory: Path, account: str, container: str, prefix: str, digest: str) -> None:
        super().__init__(client, directory / f"pin-{digest}", account, container, prefix)
        self._digest = digest
        self._files: list[PinnedFile] = []
        self._drift: list[str] = []
        self._compared = False

    async def prepare(self) -> None:
        """As of every index; whether the store still holds the version is looked up at every mount."""
        await super().prepare()
        self.stale = self.stale or not self._compared

    async def rebuild(self, info: ContainerInfo | None = None) -> Diff:
        """Build the manifest's tree, and compare it with a listing. Raises what reading the manifest raises, too."""
        self._files, self._drift = await self._manifest(), []
        try:
            diff = await super().rebuild(info)
        finally:
            self._files = []
        self._compared = True
        self.drifted = len(self._drift)
        if self._drift:
            log.warning(
                "%d files of the pinned dataset are not in %s as they were, reading them fails; the first: %s",
                self.drifted,
                self._container,
                self._drift[0],
            )
        return diff

    async def _manifest(self) -> list[PinnedFile]:
        below = self._source.listing_prefix
        for place in dict.fromkeys((below, "")):
            try:
                body = await self._client.get(self._container, place + manifest_name(self._digest))
            except NotFound:
                continue
            return read_manifest(body, self._digest, below)
        raise ConfigError(
            f"'{self._container}' has no manifest {self._digest}", hint="'swiftfs load --manifest' makes one"
        )

    async def _pages(self, info: ContainerInfo) -> AsyncGenerator[list[ListingEntry]]:
        """The manifest's files as a listing would tell them, marked as large where the store's listing says so."""
        at = 0
        files = self._files
        async with contextlib.aclosing(super()._pages(info)) as pages:
            async for page in pages:
                entries = []
                for listed in page:
                    while at < len(files) and files[at].name < listed.name:
                        entries.append(self._entry(files[at], None))
                        at += 1
                    if at < len(files) and files[at].name == listed.name:
                        entries.append(self._entry(files[at], listed))
                        at += 1
                yield entries
        for first in range(at, len(files), PAGE):
            yield [self._entry(file, None) for file in files[first : min(first + PAGE, len(files))]]

    def _entry(self, file: PinnedFile, listed: ListingEntry | None) -> ListingEntry:
        pinned = ListingEntry(file.name, file.size, file.etag, file.last_modified)
        if listed is not None and (listed.slo_etag is not None or (listed.etag == EMPTY_MD5 and file.size)):
            return msgspec.structs.replace(pinned, slo_etag=listed.slo_etag or "")
        if listed is None or (listed.size, listed.etag) != (file.size, file.etag):
            self._drift.append(file.name)
        return pinned

    def _resolved(self, entry: ListingEntry, infos: dict[str, ObjectInfo | None]) -> Resolved | None:
        """A file stays in the tree whatever its HEAD said; only an answer that fits the manifest is believed."""
        info = infos.get(entry.name)
        if entry.name in infos and (info is None or (info.size, info.etag) != (entry.size, entry.etag)):
            self._drift.append(entry.name)
            info = None
        elif info is not None and info.kind is Kind.PLAIN:
            info = replace(info, last_modified=entry.last_modified)
        return Resolved(entry, info)

    def _counted(self, listed: int, info: ContainerInfo) -> int:
        """A dataset version need not be all that the container holds."""
        return info.count
