"""Small files whose bytes are in memory are read in the event loop; all others by threads, with the same result."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from swiftfs.errors import Changed, LocalFileError
from swiftfs.load.journal import SETTLED, Journal
from swiftfs.load.ready import INLINE, MISSES, PASSED_OVER, SLOW, Ready
from swiftfs.load.source import FileObject, open_source


def walked(root: Path) -> list[FileObject]:
    return [found for found in open_source(str(root)).scan() if isinstance(found, FileObject)]


def make(root: Path, sizes: list[int]) -> list[FileObject]:
    for number, size in enumerate(sizes):
        (root / f"{number:04d}").write_bytes(os.urandom(size))
    return walked(root)


class Clock:
    """Monotonic seconds that go on by ``step`` at each look."""

    def __init__(self) -> None:
        self.time, self.step = 0.0, 0.0

    def __call__(self) -> float:
        self.time += self.step
        return self.time


@pytest.mark.parametrize("size", [0, 1, 72_000, INLINE])
def test_a_file_in_memory_is_read_whole_with_its_md5_and_remembered(tmp_path: Path, size: int) -> None:
    """Every byte, the MD5 of all of them, and a note for the next run under the identity that the walk would see."""
    (source,) = make(tmp_path, [size])
    journal = Journal(None, now=lambda: 2**62)
    noted: list[tuple[str, tuple[str, int], str]] = []
    journal.remember = lambda *note: noted.append(note)  # type: ignore[method-assign,assignment]
    content = Ready(journal).read(source)
    expected = Path(source.path).read_bytes()
    md5 = hashlib.md5(expected).hexdigest()
    assert content is not None
    assert (expected, md5) == (content.body, content.md5)
    assert [(source.name, source.identity(), md5)] == noted


def test_a_file_that_is_too_large_is_left_to_a_thread(tmp_path: Path) -> None:
    """Hashing it would keep the loop from its sockets."""
    (source,) = make(tmp_path, [INLINE + 1])
    assert Ready(Journal(None)).read(source) is None


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite"])
def test_a_file_that_is_not_as_it_was_walked_is_an_error(tmp_path: Path, change: str) -> None:
    """Other bytes than those that were planned are never sent."""
    (source,) = make(tmp_path, [1000])
    path = Path(source.path)
    path.write_bytes(os.urandom({"grow": 1001, "shrink": 999, "rewrite": 1000}[change]))
    os.utime(path, ns=(source.mtime, source.mtime + (change == "rewrite")))
    with pytest.raises(Changed):
        Ready(Journal(None)).read(source)


def test_a_file_that_is_gone_is_an_error_with_its_reason(tmp_path: Path) -> None:
    """As when a thread reads it."""
    (source,) = make(tmp_path, [10])
    Path(source.path).unlink()
    with pytest.raises(LocalFileError, match="is gone"):
        Ready(Journal(None)).read(source)


def test_where_the_file_system_cannot_tell_threads_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal of RWF_NOWAIT is no failure, and after a few of them most files are not tried here any more."""
    tried: list[int] = []

    def refused(*_: object) -> int:
        tried.append(1)
        raise OSError(95, "Operation not supported")

    sources = make(tmp_path, [10] * (MISSES + PASSED_OVER + 1))
    monkeypatch.setattr(os, "preadv", refused)
    ready = Ready(Journal(None))
    assert {ready.read(source) for source in sources} == {None}
    assert len(tried) == MISSES + 1


def test_slow_files_are_used_and_then_left_to_threads(tmp_path: Path) -> None:
    """What was waited for is not thrown away, but the loop waits only a few times."""
    clock = Clock()
    clock.step = SLOW * 2
    ready = Ready(Journal(None), clock)
    found = [ready.read(source) is not None for source in make(tmp_path, [10] * (MISSES + 2))]
    assert found == [True] * MISSES + [False] * 2


def test_a_note_is_never_waited_for_and_a_commit_keeps_it(tmp_path: Path) -> None:
    """What is remembered is known at once, and to the next run after a commit."""
    path = tmp_path / "j.sqlite"
    journal = Journal(path, now=lambda: 2 * SETTLED)
    journal.remember("a", ("id", 0), "m")
    assert journal.known("a", "id") == "m"
    assert journal.known("a", "other") is None
    journal.commit()
    again = Journal(path)
    assert again.known("a", "id") == "m"
    again.close()
    journal.close()
