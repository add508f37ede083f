"""Interleaved blocks of mount sessions: every side in each block, in alternating order, and figures from the pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.machine import Quietness, watched
from bench.mounted import RCLONE, RCLONE_BEST, SWIFTFS, Side
from bench.pairs import Pair, order
from bench.report import Block, Count, Figure, Run, count, plain_figure, ratio_figure

if TYPE_CHECKING:
    from bench.reading import Phase

ALL = (SWIFTFS, RCLONE, RCLONE_BEST)
PEERS = (RCLONE, RCLONE_BEST)
MIB = 2**20


@dataclass(slots=True)
class Session:
    """What one mount of one side did: its phases by name, single values by name, and runs for the report."""

    side: Side
    phases: dict[str, Phase] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)


Measure = Callable[[Session], float]
Goals = Mapping[str, float]
"""The most that ours may take in units of a peer, by the peer's name."""
NO_GOALS: Goals = {}


@dataclass(frozen=True, slots=True)
class Together:
    """One block: a session of every side."""

    sessions: Mapping[str, Session]
    quietness: Quietness | None

    def block(self) -> Block:
        """As a report keeps it."""
        return Block([run for session in self.sessions.values() for run in session.runs], self.quietness)


def interleave(number: int, body: Callable[[Side], Session], sides: Sequence[Side] = ALL) -> list[Together]:
    """``number`` blocks of ``body`` for each side."""
    blocks = []
    for block in range(number):
        with watched() as state:
            sessions = {side.name: body(side) for side in order(sides, block)}
        blocks.append(Together(sessions, state.quietness))
    return blocks


def pairs(blocks: Sequence[Together], peer: Side, measure: Measure) -> list[Pair]:
    """Ours and the peer's of each block, void where the machine was not itself."""
    return [
        Pair(
            measure(block.sessions[SWIFTFS.name]),
            measure(block.sessions[peer.name]),
            block.quietness.void if block.quietness is not None else None,
        )
        for block in blocks
    ]


def ratios(
    name: str,
    blocks: Sequence[Together],
    measure: Measure,
    *,
    goals: Goals = NO_GOALS,
    peers: Sequence[Side] = PEERS,
) -> list[Figure]:
    """The ratio to each peer."""
    found = (
        ratio_figure(f"{name}, to {peer.name}", pairs(blocks, peer, measure), goal=goals.get(peer.name))
        for peer in peers
    )
    return [figure for figure in found if figure is not None]


def each(
    name: str,
    blocks: Sequence[Together],
    measure: Measure,
    unit: str,
    *,
    goal: float | None = None,
    sides: Sequence[Side] = ALL,
) -> list[Figure]:
    """The plain value of each side; the goal is ours."""
    return [
        plain_figure(
            f"{name}, {side.name}",
            [measure(block.sessions[side.name]) for block in blocks],
            unit,
            goal=goal if side.ours else None,
        )
        for side in sides
    ]


def wall(phase: str) -> Measure:
    """Seconds of a phase."""
    return lambda session: session.phases[phase].wall


def cpu(phase: str) -> Measure:
    """CPU seconds of the client in a phase. At the least one tick: less is not seen."""
    return lambda session: max(0.01, session.phases[phase].cpu)


def milliseconds_a_file(phase: str) -> Measure:
    """CPU milliseconds of the client for each file."""
    return lambda session: 1000 * session.phases[phase].cpu / session.phases[phase].files


def files_a_second(phase: str) -> Measure:
    """Files read in a second."""
    return lambda session: session.phases[phase].files / session.phases[phase].wall


def requests_a_file(phase: str) -> Measure:
    """Requests of the store for each file."""
    return lambda session: session.phases[phase].requests.total / session.phases[phase].files


def at_most(course: float, best: float | None = None) -> Goals:
    """Goals against rclone with the course's flags and with the best ones; without the second, against the better."""
    return {RCLONE.name: course, RCLONE_BEST.name: course if best is None else best}


def value(name: str) -> Measure:
    """A single value."""
    return lambda session: session.values[name]


def nothing_passed(blocks: Sequence[Together]) -> Count:
    """The store behind the front must have had no part in what was timed."""
    passed = sum(
        phase.requests.passed for block in blocks for one in block.sessions.values() for phase in one.phases.values()
    )
    return count("requests that reached the store behind the front", passed, 0)


def notes(blocks: Sequence[Together]) -> list[str]:
    """Absolute values of the last block: not to be compared with other runs, but good to know."""
    found = []
    for side, session in blocks[-1].sessions.items():
        for name, phase in session.phases.items():
            speed = phase.files / phase.wall if phase.wall else 0.0
            found.append(
                f"{side} {name}: {phase.wall:.2f} s, {speed:.0f} files/s, {phase.cpu:.2f} s of CPU "
                f"(readers {phase.reader_cpu:.2f}), {phase.requests.total} requests"
            )
    return found
