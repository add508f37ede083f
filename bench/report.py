"""A run's results: figures with their goals, exact counts, blocks; as JSON, as Markdown and as a table to look at.

A missed goal is shown and nothing more, because times depend on the machine. A count or a content that differs is an
error, because it does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bench.pairs import Pair, Summary, summarise

if TYPE_CHECKING:
    from rich.console import Console

    from bench.machine import Machine, Quietness
    from bench.measured import Measured

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value with its spread: a ratio ours/theirs, or a plain one. ``goal`` is the most (``at_least``: the
    least) it shall be; None when there is no goal."""

    name: str
    value: float
    low: float
    high: float
    unit: str = "x"
    goal: float | None = None
    at_least: bool = False
    provisional: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal


@dataclass(frozen=True, slots=True)
class Count:
    """Something that does not depend on the machine's speed: it is as it must be, or the run fails."""

    name: str
    value: int
    wanted: str
    right: bool


@dataclass(frozen=True, slots=True)
class Run:
    """One measured command of one side, with what the server saw of it: requests by kind, bytes of object bodies."""

    side: str
    measured: Measured
    requests: Mapping[str, int] = field(default_factory=dict)
    received: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """One interleaved block: the runs in their order, and how quiet the machine was."""

    runs: Sequence[Run]
    quietness: Quietness | None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario's outcome. ``size`` is its number of files where growth is plotted, else None."""

    ident: str
    title: str
    figures: Sequence[Figure]
    counts: Sequence[Count] = ()
    blocks: Sequence[Block] = ()
    size: int | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """Everything of one run of ``python -m bench WHAT``. ``started`` is in UTC, ISO 8601."""

    what: str
    started: str
    command: Sequence[str]
    machine: Machine
    scenarios: Sequence[Scenario]

    @property
    def wrong(self) -> list[str]:
        """The counts that are not as they must be, in words."""
        return [
            f"{scenario.ident}: {count.name} is {count.value}, must be {count.wanted}"
            for scenario in self.scenarios
            for count in scenario.counts
            if not count.right
        ]


def now() -> str:
    """The time for ``Report.started``."""
    return datetime.now(UTC).replace(microsecond=0).isoformat()


def ratio_figure(name: str, pairs: Sequence[Pair], *, goal: float | None = None) -> Figure | None:
    """The median ratio of interleaved pairs as a figure; None when there is no ratio."""
    found = summarise(pairs)
    return None if found is None else figure_of(name, found, goal=goal)


def figure_of(name: str, summary: Summary, *, goal: float | None = None) -> Figure:
    """A summary as a figure: its spread is the bootstrap interval."""
    return Figure(name, summary.median, summary.low, summary.high, "x", goal, provisional=summary.provisional)


def plain_figure(
    name: str, values: Iterable[float], unit: str, *, goal: float | None = None, at_least: bool = False
) -> Figure:
    """A value that is no ratio: the median of ``values``, from the smallest to the largest."""
    import statistics

    found = sorted(values)
    return Figure(name, statistics.median(found), found[0], found[-1], unit, goal, at_least)


def count(name: str, value: int, wanted: int) -> Count:
    """A count that must be ``wanted``."""
    return Count(name, value, str(wanted), value == wanted)


def count_within(name: str, value: int, lowest: int, highest: int) -> Count:
    """A count that must lie in a range, both ends included."""
    return Count(name, value, f"{lowest} to {highest}", lowest <= value <= highest)


def show(report: Report, console: Console) -> None:
    """The table on the terminal."""
    table = Table(title=f"swiftfs bench {report.what}", title_justify="left")
    for heading in ("scenario", "figure", "median", "95 % interval", "goal", ""):
        table.add_column(heading, justify="left" if heading in {"scenario", "figure", ""} else "right")
    for row in _rows(report):
        table.add_row(*row)
    console.print(table)
    for line in report.wrong:
        console.print(f"[bold red]wrong[/]: {line}")


def write(report: Report, directory: Path = RESULTS) -> Path:
    """Write ``<date>-<what>.json`` and ``.md`` below ``directory``; returns the JSON's path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{report.started[:10]}-{report.what}.json"
    path.write_text(json.dumps(as_json(report), indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(report), encoding="utf-8")
    return path


def as_json(report: Report) -> dict[str, Any]:
    """The report as it is written: every block with its command lines, so that each figure can be made again."""
    found = asdict(report)
    for scenario, values in zip(report.scenarios, found["scenarios"], strict=True):
        for figure, row in zip(scenario.figures, values["figures"], strict=True):
            row["met"] = figure.met
        for block, row in zip(scenario.blocks, values["blocks"], strict=True):
            row["void"] = block.quietness.void if block.quietness is not None else None
            for run in row["runs"]:
                del run["measured"]["output"]
    return found


def markdown(report: Report) -> str:
    """The report as a page: the table, the counts, the machine."""
    machine = report.machine
    lines = [
        f"# {report.what}, {report.started}",
        "",
        "| scenario | figure | median | 95 % interval | goal | |",
        "|---|---|--:|--:|--:|---|",
        *("| " + " | ".join(row) + " |" for row in _rows(report)),
        "",
        *(f"- {scenario.ident}: {note}" for scenario in report.scenarios for note in scenario.notes),
        "",
        f"Command: `{' '.join(report.command)}`",
        "",
        f"Machine: {machine.cpu}, {machine.cores} cores, {machine.memory / 2**30:.1f} GiB, Linux {machine.kernel}, "
        f"Python {machine.python}; " + ", ".join(f"{name} {value}" for name, value in machine.versions.items()),
    ]
    return "\n".join(lines) + "\n"


def _rows(report: Report) -> list[tuple[str, str, str, str, str, str]]:
    rows = []
    for scenario in report.scenarios:
        for figure in scenario.figures:
            sign = ">=" if figure.at_least else "<="
            goal = "" if figure.goal is None else f"{sign} {_number(figure.goal)}"
            verdict = {None: "", True: "met", False: "missed"}[figure.met] + (" (noisy)" if figure.provisional else "")
            spread = f"{_number(figure.low)} … {_number(figure.high)}"
            rows.append((scenario.ident, figure.name, f"{_number(figure.value)} {figure.unit}", spread, goal, verdict))
        for number in scenario.counts:
            verdict = "exact" if number.right else "WRONG"
            rows.append((scenario.ident, number.name, str(number.value), "", number.wanted, verdict))
    return rows


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"
