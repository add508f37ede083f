"""Large objects over a store in memory: cut, resumed after a crash at every request, compared, replaced, cleaned up."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from fakes.memory_swift import MemorySwift

from swiftfs.errors import Incomplete, Rejected, Unavailable
from swiftfs.load import large
from swiftfs.load.interrupt import Interrupt
from swiftfs.load.journal import Journal
from swiftfs.load.options import LoadOptions
from swiftfs.load.progress import Silent
from swiftfs.load.report import outcome_error
from swiftfs.load.run import LoadRequest, LoadResult, load_directory
from swiftfs.load.segments import LargePolicy
from swiftfs.load.source import DirectorySource, FileObject, OpenedSource
from swiftfs.load.tally import Tally
from swiftfs.model import Kind, Limits, Segment
from swiftfs.swift.large import BadSegments

SEGMENT = 1000
LIMITS = Limits(max_file_size=SEGMENT, max_segments=50)
POLICY = LargePolicy(cutoff=SEGMENT + 1, streams=2)
AGED = 10**10
"""Nanoseconds that the journal is told to be in the future, so that files just written count as settled."""


class Killed(BaseException):
    """What a kill -9 is to the process: nothing after it happens."""


def store(**options: object) -> MemorySwift:
    return MemorySwift(info=LIMITS, held={"c": {}}, **options)  # type: ignore[arg-type]


def journal(path: Path) -> Journal:
    import time

    return Journal(path, now=lambda: time.time_ns() + AGED)


async def no_pause(_: float) -> None:
    return


def run(
    memory: MemorySwift,
    root: Path,
    *,
    policy: LargePolicy = POLICY,
    kept: Journal | None = None,
    transfers: int = 4,
    interrupt: Interrupt | None = None,
    dry_run: bool = False,
) -> LoadResult:
    request = LoadRequest(
        DirectorySource(str(root)), "c", transfers=transfers, checkers=2, large=policy, dry_run=dry_run
    )
    return asyncio.run(load_directory(memory, request, Silent(), pause=no_pause, journal=kept, interrupt=interrupt))


def proven(result: LoadResult, count: int = 1) -> None:
    assert outcome_error(result) is None, result
    assert result.verified is not None
    assert result.verified.count == count


def segments_of(memory: MemorySwift, name: str = "big") -> set[tuple[str, str]]:
    return {(one.container, one.name) for one in memory.manifests["c", name]}


def held_segments(memory: MemorySwift, home: str = "c_segments") -> set[tuple[str, str]]:
    return {(home, name) for name in memory.held.get(home, {})}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "big").write_bytes(os.urandom(7 * SEGMENT + 5))
    (root / "small").write_bytes(b"small")
    return root


@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize("held", [large.HELD, 0])
def test_a_large_file_is_one_object_and_is_not_sent_again(
    tree: Path, readable: bool, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file over the server's limit becomes an SLO of its bytes, whether segments pass through memory or are read
    twice; a second load sends nothing, with manifests that can be read and without."""
    monkeypatch.setattr(large, "HELD", held)
    memory = store(readable=readable)
    result = run(memory, tree)
    proven(result, 2)
    assert (tree / "big").read_bytes() == memory.bodies("c")["big"]
    assert memory.held["c"]["big"].info.kind is Kind.SLO
    assert memory.held["c"]["big"].info.mtime == (tree / "big").stat().st_mtime_ns
    assert len(segments_of(memory)) == 8
    assert segments_of(memory) == held_segments(memory)
    assert result.sent_size == 7 * SEGMENT + 10
    memory.log.clear()
    again = run(memory, tree)
    proven(again, 2)
    assert (again.sent, again.skipped) == (0, 2)
    assert {"GET", "HEAD"} == {method for method, _, _ in memory.log}


@pytest.mark.parametrize("lost_journal", [False, True])
@pytest.mark.row("O2")
def test_after_a_kill_at_any_request_only_what_was_in_flight_is_sent_again(tmp_path: Path, lost_journal: bool) -> None:
    """Wherever a first load is cut off, no half object is visible, and the next one sends no segment that was stored,
    completes the object and leaves no orphan; with its journal or without."""
    body = os.urandom(5 * SEGMENT + 7)
    root = tmp_path / "tree"
    root.mkdir()
    (root / "big").write_bytes(body)
    total = store()
    run(total, root)
    risked = 0
    for moment in range(len(total.log)):
        memory = store()

        def kill(*_: str, memory: MemorySwift = memory, moment: int = moment) -> None:
            if len(memory.log) > moment:
                raise Killed

        memory.faults.append(kill)
        kept = journal(tmp_path / f"{moment}.sqlite")
        with pytest.raises((Killed, BaseExceptionGroup)):
            run(memory, root, kept=kept)
        kept.close()
        assert memory.bodies("c").get("big") in {None, body}
        finished = held_segments(memory)
        risked += 0 < len(finished) < 6
        memory.faults.clear()
        memory.log.clear()
        kept = None if lost_journal else journal(tmp_path / f"{moment}.sqlite")
        proven(run(memory, root, kept=kept))
        if kept is not None:
            assert kept.debts() == []
            kept.close()
        sent = {(container, name) for method, container, name in memory.log if method == "PUT" and name}
        assert sent & finished == set()
        assert len(sent) == 6 - len(finished)
        assert memory.bodies("c") == {"big": body}
        assert segments_of(memory) == held_segments(memory)
    assert risked > 3


def test_orphans_of_a_file_that_changed_after_a_crash_go(tree: Path, tmp_path: Path) -> None:
    """Segments of an interrupted upload that the file has no use for are deleted, equal ones are used again."""
    memory = store()

    def kill(method: str, _: str, name: str) -> None:
        if method == "MANIFEST":
            raise Killed

    memory.faults.append(kill)
    with pytest.raises((Killed, BaseExceptionGroup)):
        run(memory, tree)
    memory.faults.clear()
    memory.log.clear()
    old = held_segments(memory)
    with (tree / "big").open("r+b") as file:
        file.write(b"changed")
    proven(run(memory, tree), 2)
    assert segments_of(memory) == held_segments(memory)
    assert len(old & held_segments(memory)) == 7
    puts = [name for method, container, name in memory.log if (method, container) == ("PUT", "c_segments") and name]
    assert len(puts) == 1


@pytest.mark.parametrize("into", ["large", "plain"])
@pytest.mark.parametrize("moment", ["whole run", "killed before the clean-up"])
@pytest.mark.parametrize("readable", [True, False])
def test_a_replaced_objects_segments_go_once_the_new_one_is_proven(
    tree: Path, tmp_path: Path, into: str, moment: str, readable: bool
) -> None:
    """Segments of another client's large object are deleted when it has been replaced, by a large or a plain object,
    and never before; a run that is killed between leaves them to the next."""
    memory = store(readable=readable)
    asyncio.run(memory.create_container("c_segments"))
    parts = {f"big/1700000000.5/{number:08d}": os.urandom(100) for number in range(3)}
    for name, part in parts.items():
        memory.alter("c_segments", name, part)
    memory.alter("c_segments", "big/1800000000.5/00000000", b"of another upload")
    segments = [Segment("c_segments", name, len(part), hashlib.md5(part).hexdigest()) for name, part in parts.items()]
    asyncio.run(memory.put_manifest("c", "big", segments))
    old = b"".join(parts.values())
    if into == "plain":
        (tree / "big").write_bytes(b"now small")
    path = tmp_path / "journal.sqlite"

    def watch(method: str, _: str, name: str) -> None:
        if memory.bodies("c")["big"] == old:
            assert set(parts) <= set(memory.held["c_segments"])
        if method == "POST" and moment != "whole run":
            raise Killed

    memory.faults.append(watch)
    kept = journal(path)
    if moment == "whole run":
        proven(run(memory, tree, kept=kept), 2)
    else:
        with pytest.raises(Killed):
            run(memory, tree, kept=kept)
        kept.close()
        memory.faults.clear()
        assert set(parts) <= set(memory.held["c_segments"])
        kept = journal(path)
        result = run(memory, tree, kept=kept)
        proven(result, 2)
        assert result.sent == 0
    kept.close()
    assert memory.bodies("c")["big"] == (tree / "big").read_bytes()
    needed = segments_of(memory) if into == "large" else set()
    assert needed | {("c_segments", "big/1800000000.5/00000000")} == held_segments(memory)


def test_another_clients_large_object_with_the_same_bytes_is_skipped(tree: Path) -> None:
    """An SLO of the file's bytes is not sent again, however it was cut and whoever made it."""
    body = (tree / "big").read_bytes()
    for readable in (True, False):
        memory = store(readable=readable)
        asyncio.run(memory.create_container("c_segments"))
        segments = []
        for number, start in enumerate(range(0, len(body), 3000)):
            name, part = f"big/1.5/{number:08d}", body[start : start + 3000]
            memory.info = replace(memory.info, max_file_size=3000)
            memory.alter("c_segments", name, part)
            segments.append(Segment("c_segments", name, len(part), hashlib.md5(part).hexdigest()))
        asyncio.run(memory.put_manifest("c", "big", segments))
        result = run(memory, tree)
        proven(result, 2)
        assert (result.sent, result.skipped) == (1, 1)


def test_segments_of_another_client_need_no_directory(tree: Path) -> None:
    """An SLO of the file's bytes is skipped and proven also when its segments lie at the top of their container."""
    body = (tree / "big").read_bytes()
    memory = store()
    asyncio.run(memory.create_container("c_segments"))
    segments = []
    for number, start in enumerate(range(0, len(body), SEGMENT)):
        part = body[start : start + SEGMENT]
        memory.alter("c_segments", f"flat{number}", part)
        segments.append(Segment("c_segments", f"flat{number}", len(part), hashlib.md5(part).hexdigest()))
    asyncio.run(memory.put_manifest("c", "big", segments))
    result = run(memory, tree)
    proven(result, 2)
    assert (result.sent, result.skipped) == (1, 1)


@pytest.mark.parametrize("harm", ["lost", "altered"])
@pytest.mark.parametrize("readable", [True, False])
def test_the_next_load_mends_a_segment_that_is_lost_or_altered(tree: Path, harm: str, readable: bool) -> None:
    """A large object whose manifest is good but whose segment is not gets that one segment anew, and is proven."""
    memory = store(readable=readable)
    proven(run(memory, tree), 2)
    _, name = sorted(segments_of(memory))[3]
    if harm == "lost":
        del memory.held["c_segments"][name]
    else:
        memory.alter("c_segments", name, b"x" * SEGMENT)
    memory.log.clear()
    result = run(memory, tree)
    proven(result, 2)
    assert (result.sent, result.skipped) == (1, 1)
    assert [one for one in memory.puts() if one] == [name]
    assert held_segments(memory) == segments_of(memory)
    again = run(memory, tree)
    assert (again.sent, again.skipped) == (0, 2)


def test_a_segment_that_is_lost_behind_the_load_is_noticed(tree: Path) -> None:
    """An object whose segment is gone when the proof is made is not called done, and the others are."""
    memory = store()

    def lose(method: str, container: str, name: str) -> None:
        heads = [one for one in memory.log if one == ("HEAD", "c", "big")]
        if (method, name) == ("HEAD", "big") and len(heads) == 2:
            del memory.held["c_segments"][min(memory.held["c_segments"])]

    memory.faults.append(lose)
    result = run(memory, tree)
    assert isinstance(outcome_error(result), Incomplete)
    assert result.verified is not None
    assert [one.name for one in result.verified.unproven] == ["big"]
    assert "1 of its 8 segments" in result.verified.unproven[0].reason


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("with_parts", [True, False])
def test_objects_of_which_another_client_made_a_larger_one_stay(tree: Path, dynamic: bool, with_parts: bool) -> None:
    """When a load replaces a large object whose parts lie in the container as objects of their own, the parts stay."""
    memory = store()
    parts = {f"parts/{number}": os.urandom(SEGMENT) for number in range(2)}
    for name, part in parts.items():
        memory.alter("c", name, part)
        if with_parts:
            (tree / "parts").mkdir(exist_ok=True)
            (tree / name).write_bytes(part)
    if dynamic:
        memory.store_large("c", "big", b"".join(parts.values()), Kind.DLO)
        stored = memory.held["c"]["big"]
        memory.held["c"]["big"] = replace(stored, info=replace(stored.info, manifest="c/parts/"))
    else:
        segments = [Segment("c", name, SEGMENT, hashlib.md5(part).hexdigest()) for name, part in parts.items()]
        asyncio.run(memory.put_manifest("c", "big", segments))
    proven(run(memory, tree), 4 if with_parts else 2)
    assert memory.bodies("c")["big"] == (tree / "big").read_bytes()
    assert {name: memory.bodies("c").get(name) for name in parts} == parts


@pytest.mark.parametrize("clean", [True, False])
def test_a_mirror_that_deletes_a_large_object_keeps_the_parts_that_are_objects(tree: Path, clean: bool) -> None:
    """Segments go with the large object that a mirror deletes, but not what lies elsewhere under a name of its own."""
    memory = store()
    places = {("c", "parts/0"): b"a" * SEGMENT, ("c_segments", "all/1/0"): b"b" * SEGMENT}
    asyncio.run(memory.create_container("c_segments"))
    for (container, name), part in places.items():
        memory.alter(container, name, part)
    segments = [Segment(*place, SEGMENT, hashlib.md5(part).hexdigest()) for place, part in places.items()]
    asyncio.run(memory.put_manifest("c", "all", segments))
    (tree / "parts").mkdir()
    (tree / "parts" / "0").write_bytes(b"a" * SEGMENT)
    request = LoadRequest(
        DirectorySource(str(tree)), "c", large=POLICY, options=LoadOptions(delete_extra=not clean, clean=clean)
    )
    proven(asyncio.run(load_directory(memory, request, Silent(), pause=no_pause)), 3)
    assert sorted(memory.bodies("c")) == ["big", "parts/0", "small"]
    assert held_segments(memory) == segments_of(memory)


def test_many_large_objects_are_proven_side_by_side_and_wait_together(tmp_path: Path) -> None:
    """However many large objects are not to be proven, a run pauses twice for all of them."""
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(30):
        (root / f"big{number}").write_bytes(os.urandom(2 * SEGMENT))
    memory = store()
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    def empty(method: str, container: str, name: str) -> None:
        if len([one for one in memory.log if one[0] == "HEAD"]) == 31:
            memory.held["c_segments"] = {}

    memory.faults.append(empty)
    request = LoadRequest(DirectorySource(str(root)), "c", transfers=4, checkers=2, large=POLICY)
    result = asyncio.run(load_directory(memory, request, Silent(), pause=pause))
    assert result.verified is not None
    assert len(result.verified.unproven) == 30
    assert pauses == [1.0, 4.0]


@pytest.mark.row("O3")
def test_segments_that_the_server_refuses_are_sent_again(tree: Path) -> None:
    """When the manifest is refused because of a segment, that one alone is sent again and the object completes."""
    memory = store()
    lost: list[str] = []

    def lose(method: str, _: str, name: str) -> None:
        if method == "MANIFEST" and not lost:
            lost.append(min(memory.held["c_segments"]))
            memory.alter("c_segments", lost[0], b"damaged")

    memory.faults.append(lose)
    proven(run(memory, tree), 2)
    puts = [name for method, container, name in memory.log if (method, container) == ("PUT", "c_segments") and name]
    assert len(puts) == 9
    assert lost == [name for name in set(puts) if puts.count(name) == 2]


def test_a_segment_the_listing_shows_but_the_server_refuses_is_sent_again(tree: Path) -> None:
    """A segment named by the refusal is not believed to be there, whatever a listing says; a second refusal fails."""
    memory = store()
    refusals = [1]

    def refuse(method: str, _: str, name: str) -> None:
        if method == "MANIFEST" and refusals and refusals.pop():
            raise BadSegments("one segment", (f"c_segments/{min(memory.held['c_segments'])}",))

    memory.faults.append(refuse)
    proven(run(memory, tree), 2)
    assert len([one for one in memory.log if one[:2] == ("PUT", "c_segments") and one[2]]) == 9
    (tree / "big").write_bytes(os.urandom(7 * SEGMENT))
    refusals.extend([1] * 3)
    assert [one.reason for one in run(memory, tree).failures] == ["one segment"]


def test_segments_of_an_upload_that_never_ended_go_when_the_file_is_small_at_last(tree: Path, tmp_path: Path) -> None:
    """An interrupted large upload whose file has shrunk since leaves nothing behind a plain object."""
    memory = store()

    def kill(method: str, *_: str) -> None:
        if method == "MANIFEST":
            raise Killed

    memory.faults.append(kill)
    kept = journal(tmp_path / "j.sqlite")
    with pytest.raises((Killed, BaseExceptionGroup)):
        run(memory, tree, kept=kept)
    kept.close()
    memory.faults.clear()
    assert len(held_segments(memory)) == 8
    (tree / "big").write_bytes(b"small now")
    kept = journal(tmp_path / "j.sqlite")
    proven(run(memory, tree, kept=kept), 2)
    kept.close()
    assert held_segments(memory) == set()


@pytest.mark.parametrize("there", ["nothing", "the object before", "an unreadable one"])
def test_segments_of_a_killed_load_go_when_the_file_is_gone(tree: Path, tmp_path: Path, there: str) -> None:
    """The next load of the same source removes them, but no segment of an object that is still in the container."""
    memory = store(readable=there != "an unreadable one")
    if there != "nothing":
        run(memory, tree, kept=(kept := journal(tmp_path / "j.sqlite")))
        kept.close()
        (tree / "big").write_bytes(os.urandom((tree / "big").stat().st_size))
    before = held_segments(memory) if there != "nothing" else set()

    def killed(method: str, container: str, name: str) -> None:
        if method == "MANIFEST":
            raise Unavailable("gone")

    memory.faults.append(killed)
    run(memory, tree, kept=(kept := journal(tmp_path / "j.sqlite")))
    kept.close()
    memory.faults.clear()
    left = held_segments(memory)
    assert left > before
    (tree / "big").unlink()
    (tree / "small").write_bytes(b"1")
    run(memory, tree, kept=(kept := journal(tmp_path / "j.sqlite")))
    kept.close()
    assert held_segments(memory) == (left if there == "an unreadable one" else before)


def test_orphans_are_seen_without_a_journal_too(tree: Path) -> None:
    """Segments of an upload from another machine, beside an object that is complete, are found and deleted; what is
    named otherwise is left alone."""
    memory = store()
    proven(run(memory, tree), 2)
    memory.alter("c_segments", f"big/slo/5/00000000-{'0' * 32}", b"orphan")
    memory.alter("c_segments", "big/slo/notes", b"somebody else's")
    proven(run(memory, tree), 2)
    assert held_segments(memory) == segments_of(memory) | {("c_segments", "big/slo/notes")}


@pytest.mark.parametrize("when", ["at once", "later"])
def test_an_object_that_is_not_what_was_sent_is_no_success_and_nothing_is_deleted(tree: Path, when: str) -> None:
    """When somebody puts another object in its place, right after the manifest or before the proof, the large object
    fails, and its segments stay for the next run."""
    memory = store()

    def meddle(method: str, container: str, name: str) -> None:
        heads = [one for one in memory.log if one == ("HEAD", "c", "big")]
        if (method, container, name) == ("HEAD", "c", "big") and len(heads) == (1 if when == "at once" else 2):
            memory.alter("c", "big", (tree / "big").read_bytes())

    memory.faults.append(meddle)
    kept = Journal(None)
    result = run(memory, tree, kept=kept)
    assert isinstance(outcome_error(result), Incomplete)
    assert len(result.failures) == (when == "at once")
    assert len(held_segments(memory)) == 8
    assert [debt.name for debt in kept.debts()] == ["big"]


@pytest.mark.row("O6")
def test_a_file_that_changes_while_its_segments_are_sent_is_not_stored(tree: Path) -> None:
    """A large file that changes during the run fails with that reason, and no object appears."""

    async def meddle(name: str) -> AsyncIterator[None]:
        if name.startswith("big/"):
            with (tree / "big").open("ab") as file:
                file.write(b"more")
        yield

    result = run(store(before_store=meddle), tree)
    assert [(one.name, one.reason) for one in result.failures] == [("big", "changed while it was read")]


@pytest.mark.row("O6")
def test_the_file_is_looked_at_once_more_before_the_manifest(tree: Path) -> None:
    """A change after the last segment has gone is noticed too: the manifest is not written."""
    memory = store()

    def meddle(method: str, _: str, name: str) -> None:
        if method == "PUT" and len(memory.held.get("c_segments", {})) == 7:
            os.utime(tree / "big", ns=(1, 1))

    memory.faults.append(meddle)
    result = run(memory, tree, policy=replace(POLICY, streams=1))
    assert [one.name for one in result.failures] == ["big"]
    assert "big" not in memory.bodies("c")
    assert "MANIFEST" not in {method for method, _, _ in memory.log}


def test_a_file_that_is_replaced_by_one_of_its_size_and_time_is_not_mixed(tree: Path) -> None:
    """When another file takes the place of a large one during the run, no object of both appears."""
    status = (tree / "big").stat()

    async def meddle(name: str) -> AsyncIterator[None]:
        if "/00000003-" in name:
            other = tree.parent / "other"
            other.write_bytes(os.urandom(status.st_size))
            os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
            other.replace(tree / "big")
        yield

    memory = store(before_store=meddle)
    result = run(memory, tree)
    assert [(one.name, one.reason) for one in result.failures] == [("big", "was replaced while it was read")]
    assert "big" not in memory.bodies("c")


@pytest.mark.parametrize(("streams", "transfers", "most"), [(3, 8, 3), (8, 2, 2), (1, 8, 1)])
def test_streams_of_a_file_stay_within_transfers(tmp_path: Path, streams: int, transfers: int, most: int) -> None:
    """At most --multi-thread-streams segments of one file and --transfers of all files are on the way at once."""
    (tmp_path / "big").write_bytes(os.urandom(20 * SEGMENT))

    full = asyncio.Event()

    async def together(_: str) -> AsyncIterator[None]:
        if memory.in_flight >= most:
            full.set()
        async with asyncio.timeout(30):
            await full.wait()
        for _ in range(20):  # time for one too many to come
            await asyncio.sleep(0)
        yield

    memory = store(before_store=together)
    proven(run(memory, tmp_path, policy=replace(POLICY, streams=streams), transfers=transfers))
    assert most == memory.most_in_flight


def test_segments_beside_their_objects(tree: Path) -> None:
    """Without a segments container they lie below .file-segments/ in the object's own container."""
    memory = store()
    policy = replace(POLICY, in_container=True)
    proven(run(memory, tree, policy=policy), 2)
    assert set(memory.held) == {"c"}
    inside = {name for name in memory.held["c"] if name.startswith(".file-segments/big/slo/")}
    assert {("c", name) for name in inside} == segments_of(memory)
    assert run(memory, tree, policy=policy).sent == 0


@pytest.mark.row("O5")
def test_too_large_for_a_server_is_a_reason(tree: Path) -> None:
    """A file over the limit fails alone when large objects are off, or when no number of segments is enough."""
    result = run(store(), tree, policy=replace(POLICY, forbidden=True))
    assert "large objects are switched off" in result.failures[0].reason
    memory = store()
    memory.info = Limits(SEGMENT, 3)
    result = run(memory, tree)
    assert "more than 3 segments" in result.failures[0].reason
    assert (result.sent, len(result.failures)) == (1, 1)


def test_one_failing_segment_fails_its_object_and_progress_is_taken_back(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a segment cannot be sent, the object fails, the other files go on, and a next run sends the rest."""
    memory = store()
    tally = Tally()
    monkeypatch.setattr("swiftfs.load.run.Tally", lambda: tally)

    def refuse(method: str, container: str, name: str) -> None:
        if method == "PUT" and "/00000005-" in name:
            raise Unavailable("the store answers with status 503")

    memory.faults.append(refuse)
    result = run(memory, tree)
    assert [(one.name, one.reason) for one in result.failures] == [("big", "the store answers with status 503")]
    assert (result.sent_size, tally.moved) == (5, 5)
    monkeypatch.undo()
    memory.faults.clear()
    before = held_segments(memory)
    memory.log.clear()
    proven(run(memory, tree), 2)
    sent = {(c, name) for method, c, name in memory.log if (method, c) == ("PUT", "c_segments") and name}
    assert sent == held_segments(memory) - before


def test_ctrl_c_ends_between_two_segments(tree: Path) -> None:
    """After Ctrl-C the segments on their way are stored, no other starts, and the object does not appear."""
    interrupt = Interrupt()

    async def press(name: str) -> AsyncIterator[None]:
        if name.startswith("big/") and not interrupt.presses:
            interrupt.press()
        yield

    memory = store(before_store=press)
    result = run(memory, tree, interrupt=interrupt)
    assert result.interrupted
    assert 1 <= len(held_segments(memory)) <= POLICY.streams
    assert "big" not in memory.bodies("c")


@pytest.mark.logs("would send")
def test_a_dry_run_promises_and_deletes_nothing(tree: Path) -> None:
    """A dry run over a different large object counts it as to be sent and changes nothing."""
    memory = store()
    run(memory, tree)
    (tree / "big").write_bytes(os.urandom(6 * SEGMENT))
    before = memory.bodies("c_segments")
    kept = Journal(None)
    assert run(memory, tree, kept=kept, dry_run=True).sent == 1
    assert kept.debts() == []
    assert before == memory.bodies("c_segments")


def test_the_server_is_asked_for_its_limits_only_for_files_that_may_meet_them(tmp_path: Path) -> None:
    """A tree of small files costs no /info."""
    (tmp_path / "small").write_bytes(b"x")
    memory = store()
    run(memory, tmp_path, policy=LargePolicy())
    assert ("GET", "", "/info") not in memory.log
    (tmp_path / "big").write_bytes(bytes(5 << 20))
    memory.info = Limits(1 << 20)
    proven(run(memory, tmp_path, policy=LargePolicy()), 2)
    assert ("GET", "", "/info") in memory.log
    assert len(segments_of(memory)) == 5


def test_hashing_a_large_file_stops_when_the_run_is_halted(tree: Path) -> None:
    """A part that is being hashed when the run is stopped does not keep the program from ending."""
    from swiftfs.errors import Interrupted
    from swiftfs.load.reading import digest_span
    from swiftfs.model import ByteRange

    one = next(found for found in DirectorySource(str(tree)).scan() if isinstance(found, FileObject))
    halted = threading.Event()
    halted.set()
    with pytest.raises(Interrupted):
        digest_span(one, ByteRange(5, 500), halted)


def test_what_cannot_be_deleted_stays_owed(tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A clean-up that the store refuses is a warning, and the next run does it."""
    memory = store()
    run(memory, tree)
    (tree / "big").write_bytes(os.urandom(6 * SEGMENT))

    def refuse(method: str, *_: str) -> None:
        if method == "POST":
            raise Rejected("no bulk delete here", status=405)

    memory.faults.append(refuse)
    kept = journal(tmp_path / "j.sqlite")
    proven(run(memory, tree, kept=kept), 2)
    kept.close()
    assert "old segments of big are still there" in caplog.text
    assert len(held_segments(memory)) == 14
    memory.faults.clear()
    kept = journal(tmp_path / "j.sqlite")
    proven(run(memory, tree, kept=kept), 2)
    kept.close()
    assert segments_of(memory) == held_segments(memory)


class Sequential(DirectorySource):
    """The directory's files as an archive's members would be: read from the beginning only, and counted."""

    opened: ClassVar[list[str]] = []

    def scan(self, halted: threading.Event | None = None) -> Iterator[Member]:  # type: ignore[override]
        for found in super().scan(halted):
            assert isinstance(found, FileObject)
            yield Member(found, self.opened)


class Member:
    """A file without random access."""

    def __init__(self, file: FileObject, opened: list[str]) -> None:
        self._file = file
        self._opened = opened
        self.name, self.size, self.mtime = file.name, file.size, file.mtime

    def open(self) -> OpenedSource:
        self._opened.append(self.name)
        return self._file.open()


@pytest.mark.parametrize("wish", [None, 300])
def test_a_source_that_is_read_in_order_is_read_once(
    tree: Path, monkeypatch: pytest.MonkeyPatch, wish: int | None
) -> None:
    """A large member of an archive is cut on the way, read once; what is there is compared by reading it once, and
    one that grew under the reader is not stored."""
    monkeypatch.setattr(Sequential, "opened", [])
    memory = store()
    request = LoadRequest(Sequential(str(tree)), "c", transfers=4, checkers=2, large=replace(POLICY, segment_size=wish))

    def load() -> LoadResult:
        Sequential.opened.clear()
        return asyncio.run(load_directory(memory, request, Silent(), pause=no_pause))

    proven(load(), 2)
    assert Sequential.opened.count("big") == 1
    assert memory.bodies("c")["big"] == (tree / "big").read_bytes()
    assert load().skipped == 2
    assert Sequential.opened.count("big") == 1
    (tree / "big").write_bytes(os.urandom(5 * SEGMENT))

    async def meddle(name: str) -> AsyncIterator[None]:
        with (tree / "big").open("ab") as file:
            file.write(b"more")
        yield

    memory.before_store = meddle
    old = memory.bodies("c")["big"]
    assert [one.name for one in load().failures] == ["big"]
    assert memory.bodies("c")["big"] == old
    assert segments_of(memory) <= held_segments(memory)


def test_a_large_source_without_random_access_is_cut_below_the_cutoff(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a bound on such a source goes in segments, for reading it a second time costs as much as sending it."""
    monkeypatch.setattr(large, "SEQUENTIAL_CUTOFF", 7 * SEGMENT)
    memory = MemorySwift(held={"c": {}})
    request = LoadRequest(Sequential(str(tree)), "c", transfers=4, checkers=2, large=LargePolicy())
    proven(asyncio.run(load_directory(memory, request, Silent(), pause=no_pause)), 2)
    assert memory.held["c"]["big"].info.kind is Kind.SLO
    assert memory.held["c"]["small"].info.kind is Kind.PLAIN
