"""load.source: a directory as objects, nothing left out in silence."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from fakes.halting import HaltsAtLook
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.errors import Changed, ContainerNotFound, Interrupted, LocalFileError, UsageError
from swiftfs.load.source import DirectorySource, FileObject, Omitted, Refused, open_source

part = st.text(st.sampled_from("ab.-ä/"), min_size=1, max_size=5)
trees = st.sets(part.map(lambda text: "/".join(filter(None, text.split("/")))), max_size=12)


def found_in(source: DirectorySource) -> list[FileObject]:
    return [one for one in source.scan() if isinstance(one, FileObject)]


@given(trees)
def test_a_walk_is_in_listing_order_and_complete(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    """Every file is an object once, in the order of the bytes of the names, with its size and time."""
    root = tmp_path_factory.mktemp("tree")
    made = []
    for name in sorted(names):
        path = root / name
        if {"", ".", ".."} & set(name.split("/")) or path.exists() or any(above.is_file() for above in path.parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        made.append(f"p/{name}")
    objects = found_in(DirectorySource(str(root), "p/"))
    assert sorted(made, key=str.encode) == [one.name for one in objects]
    for one in objects:
        status = os.stat(one.path)
        assert (status.st_size, status.st_mtime_ns) == (one.size, one.mtime)


@pytest.mark.row("T10")
def test_what_cannot_be_an_object_is_named(tmp_path: Path) -> None:
    """FIFOs, sockets, names that are not UTF-8 and names that are too long are refused with their reason."""
    (tmp_path / "good").write_bytes(b"x")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "sock"))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_bytes(b"x")
    deep = tmp_path.joinpath(*["d" * 250] * 4)
    deep.mkdir(parents=True)
    (deep / ("f" * 30)).write_bytes(b"x")
    refused = {one.name: one.reason for one in DirectorySource(str(tmp_path)).scan() if isinstance(one, Refused)}
    assert [one.name for one in found_in(DirectorySource(str(tmp_path)))] == ["good"]
    assert refused.pop("fifo") == "is a FIFO, not a regular file"
    assert refused.pop("sock") == "is a socket, not a regular file"
    assert refused.pop("\\xff") == "its name is not valid UTF-8"
    ((_, reason),) = refused.items()
    assert "its name has 1,034 bytes" in reason


@pytest.mark.row("T10")
def test_symbolic_links_are_left_out_and_named(tmp_path: Path) -> None:
    """Links to files and directories are not followed, and said to be left out."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"x")
    (tmp_path / "l").symlink_to("d")
    (tmp_path / "m").symlink_to("d/f")
    found = list(DirectorySource(str(tmp_path)).scan())
    assert [one.name for one in found if isinstance(one, FileObject)] == ["d/f"]
    assert [one.name for one in found if isinstance(one, Omitted)] == ["l", "m"]


@pytest.mark.row("T10")
def test_links_are_followed_on_demand_but_not_in_circles(tmp_path: Path) -> None:
    """With follow_links a link is what it points to; one back to a directory above and a dangling one are refused."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"x")
    (tmp_path / "d" / "up").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "l").symlink_to("d")
    found = list(DirectorySource(str(tmp_path), follow_links=True).scan())
    assert [one.name for one in found if isinstance(one, FileObject)] == ["d/f", "l/f"]
    assert [one.name for one in found if isinstance(one, Refused)] == ["d/up", "gone", "l/up"]


def test_unfinished_work_of_extract_is_left_out(tmp_path: Path) -> None:
    """The staging directory of extract at the top never becomes objects."""
    (tmp_path / ".swiftfs-partial").mkdir()
    (tmp_path / ".swiftfs-partial" / "1.partial").write_bytes(b"x")
    assert [one.name for one in DirectorySource(str(tmp_path)).scan()] == [".swiftfs-partial"]


def test_a_walk_ends_in_the_middle_of_a_directory(tmp_path: Path) -> None:
    """Whoever wants to stop is heard at each entry, also of a directory that has all of them."""
    for number in range(50):
        (tmp_path / f"{number}").touch()
    halted = HaltsAtLook(20)
    with pytest.raises(Interrupted):
        next(DirectorySource(str(tmp_path)).scan(halted))
    assert halted.looks == 20


def test_a_missing_directory_is_rclones_exit_code_3(tmp_path: Path) -> None:
    """A source that is not there is "directory not found" with exit code 3."""
    with pytest.raises(ContainerNotFound, match="directory not found") as caught:
        open_source(str(tmp_path / "none"))
    assert caught.value.exit_code == 3


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    """A file given as the directory is a usage error that says what to do instead."""
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="directory that holds it"):
        open_source(str(tmp_path / "a.jpg"))


def test_a_file_that_changed_since_the_walk_does_not_open(tmp_path: Path) -> None:
    """A file with another size or time than when it was walked, or a link in its place, is refused at open."""
    path = tmp_path / "f"
    path.write_bytes(b"x")
    (one,) = found_in(DirectorySource(str(tmp_path)))
    os.utime(path, ns=(1, 1))
    with pytest.raises(Changed, match="changed while it was read"):
        one.open()
    path.unlink()
    with pytest.raises(LocalFileError, match="is gone"):
        one.open()
    path.symlink_to("/etc/passwd")
    with pytest.raises(LocalFileError):
        one.open()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Changed):
        one.open()


def test_a_closed_file_gives_no_bytes(tmp_path: Path) -> None:
    """A read after close fails and never reads from another file that got the descriptor's number."""
    (tmp_path / "f").write_bytes(b"secret")
    (one,) = found_in(DirectorySource(str(tmp_path)))
    opened = one.open()
    opened.close()
    opened.close()
    with (tmp_path / "f").open("rb"), pytest.raises(LocalFileError):
        opened.read(1)
