"""The index against hostile names, large objects, damage, crashes and size."""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from fakes.tree_model import TIME, ModelObject

from swiftfs.errors import Changed, LocalFileError
from swiftfs.index import merge
from swiftfs.index.build import Index
from swiftfs.index.entry import ROOT_INO, Diff, Resolved, Source
from swiftfs.index.names import Reason
from swiftfs.index.reader import FIRST_COOKIE, Reader
from swiftfs.index.schema import index_path
from swiftfs.model import EMPTY_MD5, LARGEST, Kind, ListingEntry, ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = Source("https://s/v1/A", "c")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    opened = Index(index_path(tmp_path / "index", SOURCE), SOURCE)
    yield opened
    opened.close()


def listing(*names: str, size: int = 1) -> list[Resolved]:
    return [Resolved(ModelObject(1, size).listed(name)) for name in names]


def build(index: Index, entries: list[Resolved]) -> Diff:
    builder = index.builder()
    builder.add(entries)
    return builder.finish()


def names(index: Index) -> list[bytes]:
    reader = Reader(index.path)
    try:
        return [entry.name for entry in reader.children(ROOT_INO, FIRST_COOKIE, 1000)]
    finally:
        reader.close()


@pytest.mark.row("T1", "T2", "T5")
def test_hostile_names_are_hidden_and_the_rest_is_shown(index: Index) -> None:
    """A container made to break a file system loses only the names that no file system can show."""
    hostile = ["\0x", "..", "../x", "/lead", "a//b", "x" * 256, "z\udc80"]
    sound = ["-rf", "a\nb", "b\x1b[31m", "\u00e9", "e\u0301", "\U0001f600", "x" * 255]
    build(index, listing(*sorted(hostile + sound)))

    assert sorted(name.encode() for name in sound) == names(index)
    assert dict(index.hidden(100)) == {
        "\0x": Reason.NUL,
        "..": Reason.DOTS,
        "../x": Reason.DOTS,
        "/lead": Reason.EMPTY,
        "a//b": Reason.EMPTY,
        "x" * 256: Reason.LONG,
        "z\udc80": Reason.ENCODING,
    }


def test_what_is_no_part_of_the_dataset_is_neither_shown_nor_missed(index: Index) -> None:
    """Manifests of swiftfs and segments are not in the tree, and not among the objects that it cannot show."""
    diff = build(index, listing(".file-segments/a/slo/1/2/3", ".swiftfs/manifest-0.jsonl", "a"))

    assert names(index) == [b"a"]
    assert (diff.hidden, index.hidden(10)) == (0, [])


@pytest.mark.row("T6")
def test_a_directory_hides_a_file_of_its_name_however_far_apart_they_are_listed(index: Index) -> None:
    """Of "a" and "a/b" the directory is shown, also with other names listed between them, and the file is reported."""
    between = [f"a-{number:04d}" for number in range(2500)]
    diff = build(index, listing("a", *between, "a/b"))
    reader = Reader(index.path)
    shadowed = reader.child(ROOT_INO, b"a")

    assert shadowed is not None
    assert shadowed.is_dir
    assert index.hidden(10) == [("a", Reason.SHADOWED)]
    assert (reader.totals().files, reader.totals().bytes, reader.totals().directories) == (2501, 2501, 1)
    assert diff.hidden == 1
    reader.close()


@pytest.mark.row("T2", "T7", "T8")
def test_markers_make_directories_and_their_bytes_are_reported(index: Index) -> None:
    """A marker makes a directory, even an empty one, whichever way another tool wrote it."""
    entries = [
        Resolved(ModelObject(1, 0, marker=True).listed("by-type")),
        Resolved(ModelObject(1, 0).listed("by-type-not")),
        Resolved(ModelObject(1, 0).listed("by-type/x")),
        Resolved(ModelObject(1, 0).listed("empty/")),
        Resolved(ModelObject(1, 7).listed("full/")),
        Resolved(ModelObject(1, 7, marker=True).listed("typed-but-not-empty")),
    ]
    build(index, entries)
    reader = Reader(index.path)
    shown = {entry.name: (entry.is_dir, entry.files) for entry in reader.children(ROOT_INO, FIRST_COOKIE, 10)}

    assert shown == {
        b"by-type": (True, 1),
        b"by-type-not": (False, 1),
        b"empty": (True, 0),
        b"full": (True, 0),
        b"typed-but-not-empty": (False, 1),
    }
    assert index.hidden(10) == [("full/", Reason.MARKER)]
    reader.close()


@pytest.mark.row("T5")
def test_a_tree_five_hundred_levels_deep_is_built_and_read(index: Index) -> None:
    """Depth costs no recursion."""
    build(index, listing("d/" * 500 + "f"))
    reader = Reader(index.path)
    (file,) = reader.subtree_files(ROOT_INO)

    assert reader.object_name(file.ino) == "d/" * 500 + "f"
    assert reader.totals().directories == 500
    assert [file] == reader.files_after(ROOT_INO, 5)
    reader.close()


def large(name: str, size: int, listed_size: int = 0, upload: int = 0) -> tuple[ListingEntry, ObjectInfo]:
    """A large object as Ceph RGW lists it, and what its HEAD says."""
    listed = ListingEntry(name, listed_size, EMPTY_MD5, TIME + upload)
    return listed, ObjectInfo(name, size, "5" * 32, TIME, Kind.SLO)


@pytest.mark.row("L8")
def test_one_head_settles_a_large_object_until_the_listing_changes(index: Index) -> None:
    """A HEAD is asked for once; its answer stays in the tree over rebuilds, until the listing says something new."""
    listed, info = large("d/large", 10**9, listed_size=327)
    plain = ModelObject(1, 5).listed("d/plain")
    builder = index.builder()
    assert [listed] == builder.needs_head([listed, plain])
    builder.add([Resolved(listed, info), Resolved(plain)])
    builder.finish()
    builder = index.builder()
    assert builder.needs_head([listed, plain]) == []
    builder.add([Resolved(listed), Resolved(plain)])
    diff = builder.finish()
    reader = Reader(index.path)
    directory = reader.child(ROOT_INO, b"d")
    assert directory is not None
    entry = reader.child(directory.ino, b"large")

    assert entry is not None
    assert (entry.size, entry.etag, entry.last_modified, entry.kind) == (10**9, "5" * 32, TIME, Kind.SLO)
    assert (diff.added, diff.changed, diff.removed, diff.unchanged) == (0, 0, 0, 3)
    changed, _ = large("d/large", 10**9, listed_size=327, upload=1)
    resized, _ = large("d/large", 10**9, listed_size=328)
    builder = index.builder()
    assert [changed] == builder.needs_head([changed])
    assert [resized] == builder.needs_head([resized])
    builder.abort()
    reader.close()


def test_a_dlo_is_asked_about_at_every_rebuild(index: Index) -> None:
    """A DLO's segments change without its listing entry, so no earlier answer is trusted while the store answers."""
    listed = ListingEntry("dlo", 0, EMPTY_MD5, TIME)
    build(index, [Resolved(listed, ObjectInfo("dlo", 50, "6" * 32, TIME, Kind.DLO))])
    builder = index.builder()

    assert [listed] == builder.needs_head([listed])

    builder.add([Resolved(listed)])  # the HEAD failed: better the last answer than an empty file
    assert builder.finish().unchanged == 1


def test_an_empty_file_needs_one_head_too_and_stays_empty(index: Index) -> None:
    """The MD5 of nothing may hide a large object; a HEAD that says it is an empty file settles it."""
    listed = ListingEntry("empty", 0, EMPTY_MD5, TIME)
    build(index, [Resolved(listed, ObjectInfo("empty", 0, EMPTY_MD5, TIME, Kind.PLAIN))])
    builder = index.builder()

    assert builder.needs_head([listed]) == []
    builder.abort()


def test_hostile_names_need_no_head(index: Index) -> None:
    """No request is spent on an object that is not shown."""
    builder = index.builder()

    assert builder.needs_head([ListingEntry("../x", 0, EMPTY_MD5, TIME)]) == []
    builder.abort()


def test_what_is_very_large_is_kept(index: Index) -> None:
    """The largest sizes and the latest times of files, and no more than that of the directories that they are in."""
    build(index, [Resolved(ListingEntry(f"d/{name}", LARGEST, "0" * 32, LARGEST)) for name in "ab"])
    reader = Reader(index.path)
    directory = reader.child(ROOT_INO, b"d")

    assert directory is not None
    assert (directory.size, directory.last_modified) == (LARGEST, LARGEST)
    assert [entry.size for entry in reader.children(directory.ino, FIRST_COOKIE, 5)] == [LARGEST, LARGEST]
    assert reader.totals().bytes == LARGEST
    reader.close()


@pytest.mark.parametrize("second", ["a", "b", "A"])
@pytest.mark.row("L1")
def test_a_listing_out_of_order_is_refused(index: Index, second: str) -> None:
    """A page that repeats cannot build a tree, and the saved one stays."""
    build(index, listing("kept"))
    builder = index.builder()
    with pytest.raises(ValueError, match="out of order"):
        builder.add(listing("b", second))
    builder.abort()

    assert names(index) == [b"kept"]
    assert index.meta().complete


@pytest.mark.row("C1")
def test_a_build_that_finds_no_room_leaves_room_for_the_next(index: Index) -> None:
    """On a full disk a rebuild does not even begin; when there is room again, the same index is rebuilt."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        for _ in range(2):
            with pytest.raises(LocalFileError, match="is there room"):
                index.builder()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    build(index, listing("a"))

    assert names(index) == [b"a"]


def test_an_aborted_build_changes_nothing_and_another_can_follow(index: Index) -> None:
    """Only ``finish`` changes the saved tree; two builders at once are refused."""
    build(index, listing("a"))
    builder = index.builder()
    builder.add(listing("b"))
    with pytest.raises(ValueError, match="under way"):
        index.builder()
    builder.abort()
    builder.abort()

    assert names(index) == [b"a"]
    assert build(index, listing("c")).removed == 1


def test_newer_time_with_the_same_bytes_keeps_the_inode(index: Index) -> None:
    """Uploading the same bytes again moves the file's time and nothing else."""
    build(index, [Resolved(ModelObject(1, 5, upload=0).listed("a"))])
    reader = Reader(index.path)
    before = reader.child(ROOT_INO, b"a")
    diff = build(index, [Resolved(ModelObject(1, 5, upload=9).listed("a"))])
    after = reader.child(ROOT_INO, b"a")

    assert before is not None
    assert after is not None
    assert before.ino == after.ino
    assert after.last_modified == TIME + 9 * 10**9
    assert (diff.unchanged, diff.touched, diff.changed) == (1, 1, 0)
    assert reader.changes_since(diff.generation - 1) == ()
    reader.close()


def test_an_open_handle_can_name_its_version_after_a_rebuild(index: Index) -> None:
    """A removed inode is out of the tree, but its version and its place in the order are still known."""
    build(index, listing("a/x", "a/y", "b"))
    reader = Reader(index.path)
    files = reader.files_after(ROOT_INO, 10)
    build(index, listing("a-", "b"))
    gone = files[0]

    assert reader.entry(gone.ino) is None
    assert gone == reader.departed(gone.ino)
    version = reader.version(gone.ino)
    assert version is not None
    assert version.name == "a/x"
    assert [entry.name for entry in reader.files_after(gone.ino, 5)] == [b"b"]
    reader.close()


def test_an_unknown_cookie_is_an_error_and_not_a_short_directory(index: Index) -> None:
    """A cookie that is too old, or of another directory, is told as ESTALE."""
    build(index, listing("a", "d/b"))
    reader = Reader(index.path)
    other = reader.files_after(ROOT_INO, 5)[1]
    for cookie in (10**6, other.ino):
        with pytest.raises(Changed):
            reader.children(ROOT_INO, cookie, 5)
    reader.close()


def test_old_removed_entries_are_forgotten_but_never_those_of_the_last_rebuild(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of removed entries is bounded, and a generation that it no longer covers is too old to tell."""
    monkeypatch.setattr(merge, "GONE_KEPT", 2)
    build(index, listing(*"abcdef"))
    reader = Reader(index.path)
    start = reader.generation()
    old = reader.child(ROOT_INO, b"a")
    build(index, listing("f"))
    assert old is not None
    assert old == reader.departed(old.ino)
    assert reader.changes_since(start) is not None
    between = reader.generation()
    build(index, listing("g"))

    assert reader.departed(old.ino) is None
    assert reader.changes_since(start) is None
    assert reader.changes_since(between) is not None
    reader.close()


def test_too_many_changes_are_not_named(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a change of everything there is no list."""
    monkeypatch.setattr(merge, "MAX_CHANGES", 3)
    build(index, listing(*"abc"))
    reader = Reader(index.path)
    start = reader.generation()

    build(index, listing(*"abcdef"))
    assert reader.changes_since(start) is not None
    few = reader.generation()
    build(index, listing(*"xyz"))
    assert reader.changes_since(few) is None
    reader.close()


def test_what_came_with_its_directory_is_not_named(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files a new directory brings: it is one change, and the kernel keeps all that it holds."""
    monkeypatch.setattr(merge, "MAX_CHANGES", 2)
    build(index, listing("a"))
    reader = Reader(index.path)
    start = reader.generation()
    build(index, listing("a", *(f"d/{number}" for number in range(9))))
    build(index, listing("a", *(f"d/{number}" for number in range(9)), *(f"e/{number}" for number in range(9))))

    changes = reader.changes_since(start)
    assert changes is not None
    assert [(change.parent, change.name) for change in changes] == [(ROOT_INO, b"d"), (ROOT_INO, b"e")]
    reader.close()


def test_a_second_mount_begins_with_the_saved_tree(index: Index) -> None:
    """What an earlier mount saved is there at once, with the container's figures at that time."""
    assert not index.meta().complete
    builder = index.builder()
    builder.add(listing("a"))
    builder.finish(container_count=1, container_bytes=1)
    second = Index(index.path, SOURCE)
    meta = second.meta()
    second.close()

    assert (meta.complete, meta.container_count, meta.container_bytes, meta.source) == (True, 1, 1, SOURCE)
    assert 0 < meta.built_at <= time.time_ns()


def test_two_mounts_rebuild_one_index_and_each_learns_what_the_other_changed(index: Index) -> None:
    """A rebuild that finds its changes made by another mount names none, and the reader still can."""
    build(index, listing("a"))
    reader = Reader(index.path)
    generation = reader.generation()
    other = Index(index.path, SOURCE)
    mine, others = index.builder(), other.builder()
    mine.add(listing("a", "b"))
    others.add(listing("a", "b"))

    assert mine.finish().added == 1
    assert others.finish().added == 0
    changes = reader.changes_since(generation)
    assert changes is not None
    assert [change.name for change in changes] == [b"b"]
    other.close()
    reader.close()


def test_a_listing_that_began_earlier_does_not_undo_a_later_one(index: Index) -> None:
    """It may have passed a name that was uploaded since: ending last it changes nothing, and says so; nor are the
    container's counts taken from it. The next one counts again."""
    build(index, listing("a", "z"))
    other = Index(index.path, SOURCE)
    earlier, later = index.builder(), other.builder()
    earlier.add(listing("a"))
    later.add(listing("a", "b", "z"))
    later.finish(3, 3)
    earlier.add(listing("z"))
    diff = earlier.finish(2, 2)

    assert (diff.outrun, diff.added, diff.removed, diff.unchanged) == (True, 0, 0, 3)
    index.prove(2, 2)
    assert names(index) == [b"a", b"b", b"z"]
    assert (index.meta().container_count, index.meta().container_bytes) == (3, 3)
    assert not build(index, listing("a", "z")).outrun
    assert names(index) == [b"a", b"z"]
    other.close()


def test_a_listing_that_began_before_there_was_an_index_is_the_earliest(index: Index) -> None:
    """A first mount lists while it opens the index. It makes the first tree, but takes the place of no other."""
    begun = index.builder(begun=True)
    begun.add(listing("a"))
    assert not begun.finish().outrun
    other = Index(index.path, SOURCE)
    begun = index.builder(begun=True)
    begun.add(listing("a"))
    build(other, listing("a", "b"))

    assert begun.finish().outrun
    assert names(index) == [b"a", b"b"]
    other.close()


def test_counts_that_come_late_are_not_those_of_another_tree(index: Index) -> None:
    """What a mount finds out of its own listing says nothing of the tree that another one has made since."""
    build(index, listing("a"))
    other = Index(index.path, SOURCE)
    builder = other.builder()
    builder.add(listing("a", "b"))
    builder.finish(2, 2)
    index.prove(1, 1)

    assert index.meta().container_count == 2
    other.close()


def test_an_index_of_before_listings_were_numbered_is_used_as_it_is(index: Index) -> None:
    """It costs no listing, and the next rebuild counts."""
    build(index, listing("a"))
    connection = sqlite3.connect(index.path)
    connection.execute("DELETE FROM meta WHERE key LIKE 'listing%'")
    connection.commit()
    connection.close()
    second = Index(index.path, SOURCE)

    assert second.meta().complete
    assert build(second, listing("a", "b")).added == 1
    second.close()


def test_files_are_private(index: Index) -> None:
    """Nobody else can read the names of a container."""
    build(index, listing("a"))
    modes = {path.name: path.stat().st_mode & 0o777 for path in index.path.parent.iterdir()}

    assert {0o600} == set(modes.values())
    assert index.path.parent.stat().st_mode & 0o777 == 0o700


def spoil_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(64))


def spoil_pages(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xaa" * (path.stat().st_size - 4096))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace_by_text(path: Path) -> None:
    path.write_text("not a database")


def other_format(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def other_tables(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE meta")
    connection.close()


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [spoil_header, spoil_pages, cut, replace_by_text, other_format, other_tables, empty])
def test_a_damaged_index_is_begun_anew_with_numbers_never_used(index: Index, damage: object) -> None:
    """Damage costs a listing, never a crash, and a kernel that still knows old inode numbers meets none of them."""
    build(index, listing(*(f"{number:05d}" for number in range(2000))))
    reader = Reader(index.path)
    old = {entry.ino for entry in reader.files_after(ROOT_INO, 5000)}
    generation = reader.generation()
    index.close()
    if damage is empty:  # else SQLite rightly finds it in use
        reader.close()
    assert callable(damage)
    damage(index.path)
    fresh = Index(index.path, SOURCE)
    complete = fresh.meta().complete
    build(fresh, listing("a"))
    new = Reader(fresh.path)
    (entry,) = new.children(ROOT_INO, FIRST_COOKIE, 5)

    assert not complete
    assert damage is empty or reader.replaced()
    assert damage is empty or entry.ino not in old
    assert not new.replaced()
    assert new.changes_since(generation - 5) is None
    new.close()
    reader.close()
    fresh.close()


def test_an_index_of_another_source_is_not_used(index: Index) -> None:
    """A file that speaks of another container is made anew."""
    build(index, listing("a"))
    other = Source("https://s/v1/A", "other")
    index.close()
    second = Index(index.path, other)

    assert other == second.meta().source
    assert not second.meta().complete
    second.close()


def test_an_index_damaged_under_a_reader_is_an_error_with_advice(index: Index) -> None:
    """A read of a file that was spoilt while open says so in our own words."""
    build(index, listing(*(f"{number:05d}" for number in range(20_000))))
    reader = Reader(index.path)
    spoil_pages(index.path)

    with pytest.raises(LocalFileError, match="cannot be read"):
        all(map(reader.entry, range(2, 20_000)))
    reader.close()


@pytest.mark.parametrize("name", ["absent.db", "directory"])
def test_what_is_no_index_cannot_be_opened_to_read(tmp_path: Path, name: str) -> None:
    """A reader never makes a file."""
    (tmp_path / "directory").mkdir()
    with pytest.raises(LocalFileError, match="cannot be used"):
        Reader(tmp_path / name)

    assert not (tmp_path / "absent.db").exists()


def test_an_index_is_not_written_through_a_link(tmp_path: Path) -> None:
    """A link in the index's place does not make us write elsewhere."""
    target = tmp_path / "precious"
    target.write_text("keep")
    (tmp_path / "i.db").symlink_to(target)
    with pytest.raises(LocalFileError):
        Index(tmp_path / "i.db", SOURCE)

    assert target.read_text() == "keep"


REBUILDING = """
import sys
from pathlib import Path
from swiftfs.index.build import Index
from swiftfs.index.entry import Resolved, Source
from swiftfs.model import ListingEntry

index = Index(Path(sys.argv[1]), Source("https://s/v1/A", "c"))
version = 0
while True:
    version += 1
    builder = index.builder()
    builder.add([
        Resolved(ListingEntry(f"{number % 7}/{version if number % 3 else 0}-{number:04d}", version, str(version), 1))
        for number in sorted(range(1500), key=lambda n: f"{n % 7}/{version if n % 3 else 0}-{n:04d}")
    ])
    builder.finish()
    print(version, flush=True)
"""


def test_a_build_killed_at_any_point_leaves_a_whole_tree(tmp_path: Path) -> None:
    """After kill -9 the saved tree is that of one finished rebuild, and nothing is left over."""
    path = tmp_path / "i.db"
    clock = random.Random(7)
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", REBUILDING, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(clock.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
        index = Index(path, SOURCE)
        reader = Reader(path)
        files = list(reader.subtree_files(ROOT_INO))
        assert index.meta().complete
        assert 1500 == len(files) == reader.totals().files
        assert len({file.size for file in files}) == 1
        assert sum(file.size for file in files) == reader.totals().bytes
        reader.close()
        index.close()

    assert {"i.db"} == {file.name for file in tmp_path.iterdir()}


BUILDING_MANY = """
import resource, sys
from pathlib import Path
from swiftfs.index.build import Index
from swiftfs.index.entry import Resolved, Source
from swiftfs.index.reader import Reader
from swiftfs.model import ListingEntry

count = int(sys.argv[2])
index = Index(Path(sys.argv[1]), Source("https://s/v1/A", "c"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(2):
    builder = index.builder()
    for start in range(0, count, 10000):
        page = [
            ListingEntry(f"training/class_{n // 1000:04d}/{n:08d}.jpg", 70000 + n % 100, f"{n:032x}", n, "image/jpeg")
            for n in range(start, start + 10000)
        ]
        assert builder.needs_head(page) == []
        builder.add([Resolved(entry) for entry in page])
    diff = builder.finish()
index.close()
reader = Reader(Path(sys.argv[1]))
assert sum(1 for _ in reader.subtree_files(1)) == count == reader.totals().files
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, diff.unchanged)
"""


@pytest.mark.row("L7")
def test_memory_does_not_grow_with_names(tmp_path: Path) -> None:
    """Building, rebuilding and walking a tree of 100,000 files costs less than 300 bytes of memory for each."""
    output = subprocess.run(
        [sys.executable, "-c", BUILDING_MANY, tmp_path / "i.db", "100000"], check=True, capture_output=True, text=True
    ).stdout
    grown_kib, unchanged = map(int, output.split())

    assert unchanged == 100_000 + 101
    assert grown_kib * 1024 < 300 * 100_000
