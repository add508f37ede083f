"""What a soak's samples say: slopes, the judgement, and the table for the page. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

WARM_UP = 0.3
"""Share of the run that is not fitted: caches fill, pools grow to their size."""
FEWEST_SAMPLES = 10
"""Samples of a series below which its growth is not judged: a line through three says nothing."""
MEMORY_SLACK = 4 * 2**20
MEMORY_SHARE = 0.05
"""A process may grow by 4 MiB and a twentieth of what it has over the fitted part: allocators keep what they free."""
MOST_GROWTH = {"files": 8.0, "threads": 4.0}
"""Open files and threads: connections and worker threads come and go by a few."""
DEADLINE_SLACK = 2.0
"""Seconds beyond the deadline that a busy machine may add to a request."""
FULL_SPEED = 0.8
"""Share of the speed before an outage that counts as full: readers, loads and faults make it vary."""
RECOVERED_IN = 10.0
"""Seconds after an outage within which reads are back at full speed."""
WINDOW = 3
"""Seconds of reading that are looked at together."""


@dataclass(frozen=True)
class Line:
    """A least-squares line through samples: ``growth`` is its rise over the time that they span."""

    mean: float
    slope: float
    growth: float


def fit(points: Sequence[tuple[float, float]]) -> Line:
    """The line through (seconds, value) points; a flat one through fewer than two."""
    if len(points) < 2:
        return Line(points[0][1] if points else 0.0, 0.0, 0.0)
    at, to = fmean(x for x, _ in points), fmean(y for _, y in points)
    spread = sum((x - at) ** 2 for x, _ in points)
    slope = sum((x - at) * (y - to) for x, y in points) / spread if spread else 0.0
    return Line(to, slope, slope * (points[-1][0] - points[0][0]))


def fitted(points: Sequence[tuple[float, float]], down: tuple[float, float] | None = None) -> list[tuple[float, float]]:
    """The points that are fitted: not those while things warm up, nor those while the store was away and soon after,
    when there are no connections: a dip at one side would pass for a slope."""
    if not points:
        return []
    begin = points[0][0] + WARM_UP * (points[-1][0] - points[0][0])
    gone, back = (down[0], down[1] + RECOVERED_IN) if down is not None else (0.0, 0.0)
    return [point for point in points if point[0] >= begin and not gone <= point[0] <= back]


def allowed_growth(kind: str, mean: float) -> float:
    """How much a series of this kind may grow over the fitted part."""
    return MEMORY_SLACK + MEMORY_SHARE * mean if kind == "memory" else MOST_GROWTH[kind]


def recovery(speeds: Mapping[int, int], down: tuple[float, float] | None) -> float | None:
    """Seconds from the end of an outage to the first window at full speed; infinite when there was none.

    ``speeds`` are bytes read in each whole second of the run, ``down`` is when the store was away. None without an
    outage, or when it was not long enough before the end to tell.
    """
    if down is None:
        return None
    before = [speeds.get(second, 0) for second in range(int(down[0]))]
    before = before[len(before) // 3 :]
    end = max(speeds, default=0)
    if not before or end < down[1] + RECOVERED_IN + WINDOW:
        return None
    usual = fmean(before)
    for second in range(int(down[1]), end - WINDOW):
        if fmean(speeds.get(second + more, 0) for more in range(WINDOW)) >= FULL_SPEED * usual:
            return max(0.0, second - down[1])
    return float("inf")


@dataclass
class Record:
    """What a run has measured. Series are (seconds since the start, value) by process and kind of figure."""

    minutes: float
    seed: int
    deadline: float
    series: dict[str, dict[str, list[tuple[float, float]]]] = field(default_factory=dict)
    slowest: float = 0.0
    slowest_what: str = ""
    reads: int = 0
    verified: int = 0
    wrong: list[str] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    loads: dict[str, int] = field(default_factory=dict)
    replaced: int = 0
    speeds: dict[int, int] = field(default_factory=dict)
    down: tuple[float, float] | None = None
    broken: list[str] = field(default_factory=list)
    """What the run itself found not to hold, in words."""

    def note(self, process: str, kind: str, second: float, value: float) -> None:
        self.series.setdefault(process, {}).setdefault(kind, []).append((second, value))


def judged(record: Record) -> dict[str, Any]:
    """The figures of a run, and under ``failed`` everything that does not hold."""
    failed = [*(f"wrong bytes: {one}" for one in record.wrong[:5]), *record.broken]
    if record.slowest > record.deadline + DEADLINE_SLACK:
        failed.append(
            f"{record.slowest_what} took {record.slowest:.1f} s, over its deadline of {record.deadline:.0f} s"
        )
    growth = []
    for process, kinds in record.series.items():
        for kind, points in kinds.items():
            line = fit(fitted(points, record.down))
            most = allowed_growth(kind, line.mean)
            growth.append(
                {"process": process, "figure": kind, "mean": line.mean, "per_minute": line.slope * 60,
                 "growth": line.growth, "allowed": most, "samples": len(points)}
            )  # fmt: skip
            if len(points) >= FEWEST_SAMPLES and line.growth > most:
                failed.append(f"{process}: {kind} grew by {line.growth:,.0f}, more than {most:,.0f}")
    back = recovery(record.speeds, record.down)
    if back is not None and back > RECOVERED_IN:
        failed.append(f"reads were at full speed {back:.0f} s after the outage, not within {RECOVERED_IN:.0f} s")
    return {
        "minutes": record.minutes,
        "seed": record.seed,
        "deadline_s": record.deadline,
        "slowest_request_s": round(record.slowest, 3),
        "reads": record.reads,
        "bytes_verified": record.verified,
        "median_bytes_per_second": median(record.speeds.values()) if record.speeds else 0,
        "objects_replaced": record.replaced,
        "wrong": len(record.wrong),
        "errors": dict(sorted(record.errors.items())),
        "faults": dict(sorted(record.faults.items())),
        "loads_by_exit_code": dict(sorted(record.loads.items())),
        "outage_s": None if record.down is None else round(record.down[1] - record.down[0], 1),
        "full_speed_after_s": back,
        "growth": growth,
        "failed": failed,
    }


def table(figures: Mapping[str, Any]) -> list[str]:
    """The figures as lines of Markdown."""

    def counts(found: Mapping[str, int]) -> str:
        return ", ".join(f"{name} {count:,}" for name, count in found.items()) or "none"

    lines = [
        f"{figures['minutes']:g} minutes with seed {figures['seed']}, {sum(figures['faults'].values()):,} faults, "
        f"{figures['objects_replaced']:,} objects replaced under the readers: "
        + ("**nothing failed**." if not figures["failed"] else f"**failed: {'; '.join(figures['failed'])}**."),
        "",
        "| figure | value |",
        "|---|---|",
        f"| bytes read and compared | {figures['bytes_verified']:,} in {figures['reads']:,} requests |",
        f"| wrong bytes | {figures['wrong']} |",
        f"| slowest request | {figures['slowest_request_s']:.2f} s, deadline {figures['deadline_s']:.0f} s |",
        f"| errors that readers got | {counts(figures['errors'])} |",
        f"| loads by exit code | {counts(figures['loads_by_exit_code'])} |",
    ]
    if figures["outage_s"] is not None and figures["full_speed_after_s"] is not None:
        away = f"after {figures['outage_s']:.0f} s without the store"
        lines.append(f"| full reading speed {away} | within {figures['full_speed_after_s']:.0f} s |")
    lines += ["", "| process | figure | mean | slope per minute | growth allowed and found |", "|---|---|---|---|---|"]
    lines += [
        f"| {one['process']} | {one['figure']} | {one['mean']:,.0f} | {one['per_minute']:+,.1f} | "
        f"{one['allowed']:,.0f}, {one['growth']:+,.0f} |"
        for one in figures["growth"]
    ]
    return lines
