"""What a mount keeps and fetches ahead: `swiftfs warm`, memory over ten epochs, and an index of a million names."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from bench.mounted import RCLONE, SWIFTFS, Mounted, Side
from bench.pairs import Pair
from bench.reading import Readers, epoch_jobs, phase, read
from bench.report import Figure, Scenario, count, count_within, plain_figure, ratio_figure
from bench.sessions import MIB, Session, each, interleave, notes, nothing_passed, ratios, value
from bench.small_files import PAGE, READERS

if TYPE_CHECKING:
    from bench.ground import Ground, Loaded

MEMORY_GOAL = 200.0
"""MiB of resident memory of both processes together, at the most."""
SECOND_MOUNT_GOAL = 1.0
"""Seconds from the command to the first name of a million, when the index is there."""
FEW_NAMES = 1_000
MANY_TO_FEW = 3.0
"""The most that a second mount of many names takes in units of one of few."""
MOST_DISTURBED = 1.5
"""The most that a reader waits in the worst of a hundred reads while a warm runs, in units of the same without it."""
DEMANDED = 120
"""Files read while a warm runs: enough for a 99th percentile that is not the slowest."""
LISTING_SHARE = 2
"""The most requests for each page: a long listing is asked for in ranges that are cut where names are guessed."""
IN_A_DIRECTORY = 1000
"""Names in each directory of a container that the front makes up."""
WARMED = "training"
SETTLED = 60.0
"""Seconds at the most that a mount gets to finish what it does in the background."""
POLL = 0.1
DEMAND_ONLY = Side("swiftfs", lambda place: [*SWIFTFS.command(place), "--prefetch", "off"], ours=True)
"""Nothing but what readers and `warm` ask for."""


def warm(ground: Ground, loaded: Loaded, *, delay: int, blocks: int) -> list[Scenario]:
    """`swiftfs warm` and then the first epoch, against rclone's first epoch; and what a warm costs a reader."""
    ground.front.set_delay(delay)
    names = sorted(loaded.objects)

    def body(side: Side) -> Session:
        session = Session(side)
        with ground.mount(side, loaded.container) as mount:
            session.values["warm"] = 0.0
            if side.ours:
                mark, before, started = ground.front.mark(), mount.cpu(), time.monotonic()
                mount.swiftfs("warm", str(mount.top), "--wait")
                session.values["warm"] = time.monotonic() - started
                session.values["warm CPU"] = 1000 * (mount.cpu() - before) / len(names)
                session.values["gets"] = ground.front.since(mark).of("GET object")
            session.phases["epoch 1"] = read("epoch 1", mount, ground.front, epoch_jobs(names, READERS, 1))
            session.runs.append(session.phases["epoch 1"].run(mount))
        return session

    done = interleave(blocks, body, (SWIFTFS, RCLONE))
    ours = [block.sessions[SWIFTFS.name] for block in done]
    figures = [
        *ratios("epoch 1 after warm, wall", done, lambda session: session.phases["epoch 1"].wall, peers=[RCLONE]),
        *ratios(
            "warm and epoch 1, wall",
            done,
            lambda session: session.values["warm"] + session.phases["epoch 1"].wall,
            peers=[RCLONE],
        ),
        plain_figure("warm", [len(names) / one.values["warm"] for one in ours], "files/s"),
        plain_figure("warm CPU a file", [one.values["warm CPU"] for one in ours], "ms"),
        *_disturbance(ground, loaded, blocks),
    ]
    counts = [
        count("GET of objects by warm", int(max(one.values["gets"] for one in ours)), len(names)),
        count("requests in epoch 1 after it", max(one.phases["epoch 1"].requests.total for one in ours), 0),
        nothing_passed(done),
    ]
    kept = [one.block() for one in done]
    return [
        Scenario(f"warm-{delay}", f"warm of {len(names)} files, {delay} ms", figures, counts, kept, None, notes(done))
    ]


def _disturbance(ground: Ground, loaded: Loaded, blocks: int) -> list[Figure]:
    """The time that 99 of 100 reads do not exceed while a warm of other files runs, in units of it without one."""
    names = [name for name in sorted(loaded.objects) if not name.startswith(WARMED)][:DEMANDED]
    found = []
    for block in range(blocks):
        taken = {}
        for disturbed in (False, True) if block % 2 == 0 else (True, False):
            with ground.mount(DEMAND_ONLY, loaded.container) as mount:
                readers = Readers([{**job, "top": str(mount.top)} for job in epoch_jobs(names, 1, block)])
                mark, before = ground.front.mark(), mount.cpu()
                if disturbed:
                    mount.swiftfs("warm", str(mount.top), WARMED)
                readers.go()
                seen = readers.seen()
                taken[disturbed] = phase("demand", seen, mount.cpu() - before, ground.front.since(mark)).percentile(
                    0.99
                )
        found.append(Pair(taken[True], taken[False]))
    figure = ratio_figure("p99 of a read while a warm runs, to without", found, goal=MOST_DISTURBED)
    return [figure] if figure is not None else []


def memory(ground: Ground, loaded: Loaded, *, epochs: int) -> list[Scenario]:
    """Memory and open files after the first epoch and after ``epochs``, without delay."""
    ground.front.set_delay(0)
    names = sorted(loaded.objects)

    def body(side: Side) -> Session:
        session = Session(side)
        with ground.mount(side, loaded.container) as mount:
            for epoch in range(1, epochs + 1):
                found = read(f"epoch {epoch}", mount, ground.front, epoch_jobs(names, READERS, epoch))
                if epoch in (1, epochs):
                    session.phases[found.name] = found
                    held, when = mount.memory(), "after 1 epoch" if epoch == 1 else f"after {epochs}"
                    session.values[f"resident {when}"] = held.resident / MIB
                    session.values[f"private {when}"] = held.private / MIB
                    session.values[f"open files {when}"] = mount.descriptors()
            session.runs.append(found.run(mount))
        return session

    done = interleave(1, body)
    figures = []
    for when in ("after 1 epoch", f"after {epochs}"):
        figures += each(f"resident {when}", done, value(f"resident {when}"), "MiB", goal=MEMORY_GOAL)
        figures += each(f"private {when}", done, value(f"private {when}"), "MiB")
        figures += each(f"open files {when}", done, value(f"open files {when}"), "")
    kept = [one.block() for one in done]
    title = f"{len(names)} files, {epochs} epochs"
    return [Scenario("memory", title, figures, [nothing_passed(done)], kept, None, notes(done))]


def names(ground: Ground, *, number: int, read_of_them: int) -> list[Scenario]:
    """A container of ``number`` names: the first mount lists it and builds the index, the second finds it, and
    ``read_of_them`` are read then. A second mount of few names beside it."""
    ground.front.set_delay(0)
    container = f"names-{number}"
    figures: list[Figure] = []
    listings = []
    seconds = []
    few = []
    with ground.session() as directory:
        for _ in ("first", "second"):
            with ground.mount(SWIFTFS, f"names-{FEW_NAMES}", directory) as mount:
                few.append(mount.first_name)
    with ground.session() as directory:
        for which in ("first", "second"):
            mark = ground.front.mark()
            with ground.mount(SWIFTFS, container, directory) as mount:
                figures.append(
                    plain_figure(
                        f"{which} mount, command to first name", [mount.first_name], "s",
                        goal=SECOND_MOUNT_GOAL if which == "second" else None,
                    )
                )  # fmt: skip
                seconds.append(mount.first_name)
                looked = read("look", mount, ground.front, [{"kind": "scan", "flat": True}])
                figures.append(plain_figure(f"{which} mount, `ls -l` of the top", [looked.wall], "s"))
                if which == "second":
                    parts = sorted(os.listdir(mount.top))[: -(-read_of_them // IN_A_DIRECTORY)]
                    some = [f"{part}/{name}" for part in parts for name in sorted(os.listdir(mount.top / part))]
                    done = read("some", mount, ground.front, epoch_jobs(some[:read_of_them], READERS, 1))
                    figures.append(plain_figure(f"{done.files} files read", [done.files / done.wall], "files/s"))
                _settle(mount)
                figures.append(
                    plain_figure(f"{which} mount, resident", [mount.memory().resident / MIB], "MiB", goal=MEMORY_GOAL)
                )
                figures.append(plain_figure(f"{which} mount, peak", [mount.peak() / MIB], "MiB", goal=MEMORY_GOAL))
                files = int(mount.status()["files"])
                figures.append(plain_figure(f"{which} mount, CPU", [mount.cpu()], "s"))
            listings.append(ground.front.since(mark).of("GET container"))
    figures.append(
        plain_figure(
            f"second mount, first name, to one of {FEW_NAMES} names", [seconds[1] / few[1]], "x", goal=MANY_TO_FEW
        )
    )
    pages = -(-number // PAGE) + 1
    counts = [
        count("files in the index", files, number),
        count_within("GET of the listing, first mount", listings[0], pages, LISTING_SHARE * pages),
    ]
    note = f"the second mount sent {listings[1]} listing requests, in the background"
    return [Scenario(f"names-{number}", f"{number} names", figures, counts, (), number, [note])]


def _settle(mount: Mounted) -> None:
    """Wait until a mount has sent nothing and used no CPU for a second."""
    limit = time.monotonic() + SETTLED
    quiet_since, before = time.monotonic(), mount.cpu()
    while time.monotonic() < limit and time.monotonic() - quiet_since < 1.0:
        time.sleep(POLL)
        now = mount.cpu()
        if now - before > POLL / 4:
            quiet_since = time.monotonic()
        before = now
