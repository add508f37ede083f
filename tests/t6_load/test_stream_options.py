"""The options of a load for an archive that is read once from front to back: as for one that is known beforehand."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.forward import Forward
from fakes.http_server import FileServer, serving
from fakes.memory_swift import MemorySwift

from swiftfs.errors import TooManyDeletes, UsageError
from swiftfs.load import large, stream_source
from swiftfs.load.apply import load_rules
from swiftfs.load.filters import FilterTexts, make_filters
from swiftfs.load.options import LoadOptions
from swiftfs.load.plan import Compare
from swiftfs.load.progress import Silent
from swiftfs.load.report import outcome_error
from swiftfs.load.run import LoadRequest, LoadResult, load_directory
from swiftfs.load.segments import LargePolicy
from swiftfs.load.sources import SourceRequest, opened_source
from swiftfs.load.transform import Rules, make_rule

MIB = 1 << 20
THEN = 1_704_164_646
"""2024-01-02T03:04:06Z, the time of every member."""


def make_tar(files: dict[str, bytes]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(body), THEN
            archive.addfile(info, io.BytesIO(body))
    return plain.getvalue()


def make_zip(files: dict[str, bytes]) -> bytes:
    target = Forward()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:  # type: ignore[arg-type]
        for name, body in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 2, 3, 4, 6)), body, zipfile.ZIP_DEFLATED)
    return bytes(target.body)


MAKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {"tar": make_tar, "zip": make_zip}
"""Members that say their size beforehand, and such as show it only at their end."""
kinds = pytest.mark.parametrize("kind", MAKERS)


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members over 1 MiB are not held, and segments have 1 MiB."""
    monkeypatch.setattr(stream_source, "HELD", MIB)
    monkeypatch.setattr(stream_source, "UNSIZED", MIB)
    monkeypatch.setattr(large, "LEAST_SEGMENT", MIB)


def load(
    archive: bytes | Path,
    store: MemorySwift,
    options: LoadOptions,
    *,
    strip: int | None = 0,
    called: str = "",
    **rest: object,
) -> LoadResult:
    """Load a local archive, or one that goes over the line once."""

    async def run(text: str) -> LoadResult:
        async with opened_source(SourceRequest(text, strip=strip, called=called)) as source:
            request = LoadRequest(source, "c", transfers=4, checkers=2, options=options, **rest)  # type: ignore[arg-type]
            return await load_directory(store, request, Silent(), pause=lambda _: asyncio.sleep(0))

    async def streamed(body: bytes) -> LoadResult:
        async with serving(FileServer(body, ranges=False)) as url:
            return await run(url)

    return asyncio.run(run(str(archive)) if isinstance(archive, Path) else streamed(archive))


def store_of(objects: dict[str, bytes]) -> MemorySwift:
    store = MemorySwift(held={"c": {}})
    for name, body in objects.items():
        store.alter("c", name, body)
    return store


FILES = {
    "training/3_1.jpg": b"1",
    "training/10_2.jpg": b"22" * 600,
    "notes.txt": b"333",
    "a/b/c.tmp": b"",
    "z": b"z" * 99,
}


@kinds
@pytest.mark.parametrize("rules", [None, "food11"])
@pytest.mark.parametrize(
    "texts",
    [
        FilterTexts(include=["*.jpg"]),
        FilterTexts(include=[]),
        FilterTexts(exclude=["/training/", "*.tmp"]),
        FilterTexts(rules=["+ /training/3_*", "- /training/**"]),
        FilterTexts(files=["z", "a/b/c.tmp"]),
        FilterTexts(min_size=1, max_size=1024),
    ],
)
def test_filters_keep_of_a_stream_what_they_keep_of_a_file(
    tmp_path: Path, kind: str, texts: FilterTexts, rules: str | None
) -> None:
    """The same members become the same objects, with and without new names, as when the archive is a local file."""
    path = tmp_path / f"a.{kind}"
    path.write_bytes(MAKERS[kind](FILES))
    options = LoadOptions(filters=make_filters(texts))
    renaming = None if rules is None else load_rules(rules)
    stores = MemorySwift(), MemorySwift()
    results = [
        load(archive, store, options, rules=renaming)
        for archive, store in zip((path, path.read_bytes()), stores, strict=True)
    ]
    assert [outcome_error(result) for result in results] == [None, None]
    assert stores[0].bodies("c") == stores[1].bodies("c")
    assert len({(one.files, one.sent, one.failures) for one in results}) == 1


def test_what_is_left_out_is_no_failure_and_takes_no_name() -> None:
    """A hostile name that is left out is not refused, and a member that a limit of size leaves out makes room for the
    next of its name."""
    body = make_tar({"../up": b"1", "good": b"2"})
    store = MemorySwift()
    assert outcome_error(load(body, store, LoadOptions(filters=make_filters(FilterTexts(exclude=["../up"]))))) is None
    assert store.bodies("c") == {"good": b"2"}

    target = Forward()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        archive.writestr("a", b"1234")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"12")
    store = MemorySwift()
    result = load(bytes(target.body), store, LoadOptions(filters=make_filters(FilterTexts(max_size=3))))
    assert (store.bodies("c"), result.failures) == ({"a": b"12"}, ())


@pytest.mark.parametrize("first", [True, False])
def test_filters_see_a_refused_member_below_the_folder_that_is_left_out(tmp_path: Path, first: bool) -> None:
    """A link that they leave out is no failure, and one that they keep is, at a URL as in a file, whether it comes
    before the first file or behind it."""
    link = tarfile.TarInfo("data/links/l")
    link.type, link.linkname = tarfile.SYMTYPE, "../a"
    file = tarfile.TarInfo("data/a")
    path = tmp_path / "data.tar"
    with tarfile.open(path, "w") as archive:
        for one in (link, file) if first else (file, link):
            archive.addfile(one)
    for glob, failed in (("/links/**", 0), ("/data/links/**", 1)):
        options = LoadOptions(filters=make_filters(FilterTexts(exclude=[glob])))
        for source in (path, path.read_bytes()):
            store = MemorySwift()
            result = load(source, store, options, strip=None, called="data")
            assert (len(result.failures), list(store.bodies("c"))) == (failed, ["a"])


@kinds
@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["up/a", "up/a.b/c"], "would go below a, where a member before it is a file"),
        (["up/a.b/c", "up/a"], "would become a, below which there is a member before it"),
        (["up/a", "a"], "has the name of a member before it"),
    ],
)
def test_a_target_that_another_is_in_the_way_of_is_refused(kind: str, names: list[str], reason: str) -> None:
    """The second member fails, the first and the others go; a limit of size that leaves the first out makes room."""
    rules = Rules((make_rule(r"up/a\.b/(?P<rest>.*)", "a/{rest}"), make_rule(r"up/(?P<rest>.*)", "{rest}")))
    files = dict(zip([*names, "other"], [b"1", b"22", b"333"], strict=True))
    store = MemorySwift()
    result = load(MAKERS[kind](files), store, LoadOptions(), rules=rules)
    assert {one.name: one.reason for one in result.failures} == {names[1]: reason}
    assert {rules.target(names[0]): b"1", "other": b"333"} == store.bodies("c")
    store = MemorySwift()
    large_enough = LoadOptions(filters=make_filters(FilterTexts(min_size=2)))
    assert outcome_error(load(MAKERS[kind](files), store, large_enough, rules=rules)) is None
    assert {rules.target(names[1]): b"22", "other": b"333"} == store.bodies("c")


@pytest.mark.usefixtures("small_memory")
def test_a_size_that_shows_too_late_is_said() -> None:
    """A member too large to be held, whose size shows at its end, is left out when so much of it is too much already;
    when more of it would have to be known it is refused. One that says its size is judged by it."""
    files = {"big": os.urandom(3 * MIB), "small": b"1"}
    cases = [
        (FilterTexts(max_size=MIB), {"small"}, set()),
        (FilterTexts(max_size=8 * MIB), {"small"}, {"big"}),
        (FilterTexts(min_size=2), {"big"}, set()),
        (FilterTexts(min_size=8 * MIB), set(), {"big"}),
    ]
    for texts, sent, refused in cases:
        store = MemorySwift(held={"c": {}})
        result = load(make_zip(files), store, LoadOptions(filters=make_filters(texts)))
        assert (set(store.bodies("c")), {one.name for one in result.failures}) == (sent, refused), texts
        store = MemorySwift(held={"c": {}})
        options = LoadOptions(filters=make_filters(texts))
        assert outcome_error(load(make_tar(files), store, options)) is None
        assert set(store.bodies("c")) == {name for name, body in files.items() if options.filters.fits(len(body))}


@kinds
@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (LoadOptions(), ["new", "other", "size"]),
        (LoadOptions(compare=Compare.SIZE), ["new", "size"]),
        (LoadOptions(compare=Compare.NAME), ["new"]),
        (LoadOptions(compare=Compare.NOTHING), ["new", "other", "same", "size"]),
        (LoadOptions(immutable=True), ["new"]),
        (LoadOptions(update=True), ["new", "size"]),
    ],
)
def test_each_mode_sends_of_a_stream_what_differs_by_it(kind: str, options: LoadOptions, sent: list[str]) -> None:
    """Of a member that is the same, one of other bytes that is newer in the container, one of another size and a new
    one, the mode's are sent; --immutable fails for those that differ."""
    store = MemorySwift(held={"c": {}})
    times = {"same": THEN, "other": THEN + 86_400 * 2, "size": THEN - 86_400 * 2}
    for name, body in (("same", b"11"), ("other", b"xx"), ("size", b"3")):
        asyncio.run(put(store, name, body, times[name]))
    store.log.clear()
    result = load(MAKERS[kind]({"same": b"11", "other": b"22", "size": b"333", "new": b"4"}), store, options)
    assert sent == sorted(store.puts())
    assert {one.name for one in result.failures} == ({"other", "size"} if options.immutable else set())


async def put(store: MemorySwift, name: str, body: bytes, mtime: int) -> None:
    await store.put("c", name, body, md5=hashlib.md5(body).hexdigest(), mtime=mtime * 10**9)


@kinds
@pytest.mark.usefixtures("small_memory")
def test_each_mode_holds_for_members_too_large_for_memory(kind: str) -> None:
    """A large member is skipped, sent or refused as the mode says, and one that is the same costs no segment."""
    sized = kind == "tar"
    files = {"big": os.urandom(3 * MIB)}
    other = {"big": files["big"][1:] + b"x"}
    shorter = {"big": files["big"][1:]}

    def sends(there: dict[str, bytes], options: LoadOptions) -> tuple[int, int, bool]:
        store = MemorySwift()
        load(MAKERS[kind](there), store, LoadOptions())
        store.log.clear()
        result = load(MAKERS[kind](files), store, options)
        assert store.bodies("c") == (files if result.sent or there is files else there)
        return result.sent, result.skipped, bool(result.failures)

    assert sends(files, LoadOptions()) == (0, 1, False)
    assert sends(other, LoadOptions()) == (1, 0, False)
    assert sends(other, LoadOptions(compare=Compare.NAME)) == (0, 1, False)
    assert sends(other, LoadOptions(compare=Compare.SIZE)) == ((0, 1, False) if sized else (0, 0, True))
    assert sends(shorter, LoadOptions(compare=Compare.SIZE)) == ((1, 0, False) if sized else (0, 0, True))
    assert sends(files, LoadOptions(compare=Compare.NOTHING)) == (1, 0, False)
    assert sends(files, LoadOptions(immutable=True)) == (0, 1, False)
    assert sends(other, LoadOptions(immutable=True)) == (0, 0, True)
    assert sends(shorter, LoadOptions(immutable=True)) == (0, 0, True)
    assert sends(other, LoadOptions(update=True)) == (1, 0, False)


def test_an_object_that_was_kept_and_is_disowned_is_a_failure() -> None:
    """What the end of a zip says against a member counts also when the object was left as it was, and it stays."""
    raw = make_zip({"a": b"1", "b": b"22"})
    place = raw.rindex(b"PK\x01\x02") + 38
    raw = raw[:place] + struct.pack("<L", 0o120777 << 16) + raw[place + 4 :]
    for dry_run in (False, True):
        store = store_of({"a": b"x", "b": b"old"})
        result = load(raw, store, LoadOptions(compare=Compare.NAME), dry_run=dry_run)
        assert ([one.name for one in result.failures], result.trusted, result.sent) == (["b"], 1, 0)
        assert store.bodies("c") == {"a": b"x", "b": b"old"}


@kinds
@pytest.mark.usefixtures("small_memory")
def test_the_manifest_of_a_stream_is_that_of_the_file(tmp_path: Path, kind: str) -> None:
    """The same members, held or in segments, sent or there already, have one digest."""
    files = {**FILES, "big": os.urandom(3 * MIB)}
    path = tmp_path / f"a.{kind}"
    path.write_bytes(MAKERS[kind](files))
    policy = LargePolicy(cutoff=2 * MIB, segment_size=MIB)
    stores = MemorySwift(), MemorySwift()
    first = load(path, stores[0], LoadOptions(manifest=True), large=policy)
    assert first.manifest is not None
    for _ in range(2):
        result = load(path.read_bytes(), stores[1], LoadOptions(manifest=True), large=policy)
        assert (outcome_error(result), result.manifest) == (None, first.manifest)
    broken = load(path.read_bytes()[:-2000], MemorySwift(), LoadOptions(manifest=True), large=policy)
    assert (outcome_error(broken) is None, broken.manifest) == (False, None)


def test_the_manifest_of_a_zip_is_the_same_in_every_time_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that say no zone are taken for UTC, those that say it stay, and one that is all zeros is no error."""
    path = tmp_path / "a.zip"
    stamped = zipfile.ZipInfo("stamped", (1999, 1, 1, 0, 0, 0))
    stamped.extra = struct.pack("<HHBl", 0x5455, 5, 1, THEN + 1)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("plain", (2024, 1, 2, 3, 4, 6)), b"1")
        archive.writestr(zipfile.ZipInfo("zeros", (1980, 0, 0, 0, 0, 0)), b"3")
        archive.writestr(stamped, b"2")
    digests = set()
    for zone in ("UTC", "Asia/Kathmandu", "America/St_Johns"):
        monkeypatch.setenv("TZ", zone)
        for source in (path, path.read_bytes()):
            store = MemorySwift()
            digests.add(load(source, store, LoadOptions(manifest=True)).manifest)
            times = {name: one.info.mtime for name, one in store.held["c"].items() if not name.startswith(".")}
            assert times == {"plain": THEN * 10**9, "zeros": 312_768_000 * 10**9, "stamped": (THEN + 1) * 10**9}
    assert len(digests) == 1
    assert None not in digests


@kinds
def test_clean_empties_the_place_of_a_stream_first(kind: str) -> None:
    """Every object goes but those that the filters leave out, then the members come; --max-delete and what is no
    archive are found out before anything is deleted."""
    before = {"old": b"1", "notes.txt": b"2", "keep.me": b"3"}
    filters = make_filters(FilterTexts(exclude=["*.me"]))
    body = MAKERS[kind](FILES)
    store = store_of(before)
    with pytest.raises(TooManyDeletes):
        load(body, store, LoadOptions(clean=True, filters=filters, max_delete=1))
    with pytest.raises(UsageError, match="neither a zip nor a tar"):
        load(b"hello" * 1000, store, LoadOptions(clean=True, filters=filters))
    assert store.bodies("c") == before
    result = load(body, store, LoadOptions(clean=True, filters=filters))
    assert (outcome_error(result), result.deleted, result.sent) == (None, 2, len(FILES))
    assert store.bodies("c") == {**FILES, "keep.me": b"3"}


def test_a_mirror_of_a_stream_is_refused() -> None:
    """--delete-extra is refused before anything is asked of the store, with the way out."""
    store = store_of({"old": b"1"})
    with pytest.raises(UsageError, match="no --delete-extra") as caught:
        load(make_tar(FILES), store, LoadOptions(delete_extra=True))
    assert caught.value.hint == "swiftfs extract it first"
    assert store.log == []
