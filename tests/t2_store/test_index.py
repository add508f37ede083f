"""The index against a dict: any container, any rebuild, any way of reading."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fakes.tree_model import ModelObject, ModelTree, tree_of
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftfs.index.build import Index
from swiftfs.index.entry import ROOT_INO, Change, Diff, Entry, Resolved, Source
from swiftfs.index.reader import FIRST_COOKIE, Reader
from swiftfs.model import Kind, ObjectVersion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Objects = dict[str, ModelObject]

MACHINE = settings(deadline=None, max_examples=100)  # each example makes files and waits for the disk

OBJECT = st.builds(
    ModelObject,
    content=st.integers(1, 2),
    size=st.integers(0, 2),
    upload=st.integers(0, 1),
    marker=st.booleans(),
    kind=st.sampled_from([Kind.PLAIN, Kind.PLAIN, Kind.SLO, Kind.DLO]),
)
OBJECTS = st.dictionaries(st.text("a-/.", min_size=1, max_size=6), OBJECT, max_size=12)
PREFIX = st.sampled_from(["", "", "a", "a/a"])


def rebuild(index: Index, objects: Mapping[str, ModelObject], page: int = 3) -> Diff:
    """Feeds the container's listing below the index's prefix to the index, page by page."""
    names = sorted(name for name in objects if name.startswith(index.source.listing_prefix))
    builder = index.builder()
    for start in range(0, len(names), page):
        listed = names[start : start + page]
        builder.add([Resolved(objects[name].listed(name), objects[name].info(name)) for name in listed])
    return builder.finish()


def walk(reader: Reader, ino: int = ROOT_INO, path: str = "") -> Iterator[tuple[str, Entry]]:
    """Every entry of the tree with its path, read two at a time."""
    cookie = FIRST_COOKIE
    while page := reader.children(ino, cookie, 2):
        for entry in page:
            name = path + entry.name.decode()
            yield name, entry
            if entry.is_dir:
                yield from walk(reader, entry.ino, name + "/")
        cookie = page[-1].ino


def inodes(reader: Reader) -> dict[str, int]:
    return {path: entry.ino for path, entry in walk(reader)} | {"": ROOT_INO}


@given(objects=OBJECTS, prefix=PREFIX, page=st.integers(1, 4))
@MACHINE
def test_the_tree_is_the_container_s(objects: Objects, prefix: str, page: int) -> None:
    """Every file and directory is shown once, with its size, ETag and kind, and the rest is in the hidden list."""
    with TemporaryDirectory() as directory:
        index = Index(Path(directory, "i.db"), Source("https://s/v1/A", "c", prefix))
        diff = rebuild(index, objects, page)
        reader = Reader(index.path)
        tree = tree_of(
            {n: o for n, o in objects.items() if n.startswith(index.source.listing_prefix)}, index.source.listing_prefix
        )
        shown = dict(walk(reader))
        names = [path for path, _ in walk(reader)]

        assert len(names) == len(set(names))
        assert tree.directories == {path for path, entry in shown.items() if entry.is_dir}
        assert tree.files.keys() == {path for path, entry in shown.items() if not entry.is_dir}
        assert tree.hidden == {name for name, _ in index.hidden(100)}
        assert sum(index.hidden_counts().values()) == diff.hidden == len(index.hidden(100))
        for path, entry in shown.items():
            parent, _, name = path.rpartition("/")
            assert entry == reader.entry(entry.ino) == reader.child(entry.parent, name.encode())
            assert (shown[parent].ino if parent else ROOT_INO) == entry.parent
            check_entry(reader, tree, index.source.listing_prefix, path, entry)
        assert (len(tree.files), len(tree.directories)) == (reader.totals().files, reader.totals().directories)
        assert sum(each.size for each in tree.files.values()) == reader.totals().bytes
        assert (len(shown), 0, 0, 0) == (diff.added, diff.changed, diff.removed, diff.unchanged)
        reader.close()
        index.close()


def check_entry(reader: Reader, tree: ModelTree, prefix: str, path: str, entry: Entry) -> None:
    """What is told of one entry is what the model has."""
    if entry.is_dir:
        below = {name: each for name, each in tree.files.items() if name.startswith(path + "/")}
        assert (len(below), sum(each.size for each in below.values())) == (entry.files, entry.size)
        assert sum(name.rpartition("/")[0] == path for name in tree.directories) == entry.subdirs
        assert prefix + path + "/" == reader.object_name(entry.ino)
        assert sorted(below) == [
            reader.object_name(file.ino).removeprefix(prefix) for file in reader.subtree_files(entry.ino)
        ]
        assert reader.version(entry.ino) is None
        return
    each = tree.files[path]
    version = ObjectVersion(prefix + path, each.size, each.etag, each.last_modified, each.kind)
    assert version == reader.version(entry.ino)
    assert (each.size, each.etag, each.last_modified, each.kind) == (
        entry.size,
        entry.etag,
        entry.last_modified,
        entry.kind,
    )


@given(objects=OBJECTS, limit=st.integers(1, 4))
@MACHINE
def test_the_next_files_are_those_of_the_listing(objects: Objects, limit: int) -> None:
    """After any file, and from any directory, files follow in the order of their full names, over the whole tree."""
    with TemporaryDirectory() as directory:
        index = Index(Path(directory, "i.db"), Source("https://s/v1/A", "c"))
        rebuild(index, objects)
        reader = Reader(index.path)
        order = sorted(tree_of(objects).files)
        for path, entry in walk(reader):
            after = [name for name in order if (name >= path + "/" if entry.is_dir else name > path)]
            assert after[:limit] == [reader.object_name(file.ino) for file in reader.files_after(entry.ino, limit)]
        assert order[:limit] == [reader.object_name(file.ino) for file in reader.files_after(ROOT_INO, limit)]
        reader.close()
        index.close()


@given(versions=st.lists(OBJECTS, min_size=2, max_size=4))
@MACHINE
def test_an_inode_number_stands_for_one_version_for_ever(versions: list[Objects]) -> None:
    """Over any rebuilds a number is kept while the bytes are the same, and never given to anything else."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "i.db")
        meant: dict[int, tuple[str, object]] = {}
        before: dict[str, int] = {"": ROOT_INO}
        was: dict[str, object] = {"": "directory"}
        for objects in versions:
            index = Index(path, Source("https://s/v1/A", "c"))  # a mount each: numbers are stable over mounts
            diff = rebuild(index, objects)
            reader = Reader(path)
            now = tree_of(objects).paths() | {"": "directory"}
            numbers = inodes(reader)
            for name, ino in numbers.items():
                assert (name, now[name]) == meant.setdefault(ino, (name, now[name]))
                if was.get(name) == now[name] and above_kept(name, before, numbers):
                    assert before[name] == ino
            check_counts(diff, before, numbers)
            check_changes(reader.changes_since(diff.generation - 1), before, numbers)
            before, was = numbers, now
            reader.close()
            index.close()


def above_kept(name: str, before: dict[str, int], now: dict[str, int]) -> bool:
    """Whether all directories above ``name`` are the ones they were."""
    parts = name.split("/")[:-1]
    paths = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    return all(before.get(path) == now[path] for path in paths)


def check_counts(diff: Diff, before: dict[str, int], now: dict[str, int]) -> None:
    """The diff counts what was added, changed, removed and left as it was."""
    kept = {path for path in before.keys() & now.keys() if before[path] == now[path]}
    assert len(kept) == diff.unchanged + 1  # the root is not counted
    assert len(now) == diff.added + diff.changed + diff.unchanged + 1
    assert len(before) == diff.removed + diff.changed + diff.unchanged + 1


def check_changes(changes: tuple[Change, ...] | None, before: dict[str, int], now: dict[str, int]) -> None:
    """They name exactly what a kernel that knows the old tree has to forget."""
    parent = {path: path.rpartition("/")[0] for path in before | now}
    kept = {path for path in before.keys() & now.keys() if before[path] == now[path]}
    expected = {Change(before[parent[path]], base(path), before[path]) for path in before if path not in kept}
    named = {(change.parent, change.name) for change in expected}
    for path in now.keys() - kept:
        if parent[path] in kept and (now[parent[path]], base(path)) not in named:
            expected.add(Change(now[parent[path]], base(path), None))

    assert changes is not None
    assert len(changes) == len(set(changes))
    assert expected == set(changes)


def base(path: str) -> bytes:
    return path.rpartition("/")[2].encode()


@given(versions=st.lists(OBJECTS, min_size=3, max_size=4))
@MACHINE
def test_a_late_mount_learns_all_changes_since_it_looked(versions: list[Objects]) -> None:
    """What changed over several rebuilds by another mount is told for any earlier generation, whenever the kernel has
    looked: lookups see each rebuild at once, so it may know what came and went since."""
    with TemporaryDirectory() as directory:
        index = Index(Path(directory, "i.db"), Source("https://s/v1/A", "c"))
        rebuild(index, versions[0])
        reader = Reader(index.path)
        generation = reader.generation()
        assert reader.changes_since(generation) == ()
        seen = [inodes(reader)]
        for objects in versions[1:]:
            assert reader.has_moved(generation) == (len(seen) > 1)
            rebuild(index, objects)
            seen.append(inodes(reader))
        *earlier, now = seen
        changes = reader.changes_since(generation)
        assert changes is not None
        assert len(changes) == len(set(changes))
        told = {(change.parent, change.name) for change in changes}
        for known in earlier:
            for path in known.keys() - {""}:
                parent = path.rpartition("/")[0]
                if now.get(path) != known[path]:
                    assert Change(known[parent], base(path), known[path]) in changes
            for path in now.keys() - known.keys():
                parent = path.rpartition("/")[0]
                if known.get(parent) == now[parent]:
                    assert (now[parent], base(path)) in told
        assert reader.generation() == generation + len(earlier)
        assert reader.changes_since(generation - 7) is None
        reader.close()
        index.close()


@given(first=OBJECTS, second=OBJECTS, third=OBJECTS, read=st.integers(1, 6))
@MACHINE
def test_paging_through_a_rebuild_neither_skips_nor_repeats(
    first: Objects, second: Objects, third: Objects, read: int
) -> None:
    """An entry that did not change is shown exactly once to who pages through its directory while it is rebuilt."""
    with TemporaryDirectory() as directory:
        index = Index(Path(directory, "i.db"), Source("https://s/v1/A", "c"))
        rebuild(index, first)
        reader = Reader(index.path)
        before = {entry.ino for entry in reader.children(ROOT_INO, FIRST_COOKIE, 100)}
        shown = reader.children(ROOT_INO, FIRST_COOKIE, read)
        cookie = shown[-1].ino if shown else FIRST_COOKIE
        rebuild(index, second)
        shown += (page := reader.children(ROOT_INO, cookie, 1))
        cookie = page[-1].ino if page else cookie
        rebuild(index, third)
        shown += reader.children(ROOT_INO, cookie, 100)
        after = {entry.ino for entry in reader.children(ROOT_INO, FIRST_COOKIE, 100)}
        numbers = [entry.ino for entry in shown]

        assert len(numbers) == len(set(numbers))
        assert before & after <= set(numbers)
        reader.close()
        index.close()
