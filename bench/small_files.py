"""Many small files: first names, scans, shuffled epochs, files in order, and how it all grows."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.mounted import RCLONE, SWIFTFS, Mounted, Side
from bench.plot import Curve
from bench.reading import Phase, check_bytes, epoch_jobs, read
from bench.report import Count, Scenario, count
from bench.sessions import (
    ALL,
    Session,
    Together,
    cpu,
    each,
    interleave,
    milliseconds_a_file,
    notes,
    nothing_passed,
    ratios,
    requests_a_file,
    value,
    wall,
)

if TYPE_CHECKING:
    from bench.ground import Ground, Loaded

PAGE = 10_000
READERS = 4
EPOCHS = (1, 2, 3)
EPOCH_1_WALL, EPOCH_1_CPU, EPOCH_2_WALL, FIRST_LOOK = 0.6, 0.5, 0.3, 0.5
"""Goals, in units of rclone with the course's flags."""
GOALS_HOLD_FROM = 20
"""Milliseconds of delay from which the goals of the first epoch are meant: a store on another machine."""


def rehearse(ground: Ground, loaded: Loaded, sides: Sequence[Side] = ALL) -> None:
    """Every side reads everything once, hashed and untimed: its answers are cached then, and its bytes are right."""
    ground.front.set_delay(0)
    for side in sides:
        with ground.mount(side, loaded.container) as mount:
            read("scan", mount, ground.front, [{"kind": "scan"}])
            check_bytes(_hashed(ground, mount, loaded), loaded.objects)


def epochs(ground: Ground, loaded: Loaded, *, delay: int, blocks: int, sides: Sequence[Side] = ALL) -> list[Scenario]:
    """Mount, scan twice, three shuffled epochs by four readers."""
    ground.front.set_delay(delay)
    names = sorted(loaded.objects)

    def body(side: Side) -> Session:
        session = Session(side)
        start = ground.front.mark()
        with ground.mount(side, loaded.container) as mount:
            session.values["first name"] = mount.first_name
            for name in ("scan 1", "scan 2"):
                _add(session, mount, read(name, mount, ground.front, [{"kind": "scan"}]))
            before = _fuse_requests(mount)
            for epoch in EPOCHS:
                jobs = epoch_jobs(names, READERS, epoch)
                _add(session, mount, read(f"epoch {epoch}", mount, ground.front, jobs))
                after = _fuse_requests(mount)
                session.values[f"FUSE requests {epoch}"] = (after - before) / len(names)
                before = after
            asked = ground.front.since(start)
            session.values |= {
                "heads": asked.of("HEAD object"), "listings": asked.of("GET container"), "gets": asked.of("GET object"),
            }  # fmt: skip
            if side.ours:
                check_bytes(_hashed(ground, mount, loaded), loaded.objects)
        return session

    done = interleave(blocks, body, sides)
    goals = delay >= GOALS_HOLD_FROM
    peers = [side for side in sides if not side.ours]
    figures = [
        *ratios("first name", done, value("first name"), goal=FIRST_LOOK, peers=peers),
        *ratios("scan 1 wall", done, wall("scan 1"), goal=FIRST_LOOK, peers=peers),
        *ratios("scan 2 wall", done, wall("scan 2"), peers=peers),
        *ratios("epoch 1 wall", done, wall("epoch 1"), goal=EPOCH_1_WALL if goals else None, peers=peers),
        *ratios("epoch 1 CPU", done, cpu("epoch 1"), goal=EPOCH_1_CPU if goals else None, peers=peers),
        *ratios("epoch 2 wall", done, wall("epoch 2"), goal=EPOCH_2_WALL, peers=peers),
        *ratios("epoch 2 CPU", done, cpu("epoch 2"), peers=peers),
        *ratios("epoch 3 wall", done, wall("epoch 3"), peers=peers),
        *each("epoch 1 CPU a file", done, milliseconds_a_file("epoch 1"), "ms", sides=sides),
        *each("epoch 2 CPU a file", done, milliseconds_a_file("epoch 2"), "ms", sides=sides),
        *each("epoch 1 requests a file", done, requests_a_file("epoch 1"), "", sides=sides),
        *each("epoch 2 requests a file", done, requests_a_file("epoch 2"), "", sides=sides),
        *each("epoch 1 FUSE requests a file", done, value("FUSE requests 1"), "", sides=[SWIFTFS]),
        *each("epoch 2 FUSE requests a file", done, value("FUSE requests 2"), "", sides=[SWIFTFS]),
    ]
    title = f"{len(names)} files, {READERS} readers, {delay} ms"
    ident = f"epochs-{delay}"
    return [
        Scenario(
            ident, title, figures, _exact(done, len(names)), [one.block() for one in done], None,
            [*notes(done), _delay_note(ground, loaded, delay)],
        )
    ]  # fmt: skip


def in_order(ground: Ground, loaded: Loaded, *, delay: int, blocks: int) -> list[Scenario]:
    """Mount and read one byte of the first file; mount again and read all files in their order by one reader."""
    ground.front.set_delay(delay)
    names = sorted(loaded.objects)

    def body(side: Side) -> Session:
        session = Session(side)
        with ground.mount(side, loaded.container) as mount:
            descriptor = os.open(mount.top / names[0], os.O_RDONLY)
            try:
                os.read(descriptor, 1)
            finally:
                os.close(descriptor)
            session.values["first byte"] = time.monotonic() - mount.started
        # A mount of its own: what the byte had fetched ahead would be fetched before the clock starts.
        with ground.mount(side, loaded.container) as mount:
            _add(session, mount, read("in order", mount, ground.front, epoch_jobs(names, 1, None)))
        return session

    done = interleave(blocks, body)
    figures = [
        *ratios("first byte", done, value("first byte"), goal=FIRST_LOOK),
        *ratios("in order wall", done, wall("in order"), goal=EPOCH_1_WALL if delay >= GOALS_HOLD_FROM else None),
        *ratios("in order CPU", done, cpu("in order"), goal=EPOCH_1_CPU if delay >= GOALS_HOLD_FROM else None),
    ]
    title = f"{len(names)} files in order, 1 reader, {delay} ms"
    gets = [block.sessions[SWIFTFS.name].phases["in order"].requests.of("GET object") for block in done]
    counts = [count("GET of objects", _worst(gets, len(names)), len(names)), nothing_passed(done)]
    return [Scenario(f"order-{delay}", title, figures, counts, [one.block() for one in done], None, notes(done))]


def growth(
    ground: Ground, sizes: Sequence[int], delays: Sequence[int], mean: int
) -> tuple[list[Scenario], list[Curve]]:
    """The first epoch over the number of files and over the delay: one block of ours and the course's rclone each."""
    scenarios: list[Scenario] = []
    points: dict[str, list[tuple[float, float]]] = {}
    for size in sizes:
        loaded = ground.food(size, mean)
        rehearse(ground, loaded, (SWIFTFS, RCLONE))
        for delay in delays:
            ground.front.set_delay(delay)

            def body(side: Side, loaded: Loaded = loaded) -> Session:
                session = Session(side)
                with ground.mount(side, loaded.container) as mount:
                    jobs = epoch_jobs(list(loaded.objects), READERS, 1)
                    _add(session, mount, read("epoch 1", mount, ground.front, jobs))
                return session

            done = interleave(1, body, (SWIFTFS, RCLONE))
            for side in (SWIFTFS, RCLONE):
                session = done[0].sessions[side.name]
                points.setdefault(f"{side.name}, {delay} ms: wall, s", []).append((size, wall("epoch 1")(session)))
                if delay == max(delays):
                    points.setdefault(f"{side.name}: CPU, s", []).append((size, cpu("epoch 1")(session)))
            figures = [
                *ratios("epoch 1 wall", done, wall("epoch 1"), peers=[RCLONE]),
                *ratios("epoch 1 CPU", done, cpu("epoch 1"), peers=[RCLONE]),
            ]
            gets = done[0].sessions[SWIFTFS.name].phases["epoch 1"].requests.of("GET object")
            counts = [count("GET of objects", gets, size), nothing_passed(done)]
            ident = f"growth-{size}-{delay}"
            kept = [one.block() for one in done]
            scenarios.append(Scenario(ident, f"{size} files, {delay} ms", figures, counts, kept, size, notes(done)))
    return scenarios, [Curve(label, found) for label, found in points.items()]


def _hashed(ground: Ground, mount: Mounted, loaded: Loaded) -> Phase:
    return read("bytes", mount, ground.front, epoch_jobs(list(loaded.objects), READERS, 0, hashed=True))


def _add(session: Session, mount: Mounted, phase: Phase) -> None:
    session.phases[phase.name] = phase
    session.runs.append(phase.run(mount))


def _fuse_requests(mount: Mounted) -> float:
    return float(mount.status()["fuse_requests"]) if mount.side.ours else 0.0


def _exact(blocks: Sequence[Together], files: int) -> list[Count]:
    """What must be so in every block, whatever the machine: the worst of them is shown."""
    ours = [block.sessions[SWIFTFS.name] for block in blocks]
    pages = -(-files // PAGE)

    second = [session.phases[f"epoch {epoch}"].requests.total for session in ours for epoch in EPOCHS[1:]]
    seen = [session.phases["scan 1"].files for session in ours]
    return [
        count("files seen by a scan", _worst(seen, files), files),
        count("GET of objects in all epochs", _worst([one.values["gets"] for one in ours], files), files),
        count("requests in epochs 2 and 3", _worst(second, 0), 0),
        count("HEAD of objects", _worst([one.values["heads"] for one in ours], 0), 0),
        count(
            "pages of the listing and the one that ends it",
            _worst([one.values["listings"] for one in ours], pages + 1),
            pages + 1,
        ),
        nothing_passed(blocks),
    ]


def _worst(values: Sequence[float], wanted: int) -> int:
    """The value that is furthest from what it must be."""
    return int(max(values, key=lambda found: abs(found - wanted)))


def _delay_note(ground: Ground, loaded: Loaded, delay: int) -> str:
    found = 1000 * ground.front.measured_delay(loaded.container, next(iter(loaded.objects)))
    return f"the front was told to wait {delay} ms; a request took {found:.1f} ms"
