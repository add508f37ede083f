"""`python -m bench mount`: swiftfs mount against rclone mount, both through one caching front."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from bench import machine, report
from bench.dataset import FOOD11_FILES
from bench.errors import BenchError
from bench.large_file import LIMIT
from bench.small_files import SCAN_NAMES

if TYPE_CHECKING:
    from bench.ground import Ground
    from bench.plot import Curve
    from bench.report import Scenario

SCENARIOS = ("epochs", "scan", "order", "big", "warm", "memory", "names", "growth")
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done. ``mean`` and ``big`` in bytes, ``delays`` in milliseconds, ``rates`` in bytes a second;
    ``growth`` are numbers of files, ``scanned`` one of names."""

    files: int
    mean: int
    blocks: int
    delays: tuple[int, ...]
    rates: tuple[int, ...]
    big: int
    reads: int
    epochs: int
    names: int
    scanned: int
    growth: tuple[int, ...]


FULL = Sizes(
    2_000, 72 * 1024, 5, (0, 20, 50), (LIMIT, 0), 512 * MIB, 200, 10, 1_000_000, SCAN_NAMES, (250, 500, 1_000, 2_000)
)
QUICK = Sizes(30, 8 * 1024, 1, (0,), (0,), 16 * MIB, 20, 2, 20_000, 200, (30, 60))
QUICK_SCENARIOS = ("epochs", "scan")


@click.command("mount")
@click.option("--quick", is_flag=True, help="Few files, one block, counts only: whether it works, not how fast.")
@click.option("--files", type=click.IntRange(1, FOOD11_FILES), help="Files of the tree.  [default: 2000]")
@click.option("--blocks", type=click.IntRange(1, 99), help="Interleaved blocks of each scenario.  [default: 5]")
@click.option("--delay", "delays", type=click.IntRange(0), multiple=True, help="The front's delay in ms.  [0, 20, 50]")
@click.option(
    "--rate", "rates", type=click.IntRange(0), multiple=True,
    help="Bytes a second of one connection for the large object; 0: no limit.  [25000000, 0]",
)  # fmt: skip
@click.option("--big", type=click.IntRange(1), help="MiB of the large object.  [default: 512]")
@click.option("--names", type=click.IntRange(1), help="Names of the large listing.  [default: 1000000]")
@click.option("--growth", "growth_sizes", type=click.IntRange(1), multiple=True, help="Numbers of files to grow over.")
@click.option("--scenario", "chosen", type=click.Choice(SCENARIOS), multiple=True, help="Which ones.  [default: all]")
@click.option("--cloud", type=click.Path(path_type=Path), help="A local cloud that runs, instead of one of its own.")
@click.option(
    "--work", type=click.Path(path_type=Path), help="Directory to work in.  [default: a new one, removed at the end]"
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=report.RESULTS, show_default=True, help="Where the results go."
)
@click.option("--plot/--no-plot", default=True, help="Draw the ratios and the growth (needs matplotlib).")
def command(
    quick: bool,
    files: int | None,
    blocks: int | None,
    delays: tuple[int, ...],
    rates: tuple[int, ...],
    big: int | None,
    names: int | None,
    growth_sizes: tuple[int, ...],
    chosen: tuple[str, ...],
    cloud: Path | None,
    work: Path | None,
    out: Path,
    plot: bool,
) -> None:
    """Measure swiftfs mount against rclone mount, with the course's flags and with the best that were found.

    Every side's bytes are hashed in a pass of their own. Times that miss their goal are shown; the command fails only
    when bytes or exact counts are wrong.
    """
    from bench.ground import prepared

    sizes = QUICK if quick else FULL
    sizes = replace(
        sizes,
        files=files or sizes.files,
        blocks=blocks or sizes.blocks,
        delays=delays or sizes.delays,
        rates=rates or sizes.rates,
        big=big * MIB if big else sizes.big,
        names=names or sizes.names,
        growth=growth_sizes or sizes.growth,
    )
    wanted = chosen or (QUICK_SCENARIOS if quick else SCENARIOS)
    said = Console(stderr=True, highlight=False)
    started = report.now()
    with (
        tempfile.TemporaryDirectory(prefix="swiftfs-bench-", dir=work, ignore_cleanup_errors=True) as directory,
        prepared(Path(directory), cloud) as ground,
    ):
        done, curves = _measure(ground, sizes, wanted, said.print)
    result = report.Report("mount", started, ["python", "-m", "bench", *sys.argv[1:]], machine.describe(), done)
    console = Console()
    report.show(result, console)
    path = report.write(result, out)
    console.print(f"written: {path}")
    if plot:
        from bench.plot import draw

        for picture in draw(result, path, curves, growth_label="seconds of the first epoch"):
            console.print(f"written: {picture}")
    if result.wrong:
        raise BenchError("; ".join(result.wrong))


def _measure(
    ground: Ground, sizes: Sizes, wanted: tuple[str, ...], say: Callable[[str], None]
) -> tuple[list[Scenario], list[Curve]]:
    from bench import large_file, small_files, warming

    few = min(sizes.blocks, 3)
    far = min((delay for delay in sizes.delays if delay), default=0)
    done: list[Scenario] = []
    curves: list[Curve] = []
    if set(wanted) & {"epochs", "order", "warm", "memory"}:
        say(f"loading {sizes.files} files")
        food = ground.food(sizes.files, sizes.mean)
        small_files.rehearse(ground, food)
        if "epochs" in wanted:
            for delay in sizes.delays:
                say(f"epochs, {delay} ms")
                done += small_files.epochs(ground, food, delay=delay, blocks=sizes.blocks)
        if "order" in wanted:
            say("in order")
            done += small_files.in_order(ground, food, delay=far, blocks=few)
        if "warm" in wanted:
            say("warm")
            done += warming.warm(ground, food, delay=far, blocks=few)
        if "memory" in wanted:
            say("memory")
            done += warming.memory(ground, food, epochs=sizes.epochs)
    if "scan" in wanted:
        say("scan")
        done += small_files.scan(ground, number=sizes.scanned, delay=far, blocks=few)
    if "big" in wanted:
        say("a large object")
        done += large_file.scenarios(
            ground, ground.big(sizes.big), delay=far, rates=sizes.rates, blocks=few, reads=sizes.reads
        )
    if "names" in wanted:
        say(f"{sizes.names} names")
        done += warming.names(ground, number=sizes.names, read_of_them=sizes.scanned)
    if "growth" in wanted:
        say("growth")
        grown, curves = small_files.growth(ground, sizes.growth, sizes.delays, sizes.mean)
        done += grown
    return done, curves
