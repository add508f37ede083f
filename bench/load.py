"""`python -m bench load`: swiftfs load against rclone copy, scenario by scenario."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from bench import machine, report
from bench.clients import FLAGS
from bench.dataset import FOOD11_MEAN
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.report import Scenario
    from bench.workplace import Workplace

SCENARIOS = "12345678"
QUICK_SCENARIOS = "1247"
"""What runs in half a minute: no real Swift, which takes ten seconds to come up, no large numbers of files."""
MIB = 1024 * 1024
SINK_GOAL = 3_000.0
"""PUTs a second that the sink must be able to take: several times what either client sends on such a machine."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each scenario does. ``delays`` in milliseconds, ``big`` in bytes, ``floor_rounds`` of 16 PUTs each."""

    files: int
    delays: tuple[int, ...]
    cloud_files: int
    deleted: int
    cloud_deleted: int
    big: int
    killed: int
    killed_big: int
    zipped: int
    growth: tuple[int, ...]
    peer_growth: bool
    floor_rounds: int


FULL = Sizes(
    files=5_000,
    delays=(0, 20),
    cloud_files=500,
    deleted=2_000,
    cloud_deleted=2_000,
    big=512 * MIB,
    killed=1_000,
    killed_big=512 * MIB,
    zipped=2_000,
    growth=(1_000, 10_000, 30_000, 100_000),
    peer_growth=True,
    floor_rounds=200,
)
QUICK = Sizes(
    files=60,
    delays=(0,),
    cloud_files=20,
    deleted=60,
    cloud_deleted=20,
    big=8 * MIB,
    killed=120,
    killed_big=512 * MIB,
    zipped=40,
    growth=(50, 500),
    peer_growth=False,
    floor_rounds=20,
)


@click.command("load")
@click.option("--quick", is_flag=True, help="Few files and one block: whether it works, not how fast.")
@click.option("--files", type=click.IntRange(1, 9_999), help="Files of scenarios 1 and 2.  [default: 5000]")
@click.option("--blocks", type=click.IntRange(1, 99), help="Interleaved blocks of each scenario.  [default: 7]")
@click.option("--scenarios", help="Which ones, as digits: 12 is the first two.  [default: all]")
@click.option("--delay", "delays", type=click.IntRange(0), multiple=True, help="Delays of the sink in ms.  [0 and 20]")
@click.option("--same-flags", is_flag=True, help="Give swiftfs the flags that rclone gets, instead of its defaults.")
@click.option("--cloud", type=click.Path(path_type=Path), help="A local cloud that runs, instead of one of its own.")
@click.option(
    "--work", type=click.Path(path_type=Path), help="Directory to work in.  [default: a new one, removed at the end]"
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=report.RESULTS, show_default=True, help="Where the results go."
)
@click.option("--deadline", default=1800.0, show_default=True, help="Seconds that one command may take.")
@click.option("--plot/--no-plot", default=True, help="Draw the ratios and the growth (needs matplotlib).")
def command(
    quick: bool,
    files: int | None,
    blocks: int | None,
    scenarios: str | None,
    delays: tuple[int, ...],
    same_flags: bool,
    cloud: Path | None,
    work: Path | None,
    out: Path,
    deadline: float,
    plot: bool,
) -> None:
    """Measure swiftfs load against rclone copy, each pair in interleaved blocks.

    Every load is verified: the store's listing shows each file's size and MD5. Times that miss their goal are shown;
    the command fails only when bytes or exact counts are wrong.
    """
    from dataclasses import replace

    from bench import growth
    from bench.workplace import opened

    sizes = QUICK if quick else FULL
    sizes = replace(sizes, files=files or sizes.files, delays=delays or sizes.delays)
    chosen = scenarios or (QUICK_SCENARIOS if quick else SCENARIOS)
    if strange := set(chosen) - set(SCENARIOS):
        raise click.UsageError(f"there is no scenario {sorted(strange)[0]}")
    console = Console()
    started = report.now()
    with tempfile.TemporaryDirectory(prefix="swiftfs-bench-", dir=work) as directory:
        said = Console(stderr=True, highlight=False)
        flags = FLAGS if same_flags else None
        with opened(Path(directory), said.print, deadline=deadline, cloud_directory=cloud, flags=flags) as place:
            done = _measure(place, sizes, chosen, blocks or (1 if quick else 7), said.print)
    result = report.Report("load", started, ["python", "-m", "bench", *sys.argv[1:]], machine.describe(), done)
    report.show(result, console)
    path = report.write(result, out)
    console.print(f"written: {path}")
    if plot:
        from bench.plot import draw

        for picture in draw(result, path, growth.curves(done), growth_label="CPU in s, memory in MiB"):
            console.print(f"written: {picture}")
    if result.wrong:
        raise BenchError("; ".join(result.wrong))


def _floor(place: Workplace, rounds: int) -> Scenario:
    """What the sink can do, so that a reader sees that it is not what limits."""
    from bench.report import Scenario, plain_figure
    from bench.sink.floor import put_rate

    found = put_rate(place.sink.sink, size=FOOD11_MEAN, rounds=rounds)
    one_core = 1 / found.cpu if found.cpu else 0.0
    return Scenario(
        "0-sink",
        "what the sink can do",
        [
            plain_figure("PUT of 72 KB", [found.rate], "1/s"),
            plain_figure("PUT of 72 KB, one core", [one_core], "1/s", goal=SINK_GOAL, at_least=True),
        ],
    )


def _measure(place: Workplace, sizes: Sizes, chosen: str, blocks: int, say: Callable[[str], None]) -> list[Scenario]:
    from bench import archives, growth, interrupting, loading, removing

    few = min(blocks, 3)  # minutes each on a slow machine
    done: list[Scenario] = [_floor(place, sizes.floor_rounds)]
    if set(chosen) & set("12"):
        for delay in sizes.delays:
            done += loading.into_sink(place, files=sizes.files, delay=delay, blocks=blocks)
    if "3" in chosen:
        done += loading.into_cloud(place, files=sizes.cloud_files, blocks=blocks)
    if "4" in chosen:
        done += removing.delete_all(place, place.sink, objects=sizes.deleted, blocks=blocks)
        if "3" in chosen or "5" in chosen:
            done += removing.delete_all(place, place.cloud(), objects=sizes.cloud_deleted, blocks=few)
    if "5" in chosen:
        done += loading.big_file(place, size=sizes.big, blocks=few)
    if "6" in chosen:
        done += interrupting.killed(place, files=sizes.killed, blocks=few)
        done += interrupting.killed_large(place, size=sizes.killed_big, blocks=few)
    if "7" in chosen:
        done += archives.zip_at_url(place, files=sizes.zipped, blocks=blocks)
    if "8" in chosen:
        done += growth.memory(place, sizes=sizes.growth, peer=sizes.peer_growth)
    return done
