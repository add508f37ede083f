"""The picture of a report: ratios with their spread against the goals, and how cost grows with the number of files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.report import Figure, Report

ROW_HEIGHT = 0.32
WIDTH = 9.0
MET, MISSED, NEUTRAL = "#2a7f3e", "#c0392b", "#34495e"


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of the growth plot: ``points`` are (number of files, value)."""

    label: str
    points: Sequence[tuple[float, float]]


def draw(report: Report, path: Path, curves: Sequence[Curve] = (), *, growth_label: str = "") -> list[Path]:
    """Write ``path`` with the suffixes .svg and .png; returns them. Needs the dependency group ``bench``."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "swiftfs"
    from matplotlib import pyplot

    rows = [(f"{scenario.ident} {figure.name}", figure) for scenario in report.scenarios for figure in scenario.figures]
    ratios = [(label, figure) for label, figure in rows if figure.unit == "x"]
    height = max(3.0, ROW_HEIGHT * len(ratios) + 1.2)
    figure, axes = pyplot.subplots(
        1, 2 if curves else 1, figsize=(WIDTH * (1.6 if curves else 1), height), squeeze=False
    )
    _draw_ratios(axes[0][0], ratios)
    axes[0][0].set_title(f"{report.what}: swiftfs in units of its peer, {report.started[:10]}", fontsize=10)
    if curves:
        _draw_growth(axes[0][1], curves, growth_label)
    figure.tight_layout()
    written = [path.with_suffix(".svg"), path.with_suffix(".png")]
    figure.savefig(written[0], metadata={"Date": None})
    figure.savefig(written[1], dpi=120)
    pyplot.close(figure)
    return written


def _draw_ratios(axis: object, ratios: Sequence[tuple[str, Figure]]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axis, Axes)
    for place, (_, ratio) in enumerate(ratios):
        colour = {None: NEUTRAL, True: MET, False: MISSED}[ratio.met]
        below, above = max(0.0, ratio.value - ratio.low), max(0.0, ratio.high - ratio.value)
        axis.errorbar([ratio.value], [place], xerr=[[below], [above]], fmt="o", color=colour, capsize=3)
        if ratio.goal is not None:
            axis.plot([ratio.goal, ratio.goal], [place - 0.35, place + 0.35], color="black", linewidth=1)
    axis.axvline(1.0, color="grey", linestyle=":", linewidth=1)
    axis.set_yticks(range(len(ratios)), [label for label, _ in ratios], fontsize=8)
    axis.invert_yaxis()
    if ratios:
        axis.set_xscale("log")
    axis.set_xlabel("ratio (left is better); black: goal; dotted: equal")
    axis.grid(axis="x", which="both", alpha=0.2)


def _draw_growth(axis: object, curves: Sequence[Curve], label: str) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axis, Axes)
    for curve in curves:
        axis.plot([x for x, _ in curve.points], [y for _, y in curve.points], marker="o", label=curve.label)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("files")
    axis.set_ylabel(label)
    axis.grid(which="both", alpha=0.2)
    axis.legend(fontsize=8)
