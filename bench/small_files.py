"""Many small files: first names, scans, shuffled epochs, files in order, and how it all grows."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.mounted import LOCAL, RCLONE, SWIFTFS, Mounted, Side
from bench.plot import Curve
from bench.reading import Phase, check_bytes, epoch_jobs, read, read_here
from bench.report import Count, Scenario, count
from bench.sessions import (
    ALL,
    NO_GOALS,
    Session,
    Together,
    at_most,
    cpu,
    each,
    files_a_second,
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
TOP = 1
"""The request for the names on top, with which the headers come that say how many there are."""
READERS = 4
EPOCHS = (1, 2, 3)
FIRST_LOOK = at_most(2.0)
SCAN, SCAN_AGAIN = at_most(0.3), at_most(0.5)
EPOCH_1, IN_ORDER = at_most(1 / 3), at_most(1 / 8)
EPOCH_2 = {**at_most(1 / 6, 1 / 5), LOCAL.name: 1 / 0.7}
"""Goals for wall time: the most in units of a peer."""
EPOCH_1_CPU = 4.0
"""Goal: milliseconds of both processes for each file. What a reader, a server and a client on two cores leave."""
GOALS_HOLD_FROM = 20
"""Milliseconds of delay from which the goals of the first epoch are meant: a store on another machine."""
SCAN_NAMES = 16_643
"""Names of a scan: Food-11's."""


def rehearse(ground: Ground, loaded: Loaded, sides: Sequence[Side] = ALL) -> None:
    """Every side reads everything once, hashed and untimed: its answers are cached then, and its bytes are right."""
    ground.front.set_delay(0)
    for side in sides:
        with ground.mount(side, loaded.container) as mount:
            read("scan", mount, ground.front, [{"kind": "scan"}])
            check_bytes(_hashed(ground, mount, loaded), loaded.objects)


def epochs(ground: Ground, loaded: Loaded, *, delay: int, blocks: int, sides: Sequence[Side] = ALL) -> list[Scenario]:
    """Mount, and three shuffled epochs by four readers; the same three in a directory of this machine."""
    ground.front.set_delay(delay)
    names = sorted(loaded.objects)

    def body(side: Side) -> Session:
        session = Session(side)
        if side is LOCAL:
            assert loaded.tree is not None
            for epoch in EPOCHS:
                name = f"epoch {epoch}"
                session.phases[name] = read_here(name, loaded.tree, epoch_jobs(names, READERS, epoch))
            return session
        start = ground.front.mark()
        with ground.mount(side, loaded.container) as mount:
            session.values["first name"] = mount.first_name
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

    done = interleave(blocks, body, (*sides, LOCAL))
    far = delay >= GOALS_HOLD_FROM
    peers = [side for side in sides if not side.ours]
    figures = [
        *ratios("first name", done, value("first name"), goals=FIRST_LOOK, peers=peers),
        *ratios("epoch 1 wall", done, wall("epoch 1"), goals=EPOCH_1 if far else NO_GOALS, peers=peers),
        *ratios("epoch 1 CPU", done, cpu("epoch 1"), peers=peers),
        *ratios("epoch 2 wall", done, wall("epoch 2"), goals=EPOCH_2, peers=[*peers, LOCAL]),
        *ratios("epoch 2 CPU", done, cpu("epoch 2"), peers=peers),
        *ratios("epoch 3 wall", done, wall("epoch 3"), peers=peers),
        *each("epoch 1", done, files_a_second("epoch 1"), "files/s", sides=(*sides, LOCAL)),
        *each("epoch 2", done, files_a_second("epoch 2"), "files/s", sides=(*sides, LOCAL)),
        *each("epoch 1 CPU a file", done, milliseconds_a_file("epoch 1"), "ms", goal=EPOCH_1_CPU, sides=sides),
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


def scan(ground: Ground, *, number: int, delay: int, blocks: int) -> list[Scenario]:
    """Mount, then twice walk a tree of ``number`` names and look at each."""
    ground.front.set_delay(delay)

    def body(side: Side) -> Session:
        session = Session(side)
        start = ground.front.mark()
        with ground.mount(side, f"names-{number}") as mount:
            session.values["first name"] = mount.first_name
            for name in ("scan 1", "scan 2"):
                _add(session, mount, read(name, mount, ground.front, [{"kind": "scan"}]))
                session.values[f"mount to {name}"] = time.monotonic() - mount.started
            session.values["requests"] = ground.front.since(start).total
        return session

    done = interleave(blocks, body)
    figures = [
        *ratios("first name", done, value("first name"), goals=FIRST_LOOK),
        *ratios("scan 1 wall", done, wall("scan 1"), goals=SCAN),
        *ratios("command to the end of scan 1", done, value("mount to scan 1")),
        *ratios("scan 2 wall", done, wall("scan 2"), goals=SCAN_AGAIN),
        *each("requests of mount and both scans", done, value("requests"), ""),
    ]
    ours = [block.sessions[SWIFTFS.name] for block in done]
    asked = -(-number // PAGE) + 1 + TOP
    counts = [
        count("files seen by a scan", _worst([one.phases["scan 1"].files for one in ours], number), number),
        count(
            "requests: pages, the empty one, the top",
            _worst([one.values["requests"] for one in ours], asked),
            asked,
        ),
        count("requests in scan 2", max(one.phases["scan 2"].requests.total for one in ours), 0),
        nothing_passed(done),
    ]
    title = f"walk and stat of {number} names, {delay} ms"
    return [Scenario(f"scan-{delay}", title, figures, counts, [one.block() for one in done], None, notes(done))]


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
        *ratios("first byte", done, value("first byte")),
        *ratios("in order wall", done, wall("in order"), goals=IN_ORDER if delay >= GOALS_HOLD_FROM else NO_GOALS),
        *ratios("in order CPU", done, cpu("in order")),
        *each("in order", done, files_a_second("in order"), "files/s"),
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
    return [
        count("GET of objects in all epochs", _worst([one.values["gets"] for one in ours], files), files),
        count("requests in epochs 2 and 3", _worst(second, 0), 0),
        count("HEAD of objects", _worst([one.values["heads"] for one in ours], 0), 0),
        count(
            "listings: pages, the empty one, the top",
            _worst([one.values["listings"] for one in ours], pages + 1 + TOP),
            pages + 1 + TOP,
        ),
        nothing_passed(blocks),
    ]


def _worst(values: Sequence[float], wanted: int) -> int:
    """The value that is furthest from what it must be."""
    return int(max(values, key=lambda found: abs(found - wanted)))


def _delay_note(ground: Ground, loaded: Loaded, delay: int) -> str:
    found = 1000 * ground.front.measured_delay(loaded.container, next(iter(loaded.objects)))
    return f"the front was told to wait {delay} ms; a request took {found:.1f} ms"
