"""Scenarios of sending: many files into an empty container, the same again, and one large file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from bench import clients, dataset
from bench.blocks import interleave, ratios, runs_of, seen, total
from bench.clients import SIDES, Side
from bench.errors import BenchError
from bench.report import Block, Count, Run, Scenario, count
from bench.workplace import verify

if TYPE_CHECKING:
    from bench.stores import Store
    from bench.workplace import Workplace

PAGE = 10_000
"""Names of a page of a listing, which both clients ask for."""

FRESH_WALL, FRESH_CPU = 0.6, 0.5
AGAIN_WALL = 0.3
CLOUD_WALL, CLOUD_CPU = 1.1, 0.5
BIG_WALL, BIG_CPU = 1.0, 0.8
"""Goals: ours in units of rclone's. A real Swift costs more CPU than either client, so little can be won there."""


def into_sink(place: Workplace, *, files: int, delay: int, blocks: int) -> list[Scenario]:
    """``files`` files into an empty container of the sink that waits ``delay`` ms, then the same again."""
    place.sink.sink.set_delay(delay)
    try:
        fresh, again = _fresh_and_again(place, place.sink, files, blocks)
    finally:
        place.sink.sink.set_delay(0)
    label = f"sink-{delay}ms"
    return [
        Scenario(
            f"1-{label}",
            f"{files} files into an empty container",
            ratios(fresh, FRESH_WALL, FRESH_CPU),
            _fresh_counts(fresh, files),
            fresh,
            files,
            seen(fresh),
        ),
        Scenario(
            f"2-{label}",
            f"the same {files} files again",
            ratios(again, AGAIN_WALL, None),
            _again_counts(again, files),
            again,
            files,
            seen(again),
        ),
    ]


def into_cloud(place: Workplace, *, files: int, blocks: int) -> list[Scenario]:
    """``files`` files into an empty container of a real Swift."""
    blocks_done, _ = _fresh_and_again(place, place.cloud(), files, blocks, again=False)
    return [
        Scenario(
            "3-swift",
            f"{files} files into a real Swift",
            ratios(blocks_done, CLOUD_WALL, CLOUD_CPU),
            _fresh_counts(blocks_done, files),
            blocks_done,
            files,
            seen(blocks_done),
        )
    ]


def big_file(place: Workplace, *, size: int, blocks: int) -> list[Scenario]:
    """One large file into a real Swift."""
    store = place.cloud()
    top = place.directory / "data" / "big"
    place.say(f"making a file of {size} bytes")
    wanted = {"big.bin": dataset.write_big(top / "big.bin", size)}

    def run(side: Side, block: int) -> Run:
        container = _container(side)
        found = place.run(
            store, side, clients.load(side, top, f"{store.remote}:{container}", place.flags), place.home(f"big-{side}")
        )
        if store.account.md5(container, "big.bin") != wanted["big.bin"]:
            raise BenchError(f"{side} stored other bytes than the file's")
        return found

    done = interleave(blocks, run, prepare=lambda side, block: _emptied(store, side))
    for side in SIDES:
        _emptied(store, side)
    return [
        Scenario(
            "5-big",
            f"one file of {size >> 20} MiB into a real Swift",
            ratios(done, BIG_WALL, BIG_CPU),
            (),
            done,
            None,
            seen(done),
        )
    ]


def _fresh_and_again(
    place: Workplace, store: Store, files: int, blocks: int, *, again: bool = True
) -> tuple[list[Block], list[Block]]:
    top, wanted = place.files(files)
    homes: dict[Side, Path] = {}

    def send(side: Side, block: int) -> Run:
        target = f"{store.remote}:{_container(side)}"
        found = place.run(store, side, clients.load(side, top, target, place.flags), homes[side])
        verify(store, _container(side), wanted)
        return found

    def emptied(side: Side, block: int) -> None:
        _emptied(store, side)
        homes[side] = place.home(f"load-{side}")

    fresh = interleave(blocks, send, prepare=emptied)
    repeated = interleave(blocks, send) if again else []
    for side in SIDES:
        _emptied(store, side)
    return fresh, repeated


def _container(side: Side) -> str:
    return f"bench-load-{side}"


def _emptied(store: Store, side: Side) -> None:
    for container in (_container(side), f"{_container(side)}_segments"):
        store.account.remove(container)


def _listing_requests(names: int) -> int:
    """Requests for one listing: its pages, and the empty one that proves the end."""
    return math.ceil(names / PAGE) + 1


def _fresh_counts(blocks: list[Block], files: int) -> list[Count]:
    """A PUT for each file; beside them the container's, the listing before and the listing that proves."""
    rest = 1 + _listing_requests(0) + _listing_requests(files)
    counts: list[Count] = []
    for run in runs_of(blocks, Side.OURS)[-1:]:
        counts.append(count("PUT of objects", run.requests.get("PUT object", 0), files))
        counts.append(count("all requests", total(run), files + rest))
    return counts


def _again_counts(blocks: list[Block], files: int) -> list[Count]:
    """Nothing but two listings."""
    counts: list[Count] = []
    for run in runs_of(blocks, Side.OURS)[-1:]:
        counts.append(count("PUT", sum(number for what, number in run.requests.items() if what.startswith("PUT")), 0))
        counts.append(count("HEAD", sum(number for what, number in run.requests.items() if what.startswith("HEAD")), 0))
        counts.append(count("listing requests", run.requests.get("GET container", 0), 2 * _listing_requests(files)))
        counts.append(count("all requests", total(run), 2 * _listing_requests(files)))
    return counts
