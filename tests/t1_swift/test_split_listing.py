"""A listing that is asked for in several ranges at once is the listing: every name once, in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from fakes.memory_swift import MemorySwift
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.config import Remote
from swiftfs.errors import SwiftFSError, Unavailable
from swiftfs.swift.client import open_client
from swiftfs.swift.split_listing import Pages, list_split

PLAIN = st.text(st.sampled_from("ab/-09é"), min_size=1, max_size=8)
LONG_ENOUGH = 0.02
"""Seconds that a request of a range waits for three others to be under way."""
NUMBERED = st.builds("{}/{:06d}.jpg".format, st.sampled_from(["train", "val"]), st.integers(0, 10**6 - 1))


async def filled(names: set[str], page: int, kind: type[MemorySwift] = MemorySwift) -> MemorySwift:
    store = kind(page=page)
    await store.create_container("c")
    for name in names:
        store.alter("c", name, b"")
    store.log.clear()
    return store


async def listed(client: Pages, spool: Path, ranges: int, prefix: str = "") -> list[str]:
    found: list[str] = []
    async with contextlib.aclosing(list_split(client, "c", prefix=prefix, spool=spool, ranges=ranges)) as pages:
        async for page in pages:
            found += [entry.name for entry in page]
            await asyncio.sleep(0)
    return found


@given(st.sets(PLAIN | NUMBERED, max_size=200), st.integers(1, 20), st.integers(1, 8))
def test_every_name_comes_once_and_in_order(names: set[str], page: int, ranges: int) -> None:
    """However the names are spread, whatever a page holds and into however many ranges the listing is cut."""

    async def go() -> list[str]:
        with tempfile.TemporaryDirectory() as spool:
            return await listed(await filled(names, page), Path(spool), ranges)

    assert sorted(names) == asyncio.run(go())


def test_a_prefix_lists_what_is_below_it_and_no_more(tmp_path: Path) -> None:
    """A mount of a part of a container has an index of that part."""
    names = {f"{top}/{number:04d}" for top in ("a", "b", "ba", "c") for number in range(100)}

    async def go() -> list[str]:
        return await listed(await filled(names, 7), tmp_path, 4, prefix="b/")

    assert sorted(name for name in names if name.startswith("b/")) == asyncio.run(go())


def test_the_ranges_share_the_pages_and_few_requests_are_lost(tmp_path: Path) -> None:
    """Names all under one directory are cut as well: eight ranges ask for about an eighth each, and less than half as
    many requests again come back with little."""
    names = {f"train/{number:06d}.jpg" for number in range(20_000)}
    met: list[int] = []
    four = asyncio.Barrier(4)

    class Slow(MemorySwift):
        async def list_pages(self, *arguments: str, **options: str) -> AsyncGenerator[object, None]:  # type: ignore[override]
            with contextlib.suppress(TimeoutError):
                met.append(await asyncio.wait_for(four.wait(), LONG_ENOUGH))
            async for page in super().list_pages(*arguments, **options):  # type: ignore[arg-type]
                yield page

    async def go() -> tuple[list[str], int]:
        store = await filled(names, 100, Slow)
        return await listed(store, tmp_path, 8), len(store.log)

    found, requests = asyncio.run(go())
    assert sorted(names) == found
    assert 200 < requests < 300
    assert len(met) > 100


def test_pages_that_wait_are_kept_in_a_file_without_a_name(tmp_path: Path) -> None:
    """A consumer that stands still holds a few pages in memory, whatever has come; nothing stays behind."""
    names = {f"{top}/{number:05d}" for top in "abcd" for number in range(500)}

    async def go() -> list[str]:
        store = await filled(names, 10)
        enough = asyncio.Event()
        store.faults.append(lambda *_: enough.set() if len(store.log) >= 150 else None)
        found: list[str] = []
        async with contextlib.aclosing(list_split(store, "c", spool=tmp_path, ranges=4)) as pages:
            async for page in pages:
                found += [entry.name for entry in page]
                if len(found) == 10:
                    await enough.wait()
        return found

    assert sorted(names) == asyncio.run(go())
    assert os.listdir(tmp_path) == []


def test_a_range_that_fails_fails_the_listing(tmp_path: Path) -> None:
    """A part of the names is never taken for all of them, and nothing goes on asking."""
    names = {f"{top}/{number:05d}" for top in "abcd" for number in range(500)}

    async def go() -> None:
        store = await filled(names, 10)

        def fault(method: str, container: str, name: str) -> None:
            if len(store.log) > 60:
                raise Unavailable("gone")

        store.faults.append(fault)
        with pytest.raises(SwiftFSError, match="gone"):
            await listed(store, tmp_path, 4)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(go())


@pytest.mark.cloud
def test_the_real_server_lists_ranges_as_it_lists_the_whole(remote: Remote, tmp_path: Path) -> None:
    """Markers, end markers and the strings between names mean to Swift what they mean here."""
    names = {f"{top}/é {number:03d}~" for top in ("a", "b/c", "b d", "ü") for number in range(12)} | {"a", "b", "z"}

    async def go() -> list[str]:
        async with open_client(remote) as client:
            await client.create_container("split-listing")
            md5 = "d41d8cd98f00b204e9800998ecf8427e"
            await asyncio.gather(*(client.put("split-listing", name, b"", md5=md5) for name in names))
            found: list[str] = []
            async for page in list_split(client, "split-listing", spool=tmp_path, ranges=5):
                found += [entry.name for entry in page]
            return found

    assert sorted(names) == asyncio.run(go())
