"""What a load compares, chooses, deletes and where it stops, over a store in memory."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.memory_swift import MemorySwift
from fakes.programs import write_tree
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftfs.errors import (
    Incomplete,
    Interrupted,
    LocalFileError,
    NotFound,
    SwiftFSError,
    TooManyDeletes,
    TransferLimit,
    Unavailable,
    UsageError,
)
from swiftfs.load.apply import load_rules
from swiftfs.load.filters import FilterTexts, make_filters
from swiftfs.load.interrupt import Interrupt
from swiftfs.load.manifest import manifest_digest, parse_manifest
from swiftfs.load.options import LoadOptions
from swiftfs.load.plan import Compare
from swiftfs.load.progress import Silent
from swiftfs.load.report import outcome_error, summary_lines
from swiftfs.load.run import LoadRequest, LoadResult, load_directory
from swiftfs.load.segments import LargePolicy
from swiftfs.load.source import DirectorySource, Refused
from swiftfs.model import Kind

MIB = 1024 * 1024


async def no_pause(_: float) -> None:
    """Listings of the store in memory never lag."""


def load(
    store: MemorySwift,
    root: Path,
    options: LoadOptions,
    *,
    prefix: str = "",
    dry_run: bool = False,
    source: DirectorySource | None = None,
    transfers: int = 4,
    large: LargePolicy | None = None,
    interrupt: Interrupt | None = None,
) -> LoadResult:
    request = LoadRequest(
        source or DirectorySource(str(root), prefix),
        "c",
        prefix,
        transfers=transfers,
        checkers=2,
        dry_run=dry_run,
        large=large or LargePolicy(),
        options=options,
    )
    return asyncio.run(load_directory(store, request, Silent(), interrupt=interrupt, pause=no_pause))


def store_of(objects: Mapping[str, bytes]) -> MemorySwift:
    store = MemorySwift(held={"c": {}})
    for name, body in objects.items():
        store.alter("c", name, body)
    return store


@pytest.mark.parametrize(
    ("compare", "sent"),
    [
        (Compare.CONTENT, ["new", "other", "size"]),
        (Compare.SIZE, ["new", "size"]),
        (Compare.NAME, ["new"]),
        (Compare.NOTHING, ["new", "other", "same", "size"]),
    ],
)
def test_each_mode_sends_what_differs_by_it(tmp_path: Path, compare: Compare, sent: list[str]) -> None:
    """Of a file that is the same, one of other bytes, one of another size and a new one, the mode's are sent."""
    write_tree(tmp_path, {"same": b"11", "other": b"22", "size": b"333", "new": b"4"})
    store = store_of({"same": b"11", "other": b"xx", "size": b"3"})
    result = load(store, tmp_path, LoadOptions(compare=compare))
    assert sent == sorted(store.puts())
    assert outcome_error(result) is None
    assert result.verified is not None
    assert (len(sent) + (compare is Compare.CONTENT), result.trusted) == (
        result.verified.count,
        4 - result.verified.count,
    )


def test_update_asks_only_of_what_differs_and_leaves_what_is_newer(tmp_path: Path) -> None:
    """--update skips a differing object that is newer, sends over an older one, and sends a HEAD for no other."""
    write_tree(tmp_path, {"same": b"11", "newer": b"22", "older": b"33", "new": b"4"})
    for name in ("same", "newer", "older", "new"):
        os.utime(tmp_path / name, ns=(10, 10**18))
    store = store_of({"same": b"11", "newer": b"xx", "older": b"yyy"})
    for name, mtime in (("newer", 10**18 + 1), ("older", 10**18 - 1)):
        stored = store.held["c"][name]
        store.held["c"][name] = replace(stored, info=replace(stored.info, mtime=mtime))
    result = load(store, tmp_path, LoadOptions(update=True))
    assert sorted(store.puts()) == ["new", "older"]
    assert sorted(name for method, _, name in store.log if method == "HEAD") == ["newer", "older"]
    assert (result.skipped, result.trusted, outcome_error(result)) == (2, 1, None)
    assert "1 skipped without a look at the content" in summary_lines(result)[-1]


def test_immutable_is_an_error_of_each_object_that_differs(tmp_path: Path) -> None:
    """--immutable sends what is new, leaves what is the same, and fails for what differs without replacing it."""
    write_tree(tmp_path, {"same": b"11", "other": b"22", "size": b"333", "new": b"4"})
    store = store_of({"same": b"11", "other": b"xx", "size": b"3"})
    result = load(store, tmp_path, LoadOptions(immutable=True))
    assert store.puts() == ["new"]
    assert sorted(one.name for one in result.failures) == ["other", "size"]
    assert isinstance(outcome_error(result), Incomplete)


@pytest.mark.parametrize("filters", [{"include": ["/training/**"]}, {"files": ["training/1"]}])
def test_a_source_that_cannot_be_listed_is_an_error_whatever_is_left_out(
    tmp_path: Path, filters: dict[str, list[str]]
) -> None:
    """A source that is gone never counts as an empty one: nothing is sent, and a mirror deletes nothing."""
    store = store_of({"training/1": b"1"})
    options = LoadOptions(delete_extra=True, filters=make_filters(FilterTexts(**filters)))
    with pytest.raises(LocalFileError, match=r"cannot list the directory .*gone"):
        load(store, tmp_path / "gone", options)
    assert store.bodies("c") == {"training/1": b"1"}


@pytest.mark.parametrize("clean", [True, False])
def test_filters_and_deletes_do_not_go_with_new_names(tmp_path: Path, clean: bool) -> None:
    """What a filter leaves out by its name in the source could be deleted by the name that it has in the container."""
    write_tree(tmp_path, {"training/3_1.jpg": b"1"})
    store = store_of({"training/class_03/3_1.jpg": b"1"})
    options = LoadOptions(
        filters=make_filters(FilterTexts(exclude=["/training/3_*"])), delete_extra=not clean, clean=clean
    )
    request = LoadRequest(DirectorySource(str(tmp_path)), "c", rules=load_rules("food11"), options=options)
    with pytest.raises(UsageError, match="leave out the filters"):
        asyncio.run(load_directory(store, request, Silent(), pause=no_pause))
    assert store.bodies("c") == {"training/class_03/3_1.jpg": b"1"}


@pytest.mark.parametrize("broken", ["listing", "delete", "manifest"])
def test_what_fails_after_the_uploads_hides_nothing_of_them(tmp_path: Path, broken: str) -> None:
    """When the proof, the deletes or the manifest cannot be had, the run is an error and its result is there."""
    write_tree(tmp_path, {"a": b"a", "b": b"b"})
    store = store_of({"old": b"old"})

    def fail(method: str, _: str, name: str) -> None:
        proving = method == "GET" and len(store.puts()) == 2
        if {
            "listing": proving,
            "delete": method == "POST",
            "manifest": method == "PUT" and name.startswith(".swiftfs/"),
        }[broken]:
            raise Unavailable("the store is away")

    store.faults.append(fail)
    result = load(store, tmp_path, LoadOptions(delete_extra=True, manifest=True))
    assert isinstance(result.fatal, Unavailable)
    assert (result.sent, result.untried, result.manifest) == (2, 0, None)
    assert (result.verified is None) == (broken == "listing")
    assert ("old" in store.bodies("c")) == (broken != "manifest")


letters = st.dictionaries(st.sampled_from([f"{a}/{b}" for a in "xy" for b in "abc"]), st.binary(max_size=3))


@settings(max_examples=25, deadline=None)
@given(letters, letters, st.sampled_from(["", "a", "x/", "/y/b"]), st.booleans())
def test_a_mirror_is_the_source(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes], before: dict[str, bytes], glob: str, clean: bool
) -> None:
    """With --delete-extra or --clean the destination holds the source and what the filters leave out, and beside it
    nothing changes."""
    root = write_tree(tmp_path_factory.mktemp("tree"), tree)
    outside = {"q": b"q", "p0": b"0", ".swiftfs/m": b"m"}
    store = store_of({f"p/{name}": body for name, body in before.items()} | outside)
    filters = make_filters(FilterTexts(exclude=[glob] if glob else []))
    result = load(store, root, LoadOptions(filters=filters, delete_extra=not clean, clean=clean), prefix="p/")
    left = {name: body for name, body in before.items() if not filters.keeps(name)}
    chosen = {name: body for name, body in tree.items() if filters.keeps(name)}
    assert {f"p/{name}": body for name, body in (left | chosen).items()} | outside == store.bodies("c")
    gone = {name for name in before if filters.keeps(name)} - (set() if clean else set(chosen))
    assert (len(gone), None) == (result.deleted, outcome_error(result))


class Spoiled(DirectorySource):
    """A directory of which one part cannot be listed."""

    def scan(self, halted: threading.Event | None = None) -> Iterator[object]:  # type: ignore[override]
        yield from super().scan(halted)
        yield Refused("closed", "cannot list the directory: Permission denied", True)


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "mirror"])
@pytest.mark.logs("nothing is deleted")
def test_nothing_is_deleted_when_the_source_cannot_be_listed(tmp_path: Path, clean: bool) -> None:
    """A directory of the source that cannot be read could hold what would be deleted: nothing goes."""
    write_tree(tmp_path, {"a": b"1"})
    store = store_of({"closed/b": b"2"})
    options = LoadOptions(clean=clean, delete_extra=not clean)
    source = Spoiled(str(tmp_path))
    if clean:
        with pytest.raises(Incomplete, match="nothing is deleted"):
            load(store, tmp_path, options, source=source)
        assert store.bodies("c") == {"closed/b": b"2"}
    else:
        result = load(store, tmp_path, options, source=source)
        assert store.bodies("c") == {"a": b"1", "closed/b": b"2"}
        assert isinstance(outcome_error(result), Incomplete)


def test_a_directory_that_is_left_out_need_not_be_readable(tmp_path: Path) -> None:
    """A directory that cannot be listed and is excluded is no failure, and its objects stay."""
    write_tree(tmp_path, {"a": b"1"})
    store = store_of({"closed/b": b"2", "old": b"3"})
    filters = make_filters(FilterTexts(exclude=["closed/"]))
    result = load(store, tmp_path, LoadOptions(filters=filters, delete_extra=True), source=Spoiled(str(tmp_path)))
    assert (outcome_error(result), store.bodies("c")) == (None, {"a": b"1", "closed/b": b"2"})


@pytest.mark.logs("nothing is deleted")
def test_nothing_is_deleted_when_an_object_could_not_be_sent(tmp_path: Path) -> None:
    """A mirror deletes only after everything is proven."""
    write_tree(tmp_path, {"a": b"1", "b": b"2"})
    store = store_of({"old": b"3"})

    def refuse(method: str, _: str, name: str) -> None:
        if (method, name) == ("PUT", "b"):
            raise Unavailable("the store answers with status 500")

    store.faults.append(refuse)
    load(store, tmp_path, LoadOptions(delete_extra=True))
    assert store.bodies("c") == {"a": b"1", "old": b"3"}


def test_nothing_is_deleted_when_the_listing_breaks_off(tmp_path: Path) -> None:
    """A listing that fails after its first page ends the run before anything is sent or deleted."""
    write_tree(tmp_path, {"a": b"1"})
    store = store_of({"x": b"1", "y": b"2"})
    store.page = 1
    pages = iter(range(10))

    def fail(method: str, container: str, name: str) -> None:
        if (method, name) == ("GET", "") and next(pages) == 1:
            raise Unavailable("the store answers with status 503")

    store.faults.append(fail)
    for options in (LoadOptions(delete_extra=True), LoadOptions(clean=True)):
        pages = iter(range(10))
        with pytest.raises(Unavailable):
            load(store, tmp_path, options)
    assert store.bodies("c") == {"x": b"1", "y": b"2"}


@pytest.mark.logs("cannot be told: they stay")
@pytest.mark.parametrize("kind", [Kind.DLO, Kind.SLO])
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "mirror"])
def test_limits_of_size_mean_the_bytes_of_a_large_object(tmp_path: Path, clean: bool, kind: Kind) -> None:
    """What a load deletes is chosen by a large object's bytes, not by those of its manifest, which a listing shows; and
    only what the limits ask about costs a HEAD."""
    store = store_of({"small": b"s" * 1024, "tiny": b"t"})
    store.store_large("c", "large", b"x" * 4096, kind)
    store.store_large("c", "left/large", b"x" * 4096, kind)
    few = make_filters(FilterTexts(exclude=["/left/"], max_size=2048))
    load(store, tmp_path, LoadOptions(filters=few, clean=clean, delete_extra=not clean))
    assert sorted(store.held["c"]) == ["large", "left/large"]
    assert [name for method, _, name in store.log if method == "HEAD"] == ["large"]

    many = make_filters(FilterTexts(min_size=2048, max_size=4096))
    load(store, tmp_path, LoadOptions(filters=many, clean=clean, delete_extra=not clean))
    assert store.bodies("c") == {}


def test_nothing_is_deleted_by_a_size_that_is_not_known(tmp_path: Path) -> None:
    """A large object that the store does not describe ends the run before anything is sent or deleted; one that is gone
    since the listing does not."""
    write_tree(tmp_path, {"a": b"1"})
    store = store_of({"x": b"1"})
    store.store_large("c", "large", b"x" * 4096, Kind.DLO)
    errors: list[SwiftFSError] = [NotFound("not found"), Unavailable("the store answers with status 503")]

    def fail(method: str, _: str, name: str) -> None:
        if (method, name) == ("HEAD", "large"):
            raise errors[-1]

    store.faults.append(fail)
    options = LoadOptions(filters=make_filters(FilterTexts(max_size=2048)), clean=True)
    with pytest.raises(Unavailable):
        load(store, tmp_path, options)
    assert sorted(store.bodies("c")) == ["large", "x"]
    errors.pop()
    assert load(store, tmp_path, options).deleted == 1


@pytest.mark.logs("nothing is deleted")
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "mirror"])
def test_nothing_is_deleted_once_the_user_wants_to_stop(tmp_path: Path, clean: bool) -> None:
    """One Ctrl-C while the container is listed ends --clean with every object still there and nothing sent; one while
    the proof is listed ends --delete-extra with nothing deleted."""
    write_tree(tmp_path, {"a": b"1"})
    store = store_of({"x": b"1", "y": b"2"})
    interrupt = Interrupt()

    def press(method: str, _: str, name: str) -> None:
        if (method, name) == ("GET", "") and (clean or store.puts()) and not interrupt.presses:
            interrupt.press()

    store.faults.append(press)
    options = LoadOptions(clean=clean, delete_extra=not clean)
    if clean:
        with pytest.raises(Interrupted, match="before anything was deleted"):
            load(store, tmp_path, options, interrupt=interrupt)
    else:
        assert isinstance(outcome_error(load(store, tmp_path, options, interrupt=interrupt)), Interrupted)
    assert ({"x": b"1", "y": b"2"} | ({} if clean else {"a": b"1"})) == store.bodies("c")


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "mirror"])
def test_too_many_deletes_stop_the_run_before_it_begins(tmp_path: Path, clean: bool) -> None:
    """With --max-delete below what would go, nothing is sent and nothing is deleted; with exactly that many it runs."""
    write_tree(tmp_path, {"a": b"1"})
    before = {"x": b"1", "y": b"2"}
    store = store_of(before)
    options = LoadOptions(clean=clean, delete_extra=not clean, max_delete=1)
    with pytest.raises(TooManyDeletes, match="2 objects"):
        load(store, tmp_path, options)
    assert before == store.bodies("c")
    assert outcome_error(load(store, tmp_path, replace(options, max_delete=2))) is None
    assert store.bodies("c") == {"a": b"1"}


def test_a_mirror_of_many_costs_one_request(tmp_path: Path) -> None:
    """What a mirror deletes goes with one bulk request, and the segments of a large object with it."""
    write_tree(tmp_path, {"a": b"1", "large": b"x" * (3 * MIB)})
    store = MemorySwift()
    large = LargePolicy(cutoff=2 * MIB, segment_size=MIB)
    load(store, tmp_path, LoadOptions(), large=large)
    assert len(store.held["c_segments"]) == 3
    for number in range(50):
        store.alter("c", f"old/{number}", b"")
    (tmp_path / "large").unlink()
    store.log.clear()
    assert load(store, tmp_path, LoadOptions(delete_extra=True)).deleted == 51
    assert store.bodies("c") == {"a": b"1"}
    assert [one for one in store.log if one[0] == "POST"] == [("POST", "c", "")]


def test_a_dry_run_names_what_it_would_do_and_does_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """--dry-run says of each object that it would be sent or deleted, and no request changes anything."""
    write_tree(tmp_path, {"a": b"1", "b": b"2"})
    before = {"a": b"1", "x": b"3"}
    for options, deleted, sent in (
        (LoadOptions(delete_extra=True), ["x"], ["b"]),
        (LoadOptions(clean=True), ["a", "x"], ["a", "b"]),
    ):
        store = store_of(before)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "swiftfs"):
            result = load(store, tmp_path, options, dry_run=True)
        said = sorted(record.getMessage() for record in caplog.records)
        assert [f"would delete: {name}" for name in deleted] + [f"would send: {name}" for name in sent] == said
        assert before == store.bodies("c")
        assert {method for method, _, _ in store.log} <= {"GET", "HEAD"}
        assert summary_lines(result)[0] == f"would delete {len(deleted)} object{'s' * (len(deleted) > 1)}"


@pytest.mark.parametrize(("limit", "sent"), [(25, 2), (30, 3), (60, 6), (9, 0), (0, 0)])
def test_the_limit_of_bytes_ends_a_run_with_its_own_code(tmp_path: Path, limit: int, sent: int) -> None:
    """--max-transfer begins no object that would go past so many bytes; the run ends with rclone's exit code 8, unless
    all of it was within the limit."""
    write_tree(tmp_path, {f"{number}": b"x" * 10 for number in range(6)})
    store = MemorySwift()
    result = load(store, tmp_path, LoadOptions(max_transfer=limit), transfers=1)
    assert (len(store.puts()), result.untried) == (sent, 6 - sent)
    error = outcome_error(result)
    assert (0 if sent == 6 else 8) == (0 if error is None else error.exit_code)
    again = load(store, tmp_path, LoadOptions(max_transfer=60 - 10 * sent), transfers=1)
    assert outcome_error(again) is None


def test_a_single_file_does_not_go_past_the_limit_of_bytes(tmp_path: Path) -> None:
    """A file that is larger than --max-transfer is not begun, in one piece or in segments; what runs is finished."""
    write_tree(tmp_path, {"1": b"x" * (3 * MIB), "2": b"x" * (8 * MIB)})
    for cutoff in (2 * MIB, 64 * MIB):
        store = MemorySwift()
        large = LargePolicy(cutoff=cutoff, segment_size=MIB)
        result = load(store, tmp_path, LoadOptions(max_transfer=4 * MIB), large=large)
        assert list(store.bodies("c")) == ["1"]
        assert store.counters.sent == 3 * MIB
        assert isinstance(outcome_error(result), TransferLimit)


def test_the_manifest_is_what_was_loaded(tmp_path: Path) -> None:
    """--manifest keeps a line for each object of the source under the digest that is reported, and says it again the
    second time; a large object has the ETag that proves it."""
    write_tree(tmp_path, {"b/1": b"1", "a": b"", "large": b"x" * (3 * MIB)})
    for name in ("b/1", "a", "large"):
        os.utime(tmp_path / name, ns=(7, 7))
    store = store_of({"p/other": b"not in the source"})
    large = LargePolicy(cutoff=2 * MIB, segment_size=MIB)
    result = load(store, tmp_path, LoadOptions(manifest=True), prefix="p/", large=large)
    assert result.manifest is not None
    text = store.bodies("c")[f".swiftfs/manifest-{result.manifest}.jsonl"]
    assert manifest_digest(text) == result.manifest
    lines = parse_manifest(text, result.manifest)
    assert [(one.name, one.size, one.mtime) for one in lines] == [("a", 0, 7), ("b/1", 1, 7), ("large", 3 * MIB, 7)]
    assert [one.slo_etag is not None for one in lines] == [False, False, True]
    assert result.manifest == load(store, tmp_path, LoadOptions(manifest=True), prefix="p/", large=large).manifest
    assert f"manifest {result.manifest}" in summary_lines(result)


def test_no_manifest_of_a_load_that_failed(tmp_path: Path) -> None:
    """A dataset that is not all there has no version."""
    write_tree(tmp_path, {"a": b"1"})
    result = load(MemorySwift(), tmp_path, LoadOptions(manifest=True), source=Spoiled(str(tmp_path)))
    assert result.manifest is None


def test_swiftfs_own_names_are_left_out_of_a_source(tmp_path: Path) -> None:
    """A file below .swiftfs/ is not sent, for no mount would show it, and the run says so."""
    write_tree(tmp_path, {"a": b"1", ".swiftfs/x": b"2"})
    store = MemorySwift()
    result = load(store, tmp_path, LoadOptions(), prefix="p/")
    assert store.bodies("c") == {"p/a": b"1"}
    assert [one.name for one in result.omitted] == ["p/.swiftfs/x"]
