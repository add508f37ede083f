"""load.run over a store in memory: what is sent, what is not, what is proven, and what each fault costs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.memory_swift import MemorySwift
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftfs.errors import Forbidden, Incomplete, Interrupted, Rejected, Unavailable
from swiftfs.load import reading, upload
from swiftfs.load.interrupt import Interrupt
from swiftfs.load.progress import Silent
from swiftfs.load.report import failure_lines, omission_lines, outcome_error, summary_lines, write_summary
from swiftfs.load.run import LoadRequest, LoadResult, load_directory
from swiftfs.load.source import DirectorySource, FileObject, Omitted
from swiftfs.model import Kind

MIB = 1024 * 1024
Tree = dict[str, bytes]


def fill(root: Path, tree: Tree) -> None:
    for name, body in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


class Pauses:
    """A pause that takes no time and keeps what was asked for; ``then`` is called at each."""

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self.asked: list[float] = []
        self._then = then

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        if self._then is not None:
            self._then()


def run(
    store: MemorySwift,
    root: Path,
    *,
    prefix: str = "",
    transfers: int = 4,
    checkers: int = 2,
    dry_run: bool = False,
    pause: Pauses | None = None,
    interrupt: Interrupt | None = None,
    source: DirectorySource | None = None,
) -> LoadResult:
    request = LoadRequest(
        source or DirectorySource(str(root), prefix),
        "c",
        prefix,
        transfers=transfers,
        checkers=checkers,
        dry_run=dry_run,
    )
    return asyncio.run(load_directory(store, request, Silent(), pause=pause or Pauses(), interrupt=interrupt))


def verified(result: LoadResult) -> tuple[int, int, tuple[str, ...]]:
    assert result.verified is not None
    return result.verified.count, result.verified.size, tuple(one.name for one in result.verified.unproven)


TREE = {f"training/class_{n % 3:02d}/{n}.jpg": os.urandom(100 + n) for n in range(40)} | {"empty": b""}


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.sampled_from([f"{a}/{b}" for a in "xy" for b in "abcd"]), st.binary(max_size=6)),
    st.dictionaries(st.sampled_from([f"p/{a}/{b}" for a in "xyz" for b in "abcd"]), st.binary(max_size=6)),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_after_a_load_the_container_holds_the_source(
    tmp_path_factory: pytest.TempPathFactory,
    tree: Tree,
    before: Tree,
    page: int,
    transfers: int,
    checkers: int,
) -> None:
    """Whatever was there before, afterwards every file is there and proven, nothing else has changed, and only
    what was missing or different was sent."""
    root = tmp_path_factory.mktemp("tree")
    fill(root, tree)
    store = MemorySwift(page=page, held={"c": {}})
    for name, body in before.items():
        store.alter("c", name, body)
    result = run(store, root, prefix="p/", transfers=transfers, checkers=checkers)
    wanted = {f"p/{name}": body for name, body in tree.items()}
    assert before | wanted == store.bodies("c")
    assert sorted(name for name, body in wanted.items() if before.get(name) != body) == sorted(store.puts())
    assert (len(tree), sum(map(len, tree.values())), ()) == verified(result)
    assert outcome_error(result) is None
    assert (len(store.puts()), len(tree) - len(store.puts())) == (result.sent, result.skipped)


def test_a_missing_container_is_made(tmp_path: Path) -> None:
    """A destination that does not exist is created, as rclone does."""
    fill(tmp_path, {"a": b"1"})
    store = MemorySwift()
    run(store, tmp_path)
    assert store.bodies("c") == {"a": b"1"}


def test_a_second_load_sends_nothing(tmp_path: Path) -> None:
    """Loading the same tree again costs two listings and a HEAD per empty file, and no PUT."""
    fill(tmp_path, TREE)
    store = MemorySwift()
    run(store, tmp_path)
    store.log.clear()
    result = run(store, tmp_path)
    assert store.puts() == []
    assert (0, len(TREE)) == (result.sent, result.skipped)
    assert [one for one in store.log if one[0] != "GET"] == [("HEAD", "c", "empty")]
    assert len([one for one in store.log if one[0] == "GET"]) == 4


def test_objects_carry_time_type_and_md5(tmp_path: Path) -> None:
    """Each object is sent with its modification time, a content type by its name, and its MD5."""
    fill(tmp_path, {"a.jpg": b"1", "b.tar.gz": b"2", "data:text": b"3", "c.JPG": b"4"})
    os.utime(tmp_path / "a.jpg", ns=(5, 1_700_000_000_123_456_789))
    store = MemorySwift()
    run(store, tmp_path)
    infos = {name: stored.info for name, stored in store.held["c"].items()}
    assert infos["a.jpg"].mtime == 1_700_000_000_123_456_789
    assert [infos[name].content_type for name in ("a.jpg", "b.tar.gz", "c.JPG", "data:text")] == [
        "image/jpeg",
        "application/gzip",
        "image/jpeg",
        "application/octet-stream",
    ]
    assert hashlib.md5(b"1").hexdigest() == infos["a.jpg"].etag


def test_one_failing_object_does_not_stop_the_others(tmp_path: Path) -> None:
    """When the store refuses one object, the others are stored and proven, and the run says which failed."""
    fill(tmp_path, TREE)
    bad = "training/class_00/3.jpg"

    def refuse(method: str, _: str, name: str) -> None:
        if (method, name) == ("PUT", bad):
            raise Rejected("over your quota", status=413)

    store = MemorySwift(faults=[refuse])
    result = run(store, tmp_path)
    assert sorted(set(TREE) - {bad}) == sorted(store.bodies("c"))
    assert [(bad, "over your quota")] == [(one.name, one.reason) for one in result.failures]
    error = outcome_error(result)
    assert isinstance(error, Incomplete)
    assert error.exit_code == 1
    assert f"failed: {bad}: over your quota" in failure_lines(result)


@pytest.mark.row("O6")
def test_a_file_that_vanishes_or_changes_fails_alone(tmp_path: Path) -> None:
    """A file that is gone or altered when its turn comes fails with its reason; the others are loaded."""
    fill(tmp_path, TREE | {"gone": b"1", "touched": b"2", "grown": b"3"})

    class Racing(DirectorySource):
        def scan(self, halted: threading.Event | None = None) -> Iterator[object]:  # type: ignore[override]
            yield from super().scan(halted)
            (tmp_path / "gone").unlink()
            os.utime(tmp_path / "touched", ns=(1, 1))
            (tmp_path / "grown").write_bytes(b"33")

    store = MemorySwift()
    result = run(store, tmp_path, source=Racing(str(tmp_path)))
    assert {one.name: one.reason for one in result.failures} == {
        "gone": "is gone",
        "touched": "changed while it was read",
        "grown": "changed while it was read",
    }
    assert store.bodies("c") == TREE


@pytest.mark.row("O6")
def test_a_large_file_that_changes_while_it_is_sent_is_not_stored(tmp_path: Path) -> None:
    """A file that changes between hashing and its last piece fails, and the store keeps nothing of it."""
    fill(tmp_path, {"big": os.urandom(5 * MIB), "small": b"1"})

    async def meddle(name: str) -> AsyncIterator[None]:
        if name == "big":
            with (tmp_path / "big").open("r+b") as file:
                file.write(b"changed")
        yield

    store = MemorySwift(before_store=meddle)
    result = run(store, tmp_path)
    assert store.bodies("c") == {"small": b"1"}
    assert [(one.name, one.reason) for one in result.failures] == [("big", "changed while it was read")]


@pytest.mark.parametrize("size", [reading.SMALL, reading.SMALL + 1, 2 * reading.SMALL + 17])
def test_sizes_around_the_limit_of_memory_arrive_whole(tmp_path: Path, size: int) -> None:
    """A file is stored byte for byte whether it is sent from memory or streamed, and skipped the second time."""
    body = os.urandom(size)
    fill(tmp_path, {"f": body})
    store = MemorySwift()
    assert (1, size, ()) == verified(run(store, tmp_path))
    assert {"f": body} == store.bodies("c")
    assert run(store, tmp_path).skipped == 1


def test_a_streamed_body_can_be_opened_again(tmp_path: Path) -> None:
    """A retry reads a large file from its first byte, and progress counts it once."""
    body = os.urandom(5 * MIB)
    fill(tmp_path, {"f": body})

    class Retrying(MemorySwift):
        async def put(self, container: str, name: str, body: upload.SourceBody, **rest: object) -> str:  # type: ignore[override]
            pieces = body.open()
            await anext(pieces)
            return await super().put(container, name, body, **rest)  # type: ignore[arg-type]

    store = Retrying()
    moved = []
    result = run(store, tmp_path, source=DirectorySource(str(tmp_path)))
    moved.append(result.sent_size)
    assert {"f": body} == store.bodies("c")
    assert [len(body)] == moved


async def slow(_: str) -> AsyncIterator[None]:
    """A store that lets the others have their turn before it keeps an object."""
    for _ in range(50):
        await asyncio.sleep(0)
    yield


def test_no_more_transfers_than_asked_for(tmp_path: Path) -> None:
    """At most --transfers PUTs run at once, all of them are used, and they hold no more than 4 MiB each."""
    fill(tmp_path, {f"{n}": os.urandom(MIB) for n in range(24)})

    store = MemorySwift(before_store=slow)
    run(store, tmp_path, transfers=5, checkers=3)
    assert store.most_in_flight <= 5
    assert store.most_in_flight > 1
    assert store.most_bytes_in_flight <= 5 * reading.SMALL


def test_many_transfers_hold_no_more_memory_than_few(tmp_path: Path) -> None:
    """What small objects have in memory is bounded over all transfers; smaller ones go as many at once as asked for."""
    sizes = [reading.SMALL] * 20 + [1] * 100
    fill(tmp_path, {f"{n:03}": bytes(size) for n, size in enumerate(sizes)})

    store = MemorySwift(before_store=slow)
    run(store, tmp_path, transfers=64, checkers=3)
    assert store.most_bytes_in_flight <= upload.IN_FLIGHT + 64
    assert store.most_in_flight > upload.IN_FLIGHT // reading.SMALL
    assert len(store.bodies("c")) == len(sizes)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda store: store.held["c"].pop("a"), "is missing from the container"),
        (lambda store: store.alter("c", "a", b"2"), "the container has other bytes of it"),
        (lambda store: store.alter("c", "a", b"22"), "the container has 2 bytes of it, not 1"),
    ],
)
def test_verification_catches_what_is_lost_or_altered(
    tmp_path: Path, harm: Callable[[MemorySwift], object], reason: str
) -> None:
    """An object that is lost or altered after its PUT is named, and the exit code is 1."""
    fill(tmp_path, {"a": b"1", "b": b"3"})
    store = MemorySwift()

    def harmful(method: str, _: str, name: str) -> None:
        if method == "GET" and store.puts() and "a" in store.held["c"]:
            harm(store)

    store.faults.append(harmful)
    pause = Pauses()
    result = run(store, tmp_path, pause=pause)
    assert verified(result) == (1, 1, ("a",))
    assert result.verified is not None
    assert reason in result.verified.unproven[0].reason
    assert pause.asked == [1.0, 4.0]
    assert isinstance(outcome_error(result), Incomplete)
    assert "1 NOT verified" in summary_lines(result)[-1]


@pytest.mark.row("L4")
def test_a_listing_that_lags_is_read_again(tmp_path: Path) -> None:
    """An object that the first listing does not show yet is proven by a later one."""
    fill(tmp_path, {"a": b"1", "b": b"3"})
    store = MemorySwift()
    hidden = {}

    def lag(method: str, _: str, name: str) -> None:
        if method == "GET" and store.puts() and not pause.asked and "a" in store.held["c"]:
            hidden["a"] = store.held["c"].pop("a")

    def catch_up() -> None:
        store.held["c"].update(hidden)

    pause = Pauses(catch_up)
    store.faults.append(lag)
    result = run(store, tmp_path, pause=pause)
    assert verified(result) == (2, 2, ())
    assert pause.asked == [1.0]


@pytest.mark.parametrize("kind", [Kind.SLO, Kind.DLO])
def test_a_large_object_in_the_way_is_replaced(tmp_path: Path, kind: Kind) -> None:
    """A large object of the same name, whose ETag tells nothing of its bytes, is replaced after one HEAD."""
    fill(tmp_path, {"a": b"12345"})
    store = MemorySwift(held={"c": {}})
    store.store_large("c", "a", b"12345", kind)
    result = run(store, tmp_path)
    assert store.puts() == ["a"]
    assert verified(result) == (1, 5, ())


@pytest.mark.row("H2")
def test_wrong_credentials_end_the_run_at_once(tmp_path: Path) -> None:
    """An error that every object would meet is raised once; the rest is not tried and counted so."""
    fill(tmp_path, TREE)

    def forbid(method: str, _: str, name: str) -> None:
        if method == "PUT" and name:
            raise Forbidden("the store forbids this request", status=403)

    store = MemorySwift(faults=[forbid])
    result = run(store, tmp_path, transfers=2)
    assert isinstance(outcome_error(result), Forbidden)
    assert len(store.puts()) <= 2
    assert len(TREE) == result.untried + len(result.failures)
    assert result.verified is None


@pytest.mark.row("H2")
def test_an_object_that_is_forbidden_fails_alone_where_others_are_taken(tmp_path: Path) -> None:
    """One object that the store does not want is that object's failure; when it wants none any more, the run ends."""
    fill(tmp_path, {f"{n:03d}": b"x" for n in range(200)})
    forbidden = {"007"}

    def forbid(method: str, _: str, name: str) -> None:
        if method == "PUT" and name in forbidden:
            raise Forbidden("the store forbids this request", status=403)

    result = run(MemorySwift(faults=[forbid]), tmp_path, transfers=2)
    assert (result.sent, [failure.name for failure in result.failures]) == (199, ["007"])
    forbidden.update(f"{n:03d}" for n in range(50, 200))
    result = run(MemorySwift(faults=[forbid]), tmp_path, transfers=2)
    assert isinstance(outcome_error(result), Forbidden)
    assert result.untried > 50


@pytest.mark.row("N1", "H13")
def test_a_store_that_stays_away_ends_the_run(tmp_path: Path) -> None:
    """After a row of objects that failed because the store is away, the others are not tried."""
    fill(tmp_path, {f"{n:03d}": b"x" for n in range(200)})

    def away(method: str, _: str, name: str) -> None:
        if method == "PUT" and name:
            raise Unavailable("cannot connect")

    store = MemorySwift(faults=[away])
    result = run(store, tmp_path, transfers=4)
    error = outcome_error(result)
    assert isinstance(error, Unavailable)
    assert "not tried" in str(error)
    assert upload.OUTAGE <= len(store.puts()) < upload.OUTAGE + 4


def test_single_outages_do_not_add_up(tmp_path: Path) -> None:
    """Objects that fail with successes between them never end the run."""
    fill(tmp_path, {f"{n:03d}": b"x" for n in range(200)})

    def flaky(method: str, _: str, name: str) -> None:
        if method == "PUT" and name and int(name) % 2:
            raise Unavailable("no success within 60 s")

    result = run(MemorySwift(faults=[flaky]), tmp_path, transfers=1)
    assert (result.sent, len(result.failures)) == (100, 100)


@pytest.mark.logs("would send")
def test_a_dry_run_sends_nothing_and_counts_everything(tmp_path: Path) -> None:
    """A dry run makes no container and no object, and says what a real run would do."""
    fill(tmp_path, {"a": b"1", "b": b"2"})
    store = MemorySwift()
    result = run(store, tmp_path, dry_run=True)
    assert store.held == {}
    assert (result.sent, result.skipped) == (2, 0)
    store = MemorySwift(held={"c": {}})
    store.alter("c", "a", b"1")
    result = run(store, tmp_path, dry_run=True)
    assert (result.sent, result.skipped) == (1, 1)
    assert store.bodies("c") == {"a": b"1"}
    assert outcome_error(result) is None
    assert "1 to send, 1 skipped" in summary_lines(result)[0]


def test_a_file_that_was_not_tried_makes_the_run_incomplete() -> None:
    """A run that says of fewer files what became of them than there are is no whole one, whatever the reason."""
    result = LoadResult(files=3, size=3, seconds=1, requests=1, retries=0, logins=0, sent=1, sent_size=1, skipped=1)
    assert isinstance(outcome_error(result), Incomplete)
    assert outcome_error(replace(result, skipped=2)) is None


def test_what_is_refused_makes_the_run_incomplete(tmp_path: Path) -> None:
    """A FIFO in the source is a failure, a symbolic link is only named."""
    fill(tmp_path, {"a": b"1"})
    (tmp_path / "l").symlink_to("a")
    store = MemorySwift()
    result = run(store, tmp_path)
    assert outcome_error(result) is None
    assert failure_lines(result) == []
    assert omission_lines(result) == ["left out: l: symbolic link (use --copy-links to follow it)"]
    os.mkfifo(tmp_path / "f")
    result = run(store, tmp_path)
    assert isinstance(outcome_error(result), Incomplete)
    assert failure_lines(result)[0] == "failed: f: is a FIFO, not a regular file"


def test_many_failures_are_counted_beyond_the_first(tmp_path: Path) -> None:
    """Of many failures twenty are named, and the others counted."""
    fill(tmp_path, {f"{n:03d}": b"x" for n in range(30)})

    def refuse(method: str, _: str, name: str) -> None:
        if method == "PUT" and name:
            raise Rejected("no")

    lines = failure_lines(run(MemorySwift(faults=[refuse]), tmp_path))
    assert len(lines) == 21
    assert lines[-1] == "failed: 10 more"


def test_the_first_ctrl_c_lets_running_uploads_finish(tmp_path: Path) -> None:
    """After one Ctrl-C nothing new starts, what runs is stored, and the exit code is 130."""
    fill(tmp_path, {f"{n:03d}": b"x" for n in range(100)})
    interrupt = Interrupt()

    async def press(_: str) -> AsyncIterator[None]:
        if not interrupt.presses:
            interrupt.press()
        await asyncio.sleep(0)
        yield

    store = MemorySwift(before_store=press)
    result = run(store, tmp_path, transfers=4, interrupt=interrupt)
    assert 1 <= len(store.bodies("c")) <= 4
    assert len(store.bodies("c")) == result.sent
    assert 100 - result.sent == result.untried
    error = outcome_error(result)
    assert isinstance(error, Interrupted)
    assert error.exit_code == 130


def test_the_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    """After a second Ctrl-C an upload that would never end is given up."""
    fill(tmp_path, {"a": b"x"})
    interrupt = Interrupt()

    async def hang(_: str) -> AsyncIterator[None]:
        interrupt.press()
        interrupt.press()
        await asyncio.get_running_loop().create_future()
        yield

    with pytest.raises(Interrupted):
        run(MemorySwift(before_store=hang), tmp_path, interrupt=interrupt)


def test_ctrl_c_ends_the_walk(tmp_path: Path) -> None:
    """A source that goes on and on is not walked to its end once the user wants to stop, and nothing is asked for."""
    interrupt = Interrupt()
    seen = 0

    async def walked() -> None:
        loop = asyncio.get_running_loop()

        class Endless(DirectorySource):
            def scan(self, halted: threading.Event | None = None) -> Iterator[object]:  # type: ignore[override]
                nonlocal seen
                for seen in range(1000):
                    if seen == 10:
                        loop.call_soon_threadsafe(interrupt.press)
                        assert interrupt.halted.wait(60)
                    yield Omitted(f"{seen}", "for the sake of it")

        await load_directory(store, LoadRequest(Endless(str(tmp_path)), "c"), Silent(), interrupt=interrupt)

    store = MemorySwift()
    with pytest.raises(Interrupted):
        asyncio.run(walked())
    assert seen == 10
    assert store.log == []


def test_a_real_signal_is_the_first_ctrl_c(tmp_path: Path) -> None:
    """SIGINT from the kernel stops the run as Ctrl-C does."""
    import signal

    fill(tmp_path, {f"{n:03d}": b"x" for n in range(100)})
    pressed = asyncio.Event()

    class Noted(Interrupt):
        def press(self) -> None:
            super().press()
            pressed.set()

    interrupt = Noted()

    async def kill(_: str) -> AsyncIterator[None]:
        signal.raise_signal(signal.SIGINT)
        await pressed.wait()
        yield

    result = run(MemorySwift(before_store=kill), tmp_path, transfers=1, interrupt=interrupt)
    assert result.interrupted
    assert result.sent == 1


def test_the_summary_file_has_every_figure(tmp_path: Path) -> None:
    """--summary-json holds the run's figures and says whether it is complete."""
    (tmp_path / "tree").mkdir()
    fill(tmp_path / "tree", {"a": b"1", "b": b"22"})
    store = MemorySwift()
    result = run(store, tmp_path / "tree")
    write_summary(str(tmp_path / "s.json"), result)
    figures = json.loads((tmp_path / "s.json").read_text())
    seconds = figures.pop("seconds")
    assert seconds == round(result.seconds, 3)
    assert {
        "files": 2,
        "bytes": 3,
        "requests": store.counters.requests,
        "retries": 0,
        "not_compared": 0,
        "deleted": 0,
        "manifest": None,
        "logins": 0,
        "sent": 2,
        "sent_bytes": 3,
        "skipped": 0,
        "failed": 0,
        "left_out": 0,
        "not_tried": 0,
        "verified": 2,
        "verified_bytes": 3,
        "complete": True,
        "dry_run": False,
        "failures": [],
    } == figures


def test_an_empty_directory_is_a_complete_load(tmp_path: Path) -> None:
    """Nothing to load is not an error; the container is there afterwards."""
    store = MemorySwift()
    result = run(store, tmp_path)
    assert store.held == {"c": {}}
    assert outcome_error(result) is None
    assert summary_lines(result)[:1] == ["verified 0 objects, 0 bytes"]


def test_hashing_stops_when_the_run_is_halted(tmp_path: Path) -> None:
    """A file that is being hashed when the run is stopped does not keep the program from ending."""
    import threading

    fill(tmp_path, {"a": bytes(3 * MIB)})
    (one,) = DirectorySource(str(tmp_path)).scan()
    assert isinstance(one, FileObject)
    halted = threading.Event()
    halted.set()
    with pytest.raises(Interrupted):
        reading.digest(one, halted)
