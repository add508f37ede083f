"""Where a benchmark works: its directory, its data sets made once, its stores, and how a run is started in it."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import dataset, measured
from bench.clients import Side, surroundings
from bench.errors import BenchError
from bench.report import Run
from bench.sink import running_sink
from bench.stores import CloudStore, SinkStore, Store
from swiftfs import localcloud
from swiftfs.localcloud import CloudOptions

Contents = dict[str, tuple[int, str]]
"""Size and MD5 by name."""


@dataclass(slots=True)
class Workplace:
    """One run's directory and stores. ``say`` gets a line for what takes long.

    ``flags`` are those of both sides' loads, None for each side's own.
    """

    directory: Path
    sink: SinkStore
    deadline: float
    say: Callable[[str], None]
    cloud_directory: Path | None
    flags: Sequence[str] | None
    _exits: ExitStack
    _cloud: CloudStore | None = None
    _made: dict[str, tuple[Path, Contents]] = field(default_factory=dict)
    _homes: Iterator[int] = field(default_factory=itertools.count)

    def cloud(self) -> CloudStore:
        """A real Swift, brought up when it is first asked for and ended with the run."""
        if self._cloud is None:
            if self.cloud_directory is not None:
                found = localcloud.load(self.cloud_directory)
            else:
                directory = self.directory / "cloud"
                found = localcloud.up(CloudOptions(directory), self.say)
                self._exits.callback(localcloud.down, directory, self.say, purge=True)
            self._cloud = CloudStore(found)
        return self._cloud

    def files(self, count: int, *, tiny: bool = False) -> tuple[Path, Contents]:
        """A directory with so many files like Food-11's, or of 64 bytes; made once. Returns it and what it holds."""
        name = f"{'tiny' if tiny else 'food'}-{count}"
        if name not in self._made:
            self.say(f"making {name}")
            top = self.directory / "data" / name
            self._made[name] = (top, dataset.write(dataset.tiny(count) if tiny else dataset.food11_like(count), top))
        return self._made[name]

    def home(self, label: str) -> Path:
        """A new and empty home directory."""
        path = self.directory / "homes" / f"{label}-{next(self._homes)}"
        path.mkdir(parents=True)
        return path

    def run(
        self,
        store: Store,
        side: Side,
        argv: Sequence[str],
        home: Path,
        *,
        stop_when: Callable[[], bool] | None = None,
        cwd: Path | None = None,
    ) -> Run:
        """Run and measure one command against a store, counting what the store is asked meanwhile."""
        store.reset()
        found = measured.run(
            argv,
            environ=surroundings(store.rclone_conf, home),
            cwd=cwd,
            deadline=self.deadline,
            must=(0,),
            stop_when=stop_when,
        )
        counts = store.counts()
        self.say(f"{store.name} {side}: {found.wall:.2f} s, {found.cpu:.2f} s of CPU, {counts.total} requests")
        return Run(side, found, counts.requests, counts.received)

    def forget(self, name: str) -> None:
        """Remove a data set: the large ones are made again when they are needed."""
        path, _ = self._made.pop(name)
        shutil.rmtree(path, ignore_errors=True)


def verify(store: Store, container: str, wanted: Contents) -> None:
    """Raises BenchError unless the container holds exactly these names with these sizes and MD5s."""
    found = store.account.listing(container)
    if found == wanted:
        return
    missing = sorted(wanted.keys() - found.keys())
    strange = sorted(found.keys() - wanted.keys())
    other = sorted(name for name in wanted.keys() & found.keys() if wanted[name] != found[name])
    raise BenchError(
        f"{container} holds other things than were sent: {len(missing)} missing, {len(strange)} too many, "
        f"{len(other)} with other bytes; the first: {(missing + strange + other)[0]}"
    )


@contextmanager
def opened(
    directory: Path,
    say: Callable[[str], None],
    *,
    deadline: float,
    cloud_directory: Path | None,
    flags: Sequence[str] | None = None,
) -> Iterator[Workplace]:
    """A workplace with a running sink in ``directory``; servers are ended on the way out, and the data removed."""
    with ExitStack() as exits:
        for name in ("data", "homes"):
            exits.callback(shutil.rmtree, directory / name, ignore_errors=True)
        sink = exits.enter_context(running_sink(directory / "sink"))
        yield Workplace(directory, SinkStore(sink), deadline, say, cloud_directory, flags, exits)
