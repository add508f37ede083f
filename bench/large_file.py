"""One large object: from end to end, cold and warm, and blocks at random."""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import BenchError
from bench.ground import BIG, Ground, Loaded, blocks_digest, random_blocks
from bench.mounted import Side, drop_from_memory
from bench.reading import check_bytes, read
from bench.report import Scenario
from bench.sessions import (
    ALL,
    MIB,
    NO_GOALS,
    Session,
    at_most,
    cpu,
    each,
    interleave,
    notes,
    nothing_passed,
    ratios,
    value,
    wall,
)

BLOCK = 4096
AMPLIFICATION = 1.3
"""The most bytes from the store for each byte asked for."""
LIMIT = 25_000_000
"""Bytes a second of one connection where the front holds them back, as a store far away does."""
COLD = {LIMIT: at_most(1 / 2, 1.0), 0: at_most(1 / 1.5, 1.0)}
"""Goals for wall time by what one connection may take (0: no limit): the most in units of a peer."""
AGAIN, RANDOM_WARM = at_most(1 / 3), at_most(1 / 2)


def scenarios(
    ground: Ground, loaded: Loaded, *, delay: int, rates: Sequence[int], blocks: int, reads: int
) -> list[Scenario]:
    """Sequential reads of the object in ``loaded`` at each of ``rates``, and random ones."""
    ground.front.set_delay(0)
    for side in ALL:
        with ground.mount(side, loaded.container) as mount:
            check_bytes(
                read("bytes", mount, ground.front, [{"kind": "sequential", "name": BIG, "hash": True}]), loaded.objects
            )
    ground.front.set_delay(delay)
    done = []
    for rate in rates:
        ground.front.set_rate(rate)
        done.append(_sequential(ground, loaded, delay, rate, blocks, reads))
    ground.front.set_rate(0)
    return [*done, _random(ground, loaded, delay, blocks, reads)]


def _sequential(ground: Ground, loaded: Loaded, delay: int, rate: int, blocks: int, reads: int) -> Scenario:
    job = {"kind": "sequential", "name": BIG}
    at_random = {
        "kind": "random", "name": BIG, "block": BLOCK, "offsets": random_blocks(6, loaded.bytes, BLOCK, reads),
    }  # fmt: skip

    def body(side: Side) -> Session:
        session = Session(side)
        with ground.session() as directory:
            with ground.mount(side, loaded.container, directory) as mount:
                for name in ("cold", "from memory"):
                    session.phases[name] = read(name, mount, ground.front, [job])
                    session.runs.append(session.phases[name].run(mount))
            drop_from_memory(directory / "cache")
            with ground.mount(side, loaded.container, directory) as mount:
                for name, one in (("at random, warm", at_random), ("from disk", job)):
                    session.phases[name] = read(name, mount, ground.front, [one])
                    session.runs.append(session.phases[name].run(mount))
        return session

    done = interleave(blocks, body)
    figures = [
        *ratios("cold wall", done, wall("cold"), goals=COLD.get(rate, NO_GOALS)),
        *ratios("cold CPU", done, cpu("cold")),
        *ratios("from memory wall", done, wall("from memory"), goals=AGAIN),
        *ratios("at random, warm, wall", done, wall("at random, warm"), goals=RANDOM_WARM),
        *ratios("from disk wall", done, wall("from disk"), goals=AGAIN),
        *each("cold", done, lambda session: session.phases["cold"].bytes / session.phases["cold"].wall / MIB, "MiB/s"),
        *each(
            "cold bytes from the store",
            done,
            lambda session: session.phases["cold"].requests.object_bytes / loaded.bytes,
            "x asked",
        ),
    ]
    held = f", {rate / 1e6:.0f} MB/s a connection" if rate else ""
    title = f"{loaded.bytes // MIB} MiB in sequence, {delay} ms{held}"
    kept = [one.block() for one in done]
    ident = f"sequential-{delay}" + (f"-{rate // 1_000_000}MBs" if rate else "")
    return Scenario(ident, title, figures, [nothing_passed(done)], kept, None, notes(done))


def _random(ground: Ground, loaded: Loaded, delay: int, blocks: int, reads: int) -> Scenario:
    offsets = random_blocks(5, loaded.bytes, BLOCK, reads)
    truth = blocks_digest(loaded.bytes, offsets, BLOCK)
    job = {"kind": "random", "name": BIG, "offsets": offsets, "block": BLOCK}

    def body(side: Side) -> Session:
        session = Session(side)
        with ground.mount(side, loaded.container) as mount:
            found = read("random", mount, ground.front, [job])
            session.phases["random"] = found
            session.runs.append(found.run(mount))
            asked = len(offsets) * BLOCK
            session.values["amplification"] = found.requests.object_bytes / asked
            if found.digests[BIG] != truth:
                raise BenchError(f"wrong bytes: {side.name} gives others than {BIG} has at random offsets")
        return session

    done = interleave(blocks, body)
    figures = [
        *ratios("random wall", done, wall("random")),
        *ratios("random CPU", done, cpu("random")),
        *each("bytes fetched for each asked", done, value("amplification"), "x asked", goal=AMPLIFICATION),
    ]
    title = f"{reads} blocks of {BLOCK} bytes at random in {loaded.bytes // MIB} MiB, {delay} ms"
    kept = [one.block() for one in done]
    return Scenario(f"random-{delay}", title, figures, [nothing_passed(done)], kept, None, notes(done))
