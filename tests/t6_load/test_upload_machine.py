"""A directory that changes, loads of it into a real Swift through faults and kills: nothing half, nothing twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.changing_store import body, md5
from fakes.fault_proxy import (
    Action,
    EditPage,
    Extra,
    Fault,
    HangUp,
    Kill,
    Meanwhile,
    RepeatPage,
    Reset,
    Seen,
    SetHeader,
    Stall,
    Status,
    Swallow,
    Trickle,
    Truncate,
    redirect,
)
from fakes.load_bench import SEGMENT, SMALL_SEGMENTS, Bench, Listed, open_bench
from fakes.profiles import Size, sized, timeout
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from swiftfs.config import Remote
from swiftfs.localcloud import Cloud
from swiftfs.model import SEGMENTS_SUFFIX

pytestmark = pytest.mark.cloud

SIZES = (0, 1, 700, SEGMENT - 1, SEGMENT, 3 * SEGMENT, 5 * SEGMENT + 9)
LARGE = (5 * SEGMENT + 9, 3 * SEGMENT, 4 * SEGMENT)
"""Files with something to lose at a kill."""
NAMES = (
    "a", "b", "d/a", "d/b", "d/d/a", "big", "d/big", "-x", " sp ace ", "new\nline", "%2F", "q?#&+", "é", "é",
    "\N{GRINNING FACE}", "'\"\\", "n" * 200, "slo/1/00000000-d41d8cd98f00b204e9800998ecf8427e", "big_segments",
    "a.b/..c",
)  # fmt: skip
REFUSED = os.fsdecode(b"bad\xff")
"""A name that no object can have."""
STALL = 0.8
"""Seconds without a byte after which these loads give a connection up."""
CONSTANTS = {**SMALL_SEGMENTS, "swiftfs.load.journal:SETTLED": 0, "swiftfs.swift.transport:STALL": STALL}

PASSING: tuple[Action, ...] = (
    Reset(), Reset(-1), Swallow(), Swallow(hold=True), Stall(), Truncate(0), Extra(), HangUp(), Trickle(1, 0.001),
    Status(500), Status(502), Status(503), Status(504), Status(507), Status(529), Status(408), Status(425),
    Status(498), Status(429, "0"), Status(503, "soon"),
)  # fmt: skip
"""Faults that a load gets over without anybody's help."""
PASSING_PAGES: tuple[Action, ...] = (
    Reset(20), Stall(30), Truncate(40), Truncate(10, honest=True),
    EditPage(lambda rows: rows[:1]), EditPage(lambda rows: [*rows, *rows[-1:]]), EditPage(lambda rows: b"[{"),
)  # fmt: skip
"""The same for listings."""
FAILING: tuple[Action, ...] = (
    Status(401), Status(403), Status(404), Status(409), Status(413), Status(422), Status(412), Status(497), Status(204),
    redirect(302, "http://127.0.0.1:9/"), SetHeader("Etag", "0" * 32), RepeatPage(),
)  # fmt: skip
"""Faults after which a load may say that it has failed."""
TARGETS = (("PUT", r"/up-[^/_]+/"), ("PUT", "_segments"), ("PUT", "manifest=put"), ("HEAD", ""), (None, ""))
KILLS = (("PUT", "_segments/"), (None, ""), ("PUT", r"/up-[^/_]+/"), (None, "bulk-delete|manifest=put"))
"""Requests at which loads are killed: the steps between which something could be half done."""


@pytest.fixture
def bench(cloud: Cloud, remote: Remote, tmp_path: Path) -> Iterator[Bench]:
    with open_bench(cloud.storage_url, remote, tmp_path, CONSTANTS) as made:
        yield made


def parts(content: bytes) -> list[bytes]:
    return [content[start : start + SEGMENT] for start in range(0, len(content), SEGMENT)]


def etag(content: bytes) -> str:
    """What the store must say of an object with these bytes."""
    if len(content) < SEGMENT:
        return md5(content)
    return md5("".join(md5(part) for part in parts(content)).encode())


class UploadMachine(RuleBasedStateMachine):
    """One directory and the container it is loaded into; the model is every version that each file has had."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench
        self.container = bench.container()
        self.segments = self.container + SEGMENTS_SUFFIX
        self.listed: dict[str, Listed] = {}
        self.fresh = 100
        self.home = bench.top / self.container
        self.tree = self.home / "tree"
        self.tree.mkdir(parents=True)
        self.files: dict[str, bytes] = {}
        self.versions: dict[str, set[tuple[int, str]]] = {}

        self.wrong: list[str] = []
        self.environ = bench.environ(self.home)

    def teardown(self) -> None:
        self.settle()
        if self.files is not None:
            self.load_cleanly()
            self.load_cleanly(sends_nothing=True)
        shutil.rmtree(self.home)

    def settle(self) -> None:
        if self.bench.running is not None:
            self.bench.running.kill()
            self.bench.running.wait()
        self.bench.proxy.settle()

    # The directory

    def free(self, name: str) -> bool:
        """Whether a file of this name can be beside those that there are, or is one of them."""
        return not any(one.startswith(f"{name}/") or name.startswith(f"{one}/") for one in self.files)

    def write(self, name: str, content: bytes) -> None:
        path = self.tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.files[name] = content
        self.versions.setdefault(name, set()).add((len(content), etag(content)))

    @initialize(names=st.lists(st.sampled_from(NAMES), max_size=8), large=st.sampled_from(LARGE))
    def begin(self, names: list[str], large: int) -> None:
        self.write("big", body(large, 0))
        for number, name in enumerate(names):
            if self.free(name):
                self.write(name, body(SIZES[number % 3], number))

    def rewrite(self, size: int) -> None:
        """Other bytes for the first large file and for two of the others: something to send."""
        self.fresh += 1
        for name in ["big", *sorted(self.files)[:2]]:
            if self.free(name):
                self.write(name, body(size if name == "big" else 600, self.fresh))

    @rule(
        names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=6),
        size=st.sampled_from(SIZES),
        seed=st.integers(0, 2),
    )
    def put(self, names: list[str], size: int, seed: int) -> None:
        """New files, other versions of them, or the same bytes again."""
        for number, name in enumerate(names):
            if self.free(name):
                self.write(name, body(size, seed + number))

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        (self.tree / name).unlink()
        del self.files[name]

    @precondition(lambda self: self.files)
    @rule(data=st.data(), to=st.sampled_from(NAMES))
    def rename(self, data: st.DataObject, to: str) -> None:
        """Over another file, perhaps."""
        name = data.draw(st.sampled_from(sorted(self.files)))
        content = self.files.pop(name)
        if name != to and self.free(to):
            (self.tree / to).parent.mkdir(parents=True, exist_ok=True)
            (self.tree / name).rename(self.tree / to)
            self.files[to] = content
            self.versions.setdefault(to, set()).add((len(content), etag(content)))
        else:
            self.files[name] = content

    # Loads

    @rule(data=st.data(), extra=st.booleans(), transfers=st.sampled_from([1, 4]))
    def load_through_faults(self, data: st.DataObject, extra: bool, transfers: int) -> None:
        """Faults that pass are got over; the others are told by the exit code."""
        passing = data.draw(st.lists(self.faults(PASSING), max_size=3))
        pages = data.draw(st.lists(self.faults(PASSING_PAGES, (("GET", "format=json"),)), max_size=1))
        failing = data.draw(st.lists(self.faults(FAILING), max_size=1))
        watch = Fault(Meanwhile(self.look), skip=data.draw(st.integers(0, 20)))
        if data.draw(st.booleans()):
            self.rewrite(data.draw(st.sampled_from(LARGE)))
        code, _ = self.load(watch, *failing, *passing, *pages, extra=extra, transfers=transfers)
        if not failing:
            assert code == 0, self.said()

    @staticmethod
    def faults(
        actions: tuple[Action, ...], targets: tuple[tuple[str | None, str], ...] = TARGETS
    ) -> st.SearchStrategy[Fault]:
        return st.builds(
            lambda action, target, skip: Fault(action, target[0], target[1], skip),
            st.sampled_from(actions),
            st.sampled_from(targets),
            st.integers(0, 5),
        )

    @rule(
        where=st.sampled_from(KILLS),
        at=st.sampled_from([3, 1, 0, 2, 5]),
        done=st.booleans(),
        data=st.data(),
        extra=st.booleans(),
        again=st.booleans(),
        size=st.sampled_from(LARGE),
    )
    def load_and_kill(
        self,
        where: tuple[str | None, str],
        at: int,
        done: bool,
        data: st.DataObject,
        extra: bool,
        again: bool,
        size: int,
    ) -> None:
        """Killed at request number ``at`` of a kind; one with fewer of them ends by itself."""
        self.rewrite(size)
        faults = data.draw(st.lists(self.faults(PASSING), max_size=1))
        code, _ = self.load(Fault(Kill(self.kill, done), *where, skip=at), *faults, extra=extra)
        assert code in {0, -9}, self.said()
        if again:
            self.load_cleanly()

    @rule(data=st.data(), at=st.integers(0, 12), size=st.sampled_from(SIZES), seed=st.integers(0, 2))
    @precondition(lambda self: self.files)
    def load_while_it_changes(self, data: st.DataObject, at: int, size: int, seed: int) -> None:
        """A file is written while the load is under way."""
        name = data.draw(st.sampled_from(sorted(self.files)))
        before = dict(self.files)
        watch = Meanwhile(lambda: self.write(name, body(size, seed + 7)))
        code, _ = self.load(Fault(watch, skip=at), extra=False, changing=name)
        assert code in {0, 1, 5} or before == self.files, self.said()

    @rule()
    def load_with_a_name_that_cannot_be(self) -> None:
        """The name is refused, the rest is loaded, the exit code is not 0."""
        path = self.tree / REFUSED
        path.write_bytes(b"refused")
        code, _ = self.load(extra=True)
        path.unlink()
        assert code not in {0, -9}
        self.check_complete(extra=False)

    @rule()
    def load_cleanly(self, *, sends_nothing: bool = False) -> None:
        """Without faults: exit code 0, the container is the directory, no segment is left over."""
        code, seen = self.load(extra=True)
        assert code == 0, self.said()
        if sends_nothing:
            assert [one for one in seen if one.method == "PUT" and one.size] == []
        self.check_segments()

    def load(
        self, *faults: Fault, extra: bool, transfers: int = 4, changing: str | None = None
    ) -> tuple[int, list[Seen]]:
        """Run one load to its end; what holds for every one is checked here."""
        before = self.listed
        options = ["--delete-extra"] if extra else []
        words = [
            "load", self.tree, f"local:{self.container}", "--multi-thread-cutoff", f"{SEGMENT}B", "--segment-size",
            f"{SEGMENT}B", "--multi-thread-streams", "2", "--transfers", str(transfers), "--checkers", "2", *options,
        ]  # fmt: skip
        with self.bench.proxy.broken(*faults) as seen:
            code = self.bench.start(*words, environ=self.environ).wait()
            self.bench.proxy.settle()
        self.listed = self.bench.listed(self.container)
        self.look(self.listed[self.container])
        assert not self.wrong, self.wrong
        if code == 0:
            self.check_complete(extra=extra, changing=changing)
        self.check_sent(before, seen)
        return code, seen

    def kill(self) -> None:
        self.bench.kill()
        self.look()

    def said(self) -> str:
        return "" if self.bench.running is None else self.bench.running.said()

    # What holds

    def look(self, listed: Listed | None = None) -> None:
        """R2: whatever is listed, at whatever moment, is a version that its file has had, and whole."""
        for name, found in (listed or self.bench.store.objects(self.container)).items():
            if found not in self.versions.get(name, ()):
                self.wrong.append(f"{name!r} is listed as {found}")

    def check_complete(self, *, extra: bool, changing: str | None = None) -> None:
        """R2: the listing has every file as it is, and with ``extra`` nothing else."""
        wanted = {name: (len(content), etag(content)) for name, content in self.files.items() if name != changing}
        found = dict(self.listed[self.container])
        if not extra:
            found = {name: entry for name, entry in found.items() if name in wanted}
        found.pop(changing or "", None)
        assert found == wanted, self.said()

    def check_sent(self, before: dict[str, Listed], seen: list[Seen]) -> None:
        """R4: what the store had is not sent again; nothing is sent twice unless its first time was broken or late."""
        answered: set[tuple[str, str]] = set()
        for one, home, name, promised in self.bench.bodies(seen):
            there = before.get(home, {}).get(name)
            assert there is None or there[1] != promised, f"sent again: {one.target}\n{self.said()}"
            assert (one.target, promised) not in answered, f"sent twice: {one.target}"
            if one.action is None and one.seconds is not None and one.seconds < STALL / 2:
                answered.add((one.target, promised))

    def check_segments(self) -> None:
        """R9 of segments: those of the present large objects, with their MD5s, and no others."""
        wanted = {
            (number, md5(part), len(part))
            for content in self.files.values()
            if len(content) >= SEGMENT
            for number, part in enumerate(parts(content))
        }
        count = sum(len(parts(content)) for content in self.files.values() if len(content) >= SEGMENT)
        listed = self.listed[self.segments]
        found = {
            (int(name.rpartition("/")[2].partition("-")[0]), digest, size) for name, (size, digest) in listed.items()
        }
        assert (found, len(listed)) == (wanted, count), (sorted(listed), self.said())


@pytest.mark.row("N5", "N6", "N9", "N12", "H4", "H13", "L3", "L5", "O2", "O6", "P1", "T4", "T10")
@pytest.mark.timeout(timeout())
def test_loads_through_faults_and_kills_end_right(bench: Bench) -> None:
    """Whatever breaks or kills loads of a changing directory: at every moment all that is listed is whole, exit code 0
    means everything is there, nothing that the store has is sent again, and a last load leaves exactly the directory
    and no segment too many."""
    run_state_machine_as_test(lambda: UploadMachine(bench), settings=sized(Size(20, 15), large=Size(500, 50)))
