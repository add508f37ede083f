"""load.journal: hashes used again while a file is the same, debts that survive, faults that cost only speed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest
from fakes.memory_swift import MemorySwift

from swiftfs.load.journal import COMMIT_EVERY, SETTLED, Debt, Journal, journal_path
from swiftfs.load.progress import Silent
from swiftfs.load.report import outcome_error
from swiftfs.load.run import LoadRequest, LoadResult, load_directory
from swiftfs.load.source import DirectorySource, FileObject

MD5 = "0123456789abcdef" * 2
LATE = 10**19
"""A moment at which every file has been settled for long."""


def late(path: Path | None) -> Journal:
    return Journal(path, now=lambda: LATE)


def run(store: MemorySwift, root: Path, journal: Journal) -> LoadResult:
    request = LoadRequest(DirectorySource(str(root)), "c", transfers=4, checkers=2)
    return asyncio.run(load_directory(store, request, Silent(), journal=journal))


def test_hashes_and_debts_outlive_the_process(tmp_path: Path) -> None:
    """What was noted and owed is known to the next journal of the same file, until it is settled."""
    path = tmp_path / "deep" / "j.sqlite"
    first = late(path)
    first.note("a", ("id", 5), MD5)
    first.note("a", ("id", 5), MD5[::-1], 1000, 3)
    debts = [Debt("a", "c_segments", "a/1"), Debt("a", "c_segments", "a/slo/")]
    first.owe(debts)
    first.close()
    second = late(path)
    assert (MD5, MD5[::-1]) == (second.known("a", "id"), second.known("a", "id", 1000, 3))
    assert second.known("a", "other") is None
    assert second.known("a", "id", 1000, 2) is None
    assert debts == second.debts()
    second.settle(debts[:1])
    second.close()
    third = late(path)
    assert debts[1:] == third.debts()
    third.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_debt_is_on_the_disk_when_owe_returns(tmp_path: Path) -> None:
    """Another process sees a debt at once, and hashes after a second: nothing waits for a close that may not come."""
    ticks = [0.0]
    path = tmp_path / "j.sqlite"
    journal = Journal(path, now=lambda: LATE, clock=lambda: ticks[0])
    journal.owe([Debt("a", "c", "s")])
    journal.note("early", ("id", 5), MD5)
    other = late(path)
    assert [Debt("a", "c", "s")] == other.debts()
    assert other.known("early", "id") is None
    ticks[0] += COMMIT_EVERY
    journal.note("later", ("id", 5), MD5)
    assert other.known("early", "id") == MD5
    other.close()
    journal.close()


def test_a_file_that_changed_a_moment_ago_is_not_remembered(tmp_path: Path) -> None:
    """Within one tick of the file system's clock a change leaves no trace: only settled files are kept."""
    journal = Journal(tmp_path / "j.sqlite", now=lambda: 10 * SETTLED)
    journal.note("fresh", ("id", 9 * SETTLED + 1), MD5)
    journal.note("old", ("id", 9 * SETTLED), MD5)
    assert journal.known("fresh", "id") is None
    assert journal.known("old", "id") == MD5
    journal.close()


def test_a_second_load_hashes_nothing_and_a_changed_file_is_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that the journal knows are compared without being read; a file rewritten with its old size and
    modification time is read again, for its inode has changed."""
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(20):
        (root / f"{number:02d}").write_bytes(os.urandom(100))
    store = MemorySwift()
    first = late(tmp_path / "j.sqlite")
    run(store, root, first)
    first.close()
    hashed: list[str] = []
    descriptor = FileObject._descriptor

    def noted(source: FileObject) -> int:
        hashed.append(source.name)
        return descriptor(source)

    monkeypatch.setattr(FileObject, "_descriptor", noted)
    second = late(tmp_path / "j.sqlite")
    result = run(store, root, second)
    assert (result.sent, result.skipped, hashed) == (0, 20, [])
    status = (root / "07").stat()
    (root / "07").write_bytes(os.urandom(100))
    os.utime(root / "07", ns=(status.st_atime_ns, status.st_mtime_ns))
    result = run(store, root, second)
    second.close()
    assert ({*hashed}, result.sent) == ({"07"}, 1)
    assert outcome_error(result) is None
    assert (root / "07").read_bytes() == store.bodies("c")["07"]


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b""])
@pytest.mark.logs("is damaged and is started anew")
def test_a_damaged_journal_is_started_anew(tmp_path: Path, damage: bytes) -> None:
    """A journal file that is no database is replaced, and remembers again."""
    path = tmp_path / "j.sqlite"
    path.write_bytes(damage)
    journal = late(path)
    journal.note("a", ("id", 5), MD5)
    journal.close()
    again = late(path)
    assert again.known("a", "id") == MD5
    again.close()


def test_a_journal_that_cannot_be_made_costs_nothing_but_memory_of_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where its directory cannot be made there is one warning, and the load is complete."""
    (tmp_path / "state").write_bytes(b"a file in the way")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_bytes(b"1")
    journal = late(journal_path(tmp_path / "state", "s", "d"))
    result = run(MemorySwift(), tmp_path / "tree", journal)
    journal.close()
    assert outcome_error(result) is None
    assert len([one for one in caplog.records if "journal" in one.getMessage()]) == 1


def test_a_journal_that_fails_in_the_middle_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that fails under the journal is one warning; debts stay known for the rest of the run."""
    path = tmp_path / "j.sqlite"
    journal = late(path)
    journal.owe([Debt("a", "c", "s")])
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE hash")
    other.close()
    journal.note("a", ("id", 5), MD5)
    journal.commit()
    journal.note("b", ("id", 5), MD5)
    journal.commit()
    assert journal.known("a", "id") is None
    assert [Debt("a", "c", "s")] == journal.debts()
    assert len([one for one in caplog.records if "journal" in one.getMessage()]) == 1
    journal.close()


def test_each_source_and_destination_has_its_own_journal(tmp_path: Path) -> None:
    """Neither another source nor another destination shares a journal, not even by an unlucky join of the two."""
    places = [journal_path(tmp_path, *pair) for pair in (("/a", "b"), ("/a", "c"), ("/b", "b"), ("/ab", ""))]
    assert len(set(places)) == 4
